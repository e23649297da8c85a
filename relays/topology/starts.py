"""Where content begins in a topology: at control points, of which a relay stands for those that are at it.

Guarantees: of many that are alike a few stand for all, so that thousands of control points are looked at as the few
kinds that they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fabric.protocol.vocabulary.tlp import Audience
from relays.topology.holding import own, widest
from relays.topology.journeys import Journey
from relays.topology.model import PointSpec, Topology
from relays.topology.parents import Parents


@dataclass(frozen=True, slots=True)
class Start:
    """Where content begins. `point` is None for a control point that is there later.

    `own`: its audience where nobody chooses another; `widest`: the widest that it may have. `guest`: the relay where it
    began, which is below `relay` by a backup only.
    """

    relay: str
    point: PointSpec | None
    own: Audience
    widest: Audience
    guest: str = ""


class Starts:
    """`journeys`: by the control point that they begin at."""

    def __init__(self, topology: Topology, parents: Parents, journeys: Mapping[str, Sequence[Journey]]) -> None:
        self._topology = topology
        self._parents = parents
        self._journeys = journeys
        self._known: dict[str, tuple[Start, ...]] = {}
        self._at: dict[str, list[PointSpec]] = {name: [] for name in topology.relays}
        for point in self._examples():
            for relay in parents.places(point):
                self._at[relay].append(point)

    def at(self, source: str) -> Sequence[Start]:
        """Of a relay: whoever is there, now or later. Of a control point: every place where it can be."""
        if source not in self._known:
            point = self._topology.points.get(source)
            if point is not None:
                found = [self._start(relay, point) for relay in self._parents.places(point)]
            else:
                audience = own(self._topology.relays[source])
                later = Start(source, None, audience, audience)
                found = [later, *(self._start(source, each) for each in self._at[source])]
            self._known[source] = tuple(found)
        return self._known[source]

    def _start(self, relay: str, point: PointSpec) -> Start:
        return Start(relay, point, own(point), widest(self._topology, point))

    def below(self, source: str) -> Sequence[Start]:
        """Of a relay and of all below it: also of what is below only while a relay is at its backup (`guest`)."""
        if source in self._topology.points:
            return self.at(source)
        within = [relay.id for relay in self._topology.subtree(source)]
        outside = self._parents.all.difference(within)
        found = [start for relay in within for start in self.at(relay)]
        for relay in within:
            for guest in self._parents.down(relay, outside | {relay}):
                if guest != relay:
                    found += [replace(start, relay=relay, guest=guest) for start in self.at(guest)]
        return found

    def _examples(self) -> Iterator[PointSpec]:
        """Two of those with the same places, grants and clearance: what is true of one is of all of them, but for what
        is said to itself."""
        alike: Counter[tuple[object, ...]] = Counter()
        for point in self._topology.points.values():
            journeys = tuple(map(id, self._journeys.get(point.id, ())))
            key = point.relay, point.backups, point.role, point.organisation, point.clearance, journeys
            alike[key] += 1
            if alike[key] <= 2:  # noqa: PLR2004
                yield point
