"""`python -m relays.cli.tree.supervise FABRIC RELAY...`: what `fabric up -d` leaves running."""

from __future__ import annotations

import sys

from fabric.protocol.base.errors import FabricError
from relays.supervisor import Supervisor


def main() -> int:
    """Supervises until it is stopped; the exit code: 0 stopped, 1 it could not run."""
    fabric, *relays = sys.argv[1:]
    try:
        Supervisor(fabric, relays).run()
    except FabricError as error:
        from relays.terminal import say  # noqa: PLC0415 - what runs for weeks does without it

        say(str(error), error=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
