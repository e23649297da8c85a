"""Control points that execute, several in one process.

    python -m scripts.comparison.fanout_ends FOLDER-OF-IDENTITIES ID...
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from fabric.edge.blocking import ControlPoint
from scripts.comparison.saying import arguments, say

_CONNECT_S = 120.0


def execute(folder: str, *ids: str) -> None:
    """Until standard input ends."""
    with ExitStack() as stack:
        for id_ in ids:
            point = stack.enter_context(
                ControlPoint(Path(folder) / id_, connect_timeout_s=_CONNECT_S, actions_at_once=1)
            )
            point.on_action("deny", "ipv4_net")(lambda _action: {"rule": 7})
        say(ready=True)
        sys.stdin.read()


if __name__ == "__main__":
    execute(*arguments())
