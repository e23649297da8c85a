"""Where content can go in a topology: every answer is `may_hold`, asked at each hop as a relay would ask it.

Guarantees: `reach` never misses a way. It counts backups, of relays as ways up and of points as places to be, and
what descends: intel to whoever subscribes, actions to whoever executes them, results to whoever requested. So it may
name a way that is never taken, and a `never` that holds here holds whatever the links do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fabric.protocol.base.errors import Reject
from fabric.protocol.trust.credentials import names_cover
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.tlp import Audience, Label, may_hold
from relays.topology.model import PointSpec, RelaySpec, RequestGrant, RoleSpec, Topology


@dataclass(frozen=True, slots=True)
class Way:
    """How content gets there: `relays` in the order in which they hold it, and what carries it."""

    relays: tuple[str, ...]
    carrier: str  # "climbing", "as intel", "as an action", "as a result"

    def __str__(self) -> str:
        return " -> ".join(self.relays)


def first_refusal(path: Iterable[RelaySpec], label: Label, audience: Audience) -> RelaySpec | None:
    """The first relay on a path that may not hold the label under this audience."""
    return next((relay for relay in path if not may_hold(relay, label, audience)), None)


def reach(topology: Topology, label: Label, source: str, target: str) -> Way | None:
    """A way by which content with the label gets from a relay (or below it) or a point to another, or None.

    The audience is the widest that the origin's grants allow; of what answers others, theirs.
    """
    ends = _relays_at(topology, target)
    receiver = topology.points.get(target)
    receivers = tuple(topology.points.values()) if receiver is None else (receiver,)
    carriers = _Carriers(topology)
    for (start, audience), origins in _origins(topology, source, carriers).items():
        if receiver is not None and not may_hold(receiver, label, audience):
            continue
        cleared = {name for name, relay in topology.relays.items() if may_hold(relay, label, audience)}
        if start not in cleared:
            continue
        climbed = _climb(topology, start, cleared)
        for end in ends:
            if end in climbed:
                return Way(climbed[end], "climbing")
        for point in receivers:
            carrier = carriers.between(origins, point)
            for below in _relays_at(topology, point.id) if carrier else ():
                fallen = _descend(topology, climbed, below, cleared)
                for end in ends:
                    if end in fallen:
                        return Way(fallen[end], carrier)
    return None


def executors(topology: Topology, grant: RequestGrant) -> tuple[PointSpec, ...]:
    """The points of this file that a request grant makes execute something while nobody is at a backup."""
    within = {relay.id for relay in topology.subtree(grant.scope)} if grant.scope else None
    return tuple(
        point
        for point in _selected(topology, grant)
        if within is None or point.relay is None or point.relay in within
    )


def _selected(topology: Topology, grant: RequestGrant) -> list[PointSpec]:
    """Those that the grant selects and that may execute it, wherever they are."""
    selector = parse_selector(grant.to)
    if isinstance(selector, Reject):
        return []
    return [
        point
        for point in topology.points.values()
        if any(actions_overlap(pattern, grant.action) for pattern in topology.roles[point.role].execute)
        and selector.matches(topology.attributes(point.id))
    ]


def patterns_overlap(a: str, b: str) -> bool:
    """Whether some topic matches both patterns."""
    tokens_a, tokens_b = a.split("."), b.split(".")
    for x, y in zip(tokens_a, tokens_b, strict=False):
        if ">" in (x, y):
            return True
        if x != y and "*" not in (x, y):
            return False
    return len(tokens_a) == len(tokens_b)


def actions_overlap(a: str, b: str) -> bool:
    """Whether some action on some target type matches both patterns."""
    pairs = zip(_action_parts(a), _action_parts(b), strict=True)
    return all(x == y or "*" in (x, y) for x, y in pairs)


def carries(pattern: str, kind: str) -> bool:
    """Whether topics of the pattern can be of the kind: "intel" is all under `intel`, "event" the rest."""
    first = pattern.partition(".")[0]
    return first in ("*", ">") or (first == "intel") == (kind == "intel")


def publishes_to(publisher: RoleSpec, subscriber: RoleSpec, kind: str) -> bool:
    """Whether something of the kind that the one may publish is something that the other may subscribe to."""
    return any(
        patterns_overlap(grant.pattern, pattern) and carries(grant.pattern, kind) and carries(pattern, kind)
        for grant in publisher.publish
        for pattern in subscriber.subscribe
    )


def _action_parts(pattern: str) -> tuple[str, str]:
    action, _, target = pattern.partition(" ")
    return action, target or "*"


def _relays_at(topology: Topology, name: str) -> tuple[str, ...]:
    """A relay is at itself, a point at its relay or a backup; a point that takes the nearest may be at any."""
    if name in topology.relays:
        return (name,)
    point = topology.points[name]
    return tuple(topology.relays) if point.relay is None else (point.relay, *point.backups)


def widest_audience(topology: Topology, point: PointSpec) -> Audience:
    """All organisations and communities of the file that one of its grants, or another, lets a point address."""
    grants = topology.roles[point.role].publish
    to_organisations = [pattern for grant in grants for pattern in grant.to_organisations]
    to_communities = [pattern for grant in grants for pattern in grant.to_communities]
    if not to_organisations and not to_communities:
        return Audience((point.organisation,))
    organisations = dict.fromkeys(node.organisation for node in topology.nodes)
    communities = dict.fromkeys(name for node in topology.nodes for name in node.communities)
    others = [name for name in organisations if name != point.organisation and names_cover(to_organisations, (name,))]
    return Audience(
        (point.organisation, *others), tuple(name for name in communities if names_cover(to_communities, (name,)))
    )


def _origins(topology: Topology, source: str, carriers: _Carriers) -> dict[tuple[str, Audience], list[PointSpec]]:
    """The points that are, or are below, the source: by relay and audience, each of which is a start.

    What is below it only while some relay is at its backup starts where it comes in, at that backup.
    """
    found: dict[tuple[str, Audience], list[PointSpec]] = {}
    if source in topology.points:
        point = topology.points[source]
        audiences = _audiences(topology, point, carriers)
        return {(relay, audience): [point] for relay in _relays_at(topology, source) for audience in audiences}
    at: dict[str, list[PointSpec]] = {}
    for point in topology.points.values():
        for name in _relays_at(topology, point.id):
            at.setdefault(name, []).append(point)
    for relay in topology.subtree(source):
        guests = (_below(topology, guest.id) for guest in topology.relays.values() if relay.id in guest.backups)
        for name in dict.fromkeys((relay.id, *(name for below in guests for name in below))):
            # The relay's own organisation too: for points that are there later.
            found.setdefault((relay.id, Audience((topology.relays[name].organisation,))), [])
            for point in at.get(name, ()):
                for audience in _audiences(topology, point, carriers):
                    found.setdefault((relay.id, audience), []).append(point)
    return found


def _audiences(topology: Topology, point: PointSpec, carriers: _Carriers) -> list[Audience]:
    """Those with which something of it travels: what it publishes, and what it answers to others, which has theirs."""
    asked = (Audience((organisation,)) for organisation in carriers.asked_by(point))
    return list(dict.fromkeys((widest_audience(topology, point), *asked)))


def _below(topology: Topology, relay: str, without: str = "") -> list[str]:
    """The relay itself and every one that is below it, or can be by a backup; by no way through `without`."""
    queue = [relay]
    found = {relay, without}
    for name in queue:
        for spec in topology.relays.values():
            if spec.id not in found and (name == spec.parent or name in spec.backups):
                found.add(spec.id)
                queue.append(spec.id)
    return queue


def _climb(topology: Topology, start: str, cleared: set[str]) -> dict[str, tuple[str, ...]]:
    """Every relay that is reached upward, with the way there; nearest first."""
    ways: dict[str, tuple[str, ...]] = {start: (start,)}
    for name in (queue := [start]):
        relay = topology.relays[name]
        for above in (relay.parent, *relay.backups):
            if above is not None and above in cleared and above not in ways:
                ways[above] = (*ways[name], above)
                queue.append(above)
    return ways


def _descend(
    topology: Topology, climbed: dict[str, tuple[str, ...]], below: str, cleared: set[str]
) -> dict[str, tuple[str, ...]]:
    """Every relay that is passed on the way down to `below`, from wherever the climb got to."""
    above_it = _climb(topology, below, set(topology.relays))
    ways = {name: way for name, way in climbed.items() if name in above_it}
    for name in (queue := list(ways)):
        for relay in topology.relays.values():
            leads_down = name == relay.parent or name in relay.backups
            if leads_down and relay.id in above_it and relay.id in cleared and relay.id not in ways:
                ways[relay.id] = (*ways[name], relay.id)
                queue.append(relay.id)
    return ways


def _could_execute(topology: Topology, role: RoleSpec, grant: RequestGrant) -> list[PointSpec]:
    """Like `executors`, wherever backups put anybody: an action that never meets its scope turns at the root."""
    selected = _selected(topology, grant)
    if not grant.scope:
        return selected
    # From these the root is reached past the scope.
    past = set(_below(topology, topology.root.id, without=grant.scope))
    players = [point.id for point in topology.points.values() if point.role == role.name]
    if any(name in past for player in players for name in _relays_at(topology, player)):
        return selected
    within = set(_below(topology, grant.scope))
    return [point for point in selected if not within.isdisjoint(_relays_at(topology, point.id))]


class _Carriers:
    """What of one point's could descend to another. Remembers by role: points are many, roles few."""

    def __init__(self, topology: Topology) -> None:
        self._roles = topology.roles
        self._intel: dict[tuple[str, str], bool] = {}
        self._targets = {
            role.name: {point.id for grant in role.request for point in _could_execute(topology, role, grant)}
            for role in topology.roles.values()
        }
        self._requesters: dict[str, dict[str, None]] = {}  # role -> organisations of those who play it and request
        for point in topology.points.values():
            if topology.roles[point.role].request:
                self._requesters.setdefault(point.role, {})[point.organisation] = None

    def asked_by(self, point: PointSpec) -> list[str]:
        """The organisations whose actions it may be a target of, or may have to approve."""
        approves = bool(self._roles[point.role].approve)
        return [
            organisation for role, organisations in self._requesters.items()
            if approves or point.id in self._targets[role] for organisation in organisations
        ]

    def between(self, origins: Iterable[PointSpec], point: PointSpec) -> str:
        """As `Way.carrier` says it; "" when nothing does."""
        for origin in origins:
            pair = (origin.role, point.role)
            if pair not in self._intel:
                self._intel[pair] = publishes_to(self._roles[origin.role], self._roles[point.role], "intel")
            if self._intel[pair]:
                return "as intel"
            if point.id in self._targets[origin.role]:
                return "as an action"
            if origin.id in self._targets[point.role]:
                return "as a result"
        return ""
