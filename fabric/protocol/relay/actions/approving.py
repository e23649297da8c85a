"""Actions that are held until they are approved (SPEC 9.7): where an action turns, and nowhere else.

Guarantees: an action that a rule is about goes nowhere before its quorum is complete, found here by the policies in
force; its targets are those that were fixed when it was held; it is on disk, with every approval that counts, before
anybody hears of it; it ends once, approved, denied, expired, cancelled or refused. Whoever may decide is asked when it
is held, when he comes later, and when an escalation begins to ask him. No requester holds more than a share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from fabric.protocol.access.approvals import Approval, Hold, principal_of, read_approval
from fabric.protocol.access.quorum import Judge, Quorum
from fabric.protocol.access.released import open_approval
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import named
from fabric.protocol.audit.kinds import Audited, Value
from fabric.protocol.base.codec import unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    ENVELOPE_BYTES_MAX,
    HELD_ACTIONS_MAX,
    HELD_BYTES_MAX,
    TARGETS_MAX,
)
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.core.ready import KeepApproval, KeepHold, Note, Op, Ready
from fabric.protocol.core.standing import Standing
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.envelope.layout import Approved
from fabric.protocol.envelope.reports import HELD
from fabric.protocol.envelope.verify import RootCache, Verified
from fabric.protocol.relay.actions.asking import Asking
from fabric.protocol.relay.actions.held_action import HeldAction, kept
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.trust.policies import Rule
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label

_LOOK_MS: Final = 1_000
# About so many questions a look are signed: an approver that comes is asked for all that is held, over some seconds.
_QUESTIONS_MAX: Final = 128


class Ending(Protocol):
    """Tell the requester how an action ended at these targets, all of them where none is named."""

    def __call__(
        self, action: Verified, end: str, targets: tuple[str, ...], code: Code | None, now_ms: int, ready: Ready, *,
        detail: str = "", more: Mapping[str, object] | None = None, labels: Mapping[str, Label] | None = None,
    ) -> None: ...


class Approving:
    """`release` hands an action out to these targets, with its age; `end` tells its requester."""

    def __init__(
        self, asking: Asking, trust: TrustStore, time: Timekeeper, roster: Roster, roots: RootCache,
        release: Callable[[Verified, tuple[str, ...], int, int, Ready], None], end: Ending,
        count: Callable[[str, str], None], skew_ms: int,
    ) -> None:
        self._asking = asking
        self._trust = trust
        self._time = time
        self._standing = Standing(trust, time)
        self._roster = roster
        self._roots = roots
        self._release = release
        self._end = end
        self._count = count
        self._skew_ms = skew_ms
        self._held: dict[bytes, HeldAction] = {}
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
        held = HeldAction(hold, rule.name, self._trust.policies.digest, now_ms + rule.within_ms, hold.targets)
        self._put(held)
        ready.persist.append(kept(held))
        self._count("held", rule.name)
        ready.audit.append(Audited(kinds.ACTION_HELD, action.header.origin, {
            "action": action.leaf, "rule": rule.name, "policies": held.policies, "require": rule.require,
            "within_ms": rule.within_ms, **named(targets),
        }))
        self._asking.tell(action, action.header.origin, {
            "end": HELD, "targets": list(targets), "code": Code.APPROVAL_DUE.label, "reason": Code.APPROVAL_DUE.reason,
            "within_ms": rule.within_ms, "rule": rule.name, "require": rule.require, "roles": list(rule.roles),
        }, now_ms, ready)
        self._asking.ask(held, rule, self._asking.approvers(), now_ms, ready)

    def heard(self, message: Verified, age_ms: int, now_ms: int, ready: Ready) -> None:
        """An approver's word about an action that is held here."""
        held = self._held[message.header.correlation]
        rule = self._rule_of(held)
        if rule is None:
            return  # the next look ends it
        judge, fabric_ms = self._judge(held, rule, now_ms), self._time.now(now_ms)
        said = judge.check(message, fabric_ms)
        ready.audit.append(_audited(message, said))
        if isinstance(said, Approval):
            held.approvals[message.header.origin] = message
            held.signed_ms[message.header.origin] = now_ms - age_ms
            ready.persist.append(KeepApproval(
                held.hold.action.leaf, message.header.origin, message.credential.raw, message.raw, held.until_ms
            ))
        found = judge.quorum(held.approvals.values(), fabric_ms)
        self._asking.answer(held, rule, message, said, now_ms, ready)
        if isinstance(found, Quorum):
            self._released(held, found, now_ms, ready)
        elif found.code is Code.ACTION_DENIED:
            denial = read_approval(held.approvals[found.detail])
            assert isinstance(denial, Approval), "it was read before it was kept"
            self._over(held, End.REFUSED, found.code, "denied", now_ms, ready, detail=found.detail, denial=denial)

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
        ready.persist.append(kept(held))
        self._end(held.hold.action, str(End.REFUSED), tuple(targets), Code.CANCELLED, now_ms, ready, detail=by)

    def restored(self, op: Op) -> None:
        """This was read back from disk."""
        match op:
            case KeepHold(leaf, body, until_ms) if body:
                fields = unpack(body, bytes_max=2 * ENVELOPE_BYTES_MAX, elements_max=2 * TARGETS_MAX + 16, depth_max=2)
                assert not isinstance(fields, Reject), "it was read from a disk that is checked"
                credential, envelope, targets, held_at_ms, rule, policies, left = fields
                action = open_approval(credential, envelope, self._trust, self._roots)
                if isinstance(action, Verified) and action.leaf == leaf:
                    hold = Hold(action, tuple(targets), held_at_ms)
                    self._put(HeldAction(hold, rule, policies, until_ms, tuple(left)))
            case KeepApproval(leaf, approver, credential, envelope) if envelope and leaf in self._held:
                message = open_approval(credential, envelope, self._trust, self._roots)
                if isinstance(message, Verified):
                    self._held[leaf].approvals[approver] = message

    def tick(self, now_ms: int, ready: Ready) -> None:
        """Once a second: end what is over, and ask whoever came."""
        if not self._held or now_ms < self._look_at_ms or self._time.unknown:
            return
        self._look_at_ms = now_ms + _LOOK_MS
        approvers, left = self._asking.approvers(), _QUESTIONS_MAX
        for held in list(self._held.values()):
            rule, requester = self._rule_of(held), held.hold.action.credential
            if now_ms >= held.until_ms:
                self._over(held, End.EXPIRED, Code.APPROVAL_DUE, "expired", now_ms, ready, detail=held.rule)
            elif (refused := self._standing.checks(now_ms)(requester)) is not None:
                self._over(held, End.REFUSED, refused.code, "revoked", now_ms, ready)
            elif rule is None:
                self._over(held, End.REFUSED, Code.OTHER_POLICIES, "void", now_ms, ready)
            elif left > 0:
                left -= self._asking.ask(held, rule, approvers, now_ms, ready)

    # -- inside -------------------------------------------------------------------------------------------

    def _put(self, held: HeldAction) -> None:
        self._held[held.hold.action.leaf] = held
        self._account(held, 1)

    def _account(self, held: HeldAction, count: int) -> None:
        action = held.hold.action
        self._holders.add(action.header.origin, count)
        self._bytes.add(action.header.origin, count * len(action.raw))

    def _rule_of(self, held: HeldAction) -> Rule | None:
        """The rule by which it is held; None where other policies are in force by now: nobody approved it by these."""
        policies = self._trust.policies
        return policies.rule(held.rule) if policies.digest == held.policies else None

    def _judge(self, held: HeldAction, rule: Rule, now_ms: int) -> Judge:
        known = [node for target in held.hold.targets if (node := self._roster.known(target, now_ms)) is not None]
        return Judge(held.hold, rule, self._trust.policies, known, self._standing.checks(now_ms), self._skew_ms)

    def _released(self, held: HeldAction, quorum: Quorum, now_ms: int, ready: Ready) -> None:
        action, counted = held.hold.action, quorum.principals
        approved = Approved(
            quorum.completed_at_ms, held.hold.held_at_ms, held.hold.targets,
            tuple((each.credential.raw, each.raw) for each in quorum.approvals),
        )
        self._forget(held, ready)
        self._count("approved", held.rule)
        ready.audit.append(Audited(kinds.ACTION_RELEASED, action.header.origin, {
            "action": action.leaf, "rule": held.rule, "policies": held.policies, "principals": tuple(counted),
            "approvers": tuple(each.header.origin for each in quorum.approvals), "escalated": int(quorum.escalated),
            **named(held.left),
        }))
        ready.notes.append(Note("action approved", {
            "action": action.leaf.hex(), "rule": held.rule, "by": ",".join(counted), "escalated": int(quorum.escalated),
        }))
        self._asking.tell(action, action.header.origin, {
            "end": "approved", "targets": list(held.left), "approved_by": list(counted),
            "escalated": quorum.escalated,
        }, now_ms, ready)
        self._asking.over(held, "approved", now_ms, ready)
        self._release(action.with_approvals(approved), held.left, self._age_ms(held, quorum, now_ms), now_ms, ready)

    def _age_ms(self, held: HeldAction, quorum: Quorum, now_ms: int) -> int:
        """Of what its quorum released: as old as the approval that completed it was when it came, and since then.

        Clocks that differ, or were set meanwhile, do not count, within the skew. Beyond it whoever carried the approval
        was wrong about its age, or it was read back from disk: then the time counts that it bears.
        """
        by_clock = max(0, self._time.now(now_ms) - quorum.completed_at_ms)
        last = [each.header.origin for each in quorum.approvals if each.header.issued_at_ms == quorum.completed_at_ms]
        ages_ms = [now_ms - signed_ms for by in last if (signed_ms := held.signed_ms.get(by)) is not None]
        age_ms = max(ages_ms, default=by_clock)
        return age_ms if abs(by_clock - age_ms) <= self._skew_ms else by_clock

    def _over(
        self, held: HeldAction, end: End, code: Code, outcome: str, now_ms: int, ready: Ready, *, detail: str = "",
        denial: Approval | None = None,
    ) -> None:
        action = held.hold.action
        more: dict[str, object] = {}
        labels: dict[str, Label] = {}
        if denial is not None:
            more, labels = {"denied_by": principal_of(denial.approver)}, {"why": denial.why_label}
            more |= {"why": denial.why} if denial.why else {}
        self._forget(held, ready)
        ready.notes.append(Note("action not approved", {
            "action": action.leaf.hex(), "rule": held.rule, "code": code.label, "detail": detail,
        }))
        self._end(action, str(end), held.left, code, now_ms, ready, detail=detail, more=more, labels=labels)
        self._asking.over(held, outcome, now_ms, ready)

    def _forget(self, held: HeldAction, ready: Ready) -> None:
        leaf = held.hold.action.leaf
        del self._held[leaf]
        self._account(held, -1)
        ready.persist.append(KeepHold(leaf))
        ready.persist += [KeepApproval(leaf, approver) for approver in held.approvals]


def _audited(message: Verified, said: Approval | Reject) -> Audited:
    """What an approver said, and whether it counts; never why it says so."""
    about: dict[str, Value] = {
        "action": message.header.correlation, "approval": message.leaf, "principal": principal_of(message.credential),
    }
    if isinstance(said, Reject):
        return Audited(kinds.APPROVAL_REFUSED, message.header.origin, {**about, "code": said.code.label})
    kind = kinds.APPROVAL_COUNTED if said.approves else kinds.APPROVAL_DENIED
    return Audited(kind, message.header.origin, {**about, "rule": said.rule, "policies": said.policies_digest})
