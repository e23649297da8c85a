"""The command line: `fabric`. `app` says in which module each command is; `shared` is what all rooms use."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NoReturn

_INTERRUPTED = 130


def main() -> None:
    """Entry point. Notices first when `fabric` is somebody else's package (an SSH tool has the same import name)."""
    try:
        import fabric

        if Path(fabric.__file__ or "").parent.parent != Path(__file__).parent.parent.parent:
            _wrong_package()
        from relays.cli.app import app
        from relays.cli.shared.exits import run

        run(app)
    except KeyboardInterrupt:  # before there was anything to stop
        sys.exit(_INTERRUPTED)
    finally:  # all that ought to end in peace has: one more Ctrl-C ends Python's own way out, without a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wrong_package() -> NoReturn:
    # Nothing of ours can be imported here, the module that writes to terminals neither.
    sys.stderr.write(
        "error E915 the import name `fabric` is that of another package here\n"
        "  next: install message-fabric in a virtual environment of its own\n"
    )
    sys.exit(1)
