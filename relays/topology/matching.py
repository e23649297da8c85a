"""Who of a topology could have to do with whom, by their grants: patterns that meet, whom a request selects, and which
rules of approval are about it."""

from __future__ import annotations

from collections.abc import Iterable

from fabric.protocol.base.errors import Reject
from fabric.protocol.vocabulary.openc2 import ActionClass, actions_meet, class_of
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.topics import RESOLUTIONS
from relays.topology.model import ApprovalSpec, PointSpec, RequestGrant, RoleSpec, Topology


def executors(topology: Topology, grant: RequestGrant) -> tuple[PointSpec, ...]:
    """The points of this file that a request grant makes execute something while nobody is at a backup."""
    within = {relay.id for relay in topology.subtree(grant.scope)} if grant.scope else None
    return tuple(
        point
        for point in able(topology, grant)
        if within is None or point.relay is None or point.relay in within
    )


def able(topology: Topology, grant: RequestGrant) -> list[PointSpec]:
    """Those that the grant selects and that may execute something of it, wherever they are."""
    fitting = {
        role.name for role in topology.roles.values()
        if any(actions_meet(pattern, grant.action) for pattern in role.execute)
    }
    return [point for point in selected(topology, grant.to) if point.role in fitting]


def selected(topology: Topology, to: str) -> list[PointSpec]:
    """The points that a selector selects; none where it cannot be read."""
    selector = parse_selector(to)
    if isinstance(selector, Reject):
        return []
    return [point for point in topology.points.values() if selector.matches(topology.attributes(point.id))]


def class_in(topology: Topology, action: str) -> ActionClass:
    """Of which class an action is, also an `x-` verb of the file's."""
    return topology.classes.get(action) or class_of(action)


def is_about(topology: Topology, rule: ApprovalSpec, grant: RequestGrant) -> bool:
    """Whether the rule is for some action of this grant, as far as its targets do not matter."""
    if rule.action and not actions_meet(rule.action, grant.action):
        return False
    action = grant.action.partition(" ")[0]
    return not rule.class_ or action == "*" or class_in(topology, action) == rule.class_


def patterns_overlap(a: str, b: str) -> bool:
    """Whether some topic matches both patterns."""
    tokens_a, tokens_b = a.split("."), b.split(".")
    for x, y in zip(tokens_a, tokens_b, strict=False):
        if ">" in (x, y):
            return True
        if x != y and "*" not in (x, y):
            return False
    return len(tokens_a) == len(tokens_b)


def carries(pattern: str, kind: str) -> bool:
    """Whether topics of the pattern can be of the kind: "intel" is all under `intel`, "event" the rest.

    What is published under `resolutions` is for relays to publish, and for no control point.
    """
    first = pattern.partition(".")[0]
    return first in ("*", ">") or (first != RESOLUTIONS and (first == "intel") == (kind == "intel"))


def publishes_to(publisher: RoleSpec, subscriber: RoleSpec, kind: str) -> bool:
    """Whether something of the kind that the one may publish is something that the other may subscribe to."""
    return any(
        patterns_overlap(grant.pattern, pattern) and carries(grant.pattern, kind) and carries(pattern, kind)
        for grant in publisher.publish
        for pattern in subscriber.subscribe
    )


def by_organisation(points: Iterable[PointSpec]) -> dict[str, tuple[PointSpec, ...]]:
    """In the order in which the organisations come."""
    found: dict[str, list[PointSpec]] = {}
    for point in points:
        found.setdefault(point.organisation, []).append(point)
    return {organisation: tuple(members) for organisation, members in found.items()}
