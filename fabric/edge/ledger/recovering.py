"""What is made of the actions that an earlier program left open (SPEC 9.3).

Guarantees: an answer that was not told is told; what only waited is executed if it is still in time, in force and not
revoked, or ends as it would have; an action whose handler was called ends as `unknown` (INTERRUPTED), told by this
control point itself, and is executed again only where its handler is idempotent. Handlers may be registered after the
file is had, so they have a moment for it; and nothing is executed before a relay has said what the time is and who is
revoked. Belongs to the connection's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fabric.edge.handling.handlers import Answer, interrupted, refused
from fabric.edge.handling.replies import About, Reply, about_envelope
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ledger_ops import KeepCancelled, KeepIntent
from fabric.protocol.core.ready import Delivery
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Credential

# A program that registers its handlers one by one has so long for all of them.
_HANDLERS_MS = 2_000
# How often those are looked at that cannot be judged yet.
_LOOK_MS = 250
# So many are verified in one turn.
_SOME = 64


class Executor(Protocol):
    """Who executes actions and tells what became of them; none of it blocks."""

    def take(self, delivery: Delivery) -> None: ...

    def look(self, now_ms: int) -> None:
        """Each turn."""

    @property
    def due_ms(self) -> int | None:
        """When there must be one."""

    def take_again(self, delivery: Delivery) -> None:
        """Its handler was called by an earlier program, and may be called again."""

    def answer(self, about: About, answer: Answer) -> None:
        """It is not executed, and this is what became of it."""

    def tell_again(self, reply: Reply) -> None:
        """What the ledger has already."""

    def was_cancelled(self, kept: KeepCancelled, by: Credential) -> Sequence[KeepCancelled]:
        """An action is not to begin, if it comes and is theirs to cancel. Called in the order in which these end. What
        is forgotten for it."""

    def is_idempotent(self, topic: str) -> bool | None:
        """Whether the handler of these actions is; None where there is none."""


class Recovery:
    """`intents`: what was not answered. `answers`: what was not told, packed."""

    def __init__(
        self, core: Point, executor: Executor, intents: Sequence[KeepIntent], answers: Sequence[bytes], now_ms: int
    ) -> None:
        self._core = core
        self._executor = executor
        self._open = {intent.id: intent for intent in intents}
        self._answers = list(answers)
        self._handlers_by_ms = now_ms + _HANDLERS_MS
        self.due_ms = now_ms  # when it is to be called at the latest

    def is_done(self, now_ms: int) -> bool:
        """Go on with it, and whether nothing is left."""
        if now_ms >= self.due_ms:
            self.due_ms = now_ms + _LOOK_MS
            answers, self._answers = self._answers, []
            for raw in answers:
                reply = Reply.unpack(raw)
                if reply is not None:
                    self._executor.tell_again(reply)
            judged = 0
            for intent in list(self._open.values()):
                if judged < _SOME and self._settles(intent, now_ms):
                    del self._open[intent.id]
                    judged += 1
        return not self._open

    def _settles(self, intent: KeepIntent, now_ms: int) -> bool:
        about = about_envelope(intent.envelope)
        if about is None:
            return True  # of a layout that is not known here: nobody can be told
        idempotent = self._executor.is_idempotent(about.header.topic)
        if idempotent is None and now_ms < self._handlers_by_ms:
            return False
        if intent.begun and not idempotent:
            self._executor.answer(about, interrupted())
            return True
        back = self._core.take_back(intent.envelope, self._age_ms(intent, now_ms), intent.hops, now_ms)
        if isinstance(back, Delivery):
            (self._executor.take_again if intent.begun else self._executor.take)(back)
        elif back.code is not Code.BUSY:
            self._executor.answer(about, interrupted() if intent.begun else refused(back))
        elif not self._is_over(about, intent, now_ms):
            return False
        else:
            late = Reject(Code.EXPIRED, about.header.topic)
            self._executor.answer(about, interrupted() if intent.begun else refused(late))
        return True

    def _age_ms(self, intent: KeepIntent, now_ms: int) -> int:
        """With the time since it was taken, by the clock by which that is longer: one may have been set back."""
        time = self._core.time
        since_ms = max(0, time.now(now_ms) - intent.fabric_ms, time.own(now_ms) - intent.own_ms)
        return intent.age_ms + since_ms

    def _is_over(self, about: About, intent: KeepIntent, now_ms: int) -> bool:
        """Whether its time ended while nobody could judge it."""
        return self._age_ms(intent, now_ms) >= about.header.ttl_ms
