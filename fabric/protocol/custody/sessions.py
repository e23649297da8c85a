"""Sessions of control points at their relay (SPEC 7.5): who is away since when, who waits for whom, what was lost.

Guarantees: a session that left without a durable subscription is forgotten at once, one that vanished after a grace, a
durable one when its time to keep is over; one node has a bounded number of them: open, subscribed, away, and durable.
A count of what was lost to a session is kept until a marker that says so is in its outbox. Knows no routes, rows or
links: it answers questions.
"""

from __future__ import annotations

from fabric.protocol.base.limits import (
    DURABLE_SESSIONS_MAX,
    POINT_QUOTA_BYTES,
    SESSION_GRACE_MS,
    SESSIONS_AWAY_MAX,
    SESSIONS_OPEN_MAX,
    SESSIONS_READING_MAX,
)
from fabric.protocol.trust.credentials import Keep

CHILD = "relay:"
# Of what the root holds for somebody who is nowhere at the moment.
NOWHERE = "?"
# Of what is held where an action turns, for targets that are away.
AWAY = "away"
# No link leads there.
UNSENT = (NOWHERE, AWAY)
_DEFAULT = Keep()


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
    """Whether this destination is a session of a control point, and not a relay."""
    return destination.startswith("point:")


def node_of(destination: str) -> str:
    """The child or the control point."""
    return destination.partition(":")[2].partition("/")[0]


class Sessions:
    """Which sessions of control points are open or away at this relay, which are durable, and what each lost."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, None]] = {}  # node -> destinations that are here
        self._away: dict[str, int] = {}  # destination -> since
        self._away_of: dict[str, dict[str, None]] = {}  # node -> its own of those
        self._restored: dict[str, None] = {}  # away because this relay was: they come back together
        self._keep: dict[str, Keep] = {}  # what the credential of each says
        self._keep_ms: dict[str, int] = {}  # of durable ones
        self._waits: dict[str, None] = {}  # those of them that lose nothing when they are full
        self._durable_of: dict[str, dict[str, None]] = {}  # node -> its own of those
        self._lost: dict[str, int] = {}  # destination -> records that its quota had no room for
        self._reading: set[str] = set()  # those that subscribe

    def attached(self, destination: str, keep_ms: int, keep: Keep = _DEFAULT, *, reads: bool = False) -> None:
        """What its attachment says now, and its credential; 0 is not durable. `reads`: whether it subscribes."""
        if reads:
            self._reading.add(destination)
        else:
            self._reading.discard(destination)
        self._keep[destination] = keep
        self._waits.pop(destination, None)
        keep_ms = min(keep_ms, keep.ms)
        self._keep_ms.pop(destination, None)
        self._discard(self._durable_of, destination)
        if keep_ms:
            self._keep_ms[destination] = keep_ms
            if keep.waits:
                self._waits[destination] = None
            self._durable_of.setdefault(node_of(destination), {})[destination] = None

    def came(self, destination: str) -> None:
        self._not_away(destination)
        self._open.setdefault(node_of(destination), {})[destination] = None

    def left(self, destination: str, now_ms: int, *, restored: bool = False) -> None:
        """`restored`: known from disk. Nothing happens where the session is here again by now."""
        if restored and destination in self._open.get(node_of(destination), ()):
            return
        self._discard(self._open, destination)
        if destination not in self._away:
            self._away[destination] = now_ms
            self._away_of.setdefault(node_of(destination), {})[destination] = None
            if restored:
                self._restored[destination] = None

    def knows(self, destination: str) -> bool:
        """Whether it is here or away: else it is over, or never was."""
        return destination in self._away or destination in self._open.get(node_of(destination), ())

    def takes(self, destination: str) -> bool:
        """Whether its node may have one more session open here."""
        here = self._open.get(node_of(destination), {})
        return destination in here or len(here) < SESSIONS_OPEN_MAX

    def may_read(self, destination: str) -> bool:
        """Whether its node may have one more session here that subscribes."""
        others = self._open.get(node_of(destination), {}).keys() & self._reading - {destination}
        return len(others) < SESSIONS_READING_MAX

    def is_durable(self, destination: str) -> bool:
        return destination in self._keep_ms

    def keeps_much(self, destination: str) -> bool:
        """Whether it is durable, and more is kept for it than for anybody."""
        return destination in self._keep_ms and self.keep(destination).bytes > POINT_QUOTA_BYTES

    def waits(self, destination: str) -> bool:
        """Whether it is durable and loses nothing when it is full: others wait."""
        return destination in self._waits

    @property
    def anybody_waits(self) -> bool:
        return bool(self._waits)

    def keep(self, destination: str) -> Keep:
        return self._keep.get(destination, _DEFAULT)

    def is_away(self, destination: str) -> bool:
        return destination in self._away

    def siblings(self, destination: str) -> list[str]:
        """The other sessions of its node that are here or away."""
        node = node_of(destination)
        every = dict.fromkeys([*self._open.get(node, ()), *self._away_of.get(node, ())])
        return [other for other in every if other != destination]

    def overdue(self, now_ms: int) -> list[str]:
        """Whose time to come back is over."""
        return [
            destination for destination, since_ms in self._away.items()
            if now_ms - since_ms > self._keep_ms.get(destination, SESSION_GRACE_MS)
        ]

    def surplus(self, node: str) -> list[str]:
        """Sessions of a node that are away and beyond what one may have, those first that are away the longest."""
        away = sorted(self._away_of.get(node, ()), key=self._away.__getitem__)
        durable = [destination for destination in away if destination in self._keep_ms]
        others = [d for d in away if d not in self._keep_ms and d not in self._restored]
        too_many = len(self._durable_of.get(node, ())) - DURABLE_SESSIONS_MAX
        return durable[: max(0, too_many)] + others[: max(0, len(others) - SESSIONS_AWAY_MAX)]

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
        self._not_away(destination)
        self._discard(self._open, destination)
        self._discard(self._durable_of, destination)
        self._keep.pop(destination, None)
        self._keep_ms.pop(destination, None)
        self._waits.pop(destination, None)
        self._lost.pop(destination, None)
        self._reading.discard(destination)

    # -- inside -------------------------------------------------------------------------------------------

    def _not_away(self, destination: str) -> None:
        self._away.pop(destination, None)
        self._restored.pop(destination, None)
        self._discard(self._away_of, destination)

    @staticmethod
    def _discard(of_node: dict[str, dict[str, None]], destination: str) -> None:
        node = node_of(destination)
        own = of_node.get(node)
        if own is not None:
            own.pop(destination, None)
            if not own:
                del of_node[node]

