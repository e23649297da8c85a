"""Where content can go in a topology, over every parent that it allows: each answer asks `holding` at each hop.

Guarantees: `between` never misses a way. A relay's backups are ways up, a control point's are places to be; content
climbs, descends, and climbs again to look for somebody who left. What is RED of events and intel is sealed: a relay
that carries it without being able to read it counts as reached. What it calls "always" gets there whichever parents the
nodes have. A way is looked for with the widest audience that content may have, "always" with the one that it has
where nobody chooses another (see `holding`).

Content begins at control points. A relay stands for those at it: those of the file, and one of its organisation that is
there later and publishes events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.topology.holding import Node, holds, passes, rule_against
from relays.topology.journeys import ACTION, INTEL, Journey, climbs, journeys_of, publishes
from relays.topology.matching import carries, publishes_to
from relays.topology.model import PointSpec, Topology
from relays.topology.parents import Parents, way_to
from relays.topology.starts import Start, Starts
from relays.topology.walks import ANY, Walks, may

Reaches = Literal["always", "sometimes", "never"]
CLIMBING = "climbing"


@dataclass(frozen=True, slots=True)
class Way:
    """How content gets there: `relays` in the order in which they hold it, and what carries it.

    `follows`: it gets there only when whoever it is for leaves while it is on its way, and it climbs again to look for
    them.
    """

    relays: tuple[str, ...]
    carrier: str  # CLIMBING, or a journey's
    audience: Audience
    follows: bool = False

    def __str__(self) -> str:
        return " -> ".join(self.relays) + (", after who left" if self.follows else "")


@dataclass(frozen=True, slots=True)
class Stop:
    """Why content never gets there. `node`: the first on its way that may not hold it; empty: nothing goes there."""

    node: str = ""
    rule: str = ""
    way: Way | None = None

    def __str__(self) -> str:
        return f"{self.node} ({self.rule})" if self.node else "no message goes there"


@dataclass(frozen=True, slots=True)
class Flow:
    """Whether content with the label gets from one node to another: a `way` by which it can, or why not (`stop`).

    `miss`: of what only sometimes gets there, a way up by which it does not; empty where no one way says it.
    """

    source: str
    target: str
    label: Label
    reaches: Reaches
    way: Way | None = None
    stop: Stop | None = None
    miss: tuple[str, ...] = ()


class Flows:
    """The flows of one topology. `starts`: where content begins in it."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.parents = Parents(topology)
        self._journeys: dict[str, list[Journey]] = {}  # by the point that they begin at
        for journey in journeys_of(topology):
            for point in journey.sources:
                self._journeys.setdefault(point.id, []).append(journey)
        self.starts = Starts(topology, self.parents, self._journeys)
        self.walks = Walks(topology, self.parents)
        self._landed: dict[tuple[int, Label | None], dict[str, Way]] = {}
        self._always_passed: dict[int, frozenset[str]] = {}
        self._places: dict[int, tuple[str, ...]] = {}

    # -- questions ------------------------------------------------------------------------------------------

    def between(self, source: str, target: str, label: Label) -> Flow:
        """From a relay, or a control point wherever it is, to another node."""
        starts = self.starts.at(source)
        way = self.first(starts, target, label)
        if way is None:
            return Flow(source, target, label, "never", stop=self.stop(starts, target, label))
        # A control point is at one of its places, nobody knows which; at a relay one of many is enough.
        each_or_one = all if source in self.topology.points else any
        if each_or_one(self.always(start, target, label) for start in starts):
            return Flow(source, target, label, "always", way)
        missing = (self.hindrance(start, target, label) for start in starts)
        return Flow(source, target, label, "sometimes", way, miss=next(filter(None, missing), ()))

    def first(self, starts: Iterable[Start], target: str, label: Label | None) -> Way | None:
        """A way by which content with the label gets from one of these to a node, or None.

        A way that `follows` only where there is no other.
        """
        following: Way | None = None
        for start in starts:
            for way in self._ways(start, target, label) if self._may_begin(start, label) else ():
                if not way.follows:
                    return way
                following = following or way
        return following

    def goes_there(self, start: Start, target: str) -> Way | None:
        """The way that something would take if every node might hold it, or None where nothing goes there."""
        return self.first((start,), target, ANY)

    def always(self, start: Start, target: str, label: Label) -> bool:
        """Whether something of one kind gets there whatever parents the nodes have."""
        return self._may_begin(start, label) and (
            self.hindrance(start, target, label) == () or any(
                self._always_lands(journey, start, target, label) for journey in self._of(start)
            )
        )

    def hindrance(self, start: Start, target: str, label: Label) -> tuple[str, ...] | None:
        """A way up on which an event for the target does not get there; empty where it always does, None where no event
        climbs there at all."""
        ends = self._ends_of_climb(start, target)
        if not ends:
            return None
        receiver = self.topology.points.get(target)
        if receiver is not None and not may(receiver, label, start.own):
            return (start.relay,)
        open_ = self.walks.cleared(label, start.own, sealed=self.is_sealed(start))
        return next((way for end in ends if (way := self.parents.hindrance(start.relay, end, open_))), ())

    def stop(self, starts: Iterable[Start], target: str, label: Label) -> Stop:
        """Why nothing with the label gets there: who may not hold it, on the first way that there would be."""
        starts = list(starts)
        for start in starts:
            way = self.goes_there(start, target)
            if way is None:
                continue
            origin = [start.point] if start.point is not None and label > start.point.clearance else []
            receiver = [self.topology.points[target]] if target in self.topology.points else []
            nodes: list[Node] = [*origin, *(self.topology.relays[name] for name in way.relays), *receiver]
            sealed = way.carrier == INTEL or (way.carrier == CLIMBING and self.is_sealed(start))
            for node in nodes:
                if node in origin or not passes(node, label, way.audience, sealed=sealed):
                    return Stop(node.id, rule_against(node, label), way)
        return Stop()

    # -- where it begins ------------------------------------------------------------------------------------

    def is_sealed(self, start: Start) -> bool:
        """Whether what is RED of what climbs from there can be sealed: events are, requests are not."""
        return start.point is None or publishes(self.topology.roles[start.point.role])

    def _may_begin(self, start: Start, label: Label | None) -> bool:
        """Nobody says what is above their clearance, and what begins at a guest has to climb to `relay` first."""
        if label is not ANY and start.point is not None and label > start.point.clearance:
            return False
        return not start.guest or start.relay in self.walks.up(
            start.guest, label, start.widest, sealed=self.is_sealed(start)
        )

    def _of(self, start: Start) -> list[Journey]:
        return self._journeys.get(start.point.id, []) if start.point is not None else []

    def _top(self, journey: Journey) -> str:
        """The relay where it turns."""
        return journey.turn or self.parents.root

    # -- by which way ---------------------------------------------------------------------------------------

    def _ways(self, start: Start, target: str, label: Label | None) -> Iterator[Way]:
        receiver = self.topology.points.get(target)
        if receiver is None or may(receiver, label, start.widest):
            trace = self.walks.up(start.relay, label, start.widest, sealed=self.is_sealed(start))
            for end in self._ends_of_climb(start, target):
                if end in trace:
                    yield Way(way_to(trace, end), CLIMBING, start.widest)
        for journey in self._of(start):
            yield from self._by(journey, start, target, receiver, label)

    def _ends_of_climb(self, start: Start, target: str) -> tuple[str, ...]:
        """The relays where something that climbs gets to the target: it, or where a reader of these events can be."""
        topology, role = self.topology, self.topology.roles[start.point.role] if start.point is not None else None
        receiver = topology.points.get(target)
        if receiver is None:
            return (target,) if role is None or climbs(role) else ()
        reads = topology.roles[receiver.role]
        if role is None:
            is_read = any(carries(pattern, "event") for pattern in reads.subscribe)
        else:
            is_read = publishes_to(role, reads, "event")
        return self.parents.places(receiver) if is_read and receiver is not start.point else ()

    def _by(
        self, journey: Journey, start: Start, target: str, receiver: PointSpec | None, label: Label | None
    ) -> Iterator[Way]:
        if not self._is_possible(journey, start):
            return
        audience, top = journey.widest, self._top(journey)
        if receiver is None:
            climbed = self.walks.up(start.relay, label, audience, last=top, sealed=journey.sealed)
            if target in climbed:
                yield Way(way_to(climbed, target), journey.carrier, audience)
        elif receiver not in journey.receivers or receiver is start.point or not may(receiver, label, audience):
            return
        came_by = self.walks.down(top, label, audience, journey.avoids_up, sealed=journey.sealed)
        if start.relay not in came_by:
            return
        up = tuple(reversed(way_to(came_by, start.relay)))
        if receiver is None:
            if (down := self._landing(journey, label).get(target)) is not None:
                yield Way((*up, *down.relays[1:]), journey.carrier, audience, down.follows)
            return
        below = self.walks.down(top, label, audience, journey.avoids_down, sealed=journey.sealed)
        for end in self.parents.places(receiver):
            if end in below:
                yield Way((*up, *way_to(below, end)[1:]), journey.carrier, audience)

    def _landing(self, journey: Journey, label: Label | None) -> dict[str, Way]:
        """Every relay that it passes on its way down, with the way from where it turns; then every one that it passes
        when it climbs again, after a receiver that left.

        Receivers who may not hold it count: it is sent towards them all the same.
        """
        key = (id(journey), label)
        if key not in self._landed:
            top, audience = self._top(journey), journey.widest
            may_pass = self.parents.all - {journey.avoids_down}
            above_receivers = {
                above for place in self._places_of_receivers(journey) for above in self.parents.up(place, may_pass)
            }
            trace = self.walks.down(top, label, audience, journey.avoids_down, sealed=journey.sealed)
            found = {
                name: Way(way_to(trace, name), journey.carrier, audience) for name in trace if name in above_receivers
            }
            for name, way in list(found.items()):
                # Above where an action turned nobody knows of it.
                last = top if journey.carrier == ACTION else ""
                up = self.walks.up(name, label, audience, last, sealed=journey.sealed)
                for other in up:
                    if other not in found:
                        relays = (*way.relays, *way_to(up, other)[1:])
                        found[other] = Way(relays, journey.carrier, audience, follows=True)
            self._landed[key] = found
        return self._landed[key]

    def _is_possible(self, journey: Journey, start: Start) -> bool:
        """Whether there can be such a message, labels aside: a request goes past its scope only where a way to the root
        does, and nobody answers what cannot have come."""
        if not journey.if_back:
            return not journey.past or self._is_past(start.relay, journey.past)
        below = self.walks.down(self._top(journey), ANY, journey.widest, "", sealed=False)
        came = start.point is not None and any(place in below for place in self.parents.places(start.point))
        return came and any(place in below for place in self._places_of_receivers(journey))

    def _places_of_receivers(self, journey: Journey) -> tuple[str, ...]:
        """Where those that it can be for can be, each place once."""
        if id(journey) not in self._places:
            places = dict.fromkeys(place for each in journey.receivers for place in self.parents.places(each))
            avoided = journey.avoids_down
            self._places[id(journey)] = tuple(
                place for place in places if not avoided or self._is_past(place, avoided)
            )
        return self._places[id(journey)]

    def _is_past(self, place: str, scope: str) -> bool:
        """Whether some way from there to the root does not lead by the scope."""
        return place != scope and self.parents.root in self.parents.up(place, self.parents.all - {scope})

    # -- always ---------------------------------------------------------------------------------------------

    def _always_lands(self, journey: Journey, start: Start, target: str, label: Label) -> bool:
        parents, audience, top = self.parents, journey.own, self._top(journey)
        open_ = self.walks.cleared(label, audience, sealed=journey.sealed)
        if journey.past or parents.hindrance(start.relay, top, open_):
            return False
        receiver = self.topology.points.get(target)
        if receiver is not None:
            is_for = receiver in journey.receivers and receiver is not start.point and holds(receiver, label, audience)
            return is_for and not any(parents.hindrance(place, top, open_) for place in parents.places(receiver))
        return target in self._passed_always(journey) and not parents.hindrance(target, top, open_)

    def _passed_always(self, journey: Journey) -> frozenset[str]:
        """The relays that are above some receiver whatever the parents are, as the one is where it turns."""
        if id(journey) not in self._always_passed:
            top = self._top(journey)
            found: set[str] = set()
            for places in dict.fromkeys(map(self.parents.places, journey.receivers)):
                above = frozenset.intersection(*map(self.parents.always_above, places))
                found |= above if top in above else frozenset()
            self._always_passed[id(journey)] = frozenset(found)
        return self._always_passed[id(journey)]
