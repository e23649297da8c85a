"""Who may do what (SPEC 8): deny by default, judged from the signed credential at every hop.

Guarantees: None, or the grant that decided, means allowed; everything else is a `Reject` that names what was asked,
never content. The table `DIRECTIONS` says completely where each kind may go on each link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fabric.protocol.access.declassifying import check_relabels
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.header import Header, Kind, PartEntry
from fabric.protocol.trust.credentials import Credential, NodeKind, PublishGrant, RequestGrant, names_cover
from fabric.protocol.vocabulary.fetching import FETCH
from fabric.protocol.vocabulary.openc2 import action_matches, class_of, is_action, is_extension, split_topic
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.target_types import is_target_type
from fabric.protocol.vocabulary.tlp import Audience, Holder, may_carry, may_hold
from fabric.protocol.vocabulary.topics import RESOLUTIONS, covers, matches
from fabric.protocol.wire.frames import Direction, Role

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
    (Kind.APPROVAL, Role.POINT, Direction.UP),
    (Kind.APPROVAL, Role.CHILD, Direction.UP),
    (Kind.RESULT, Role.POINT, Direction.UP),
    (Kind.RESULT, Role.CHILD, Direction.UP),
    (Kind.RESULT, Role.PARENT, Direction.DOWN),
})

# What a control point's own node refuses its program before a relay hears of it (SPEC 8.2).
DENIALS = frozenset({
    Code.PUBLISH_DENIED, Code.SUBSCRIBE_DENIED, Code.REQUEST_DENIED, Code.EXECUTE_DENIED, Code.SEVERITY_DENIED,
    Code.CLEARANCE_DENIED, Code.APPROVE_DENIED, Code.AUDIENCE_DENIED, Code.DECLASSIFY_DENIED,
})


def check_direction(kind: Kind, sender: Role, direction: Direction) -> Reject | None:
    """None, or WRONG_DIRECTION: whether a peer in this role may send this kind in this direction (SPEC 8.1)."""
    if (kind, sender, direction) in DIRECTIONS:
        return None
    return Reject(Code.WRONG_DIRECTION, f"{kind.word} {direction.name.lower()} from a {sender.name.lower()}")


def check_delivery(kind: Kind, direction: Direction) -> Reject | None:
    """None, or WRONG_DIRECTION: whether a control point may take this from its relay.

    To its relay's control points everything descends, events too.
    """
    if kind in (Kind.EVENT, Kind.INTEL, Kind.ACTION, Kind.RESULT) and direction == Direction.DOWN:
        return None
    return Reject(Code.WRONG_DIRECTION, f"{kind.word} {direction.name.lower()} to a control point")


def check_origin(credential: Credential, header: Header) -> Reject | None:
    """Whether this origin may have sent this message, whatever the hop. For actions see `request_grants` too."""
    clearance = credential.clearance
    if header.highest_label > clearance and not _is_told_sealed(credential, header):
        return Reject(Code.CLEARANCE_DENIED, header.topic)
    match header.kind:
        case Kind.EVENT | Kind.INTEL if resolves(header):
            # What became of an action is for the relay to say where it turned, and for no other to hand down.
            by_relay = credential.kind == NodeKind.RELAY and header.kind is Kind.EVENT
            return check_relabels(credential, header) if by_relay else Reject(Code.PUBLISH_DENIED, header.topic)
        case Kind.EVENT | Kind.INTEL:
            return _refusal(publish_grant(credential, header)) or check_relabels(credential, header)
        case Kind.ACTION:
            return _refusal(request_grants(credential, header)) or _check_own(credential, header)
        case Kind.APPROVAL:
            return check_approve(credential, header)
        case Kind.RESULT:
            # A relay reports what became of an action in its custody; a target answers what it may execute.
            if header.topic in (CANCEL, FETCH) and credential.grants.execute:
                return None
            return None if credential.kind == NodeKind.RELAY else check_execute(credential, header.topic)
        case _:
            return Reject(Code.WRONG_DIRECTION, header.kind.word)


def _is_told_sealed(credential: Credential, header: Header) -> bool:
    """Whether a relay says something of what it carried and cannot read, sealed to whom it tells."""
    return header.kind is Kind.RESULT and header.is_sealed and may_carry(credential, header.audience)


def _refusal(decided: object) -> Reject | None:
    return decided if isinstance(decided, Reject) else None


def publish_grant(credential: Credential, header: Header) -> PublishGrant | Reject:
    """The first grant that covers the topic up to this severity, and everybody whom the audience names."""
    best, detail = Code.PUBLISH_DENIED, header.topic
    for grant in credential.grants.publish:
        if not matches(grant.pattern, header.topic):
            continue
        if header.severity > grant.severity_max:
            best = best if best is Code.AUDIENCE_DENIED else Code.SEVERITY_DENIED
            continue
        beyond = addressed_beyond(credential.organisation, header.audience, grant)
        if not beyond:
            return grant
        best, detail = Code.AUDIENCE_DENIED, f"{header.topic}: {beyond}"
    return Reject(best, detail)


def addressed_beyond(own: str, audience: Audience, grant: PublishGrant | None = None) -> str:
    """The first name of the audience that an origin may not address under this grant; empty where there is none.

    `own`: its organisation, which needs no grant. Recipients are not looked at: they narrow RED, and widen nothing.
    """
    if audience.organisations == (own,) and not audience.communities:
        return ""  # as nearly always
    organisations = (own, *(grant.to_organisations if grant else ()))
    communities = grant.to_communities if grant else ()
    for what, names, allowed in (
        ("organisation", audience.organisations, organisations), ("community", audience.communities, communities),
    ):
        beyond = next((name for name in names if not names_cover(allowed, (name,))), None)
        if beyond is not None:
            return f"{what} {beyond}"
    return ""


def _check_own(credential: Credential, header: Header) -> Reject | None:
    """An action is for its requester's own organisation, and by its label for direct clients: no grant widens that."""
    beyond = addressed_beyond(credential.organisation, header.audience)
    return Reject(Code.AUDIENCE_DENIED, f"{header.topic}: {beyond}") if beyond else None


def check_subscribe(credential: Credential, pattern: str) -> Reject | None:
    """None, or SUBSCRIBE_DENIED: whether a subscribe grant covers this pattern (SPEC 8.2)."""
    return _refusal(subscribe_grant(credential, pattern))


def subscribe_grant(credential: Credential, pattern: str) -> str | Reject:
    """The first subscribe grant that covers this pattern, or SUBSCRIBE_DENIED."""
    granted = next((grant for grant in credential.grants.subscribe if covers(grant, pattern)), None)
    return Reject(Code.SUBSCRIBE_DENIED, pattern) if granted is None else granted


# An action that ends another one: it is for whoever got that one, and needs no execute grant.
CANCEL = "cancel.command"


def cancels(header: Header) -> bytes:
    """The leaf of the action that this one is to end; empty where it is any other action."""
    return header.correlation if header.kind is Kind.ACTION and header.topic == CANCEL else b""


def fetches(header: Header) -> bool:
    """Whether this action asks for a piece of what an earlier one left at its target (SPEC 9.9): nothing is executed.

    It is for whoever may have got that one, and needs neither a grant of its own nor an approval: only that one's
    requester is answered, which its target alone knows.
    """
    return header.kind is Kind.ACTION and header.topic == FETCH


def resolves(header: Header) -> bool:
    """Whether this is published where relays say what became of actions (SPEC 9.6)."""
    return header.kind in (Kind.EVENT, Kind.INTEL) and header.topic.partition(".")[0] == RESOLUTIONS


def may_cancel(credential: Credential, cancel: Header, requester: str, executor: Credential) -> bool:
    """Whether this ends an action of that requester at this node: its own, or by a grant to cancel others' there."""
    return Selection(credential, cancel, requester).takes(executor)


def request_grants(credential: Credential, header: Header) -> list[RequestGrant] | Reject:
    """The grants under which this action runs: all that cover it and share the first one's scope.

    Whoever may request anything may cancel it, and fetch what it left: whose it is, is asked where that is known.
    """
    action, target = split_topic(header.topic)
    if not is_action(action) or not is_target_type(target):
        return Reject(Code.BAD_ACTION, header.topic)  # a `*` in a grant stands for actions, and for nothing else
    covering = [g for g in credential.grants.request if action_matches(g.action, action, target)]
    of_another = bool(cancels(header)) or fetches(header)
    if of_another:
        covering += [g for g in credential.grants.request if g not in covering]
    if not covering:
        return Reject(Code.REQUEST_DENIED, f"{action} {target}")
    allowed = [g for g in covering if header.severity <= g.severity_max]
    if not allowed:
        return Reject(Code.SEVERITY_DENIED, f"{action} {target}")
    return allowed if of_another else [g for g in allowed if g.scope == allowed[0].scope]


def turns_at(grants: Sequence[RequestGrant], relay: str, *, is_root: bool) -> bool:
    """Whether an action under these grants climbs no further than this relay (SPEC 9.2)."""
    return is_root or grants[0].scope == relay


def check_approve(credential: Credential, header: Header) -> Reject | None:
    """None, or APPROVE_DENIED: whether it may approve anything of this class.

    Whether it may approve this action is judged where that is held; of which class an `x-` verb is, the policies say.
    """
    action, target = split_topic(header.topic)
    classes = [grant.class_ for grant in credential.grants.approve]
    if not header.correlation:
        return Reject(Code.BAD_APPROVAL, "of no action")
    may = bool(classes) if is_extension(action) else class_of(action) in classes
    return None if may else Reject(Code.APPROVE_DENIED, f"{action} {target}")


def check_execute(credential: Credential, topic: str) -> Reject | None:
    """None, or EXECUTE_DENIED: whether an execute grant covers this topic, `<action>.<target type>` (SPEC 8.2)."""
    return _refusal(execute_grant(credential, topic))


def execute_grant(credential: Credential, topic: str) -> str | Reject:
    """The first execute grant that covers this topic, or EXECUTE_DENIED."""
    action, target = split_topic(topic)
    granted = next((pattern for pattern in credential.grants.execute if action_matches(pattern, action, target)), None)
    return Reject(Code.EXECUTE_DENIED, f"{action} {target}") if granted is None else granted


def selects(selector: str, node: Mapping[str, str]) -> bool:
    """Whether a selector selects a node. Empty and unreadable select nobody."""
    parsed = parse_selector(selector)
    return not isinstance(parsed, Reject) and parsed.matches(node)


def is_target(requester: Credential, header: Header, executor: Credential) -> bool:
    """Asked at the turn relay, at every tier and at the executor itself: selected, granted, and able."""
    return not isinstance(target_grant(requester, header, executor), Reject)


def target_grant(requester: Credential, header: Header, executor: Credential) -> RequestGrant | Reject:
    """The requester's grant by which the executor is a target; else what is missing. See `Selection`."""
    return Selection(requester, header).grant_for(executor)


class Selection:
    """Whom an action is for, to be asked of many executors: what does not depend on them is looked up once.

    `whose`: where it cancels another action, who asked for that, as far as it is known. Of somebody else's only a grant
    to cancel leads to anybody: one to ask for something is none to end what others asked for.
    """

    def __init__(self, requester: Credential, header: Header, whose: str = "") -> None:
        self._header = header
        self._grants = request_grants(requester, header)
        if cancels(header) and whose not in ("", requester.id) and not isinstance(self._grants, Reject):
            own = [grant for grant in self._grants if action_matches(grant.action, *split_topic(CANCEL))]
            self._grants = own or Reject(Code.REQUEST_DENIED, " ".join(split_topic(CANCEL)))

    @property
    def refused(self) -> Reject | None:
        """Why it is for nobody, whoever there is."""
        return _refusal(self._grants)

    def grant_for(self, executor: Credential) -> RequestGrant | Reject:
        """The requester's grant by which the executor is a target; else what is missing.

        NOBODY: the action does not select it. EXECUTE_DENIED: it may not execute it. REQUEST_DENIED: the requester may
        not ask it of this node.
        """
        if isinstance(self._grants, Reject):
            return self._grants
        node = executor.attributes()
        if not selects(self._header.to, node):
            return Reject(Code.NOBODY, executor.id)
        needs_none = cancels(self._header) or fetches(self._header)
        problem = None if needs_none else check_execute(executor, self._header.topic)
        if problem is not None:
            return problem
        granted = next((grant for grant in self._grants if selects(grant.to, node)), None)
        return Reject(Code.REQUEST_DENIED, executor.id) if granted is None else granted

    def takes(self, executor: Credential) -> bool:
        return not isinstance(self.grant_for(executor), Reject)


def may_know(holder: Holder, header: Header) -> bool:
    """Whether this node may know that the message exists, its header and topic included (SPEC 4.2)."""
    return may_hold(holder, header.label, header.audience) or (
        header.is_sealed and may_carry(holder, header.audience)
    )


def _may_have(holder: Holder, entry: PartEntry, audience: Audience) -> bool:
    return may_hold(holder, entry.label, audience) or (entry.is_sealed and may_carry(holder, audience))


def parts_withheld(holder: Holder, header: Header) -> tuple[PartEntry, ...] | Reject:
    """The parts that this node must not have (SPEC 3.5); WITHHELD where it must not have any of the message."""
    if not may_know(holder, header):
        return Reject(Code.WITHHELD, holder.id)
    withheld = tuple([
        entry for entry in header.manifest
        if entry.label != header.label and not _may_have(holder, entry, header.audience)
    ])
    return Reject(Code.WITHHELD, holder.id) if withheld and header.kind.atomic else withheld
