"""Which relays are above which, over every parent that a topology file allows: preferred ones and backups.

Guarantees: no way is missed. A relay moves from one parent to another, so a way may use any of them at each step, also
where two relays back each other up; no relay is on a way twice. Order is the file's: the preferred parent comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from relays.topology.model import PointSpec, Topology

# Relay -> the one before it on the way; None where the way begins.
Trace = Mapping[str, str | None]


class Parents:
    """The relays of a topology. `open_`: those that may be passed."""

    def __init__(self, topology: Topology) -> None:
        relays = topology.relays.values()
        self.all = frozenset(topology.relays)
        self.root = topology.root.id
        self._above = {relay.id: (relay.parent, *relay.backups) if relay.parent else () for relay in relays}
        self._below: dict[str, list[str]] = {relay.id: [] for relay in relays}
        for name, above in self._above.items():
            for parent in above:
                self._below[parent].append(name)
        self._always: dict[str, frozenset[str]] = {}

    def places(self, point: PointSpec) -> tuple[str, ...]:
        """Where a point can be: at its relay or a backup; one that takes the nearest may be anywhere."""
        return tuple(self._above) if point.relay is None else (point.relay, *point.backups)

    def up(self, start: str, open_: Collection[str], last: str = "") -> Trace:
        """Every relay that what starts at one reaches upward, by its shortest way; `last` is passed by none."""
        return self._walk(start, self._above, open_, last)

    def down(self, top: str, open_: Collection[str]) -> Trace:
        """Every relay that can be below `top`; before each is the next one on its way up."""
        return self._walk(top, self._below, open_, "")

    @staticmethod
    def _walk(start: str, edges: Mapping[str, Collection[str]], open_: Collection[str], last: str) -> Trace:
        if start not in open_:
            return {}
        trace: dict[str, str | None] = {start: None}
        queue = [start]
        for name in queue:
            for other in edges[name] if name != last else ():
                if other in open_ and other not in trace:
                    trace[other] = name
                    queue.append(other)
        return trace

    def always_above(self, place: str) -> frozenset[str]:
        """The relay itself, and those above it whatever parents the relays have."""
        if place not in self._always:
            above = self.up(place, self.all)
            self._always[place] = frozenset(name for name in above if not self.hindrance(place, name, self.all))
        return self._always[place]

    def hindrance(self, start: str, end: str, open_: Collection[str]) -> tuple[str, ...]:
        """A way up on which what starts at the one does not come to the other; empty where it always does.

        Its last relay may not be passed, or is the root, and `end` is not on the way.
        """
        trace: dict[str, str | None] = {start: None}
        for name in (queue := [start]):
            if name not in open_ or (name == self.root and name != end):
                return way_to(trace, name)
            for other in self._above[name] if name != end else ():
                if other not in trace:
                    trace[other] = name
                    queue.append(other)
        return ()


def way_to(trace: Trace, end: str) -> tuple[str, ...]:
    """From where the trace begins to `end`."""
    way = [end]
    while (before := trace[way[-1]]) is not None:
        way.append(before)
    return tuple(reversed(way))
