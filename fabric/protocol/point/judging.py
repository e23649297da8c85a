"""Whether what comes to a control point is in time, and whether it may be executed here (SPEC 9.3).

Guarantees: the same is asked when an action comes, when an earlier process took it, and immediately before its handler
is called: a requester or an approver may have been revoked meanwhile. Nobody else's word counts for it.
"""

from __future__ import annotations

from typing import Final

from fabric.protocol.access.permissions import is_target
from fabric.protocol.access.released import why_not_released
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.standing import Standing
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.envelope.lifetime import check_lifetime
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore

# What the signed bound says, which a wrong clock says of messages that are in time.
_BY_CLOCK: Final = frozenset({Code.EXPIRED, Code.FROM_FUTURE})


class Judging:
    """Of the node `me`. Times in milliseconds; `now_ms` by this node's steady clock."""

    def __init__(self, me: Credential, trust: TrustStore, time: Timekeeper, roots: RootCache, skew_ms: int) -> None:
        self._me = me
        self._trust = trust
        self._time = time
        self._standing = Standing(trust, time)
        self._roots = roots
        self._skew_ms = skew_ms

    def renewed(self, me: Credential) -> None:
        """The same node, under a newer credential."""
        self._me = me

    def by_age_only(self, header: Header, now_ms: int) -> bool:
        """What this node itself asks for bears the time that it was told last, which its clock may contradict."""
        to_execute = header.kind is Kind.ACTION and header.origin != self._me.id
        return self._time.by_age_only(now_ms, to_execute=to_execute)

    def check_time(self, message: Verified, age_ms: int, now_ms: int) -> Reject | None:
        """Whether it is in time, on arrival and before it is executed; CLOCK_SUSPECT where nobody can say."""
        header = message.header
        problem = check_lifetime(
            header.kind.word, message.counts_from_ms, header.ttl_ms, age_ms, self._time.now(now_ms),
            self._skew_ms, self.by_age_only(header, now_ms),
        )
        if problem is not None and problem.code in _BY_CLOCK and self._time.doubted and age_ms < header.ttl_ms:
            return Reject(Code.CLOCK_SUSPECT, self._me.id)  # it may be in time, by what was told last
        return problem

    def check_target(self, action: Verified, now_ms: int) -> Reject | None:
        """Whether it is for this node, which is to execute it."""
        if not is_target(action.credential, action.header, self._me):
            return Reject(Code.EXECUTE_DENIED, action.header.topic)
        return self.may_not_act(action, now_ms)

    def may_not_act(self, action: Verified, now_ms: int) -> Reject | None:
        """Asked again immediately before it is executed: its requester may have been revoked meanwhile.

        So may one of its approvers.
        """
        requester, trust = action.credential, self._trust
        problem = trust.revocations.check(requester) or self._time.for_now(
            trust.check_action(requester, self._me.segment, self._time.clocks(now_ms))
        )
        if problem is None:
            problem = why_not_released(
                action, [self._me], trust, self._standing.checks(now_ms), self._roots, self._time.now(now_ms),
                self._skew_ms,
            )
        return problem

    def open_again(self, envelope: bytes, age_ms: int, now_ms: int) -> Verified | Reject:
        """An action that an earlier process took, verified and judged as if it came now."""
        if self._time.suspect:
            return Reject(Code.CLOCK_SUSPECT, self._me.id)
        action = open_envelope(envelope, self._trust.credentials, self._roots)
        if isinstance(action, Reject):
            return action
        problem = self._standing.check_for_now(action.credential, now_ms)
        problem = problem or self.check_time(action, age_ms, now_ms) or self.check_target(action, now_ms)
        return problem or action
