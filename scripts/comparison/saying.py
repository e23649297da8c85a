"""The other end of `processes.Program`: how a program is told to give way, and says something.

It imports next to nothing: whatever is in here, each end of each chain reads first.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# The last argument of a program that gives way to the others.
APART = "apart"


def give_way() -> None:
    """From now on this process runs on what others leave of the cores. It must lead a session of its own."""
    os.nice(19)
    group = Path("/proc/self/autogroup")  # where Linux has it, sessions share the cores before their processes do
    if group.exists():
        group.write_text("19")


def arguments() -> list[str]:
    """Of a program that `processes.Program` began, which gives way from here on if it was told to."""
    if sys.argv[-1] != APART:
        return sys.argv[1:]
    give_way()
    return sys.argv[1:-1]


def say(**what: Any) -> None:
    """The other end of `Program.hear`."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
