"""Records a conversation: `python -m tests.vectors.record --new FOLDER`.

`conversation-0.1` is frozen: nodes of 0.1 are in the field, and every later version has to answer them. This writes
only to a folder that does not exist, for the day when a release needs a recording of its own. Keys, clocks and what is
random follow from fixed names, so it makes the same bytes every time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.vectors.session import play


def main() -> None:
    parser = argparse.ArgumentParser(description="Record a conversation into a folder that does not exist yet.")
    parser.add_argument("--new", type=Path, metavar="FOLDER")
    folder = parser.parse_args().new
    if folder is None:
        sys.exit("conversation-0.1 is frozen: nodes in the field speak it. To make another recording: --new FOLDER")
    if folder.exists():
        sys.exit(f"{folder} is frozen: name a folder that does not exist")
    play().write(folder)


if __name__ == "__main__":
    main()
