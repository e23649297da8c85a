"""Who may do what (SPEC 8): deny by default, judged from the signed credential at every hop.

Guarantees: None means a grant covers it; everything else is a `Reject` that names what was asked, never content.
The table `DIRECTIONS` says what each kind may do on each link; it is the whole of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.protocol.actions import action_matches
from fabric.protocol.credentials import Credential, NodeKind, RequestGrant
from fabric.protocol.envelope import Header, Kind
from fabric.protocol.errors import Code, Reject
from fabric.protocol.selectors import parse_selector
from fabric.protocol.topics import covers, matches
from fabric.protocol.wire import Direction, Role

# (kind, the sender's role, direction): everything that is not in here is WRONG_DIRECTION. Events never descend;
# what descends comes from the parent only, so no child and no control point can ever command its relay.
DIRECTIONS = frozenset({
    (Kind.EVENT, Role.POINT, Direction.UP),
    (Kind.EVENT, Role.CHILD, Direction.UP),
    (Kind.INTEL, Role.POINT, Direction.UP),
    (Kind.INTEL, Role.CHILD, Direction.UP),
    (Kind.INTEL, Role.PARENT, Direction.DOWN),
    (Kind.ACTION, Role.POINT, Direction.UP),
    (Kind.ACTION, Role.CHILD, Direction.UP),
    (Kind.ACTION, Role.PARENT, Direction.DOWN),
    (Kind.RESULT, Role.POINT, Direction.UP),
    (Kind.RESULT, Role.CHILD, Direction.UP),
    (Kind.RESULT, Role.PARENT, Direction.DOWN),
})


def check_direction(kind: Kind, sender: Role, direction: Direction) -> Reject | None:
    if (kind, sender, direction) in DIRECTIONS:
        return None
    return Reject(Code.WRONG_DIRECTION, f"{kind.word} {direction.name.lower()} from a {sender.name.lower()}")


# What each role's peer sees: a control point takes from its relay what descends, and an event as a delivery.
def check_delivery(kind: Kind, direction: Direction) -> Reject | None:
    """Whether a control point may take this from its relay."""
    if kind in (Kind.EVENT, Kind.INTEL, Kind.ACTION, Kind.RESULT) and direction == Direction.DOWN:
        return None
    return Reject(Code.WRONG_DIRECTION, f"{kind.word} {direction.name.lower()} to a control point")


def split_topic(topic: str) -> tuple[str, str]:
    """An action's topic is `<action>.<target type>`; the same for its results."""
    action, _, target = topic.partition(".")
    return action, target


def check_origin(credential: Credential, header: Header) -> Reject | None:
    """Whether this origin may have sent this message, whatever the hop. For actions see `request_grants` too."""
    clearance = credential.clearance
    if header.label > clearance or any(entry.label > clearance for entry in header.manifest):
        return Reject(Code.CLEARANCE_DENIED, header.topic)
    match header.kind:
        case Kind.EVENT | Kind.INTEL:
            return check_publish(credential, header)
        case Kind.ACTION:
            grants = request_grants(credential, header)
            return grants if isinstance(grants, Reject) else None
        case Kind.RESULT:
            # A relay reports what became of an action in its custody; a target answers what it may execute.
            if credential.kind == NodeKind.RELAY:
                return None
            return check_execute(credential, header.topic)
        case _:
            return Reject(Code.WRONG_DIRECTION, header.kind.word)


def check_publish(credential: Credential, header: Header) -> Reject | None:
    best = None
    for grant in credential.grants.publish:
        if matches(grant.pattern, header.topic):
            if header.severity <= grant.severity_max:
                return None
            best = Reject(Code.SEVERITY_DENIED, header.topic)
    return best or Reject(Code.PUBLISH_DENIED, header.topic)


def publish_rate_per_s(credential: Credential, topic: str) -> int:
    """The rate of the first grant that covers the topic; 0 is not limited."""
    for grant in credential.grants.publish:
        if matches(grant.pattern, topic):
            return grant.rate_per_s
    return 0


def check_subscribe(credential: Credential, pattern: str) -> Reject | None:
    if any(covers(grant, pattern) for grant in credential.grants.subscribe):
        return None
    return Reject(Code.SUBSCRIBE_DENIED, pattern)


def request_grants(credential: Credential, header: Header) -> list[RequestGrant] | Reject:
    """The grants under which this action runs: all that cover it and share the first one's scope."""
    action, target = split_topic(header.topic)
    covering = [g for g in credential.grants.request if action_matches(g.action, action, target)]
    if not covering:
        return Reject(Code.REQUEST_DENIED, header.topic)
    allowed = [g for g in covering if header.severity <= g.severity_max]
    if not allowed:
        return Reject(Code.SEVERITY_DENIED, header.topic)
    return [g for g in allowed if g.scope == allowed[0].scope]


def check_execute(credential: Credential, topic: str) -> Reject | None:
    action, target = split_topic(topic)
    if any(action_matches(pattern, action, target) for pattern in credential.grants.execute):
        return None
    return Reject(Code.EXECUTE_DENIED, topic)


def selects(selector: str, node: Mapping[str, str]) -> bool:
    """Whether a selector selects a node. Empty and unreadable select nobody."""
    parsed = parse_selector(selector)
    return not isinstance(parsed, Reject) and parsed.matches(node)


def is_target(requester: Credential, header: Header, executor: Credential) -> bool:
    """Asked at the turn relay, at every tier and at the executor itself: selected, granted, and able."""
    grants = request_grants(requester, header)
    if isinstance(grants, Reject) or check_execute(executor, header.topic):
        return False
    node = executor.attributes()
    return selects(header.to, node) and any(selects(grant.to, node) for grant in grants)
