"""Whether an action was approved (SPEC 9.7): asked where it is held, at each hop down, and at the executor.

Guarantees: a `Quorum` says that as many distinct principals as the rule requires, each with a key of its own, approved
this action for these targets under these policies while it was held; that each of them may, is not revoked and is none
of the requester's; and that nobody who might have approved denied it before. What does not count disturbs nobody else's
approval: to add one never undoes a quorum, unless it denies. Refuses with the fault of the first that does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from fabric.protocol.access.approvals import Approval, Hold, principal_of, read_approval, targets_digest
from fabric.protocol.access.permissions import selects
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import APPROVAL_BYTES_MAX, APPROVALS_MAX
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.policies import Policies, Rule
from fabric.protocol.vocabulary.openc2 import split_topic

# Whether a credential is revoked, or not valid now.
Standing = Callable[[Credential], Reject | None]


@dataclass(frozen=True, slots=True)
class Quorum:
    """Who approved, and when the last who was needed did: from then the execution's time runs.

    `escalated`: it needed somebody whom the rule asks only when others did not answer; to be recorded as such.
    `approvals`: those that made it, and no other.
    """

    rule: str
    principals: tuple[str, ...]
    escalated: bool
    completed_at_ms: int
    approvals: tuple[Verified, ...] = field(default=(), compare=False, repr=False)


class Judge:
    """Of one action that is held. `known`: credentials of its targets, at an executor its own.

    `rule`: from `demand_of`, where only some of the targets are known from `demand_among`.
    """

    def __init__(
        self, hold: Hold, rule: Rule, policies: Policies, known: Sequence[Credential], standing: Standing, skew_ms: int
    ) -> None:
        self._hold = hold
        self._rule = rule
        self._policies = policies
        self._known = known
        self._standing = standing
        self._skew_ms = skew_ms
        self._targets = targets_digest(hold.targets)
        self._class = policies.class_of(split_topic(hold.action.header.topic)[0])

    # -- one approval ---------------------------------------------------------------------------------------

    def check(self, message: Verified, now_ms: int) -> Approval | Reject:
        """Whether it counts, by itself: as an approval, or as a denial."""
        read = read_approval(message)
        if isinstance(read, Reject):
            return read
        return self._check_bound(read) or self._check_approver(read.approver) or self._check_time(read, now_ms) or read

    def _check_bound(self, said: Approval) -> Reject | None:
        """Whether it is about this action, as it is held now."""
        hold, action = self._hold, self._hold.action
        header, asked = said.message.header, action.header
        if said.action != action.leaf or header.topic != asked.topic:
            return Reject(Code.BAD_APPROVAL, "of another action")
        if header.label < asked.label:
            return Reject(Code.LABEL_TOO_LOW, asked.label.short)
        if header.highest_label > asked.highest_label or header.audience != asked.audience:
            # It travels inside the action, to whoever may hold that.
            return Reject(Code.BAD_APPROVAL, "not for those who may have the action")
        if len(said.message.raw) > APPROVAL_BYTES_MAX:
            return Reject(Code.TOO_LARGE, f"an approval has at most {APPROVAL_BYTES_MAX:,} bytes")
        if (said.policies, said.policies_digest) != (self._policies.version, self._policies.digest):
            return Reject(Code.OTHER_POLICIES, f"version {said.policies}, not {self._policies.version}")
        if said.rule != self._rule.name:
            return Reject(Code.OTHER_POLICIES, f"not by the rule {self._rule.name}")
        if said.targets != self._targets:
            return Reject(Code.OTHER_TARGETS)
        return None if said.held_at_ms == hold.held_at_ms else Reject(Code.BAD_APPROVAL, "of another hold")

    def _check_approver(self, approver: Credential) -> Reject | None:
        """Whether it may approve this at all. Its role is looked at together with the time."""
        requester = self._hold.action.credential
        problem = self._standing(approver)
        if problem is not None:
            return problem
        if (
            approver.id == requester.id
            or principal_of(approver) == principal_of(requester)
            or approver.sign_key == requester.sign_key
        ):
            return Reject(Code.OWN_REQUEST, approver.id)
        grants = [grant for grant in approver.grants.approve if grant.class_ == self._class]
        covered = bool(grants) and all(
            any(selects(grant.to, target.attributes()) for grant in grants) for target in self._known
        )
        return None if covered else Reject(Code.APPROVE_DENIED, f"{approver.id}: {self._class}")

    def _check_time(self, said: Approval, now_ms: int) -> Reject | None:
        """Whether it was given while the action was held, and by a role that was asked by then."""
        since_ms = said.at_ms - self._hold.held_at_ms
        if said.at_ms > now_ms + self._skew_ms:
            return Reject(Code.FROM_FUTURE, said.approver.id)
        if not -self._skew_ms <= since_ms <= self._rule.within_ms + self._skew_ms:
            return Reject(Code.APPROVAL_LATE, said.approver.id)
        if self._is_asked(said) or self._is_escalated(said):
            return None
        return Reject(Code.NOT_AN_APPROVER, f"{said.approver.id}: {_role(said.approver) or 'no role'}")

    def _is_asked(self, said: Approval) -> bool:
        return _role(said.approver) in self._rule.roles

    def _is_escalated(self, said: Approval) -> bool:
        """Whether the escalation asks for it, at the time at which it was given."""
        later, since_ms = self._rule.escalation, said.at_ms - self._hold.held_at_ms
        return later is not None and _role(said.approver) in later.roles and since_ms >= later.after_ms

    # -- all of them ----------------------------------------------------------------------------------------

    def quorum(self, messages: Iterable[Verified], now_ms: int) -> Quorum | Reject:
        """The quorum, as it was first complete. Else ACTION_DENIED, EXPIRED, the first fault, or APPROVAL_DUE.

        Of more than `APPROVALS_MAX` the rest is not looked at. The execution's time runs from when it was complete.
        """
        problem = self._check_hold()
        counting: list[Approval] = []
        for message in list(messages)[:APPROVALS_MAX]:
            checked = self.check(message, now_ms)
            if isinstance(checked, Approval):
                counting.append(checked)
            else:
                problem = problem or checked
        complete = None if self._check_hold() else self._complete([said for said in counting if said.approves])
        denied = [said for said in counting if not said.approves]
        if complete is not None:
            denied = [said for said in denied if said.at_ms <= complete.completed_at_ms]
        if denied:
            return Reject(Code.ACTION_DENIED, denied[0].approver.id)
        if complete is None:
            return problem or self._due([said for said in counting if said.approves])
        until_ms = complete.completed_at_ms + self._hold.action.header.ttl_ms + self._skew_ms
        return Reject(Code.EXPIRED) if now_ms > until_ms else complete

    def _check_hold(self) -> Reject | None:
        """Who says that it was held before it was asked for would bring an escalation forward.

        Who holds it when its time is over would have it executed again, when executors have forgotten it.
        """
        header, held_at_ms = self._hold.action.header, self._hold.held_at_ms
        if held_at_ms < header.issued_at_ms - self._skew_ms:
            return Reject(Code.BAD_APPROVAL, "held before it was asked for")
        if held_at_ms > header.issued_at_ms + header.ttl_ms + self._skew_ms:
            return Reject(Code.BAD_APPROVAL, "held when its time was over")
        return None

    def _complete(self, approvals: list[Approval]) -> Quorum | None:
        """The quorum at the earliest moment at which there is one."""
        ordered = sorted(approvals, key=lambda said: (said.at_ms, said.message.leaf))
        for count in range(1, len(ordered) + 1):
            so_far, at_ms = ordered[:count], ordered[count - 1].at_ms
            found = _distinct([said for said in so_far if self._is_asked(said)])
            if len(found) >= self._rule.require:
                return self._made(found[: self._rule.require], at_ms, escalated=False)
            found = self._by_escalation(so_far)
            if found:
                return self._made(found, at_ms, escalated=True)
        return None

    def _by_escalation(self, approvals: list[Approval]) -> list[Approval]:
        """As many as the escalation requires, one of them at least of a role that it asks; empty: there are fewer."""
        later = self._rule.escalation
        if later is None:
            return []
        for one in [said for said in approvals if self._is_escalated(said)]:
            rest = _distinct([said for said in approvals if not _same(said, one)])
            if 1 + len(rest) >= later.require:
                return [one, *rest[: later.require - 1]]
        return []

    def _made(self, found: list[Approval], at_ms: int, *, escalated: bool) -> Quorum:
        principals = tuple(sorted(principal_of(said.approver) for said in found))
        return Quorum(self._rule.name, principals, escalated, at_ms, tuple(said.message for said in found))

    def _due(self, approvals: list[Approval]) -> Reject:
        found = _distinct(approvals)
        if len(found) < len(approvals):
            return Reject(Code.SAME_PRINCIPAL, f"{len(found)} of {self._rule.require}")
        return Reject(Code.APPROVAL_DUE, f"{self._rule.name}: {len(found)} of {self._rule.require}")


def _role(credential: Credential) -> str:
    return dict(credential.tags).get("role", "")


def _same(said: Approval, other: Approval) -> bool:
    """Whether the two could be one person."""
    one, two = said.approver, other.approver
    return principal_of(one) == principal_of(two) or one.sign_key == two.sign_key or one.id == two.id


def _distinct(approvals: Sequence[Approval]) -> list[Approval]:
    """As many as possible of them with a principal and a key of their own each: a largest matching of the two.

    To take them as they come would let one who has two keys, or shares one, stand in the way of another.
    """
    taken: dict[bytes, Approval] = {}  # by key
    by_principal: dict[str, list[Approval]] = {}
    for said in approvals:
        by_principal.setdefault(principal_of(said.approver), []).append(said)

    def place(principal: str, tried: set[bytes]) -> bool:
        for said in by_principal[principal]:
            key = said.approver.sign_key
            if key in tried:
                continue
            tried.add(key)
            if key not in taken or place(principal_of(taken[key].approver), tried):
                taken[key] = said
                return True
        return False

    for principal in by_principal:
        place(principal, set())
    return list(taken.values())


def check_quorum(
    hold: Hold, rule: Rule, approvals: Iterable[Verified], policies: Policies, known: Sequence[Credential],
    standing: Standing, now_ms: int, skew_ms: int,
) -> Quorum | Reject:
    """Whether these approvals are enough, at this time. See `Judge`."""
    return Judge(hold, rule, policies, known, standing, skew_ms).quorum(approvals, now_ms)
