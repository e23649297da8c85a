"""Ends actions that somebody cancels (SPEC 9.4, 9.8): what waits is not begun, who is at work hears of it, and an
effect that is in force is reverted.

Guarantees: only who may ends anything; no handler is told twice; a handler that takes long to hear of it holds nobody
up but handlers that hear the same; whoever cancels is answered once, and where an effect is reverted, when that has
ended. Called with the lock of whoever owns this, but where that is said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from fabric.edge.acting.at_work import AtWork
from fabric.edge.acting.cancelled import Cancelled
from fabric.edge.acting.waiting import Waiting
from fabric.edge.control import Control
from fabric.edge.effects.lasting import lasting_of
from fabric.edge.effects.lease import Word
from fabric.edge.handling.handlers import Answer, refused
from fabric.edge.identity.identity import Identity
from fabric.edge.locks import Condition
from fabric.edge.logging.faults import trace_of
from fabric.edge.messages import Action
from fabric.protocol.access.permissions import may_cancel
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ledger_ops import KeepCancelled
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Header
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.openc2 import End

# What somebody who cancels an action is told that it was.
NOT_AT_WORK: Final = "not at work"
RUNNING: Final = "running"
WAITED: Final = "waiting"
IN_FORCE: Final = "in force"
# Of an effect, where the control point stops before it is reverted.
_LATER: Final = "to be released"


class Records(Protocol):
    """What of the ledger cancelling needs, on the connection's thread."""

    def requester_of_effect(self, id_: bytes) -> str | None:
        """Whose effect is in force; None where none of this action is."""

    def cancelled(self, ops: Sequence[KeepCancelled]) -> None:
        """What is not to begin if it comes is on disk before anything that is kept later."""

    def release(self, id_: bytes, tell: Callable[[Word], None]) -> None:
        """End such an effect now; `tell` hears what became of that, later."""


class Connection(Protocol):
    """What of a control point's connection cancelling needs."""

    @property
    def identity(self) -> Identity: ...

    @property
    def ledger(self) -> Records: ...


class Cancelling:
    """`answer` tells what becomes of an action that is not begun. `handlers_max`: so many hear of it at a time."""

    def __init__(
        self, connection: Connection, at_work: AtWork, waiting: Waiting,
        answer: Callable[[Delivery, Answer, bool], None], changed: Condition, handlers_max: int,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._connection = connection
        self._at_work = at_work
        self._waiting = waiting
        self._answer = answer
        self._changed = changed
        self._handlers_max = handlers_max
        self._log = log
        self._cancelled = Cancelled()
        self._to_tell: list[Control] = []
        self._telling = 0  # handlers that are just hearing that they are cancelled
        self._releases: dict[bytes, Delivery] = {}  # what releases an effect, until that has ended

    def restore(self, kept: KeepCancelled, by: Credential, now_ms: int) -> list[KeepCancelled]:
        """An earlier process was told not to begin an action that comes. What is forgotten for it."""
        return self._cancelled.restore(kept, by, now_ms)

    def has(self, id_: bytes, header: Header, now_ms: int) -> bool:
        """Whether this action, which comes now, was cancelled."""
        return self._cancelled.has(id_, header.origin, self._connection.identity.credential, now_ms)

    def cancel(self, delivery: Delivery, action: Action, cancelled: bytes, now_ms: int, *, again: bool) -> None:
        """This action came: it is answered, at once or when the effect that it releases has ended."""
        answer = self._end(delivery, action, cancelled[:ID_BYTES], now_ms)
        if answer is not None:
            self._answer(delivery, answer, again)

    def _end(self, delivery: Delivery, action: Action, id_: bytes, now_ms: int) -> Answer | None:
        by, header = delivery.message.credential, delivery.message.header
        if action.target.value != id_.hex():
            return refused(Reject(Code.BAD_ACTION, "target.command: not the action that the header names"))
        if lasting_of(action).ends:
            return refused(Reject(Code.NOT_REVERTED, header.topic))
        if header.terms.dry_run:
            return Answer(End.READY)
        known, whose = self._at_work.control_of(id_), self._connection.ledger.requester_of_effect(id_)
        if known is None and whose is None:
            self._connection.ledger.cancelled(self._cancelled.add(id_, delivery.message, now_ms))
            return Answer(result={"was": NOT_AT_WORK})
        control, requester = known or (None, whose or "")
        if not may_cancel(by, header, requester, self._connection.identity.credential):
            return refused(Reject(Code.REQUEST_DENIED))
        task = self._waiting.pop(id_)
        if task is not None:
            self._answer(task.delivery, refused(Reject(Code.CANCELLED)), task.again)
            if whose is None or not task.again:
                return Answer(result={"was": WAITED})
            control = None  # an earlier process called its handler, and what that did is in force
        if control is None:
            self._releases[delivery.message.id] = delivery
            self._connection.ledger.release(id_, lambda word: self._released(delivery.message.id, word))
            return None
        if whose is not None:  # when its handler has returned
            self._connection.ledger.release(id_, lambda word: None)
        if not control.cancelled and control not in self._to_tell:
            self._to_tell.append(control)
            self._tell_handlers()
        return Answer(result={"was": RUNNING})

    def _released(self, id_: bytes, word: str) -> None:
        """The effect that this action was to release has ended, or could not be ended yet. Locks by itself."""
        with self._changed:
            delivery = self._releases.pop(id_, None)
            if delivery is not None:
                self._answer(delivery, Answer(result={"was": IN_FORCE, "effect": str(word)}), False)

    def finish(self) -> None:
        """Nothing is reverted any more by this process. What is to be is written down, and goes on with the next."""
        for id_ in list(self._releases):
            self._released(id_, _LATER)

    def _tell_handlers(self) -> None:
        """Each on a thread of its own, which may be held up for as long as a program likes; no more than handlers."""
        while self._to_tell and self._telling < self._handlers_max:
            self._telling += 1
            name = f"fabric {self._connection.identity.id} cancels"
            threading.Thread(target=self._tell_handler, args=[self._to_tell.pop(0)], daemon=True, name=name).start()

    def _tell_handler(self, control: Control) -> None:
        try:
            control.cancel()
        except BaseException as error:  # noqa: BLE001 - whatever a program does when it hears of it, an exit too
            self._log.error("on_cancel raised", error=type(error).__name__, trace=trace_of(error))
        with self._changed:
            self._telling -= 1
            self._tell_handlers()
