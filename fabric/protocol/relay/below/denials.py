"""What control points were not let do by their own nodes: it counts like what this relay would have refused.

Guarantees: only a control point says so, of itself; one that counts wrongly does not make this relay's counters
unreadable for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fabric.protocol.access.permissions import DENIALS
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.ready import Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.port import LinkPort
from fabric.protocol.wire.frames import Role

_AT_ONCE_MAX: Final = 10_000


class Denials:
    """It keeps nothing itself."""

    def __init__(self, port: LinkPort, counters: Counters) -> None:
        self._port = port
        self._counters = counters

    def frame(self, link: Link, counts: Sequence[tuple[Code, int]], now_ms: int, ready: Ready) -> None:
        """A control point says how often."""
        if link.peer_role != Role.POINT:
            wrong = Reject(Code.WRONG_DIRECTION, "a relay is told by its control points")
            self._port.refuse(link, wrong, now_ms, ready)
            return
        for code, count in counts:
            if code in DENIALS:
                self._counters.count("refused", code.reason, min(count, _AT_ONCE_MAX))
