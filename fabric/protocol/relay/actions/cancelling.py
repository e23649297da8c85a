"""Cancelling an action where it turned (SPEC 9.2): who may, and what of it was sent to nobody yet.

Guarantees: nobody ends an action that is neither their own nor theirs to cancel by a grant, at any of its targets;
what was sent is for the target to end.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabric.protocol.access.permissions import Selection, cancels
from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.custody import Custody
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.actions.action_reports import ActionReports
from fabric.protocol.relay.actions.approving import Approving
from fabric.protocol.relay.actions.dispatches import Dispatches
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.wire.frames import Direction


class Cancelling:
    """It owns nothing: it ends what others hold."""

    def __init__(
        self, dispatches: Dispatches, custody: Custody, roster: Roster, approving: Approving, reports: ActionReports,
        messages: MessagePort,
    ) -> None:
        self._dispatches = dispatches
        self._custody = custody
        self._roster = roster
        self._approving = approving
        self._reports = reports
        self._messages = messages

    def selection(self, action: Verified) -> Selection:
        """Whom an action is for. What cancels another is asked whose that one was, where this relay knows."""
        cancelled = cancels(action.header)
        whose = self._dispatches.requester_of(cancelled) if cancelled else ""
        return Selection(action.credential, action.header, whose)

    def why_not(self, action: Verified) -> Code | None:
        """Why this, if it cancels another action, may not end that."""
        cancelled = cancels(action.header)
        if not cancelled:
            return None
        if not self._dispatches.turned_here(cancelled):
            return Code.NOT_OPEN
        refused = self.selection(action).refused
        return None if refused is None else refused.code

    def end_unsent(self, cancel: Verified, now_ms: int, ready: Ready) -> None:
        """End what of an action was sent to nobody yet, for those whom this selects."""
        cancelled = cancels(cancel.header)
        selection = self.selection(cancel)
        ready.audit.append(Audited(kinds.ACTION_CANCELLED, cancel.header.origin, {
            "action": cancelled, "by": cancel.leaf,
        }))
        is_own = self._dispatches.requester_of(cancelled) == cancel.header.origin
        held = self._custody.get(cancelled[:ID_BYTES], Direction.DOWN)

        def ended_of(targets: Iterable[str]) -> tuple[str, ...]:
            # Of whom nothing is known any more nothing can be asked: who asked for it selected them once.
            known = [(target, self._credential_of(target, now_ms)) for target in targets]
            return tuple([name for name, member in known if (selection.takes(member) if member else is_own)])

        to_approve = ended_of(self._approving.targets(cancelled))
        self._approving.cancel(cancelled, to_approve, cancel.header.origin, now_ms, ready)
        for row in list(held.rows.values()) if held is not None else ():
            if row.maybe_taken:
                continue
            ended = ended_of(row.targets)
            if len(ended) == len(row.targets):
                self._messages.settle(row, Reject(Code.CANCELLED, cancel.header.origin), now_ms, ready)
            elif ended:
                self._reports.say_of_many(row.held.message, End.REFUSED, ended, Code.CANCELLED, now_ms, ready)
                left = tuple([name for name in row.targets if name not in ended])
                self._messages.readdress(row, [], left, now_ms, ready)

    def _credential_of(self, node: str, now_ms: int) -> Credential | None:
        """Of who executes below, or is away."""
        executor = self._roster.executor(node, now_ms)
        return executor.credential if executor is not None else self._roster.member(node)
