"""What the relays would decide, and why: which grant allows it or is missing, and how far each part gets.

Guarantees: every decision is that of the function which relays ask (`permissions`, `tlp`, `handshake`); here they are
only put in order and told. It says what may be, not what is: who is connected, and at a backup, relays know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fabric.edge.identity.identity import Identity
from fabric.edge.publishing.drafts import Stamp, audience_of
from fabric.edge.publishing.options import ROLE
from fabric.edge.publishing.recipients import not_fit
from fabric.protocol.access.approvals import asked_of
from fabric.protocol.access.declassifying import declassify_grant, lowest_label
from fabric.protocol.access.permissions import (
    addressed_beyond,
    check_origin,
    parts_withheld,
    publish_grant,
    request_grants,
    subscribe_grant,
    target_grant,
    turns_at,
)
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.header import STREAM_BYTES, Encoding, Header, PartEntry
from fabric.protocol.envelope.parts import CONTENT_RECORDS
from fabric.protocol.trust.credentials import Credential, DeclassifyGrant, PublishGrant, RequestGrant, names_cover
from fabric.protocol.trust.policies import Policies, Rule, demand_of
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.openc2 import split_topic
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Audience, Label, may_hold
from fabric.protocol.vocabulary.topics import matches
from relays.explaining.grants import declassify_text, grants_text, publish_text, quoted, request_text
from relays.explaining.selecting import unknown_names
from relays.explaining.tree import Climb, Tree

_NO_POLICIES = Policies()
_NO_REVOCATIONS = Revocations()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, at which relay (empty: not known). `problem`: why a relay would not have it at all."""

    credential: Credential
    relay: str
    problem: Reject | None = None
    trust: TrustStore | None = None  # with the newest revocation list that is known, at `now_ms`
    now_ms: int = 0
    nearest: bool = False  # it names no relay: `relay` is where it is supposed to be

    @property
    def role(self) -> str:
        return dict(self.credential.tags).get("role", "")

    def may_not_act(self, at: Credential) -> Reject | None:
        """Why this node would take no action of it: its revocation list is past its time."""
        if self.trust is None:
            return None
        return self.trust.check_action(self.credential, at.segment, (self.now_ms,))


def asker_of(
    identity: Identity, revocations: Revocations, now_ms: int, policies: Policies = _NO_POLICIES
) -> Asker:
    """An identity of this machine, judged like a peer: its chain, its revocation, its time."""
    trust = TrustStore(identity.credential, identity.authority_key, SKEW_MS)
    trust.take_revocations(revocations)
    trust.take_policies(policies)
    checked = trust.check_raw(identity.credential.raw, (now_ms,))
    problem = checked if isinstance(checked, Reject) else None
    relay = identity.relay.id if identity.relay else ""
    return Asker(identity.credential, relay, problem, trust, now_ms, identity.nearest)


@dataclass(frozen=True, slots=True)
class Hop:
    """What a relay gets: all but `stripped`, which is taken out before it is sent there; nothing where it `ends`."""

    relay: str
    clearance: Label
    stripped: tuple[Label, ...] = ()
    ends: bool = False

    def is_cleared_for(self, label: Label | None) -> bool:
        """Whether it is for whom the message is that it ends here, and not for the label."""
        return label is not None and label <= self.clearance


@dataclass(frozen=True, slots=True)
class Target:
    """A node that an action selects. `code`: why it would not get it; `by`: at which node."""

    id: str
    grant: str = ""
    code: Code | None = None
    by: str = ""
    way: tuple[str, ...] = ()  # down from the turn relay, without it


@dataclass(frozen=True, slots=True)
class Explanation:
    """`code` is what a relay would answer; None where it would take it. Grants are as in a topology file."""

    verb: str
    what: str
    asker: Asker
    code: Code | None = None
    detail: str = ""
    grants: tuple[str, ...] = ()  # that decided
    held: tuple[str, ...] = ()  # all of this kind that it has
    wanted: str = ""  # what would allow it
    next_step: str = ""  # where it is not the code's own
    rate_per_s: int = 0
    reads: tuple[Label, ...] = ()  # what of its organisation's a subscriber and its relay may hold
    fields: tuple[tuple[str, Label], ...] = ()
    label: Label | None = None
    audience: Audience | None = None  # that would be signed
    nobody: tuple[Reject, ...] = ()  # whom it names and nobody is, by a code each
    hops: tuple[Hop, ...] = ()
    unknown_above: str = ""
    turn: str = ""
    targets: tuple[Target, ...] = ()  # selected, granted and able
    not_granted: tuple[str, ...] = ()  # selected and able, and no grant covers them
    not_able: tuple[str, ...] = ()  # selected, and may not execute it
    elsewhere: tuple[str, ...] = ()  # would be targets, and are not below the turn relay
    revoked: tuple[str, ...] = ()  # would be targets, and no relay lets them in any more
    class_: str = ""
    rule: Rule | None = None  # who is to approve it

    @property
    def verdict(self) -> str:
        """allowed, partly, nobody or denied."""
        if self.code is not None:
            return "nobody" if self.code is Code.NOBODY else "denied"
        cut = any(hop.ends or hop.stripped for hop in self.hops) or any(target.code for target in self.targets)
        unknown = self.audience is not None and any(each.detail in self.audience.recipients for each in self.nobody)
        return "partly" if cut or unknown or self.not_granted or self.elsewhere or self.revoked else "allowed"


# -- publish --------------------------------------------------------------------------------------------------


def explain_publish(asker: Asker, stamp: Stamp, tree: Tree) -> Explanation:
    """What relays would say to a message with this stamp, and how far it would get."""
    header = header_of(asker.credential, stamp)
    said = _about("publish", header.topic, "publish", asker, stamp)
    grant = publish_grant(asker.credential, header)
    problem = asker.problem or check_origin(asker.credential, header)
    if problem is not None:
        return _denied(said, problem, _wanted_to_publish(asker.credential, header, problem))
    assert not isinstance(grant, Reject), "check_origin asked for it"
    climb = tree.climb(asker.relay)
    hops = _hops(climb.relays, header)
    said = replace(
        said, grants=(publish_text(grant),), rate_per_s=grant.rate_per_s, hops=hops,
        unknown_above=_unknown(climb, hops), nobody=() if climb.unknown else nobody_of(header.audience, tree, asker),
    )
    if hops and hops[0].ends:
        return _denied(said, Reject(Code.WITHHELD, hops[0].relay), "")
    # What is sealed to nobody who may have it is not sent at all. A name that is not known here may be elsewhere.
    if climb.unknown:
        return said
    known = (each.credential for each in (*tree.relays.values(), *tree.points.values()))
    misplaced = next(map(not_fit, _misplaced(known, header.audience, asker)), None)
    if misplaced is None:
        return said
    return replace(_denied(said, Reject(misplaced.code, misplaced.detail), ""), next_step=misplaced.next_step)


def explain_relabel(asker: Asker, stamp: Stamp, tree: Tree) -> Explanation:
    """The same of a message that re-issues another at a lower label: it takes a declassify grant besides."""
    header, old = header_of(asker.credential, stamp), stamp.relabels
    assert old is not None, "whatever is explained here relabels something"
    lowest = lowest_label(header)
    said = replace(
        explain_publish(asker, stamp, tree), verb="relabel", what=f"{header.topic} from {old.label.short}"
    )
    if said.code is None:
        granted = declassify_grant(asker.credential, header.topic, old.label, lowest)
        assert not isinstance(granted, Reject), "check_origin asked for it"
        return replace(
            said, grants=(declassify_text(granted),), held=tuple(grants_text("declassify", asker.credential.grants))
        )
    if said.code is Code.DECLASSIFY_DENIED and said.wanted:
        wanted = DeclassifyGrant(header.topic, old.label, lowest)
        return replace(
            said, wanted=f"declassify = [{declassify_text(wanted)}]",
            held=tuple(grants_text("declassify", asker.credential.grants)),
        )
    return replace(said, wanted="") if said.code is Code.NOT_LOWERED else said


def nobody_of(audience: Audience, tree: Tree, asker: Asker) -> tuple[Reject, ...]:
    """Organisations, communities and recipients that nobody is who is known: RECIPIENT_UNKNOWN and COMMUNITY_EMPTY. And
    recipients who may not have it, by their clearance, or as their organisation is not named: BAD_AUDIENCE."""
    placed = (*tree.relays.values(), *tree.points.values())
    known = (asker.credential, *(each.credential for each in placed))
    ids = {each.id for each in known} | {ROLE + dict(each.tags)["role"] for each in known if "role" in dict(each.tags)}
    organisations = {each.organisation for each in known}
    communities = {name for each in known for name in each.communities}
    return (
        *(Reject(Code.RECIPIENT_UNKNOWN, name) for name in audience.organisations if name not in organisations),
        *(Reject(Code.COMMUNITY_EMPTY, name) for name in audience.communities if name not in communities),
        *(Reject(Code.RECIPIENT_UNKNOWN, name) for name in audience.recipients if name not in ids),
        *(Reject(Code.BAD_AUDIENCE, not_fit(each).detail) for each in _misplaced(known, audience, asker)),
    )


def _misplaced(known: Iterable[Credential], audience: Audience, asker: Asker) -> Iterator[Credential]:
    """Of those who are named, or have a role that is: as if all were connected, for a role is who was."""
    for each in known:
        role = ROLE + dict(each.tags).get("role", "")
        named = each.id in audience.recipients or role in audience.recipients
        by_its_id = replace(audience, recipients=(each.id,))
        if each.id != asker.credential.id and named and not may_hold(each, Label.RED, by_its_id):
            yield each


def _wanted_to_publish(credential: Credential, header: Header, problem: Reject) -> str:
    """A grant that would do; where one covers the topic already, that one with this severity."""
    if problem.code is Code.CLEARANCE_DENIED:
        return _wanted_clearance(header)
    covering = next((g for g in credential.grants.publish if matches(g.pattern, header.topic)), None)
    grant = PublishGrant(header.topic) if covering is None else covering
    if problem.code is Code.SEVERITY_DENIED:
        grant = replace(grant, severity_max=header.severity)
    if addressed_beyond(credential.organisation, header.audience, grant):
        others = tuple(name for name in header.audience.organisations if name != credential.organisation)
        grant = replace(
            grant, to_organisations=_with(grant.to_organisations, others),
            to_communities=_with(grant.to_communities, header.audience.communities),
        )
    return f"publish = [{publish_text(grant)}]"


def _with(patterns: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    return (*patterns, *(name for name in names if not names_cover(patterns, (name,))))


def _wanted_clearance(header: Header) -> str:
    return f"clearance = {quoted(header.highest_label.short)}"


# -- subscribe ------------------------------------------------------------------------------------------------


def explain_subscribe(asker: Asker, pattern: str, tree: Tree) -> Explanation:
    """What its relay would say to a subscription to this pattern, and which labels would reach it."""
    said = _about("subscribe", pattern, "subscribe", asker, None)
    granted = subscribe_grant(asker.credential, pattern)
    problem = asker.problem or (granted if isinstance(granted, Reject) else None)
    if problem is not None:
        return _denied(said, problem, f"subscribe = [{quoted(pattern)}]")
    assert isinstance(granted, str)
    climb = tree.climb(asker.relay)
    own = Audience((asker.credential.organisation,))
    holders = (asker.credential, *climb.relays[:1])
    reads = tuple(label for label in Label if all(may_hold(holder, label, own) for holder in holders))
    return replace(said, grants=(quoted(granted),), reads=reads, unknown_above="" if climb.relays else climb.unknown)


# -- actions --------------------------------------------------------------------------------------------------


def explain_action(
    asker: Asker, stamp: Stamp, tree: Tree, policies: Policies = _NO_POLICIES,
    revocations: Revocations = _NO_REVOCATIONS,
) -> Explanation:
    """What relays would say to an action with this stamp, where it would turn, whom it would reach, who approves it."""
    header = header_of(asker.credential, stamp)
    action, target_type = split_topic(header.topic)
    said = _about("act", f"{action} {target_type} to {header.to}", "request", asker, stamp)
    grants = request_grants(asker.credential, header)
    problem = asker.problem or check_origin(asker.credential, header)
    if problem is not None:
        return _denied(said, problem, _wanted_to_request(asker.credential, header, problem))
    assert not isinstance(grants, Reject), "check_origin asked for it"
    climb = tree.climb(asker.relay)
    up, turn = _up_to_turn(climb, grants)
    hops = _hops(up, header)
    said = replace(
        said, grants=tuple(map(request_text, grants)), hops=hops, turn=turn,
        unknown_above="" if turn else _unknown(climb, hops),
    )
    stop = _stop(asker, up, header)
    if stop is not None:
        return _denied(said, stop[1], "")
    said = _select(said, header, tree, revocations)
    if said.targets:
        targets = [tree.points[target.id].credential for target in said.targets]
        return replace(
            said, class_=policies.class_of(action), rule=demand_of(policies, asked_of(header), targets)
        )
    detail = ": ".join(filter(None, (header.to, unknown_names(header.to, tree))))
    return replace(_denied(said, Reject(Code.NOBODY, detail), ""), next_step=_whom_instead(said))


def _whom_instead(said: Explanation) -> str:
    if said.revoked:
        return "give what replaces it an id of its own, and ask for that: a revoked id is never used again"
    if said.not_granted or said.not_able or said.elsewhere:
        return "see below what each lacks; it is granted in the topology"
    return "correct the selector; `fabric credential list` shows who is here, `fabric credential show ID` its tags"


def _up_to_turn(climb: Climb, grants: Sequence[RequestGrant]) -> tuple[tuple[Credential, ...], str]:
    """The way up and the relay where it turns; "" when that is above all that is known."""
    for number, relay in enumerate(climb.relays, 1):
        is_root = not climb.unknown and number == len(climb.relays)
        if turns_at(grants, relay.id, is_root=is_root):
            return climb.relays[:number], relay.id
    return climb.relays, ""


def _select(said: Explanation, header: Header, tree: Tree, revocations: Revocations) -> Explanation:
    targets, not_granted, not_able, elsewhere, revoked = [], [], [], [], []
    for point in tree.points.values():
        id_ = point.credential.id
        decided = target_grant(said.asker.credential, header, point.credential)
        if isinstance(decided, Reject):
            if decided.code is Code.REQUEST_DENIED:
                not_granted.append(id_)
            elif decided.code is Code.EXECUTE_DENIED:
                not_able.append(id_)
            continue
        if revocations.check(point.credential) is not None:
            revoked.append(id_)
            continue
        down = _down(tree.climb(point.above), said.turn)
        if down is None:
            elsewhere.append(id_)
            continue
        by, problem = _stop(said.asker, (*down, point.credential), _sealed_to(header, id_)) or ("", None)
        targets.append(Target(
            id_, request_text(decided), problem.code if problem else None, by, tuple(relay.id for relay in down)
        ))
    return replace(
        said, targets=tuple(targets), not_granted=tuple(not_granted), not_able=tuple(not_able),
        elsewhere=tuple(elsewhere), revoked=tuple(revoked),
    )


def _sealed_to(header: Header, target: str) -> Header:
    """What is sealed to whom it is aimed at names its targets by their ids once they are known."""
    if not header.audience.recipients:
        return header
    return replace(header, audience=replace(header.audience, recipients=(*header.audience.recipients, target)))


def _stop(asker: Asker, holders: Sequence[Credential], header: Header) -> tuple[str, Reject] | None:
    """The first node at which an action ends, and why: it may not be sent there, or is refused on arrival."""
    for holder in holders:
        withheld = parts_withheld(holder, header)
        problem = withheld if isinstance(withheld, Reject) else asker.may_not_act(holder)
        if problem is not None:
            return holder.id, problem
    return None


def _down(climb: Climb, turn: str) -> tuple[Credential, ...] | None:
    """The relays below the turn, from above; None when it is not above. Where it is not known, all that are."""
    names = [relay.id for relay in climb.relays]
    if turn and turn not in names:
        return None
    below = climb.relays[: names.index(turn)] if turn else climb.relays
    return tuple(reversed(below))


def _wanted_to_request(credential: Credential, header: Header, problem: Reject) -> str:
    if problem.code is Code.CLEARANCE_DENIED:
        return _wanted_clearance(header)
    covering = request_grants(credential, replace(header, severity=Severity.UNKNOWN))
    grant = (
        RequestGrant(header.topic.replace(".", " ", 1), header.to) if isinstance(covering, Reject)
        else replace(covering[0], severity_max=header.severity)
    )
    return f"request = [{request_text(grant)}]"


# -- what they share ------------------------------------------------------------------------------------------


def header_of(credential: Credential, stamp: Stamp) -> Header:
    """What its origin would sign, as far as permissions and labels go; with a part for every label that may occur."""
    sealed = Label.RED if stamp.audience is not None and stamp.audience.recipients else None
    return Header(
        kind=stamp.kind, topic=stamp.topic, origin=credential.id, stream=bytes(STREAM_BYTES), sequence=0,
        issued_at_ms=0, ttl_ms=stamp.ttl_ms, severity=stamp.severity, phase=stamp.phase, label=stamp.label,
        audience=audience_of(stamp, credential), to=stamp.to, relabels=stamp.relabels,
        manifest=tuple(
            PartEntry(label, CONTENT_RECORDS, Encoding.SEALED if label is sealed else Encoding.PLAIN, 0, b"")
            for label in FieldLabels(dict(stamp.rules), stamp.label).labels
        ),
    )


def _about(verb: str, what: str, kind: str, asker: Asker, stamp: Stamp | None) -> Explanation:
    held = tuple(grants_text(kind, asker.credential.grants))
    if stamp is None:
        return Explanation(verb, what, asker, held=held)
    audience = audience_of(stamp, asker.credential)
    return Explanation(verb, what, asker, held=held, label=stamp.label, fields=stamp.rules, audience=audience)


def _denied(said: Explanation, problem: Reject, wanted: str) -> Explanation:
    by_grant = problem is not said.asker.problem
    return replace(said, code=problem.code, detail=problem.detail, wanted=wanted if by_grant else "")


def _hops(holders: Sequence[Credential], header: Header) -> tuple[Hop, ...]:
    """Up to the one at which it ends. A label is stripped once: after that it is not there any more."""
    hops: list[Hop] = []
    gone: dict[Label, None] = {}
    for holder in holders:
        withheld = parts_withheld(holder, header)
        if isinstance(withheld, Reject):
            return (*hops, Hop(holder.id, holder.clearance, ends=True))
        labels = dict.fromkeys(entry.label for entry in withheld)
        hops.append(Hop(holder.id, holder.clearance, tuple(label for label in labels if label not in gone)))
        gone.update(labels)
    return tuple(hops)


def _unknown(climb: Climb, hops: Sequence[Hop]) -> str:
    """What is above is of interest only to what gets that far."""
    return "" if hops and hops[-1].ends else climb.unknown
