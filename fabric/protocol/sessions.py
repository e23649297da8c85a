"""Sessions of control points at their relay (SPEC 7.5): who is away since when, who waits for whom, what was lost.

Guarantees: a session that left without a durable subscription is forgotten at once, one that vanished after a grace, a
durable one when its time to keep is over; one node has a bounded number of durable ones. A count of what was lost to a
session is kept until a marker that says so is in its outbox. Knows no routes, rows or links: it answers questions.
"""

from __future__ import annotations

from fabric.protocol.limits import DURABLE_SESSIONS_MAX, SESSION_GRACE_MS

CHILD = "relay:"
# Of what the root holds for somebody who is nowhere at the moment.
NOWHERE = "?"


def point_session(node: str, session: bytes) -> str:
    """The destination of a control point's session."""
    return f"point:{node}/{session.hex()}"


def child_relay(relay: str) -> str:
    """The destination of a child."""
    return CHILD + relay


def session_of(destination: str) -> tuple[str, bytes]:
    """The control point and its session: the inverse of `point_session`."""
    node, _, session = destination.removeprefix("point:").partition("/")
    return node, bytes.fromhex(session)


def is_point(destination: str) -> bool:
    return destination.startswith("point:")


def node_of(destination: str) -> str:
    """The child or the control point."""
    return destination.partition(":")[2].partition("/")[0]


class Sessions:
    def __init__(self) -> None:
        self._away: dict[str, int] = {}  # destination -> since
        self._keep_ms: dict[str, int] = {}  # of durable ones
        self._lost: dict[str, int] = {}  # destination -> records that its quota had no room for

    def attached(self, destination: str, keep_ms: int) -> None:
        """What its attachment says now; 0 is not durable."""
        self._keep_ms.pop(destination, None)
        if keep_ms:
            self._keep_ms[destination] = keep_ms

    def came(self, destination: str) -> None:
        self._away.pop(destination, None)

    def left(self, destination: str, now_ms: int) -> None:
        self._away.setdefault(destination, now_ms)

    def is_durable(self, destination: str) -> bool:
        return destination in self._keep_ms

    def overdue(self, now_ms: int) -> list[str]:
        """Whose time to come back is over."""
        return [
            destination for destination, since_ms in self._away.items()
            if now_ms - since_ms > self._keep_ms.get(destination, SESSION_GRACE_MS)
        ]

    def surplus(self, node: str) -> list[str]:
        """Durable sessions of a node beyond what one may have, those first that are away the longest."""
        durable = [destination for destination in self._keep_ms if node_of(destination) == node]
        away = sorted((d for d in durable if d in self._away), key=self._away.__getitem__)
        return away[: max(0, len(durable) - DURABLE_SESSIONS_MAX)]

    def lose(self, destination: str, records: int) -> int:
        """Count what was dropped; the sum since the last marker. Only a durable session is told of it."""
        if destination not in self._keep_ms:
            return 0
        self._lost[destination] = self._lost.get(destination, 0) + records
        return self._lost[destination]

    def restore_lost(self, destination: str, records: int) -> None:
        self._lost[destination] = records

    def gaps(self) -> list[tuple[str, int]]:
        """Who is to be told of how much."""
        return list(self._lost.items())

    def told(self, destination: str) -> None:
        self._lost.pop(destination, None)

    def forget(self, destination: str) -> None:
        for known in (self._away, self._keep_ms, self._lost):
            known.pop(destination, None)
