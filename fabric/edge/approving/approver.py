"""What an approver is asked, and what it decides: signed, sent, and awaited until the relay says whether it counts.

Guarantees: what is signed is what was shown, the request itself; a verdict is believed from the relay that asked, and
of this very approval; each decision ends, with a verdict, with what refused it, or when its time is over. No more
decisions than `DECISIONS_MAX` are open. All but `watch`, `unwatch` and `decide` belongs to the connection's thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from fabric.edge.approving.inbox import Inbox
from fabric.edge.approving.open_requests import OpenRequests
from fabric.edge.approving.request import COUNTED, ApprovalRequest, check_terms, read_request
from fabric.edge.approving.verdict import Verdict, approvers_in, read_verdict, why_not, why_not_taken, why_over, words
from fabric.edge.connection.mailbox import Mailbox, fail
from fabric.edge.locks import Pending
from fabric.edge.messages import Message
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.edge.publishing.publisher import Publisher
from fabric.protocol.access.approvals import approval_record
from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import DIGEST_BYTES, TTL_MAX_MS, WHY_CHARS_MAX
from fabric.protocol.core.ready import Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.point.point import Point
from fabric.protocol.vocabulary.openc2 import class_of, is_extension

DECISIONS_MAX = 256
# Iterators of one program, each with what it has yet to look at.
INBOXES_MAX = 64
# An approval is worth sending for as long as the action is held; it has to get there, however late it is.
_TTL_MS_MIN = 10_000
# When it is over a verdict may still be on its way.
_AFTER_MS = 2_000
# Requests that are over, to say what became of them to who decides too late.
_OVER_MAX = 256
_SEE = "see which are: fabric approvals"


@dataclass(slots=True, eq=False)
class _Decision:
    """`sought`: the beginning of an id, until a request with it has come."""

    approves: bool
    why: str
    deadline_ms: int
    wait_ms: int
    verdict: Future[Verdict]
    sought: str
    request: ApprovalRequest | None = None
    leaf: bytes = b""
    sent: Pending[str] = field(default_factory=Pending)
    is_over: FabricError | None = None


class Approver:
    """`wait_ms` of a decision: so long a request with an id is awaited, and then a verdict."""

    def __init__(
        self, core: Point, mailbox: Mailbox, publisher: Publisher, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._core = core
        self._mailbox = mailbox
        self._publisher = publisher
        self._log = log
        self.open = OpenRequests()
        self._inboxes: list[Inbox] = []
        self._decisions: list[_Decision] = []
        self._over: OrderedDict[tuple[str, str], str] = OrderedDict()

    # -- from any thread --------------------------------------------------------------------------------

    def watch(self, inbox: Inbox) -> None:
        """From now on it gets what is open, and what comes. Raises what ended the connection."""

        def add(_now_ms: int, _ready: Ready) -> None:
            if len(self._inboxes) >= INBOXES_MAX:
                inbox.fail(FabricError(Code.BUSY, f"{INBOXES_MAX} iterators of approvals are open", "close some"))
                return
            self._inboxes.append(inbox)
            for request in self.open:
                inbox.put(request)

        self._mailbox.call(add, inbox.fail)

    def unwatch(self, inbox: Inbox) -> None:
        def drop(_now_ms: int, _ready: Ready) -> None:
            self._inboxes = [known for known in self._inboxes if known is not inbox]

        self._mailbox.call_if_any(drop)

    def decide(
        self, request: ApprovalRequest | str, *, approves: bool, why: str, wait_ms: int
    ) -> Future[Verdict]:
        """The verdict on it. A request by its id, or as much of its beginning as no other has, is awaited too."""
        if len(why) > WHY_CHARS_MAX or not why.isprintable():
            raise FabricError(Code.USAGE, "a reason that cannot be one", f"give at most {WHY_CHARS_MAX} characters")
        sought = request.lower() if isinstance(request, str) else ""
        if isinstance(request, str) and not (
            0 < len(sought) <= 2 * DIGEST_BYTES and set(sought) <= set("0123456789abcdef")
        ):
            raise FabricError(Code.USAGE, "not the id of an action", _SEE)
        verdict: Pending[Verdict] = Pending()

        def begin(now_ms: int, ready: Ready) -> None:
            if not verdict.set_running_or_notify_cancel():
                return
            if len(self._decisions) >= DECISIONS_MAX:
                fail(verdict, FabricError(Code.BUSY, f"{DECISIONS_MAX} decisions are open", "wait for their verdicts"))
                return
            decision = _Decision(approves, why, now_ms + wait_ms, wait_ms, verdict, sought)
            self._decisions.append(decision)
            if isinstance(request, str):
                self._seek(decision, now_ms, ready)
            else:
                self._send(decision, request, now_ms, ready)

        self._mailbox.call(begin, lambda error: fail(verdict, error))
        return verdict

    # -- what relays say --------------------------------------------------------------------------------

    def take(self, message: Verified, messages: Sequence[Message], now_ms: int) -> bool:
        """A relay's result. False: it is not for an approver."""
        said = messages[0].content
        match said.get("end"):
            case "approval":
                self._asked(message, messages, now_ms)
            case "counted" | "not counted":
                self._take_verdict(message, messages[0])
            case "over":
                self._is_over(message, words(said.get("outcome")), now_ms)
            case _:
                return False
        return True

    def _asked(self, message: Verified, messages: Sequence[Message], now_ms: int) -> None:
        header = message.header
        request: ApprovalRequest | Reject = Reject(Code.MALFORMED, "more than one record, or for somebody else")
        if len(messages) == 1 and header.to == self._core.me.id:
            request = read_request(message, messages[0], now_ms, self._core.time.now(now_ms), self._class_of)
        if isinstance(request, ApprovalRequest):
            request = check_terms(request, self._core.trust.policies) or request
        if isinstance(request, Reject):
            self._log.warning("what an approver is asked cannot be read", relay=message.credential.id,
                              code=request.code.label, why=request.detail)
            return
        if request.until_ms <= now_ms or request.key in self._over:  # an action ends once
            return
        known = self.open.get(request.key)
        if not self.open.put(request):
            self._log.warning("no room for what an approver is asked", relay=request.by, missed=self.open.missed,
                              code=Code.BUSY.label)
            return
        for inbox in self._inboxes:
            if known is None or known.held_at_ms != request.held_at_ms:
                inbox.put(request)
            else:
                inbox.refresh(request)
        for decision in [one for one in self._decisions if one.request is None]:
            if request.id.startswith(decision.sought):
                # On the way in nothing is sent: in a turn of its own.
                self._mailbox.later(lambda now, ready, one=decision: self._seek(one, now, ready))  # type: ignore[misc]

    def _class_of(self, verb: str) -> str:
        """What OpenC2 says, of an `x-` verb the policies that this node has."""
        if not is_extension(verb):
            return class_of(verb)
        return self._core.trust.policies.classes.get(verb, "")

    def _take_verdict(self, message: Verified, record: Message) -> None:
        said = record.content
        about, by = words(said.get("approval")), message.credential.id
        for decision in self._decisions:
            request = decision.request
            if request is None or request.by != by or decision.leaf.hex() != about:
                continue
            self._update(request, approvers_in(said))
            if said.get("end") == COUNTED:
                self._finish(decision, read_verdict(request, decision.leaf, decision.approves, said))
            else:
                self._finish(decision, why_not(said))
            return

    def _update(self, request: ApprovalRequest, approved_by: tuple[str, ...]) -> None:
        known = self.open.get(request.key)
        if known is not None and approved_by:
            newer = replace(known, approved_by=approved_by)
            self.open.put(newer)
            for inbox in self._inboxes:
                inbox.refresh(newer)

    def _is_over(self, message: Verified, outcome: str, now_ms: int) -> None:
        key = (message.credential.id, message.header.correlation.hex())
        request = self.open.pop(key)
        if request is None:
            return
        self._forget(request)
        self._over[key] = outcome
        while len(self._over) > _OVER_MAX:
            self._over.popitem(last=False)
        for decision in self._decisions:
            if decision.request is not None and decision.request.key == key:
                decision.is_over = why_over(outcome)
                decision.deadline_ms = min(decision.deadline_ms, now_ms + _AFTER_MS)

    def _forget(self, request: ApprovalRequest) -> None:
        for inbox in self._inboxes:
            inbox.drop(request)

    # -- what is decided --------------------------------------------------------------------------------

    def _seek(self, decision: _Decision, now_ms: int, ready: Ready) -> None:
        if decision.request is not None or decision not in self._decisions:
            return
        found = self.open.beginning(decision.sought)
        if len(found) > 1:
            several = "several relays hold it" if len({one.id for one in found}) == 1 else "the beginning of several"
            self._finish(decision, FabricError(Code.NOT_OPEN, f"{decision.sought}: {several}", _SEE))
        elif found:
            self._send(decision, found[0], now_ms, ready)
        else:
            over = [outcome for (_, id_), outcome in self._over.items() if id_.startswith(decision.sought)]
            if over:
                self._finish(decision, why_over(over[-1]))

    def _send(self, decision: _Decision, request: ApprovalRequest, now_ms: int, ready: Ready) -> None:
        decision.request, decision.deadline_ms = request, now_ms + decision.wait_ms
        header = request.header
        if header is None:
            self._finish(decision, FabricError(
                Code.CLEARANCE_DENIED, "the action's label is above this approver's clearance",
                "have it approved by somebody who is cleared for it",
            ))
            return
        if request.key in self._over or request.until_ms <= now_ms:
            self._finish(decision, why_over(self._over.get(request.key, "expired")))
            return
        ttl_ms = min(max(request.until_ms - now_ms, _TTL_MS_MIN), TTL_MAX_MS[Kind.APPROVAL.word])
        stamp = Stamp(
            Kind.APPROVAL, header.topic, header.severity, header.phase, ttl_ms, header.label,
            correlation=bytes.fromhex(request.id), audience=header.audience,
        )
        record = approval_record(
            request, request.rule, request.policies, approves=decision.approves, why=decision.why
        )
        decision.sent.set_running_or_notify_cancel()
        try:
            message = self._publisher.seal_one(draft := Draft(stamp, record, now_ms, decision.sent))
            decision.leaf = message.leaf
            ready.audit.append(Audited(kinds.APPROVAL_GIVEN, self._core.me.id, {
                "action": stamp.correlation, "approval": message.leaf, "rule": request.rule,
                "decision": "approve" if decision.approves else "deny",
            }))
            self._publisher.send_one(message, draft, now_ms, ready)
        except FabricError as error:
            self._finish(decision, error)
            return
        decision.sent.add_done_callback(lambda sent: self._refused(decision, sent))

    def _refused(self, decision: _Decision, sent: Future[str]) -> None:
        """Before the relay that asked had it: this node, or a relay on the way, does not take it."""
        error = sent.exception()
        if isinstance(error, FabricError):
            self._finish(decision, why_not_taken(error))

    def _finish(self, decision: _Decision, verdict: Verdict | FabricError) -> None:
        if decision not in self._decisions:
            return
        self._decisions.remove(decision)
        if isinstance(verdict, FabricError):
            fail(decision.verdict, verdict)
        else:
            with suppress(InvalidStateError):
                decision.verdict.set_result(verdict)

    # -- time -------------------------------------------------------------------------------------------

    def look(self, now_ms: int) -> None:
        """Each turn: what is too late."""
        for request in self.open.take_late(now_ms) if len(self.open) else ():
            self._forget(request)
        for decision in [one for one in self._decisions if one.deadline_ms <= now_ms]:
            self._finish(decision, self._late(decision))

    def _late(self, decision: _Decision) -> FabricError:
        if decision.is_over is not None:
            return decision.is_over
        if decision.request is None:
            return FabricError(Code.NOT_OPEN, f"nobody asks for an approval of {decision.sought}", _SEE)
        return FabricError(
            Code.TIMED_OUT, f"{decision.request.by} has not said whether it counts; it may still", _SEE
        )

    @property
    def due_ms(self) -> int | None:
        """When `look` must be called again."""
        if not (self._decisions or len(self.open)):
            return None
        due = [decision.deadline_ms for decision in self._decisions]
        if self.open.next_ms is not None:
            due.append(self.open.next_ms)
        return min(due, default=None)

    def end(self, error: FabricError) -> None:
        """Nothing comes or goes any more."""
        for inbox in self._inboxes:
            inbox.fail(error)
        for decision in list(self._decisions):
            self._finish(decision, error)
