"""Actions that are held until they are approved (SPEC 9.7): where an action turns, and nowhere else.

Guarantees: an action that a rule is about goes nowhere before its quorum is complete, found here by the policies in
force; its targets are those that were fixed when it was held; it is on disk, with every approval that counts, before
anybody hears of it; it ends once, approved, denied, expired, cancelled or refused. Whoever may decide is asked when it
is held, when he comes later, and when an escalation begins to ask him. No requester holds more than a share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from fabric.protocol.access.approvals import Approval, Hold, principal_of
from fabric.protocol.access.quorum import Judge, Quorum
from fabric.protocol.access.released import open_approval
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    APPROVAL_BYTES_MAX,
    CREDENTIAL_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX,
    HELD_ACTIONS_MAX,
    HELD_BYTES_MAX,
    TARGETS_MAX,
)
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.core.ready import KeepApproval, KeepHold, Note, Op, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.envelope.layout import Approved, Kind
from fabric.protocol.envelope.reports import HELD, Report, action_report
from fabric.protocol.envelope.verify import RootCache, Verified
from fabric.protocol.links.release import target_bytes
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.relay.roster import Roster
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Credential, NodeKind
from fabric.protocol.trust.policies import Rule
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.openc2 import End, split_topic
from fabric.protocol.vocabulary.severity import Lane, lane_of
from fabric.protocol.wire.frames import Direction, Item

_LOOK_MS: Final = 1_000
# About so many questions a look are signed: an approver that comes is asked for all that is held, over some seconds.
_QUESTIONS_MAX: Final = 128
# What an approver is shown is one message: the action, the names of its targets, and what is asked.
_SHOWN_BYTES_MAX: Final = 131_072
# Hops, ages, and what frames an envelope and what it has.
_AROUND_BYTES: Final = 8_192


def fits(action: Verified, targets: Sequence[str], rule: Rule) -> bool:
    """Whether approvers can be shown it, and it goes on in one frame when it has taken along what they say."""
    names = sum(map(target_bytes, targets))
    approvers = max(rule.require, rule.escalation.require if rule.escalation is not None else 0)
    released = len(action.raw) + names + approvers * (CREDENTIAL_BYTES_MAX + APPROVAL_BYTES_MAX)
    return (
        len(action.raw) + names <= _SHOWN_BYTES_MAX
        and released + _AROUND_BYTES <= ENVELOPE_BYTES_MAX
        and released + names + _AROUND_BYTES <= FRAME_BYTES_MAX
    )


class Ending(Protocol):
    """Tell the requester how an action ended at these targets, all of them where none is named."""

    def __call__(
        self, action: Verified, end: str, targets: tuple[str, ...], code: Code | None, now_ms: int, ready: Ready, *,
        detail: str = "",
    ) -> None: ...


@dataclass(slots=True)
class _Held:
    hold: Hold
    rule: str
    policies: bytes  # their digest
    until_ms: int
    left: tuple[str, ...]  # of the targets those for whom it was not cancelled: what was approved is for all of them
    approvals: dict[str, Verified] = field(default_factory=dict)  # by approver
    # Approver -> its sessions that were asked. What it is asked goes to all of them, also where only one is new.
    asked: dict[str, frozenset[bytes]] = field(default_factory=dict)


class Approving:
    """`release` hands an action out to these targets; `end` tells its requester; `has_room`: to ask somebody now."""

    def __init__(
        self, signer: ReportSigner, trust: TrustStore, time: Timekeeper, routes: RouteTable, roster: Roster,
        roots: RootCache, messages: MessagePort, release: Callable[[Verified, tuple[str, ...], int, Ready], None],
        end: Ending, count: Callable[[str, str], None], has_room: Callable[[Lane, int], bool], skew_ms: int,
    ) -> None:
        self._signer = signer
        self._trust = trust
        self._time = time
        self._routes = routes
        self._roster = roster
        self._roots = roots
        self._messages = messages
        self._release = release
        self._end = end
        self._count = count
        self._has_room = has_room
        self._skew_ms = skew_ms
        self._held: dict[bytes, _Held] = {}
        self._holders: Holdings[str] = Holdings()
        self._bytes: Holdings[str] = Holdings()  # of the actions that each requester has here
        self._look_at_ms = 0

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, leaf: bytes) -> bool:
        """Whether this action waits here for approvals."""
        return leaf in self._held

    def full(self, action: Verified) -> bool:
        """Whether no more of this requester is held."""
        requester, left = action.header.origin, HELD_BYTES_MAX - self._bytes.total()
        return beyond_share(
            self._holders[requester], 1, HELD_ACTIONS_MAX - len(self._held), LARGE_SHARE
        ) or beyond_share(self._bytes[requester], len(action.raw), left, LARGE_SHARE)

    # -- what the relay tells it ----------------------------------------------------------------------------

    def hold(self, action: Verified, targets: Sequence[str], rule: Rule, now_ms: int, ready: Ready) -> None:
        """It turned here, and this rule decides. Its requester is told for what it waits."""
        hold = Hold(action, tuple(targets), self._time.now(now_ms))
        held = _Held(hold, rule.name, self._trust.policies.digest, now_ms + rule.within_ms, hold.targets)
        self._put(held)
        ready.persist.append(_kept(held))
        self._count("held", rule.name)
        self._tell(action, action.header.origin, {
            "end": HELD, "targets": list(targets), "code": Code.APPROVAL_DUE.label, "reason": Code.APPROVAL_DUE.reason,
            "within_ms": rule.within_ms, "rule": rule.name, "require": rule.require, "roles": list(rule.roles),
        }, now_ms, ready)
        self._ask(held, rule, self._approvers(), now_ms, ready)

    def heard(self, message: Verified, now_ms: int, ready: Ready) -> None:
        """An approver's word about an action that is held here."""
        held = self._held[message.header.correlation]
        rule = self._rule_of(held)
        if rule is None:
            return  # the next look ends it
        judge, fabric_ms = self._judge(held, rule, now_ms), self._time.now(now_ms)
        said = judge.check(message, fabric_ms)
        if isinstance(said, Approval):
            held.approvals[message.header.origin] = message
            ready.persist.append(KeepApproval(
                held.hold.action.leaf, message.header.origin, message.credential.raw, message.raw, held.until_ms
            ))
        found = judge.quorum(held.approvals.values(), fabric_ms)
        self._answer(held, rule, message, said, now_ms, ready)
        if isinstance(found, Quorum):
            self._released(held, found, now_ms, ready)
        elif found.code is Code.ACTION_DENIED:
            self._over(held, End.REFUSED, Code.ACTION_DENIED, "denied", now_ms, ready, detail=found.detail)

    def targets(self, leaf: bytes) -> tuple[str, ...]:
        """For whom this action is held here."""
        held = self._held.get(leaf)
        return () if held is None else held.left

    def cancel(self, leaf: bytes, targets: Sequence[str], by: str, now_ms: int, ready: Ready) -> None:
        """Somebody who may do so wants it ended for these of them. It is held on for the others."""
        held = self._held.get(leaf)
        if held is None or not targets:
            return
        ended = frozenset(targets)
        left = tuple([target for target in held.left if target not in ended])
        if not left:
            self._over(held, End.REFUSED, Code.CANCELLED, "cancelled", now_ms, ready, detail=by)
            return
        held.left = left
        ready.persist.append(_kept(held))
        self._end(held.hold.action, str(End.REFUSED), tuple(targets), Code.CANCELLED, now_ms, ready, detail=by)

    def restored(self, op: Op, now_ms: int) -> None:
        """This was read back from disk."""
        match op:
            case KeepHold(leaf, body, until_ms) if body:
                fields = unpack(body, bytes_max=2 * ENVELOPE_BYTES_MAX, elements_max=2 * TARGETS_MAX + 16, depth_max=2)
                assert not isinstance(fields, Reject), "it was read from a disk that is checked"
                credential, envelope, targets, held_at_ms, rule, policies, left = fields
                action = open_approval(credential, envelope, self._trust, self._roots)
                if isinstance(action, Verified) and action.leaf == leaf:
                    hold = Hold(action, tuple(targets), held_at_ms)
                    self._put(_Held(hold, rule, policies, until_ms, tuple(left)))
            case KeepApproval(leaf, approver, credential, envelope) if envelope and leaf in self._held:
                message = open_approval(credential, envelope, self._trust, self._roots)
                if isinstance(message, Verified):
                    self._held[leaf].approvals[approver] = message

    def tick(self, now_ms: int, ready: Ready) -> None:
        """Once a second: end what is over, and ask whoever came."""
        if not self._held or now_ms < self._look_at_ms or self._time.unknown:
            return
        self._look_at_ms = now_ms + _LOOK_MS
        approvers, left = self._approvers(), _QUESTIONS_MAX
        for held in list(self._held.values()):
            rule, requester = self._rule_of(held), held.hold.action.credential
            if now_ms >= held.until_ms:
                self._over(held, End.EXPIRED, Code.APPROVAL_DUE, "expired", now_ms, ready, detail=held.rule)
            elif (refused := self._standing(now_ms)(requester)) is not None:
                self._over(held, End.REFUSED, refused.code, "revoked", now_ms, ready)
            elif rule is None:
                self._over(held, End.REFUSED, Code.OTHER_POLICIES, "void", now_ms, ready)
            elif left > 0:
                left -= self._ask(held, rule, approvers, now_ms, ready)

    # -- inside -------------------------------------------------------------------------------------------

    def _put(self, held: _Held) -> None:
        self._held[held.hold.action.leaf] = held
        self._account(held, 1)

    def _account(self, held: _Held, count: int) -> None:
        action = held.hold.action
        self._holders.add(action.header.origin, count)
        self._bytes.add(action.header.origin, count * len(action.raw))

    def _rule_of(self, held: _Held) -> Rule | None:
        """The rule by which it is held; None where other policies are in force by now: nobody approved it by these."""
        policies = self._trust.policies
        return policies.rule(held.rule) if policies.digest == held.policies else None

    def _standing(self, now_ms: int) -> Callable[[Credential], Reject | None]:
        return lambda credential: self._trust.check(credential, self._time.clocks(now_ms))

    def _judge(self, held: _Held, rule: Rule, now_ms: int) -> Judge:
        known = [node for target in held.hold.targets if (node := self._roster.known(target, now_ms)) is not None]
        return Judge(held.hold, rule, self._trust.policies, known, self._standing(now_ms), self._skew_ms)

    def _released(self, held: _Held, quorum: Quorum, now_ms: int, ready: Ready) -> None:
        action, counted = held.hold.action, quorum.principals
        approved = Approved(
            quorum.completed_at_ms, held.hold.held_at_ms, held.hold.targets,
            tuple((each.credential.raw, each.raw) for each in quorum.approvals),
        )
        self._forget(held, ready)
        self._count("approved", held.rule)
        ready.notes.append(Note("action approved", {
            "action": action.leaf.hex(), "rule": held.rule, "by": ",".join(counted), "escalated": int(quorum.escalated),
        }))
        self._tell(action, action.header.origin, {
            "end": "approved", "targets": list(held.left), "approved_by": list(counted),
            "escalated": quorum.escalated,
        }, now_ms, ready)
        self._tell_asked(held, "approved", now_ms, ready)
        self._release(action.with_approvals(approved), held.left, now_ms, ready)

    def _over(
        self, held: _Held, end: End, code: Code, outcome: str, now_ms: int, ready: Ready, *, detail: str = ""
    ) -> None:
        action = held.hold.action
        self._forget(held, ready)
        ready.notes.append(Note("action not approved", {
            "action": action.leaf.hex(), "rule": held.rule, "code": code.label, "detail": detail,
        }))
        self._end(action, str(end), held.left, code, now_ms, ready, detail=detail)
        self._tell_asked(held, outcome, now_ms, ready)

    def _forget(self, held: _Held, ready: Ready) -> None:
        leaf = held.hold.action.leaf
        del self._held[leaf]
        self._account(held, -1)
        ready.persist.append(KeepHold(leaf))
        ready.persist += [KeepApproval(leaf, approver) for approver in held.approvals]

    # -- who is asked -----------------------------------------------------------------------------------------

    def _approvers(self) -> dict[str, tuple[Credential, frozenset[bytes]]]:
        """Whoever is below and may approve anything, with its sessions. Few of all who are below."""
        found: dict[str, tuple[Credential, frozenset[bytes]]] = {}
        for attachment in self._routes.all():
            node = attachment.credential
            if node.grants.approve and node.kind is not NodeKind.RELAY and self._routes.via(attachment):
                _, sessions = found.get(node.id, (node, frozenset[bytes]()))
                found[node.id] = node, sessions | {attachment.session}
        return found

    def _ask(
        self, held: _Held, rule: Rule, approvers: Mapping[str, tuple[Credential, frozenset[bytes]]], now_ms: int,
        ready: Ready,
    ) -> int:
        """Whoever of them may decide, and has a session in which it was not asked. How many these are."""
        asked, action = 0, held.hold.action
        lane = lane_of(Kind.RESULT.word, action.header.severity, action.header.phase)
        since_ms = self._time.now(now_ms) - held.hold.held_at_ms
        later = rule.escalation
        roles = {*rule.roles, *(later.roles if later is not None and since_ms >= later.after_ms else ())}
        class_ = self._trust.policies.class_of(split_topic(held.hold.action.header.topic)[0])
        for node, sessions in approvers.values():
            may = any(grant.class_ == class_ for grant in node.grants.approve) and dict(node.tags).get("role") in roles
            if not may or node.id == held.hold.action.header.origin:
                continue
            is_new = not sessions <= held.asked.get(node.id, frozenset())
            if is_new and not self._has_room(lane, len(action.raw)):
                break  # approvers that do not read stop nobody's messages: the next look asks
            held.asked[node.id] = sessions
            if is_new:
                asked += 1
                self._tell(held.hold.action, node.id, self._question(held, rule), now_ms, ready, whole=True)
        return asked

    def _question(self, held: _Held, rule: Rule) -> dict[str, Any]:
        later, policies = rule.escalation, self._trust.policies
        return {
            "end": "approval", "action": held.hold.action.raw, "targets": list(held.hold.targets),
            "held_at": held.hold.held_at_ms, "within_ms": rule.within_ms, "rule": rule.name, "require": rule.require,
            "roles": list(rule.roles), "policies": policies.version, "policies_digest": policies.digest.hex(),
            "escalation": [] if later is None else [later.after_ms, list(later.roles), later.require],
            "approved_by": self._approved_by(held),
        }

    def _answer(
        self, held: _Held, rule: Rule, message: Verified, said: Approval | Reject, now_ms: int, ready: Ready
    ) -> None:
        record: dict[str, Any] = {
            "end": "counted", "approval": message.leaf.hex(), "approved_by": self._approved_by(held),
            "require": rule.require,
        }
        if isinstance(said, Reject):
            record |= {"end": "not counted", "code": said.code.label, "reason": f"{said.code.reason}: {said.detail}"}
            self._count("refused", said.code.reason)
        self._tell(held.hold.action, message.header.origin, record, now_ms, ready)

    def _approved_by(self, held: _Held) -> list[str]:
        return sorted({principal_of(each.credential) for each in held.approvals.values()})

    def _tell_asked(self, held: _Held, outcome: str, now_ms: int, ready: Ready) -> None:
        for approver in held.asked:
            self._tell(held.hold.action, approver, {"end": "over", "outcome": outcome}, now_ms, ready)

    def _tell(
        self, action: Verified, to: str, record: Mapping[str, Any], now_ms: int, ready: Ready, *, whole: bool = False
    ) -> None:
        """`whole`: the action is in it, for those only who may see all of it."""
        me = self._signer.me
        header = action_report(action, to, str(record["end"]), me)
        highest = max([action.header.label, *(entry.label for entry in action.header.manifest)])
        report = Report(header, {**record, "by": me.id}, {"action": highest} if whole else {})
        said = self._signer.sign(report, now_ms)
        self._messages.route(said, Item(Direction.UP, 0, [], [], said.raw), now_ms, ready)


def _kept(held: _Held) -> KeepHold:
    hold = held.hold
    return KeepHold(hold.action.leaf, pack([
        hold.action.credential.raw, hold.action.raw, list(hold.targets), hold.held_at_ms, held.rule, held.policies,
        list(held.left),
    ]), held.until_ms)


