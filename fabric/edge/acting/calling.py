"""A call of a handler (SPEC 9.3): what is checked and written down immediately before, and what its answer is.

Guarantees: a handler is called only when that is on disk, and while its action may begin; whatever it does, raises or
returns, there is an answer. A handler's traceback stands in this control point's own log, bounded, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

import structlog

from fabric.edge.acting.waiting import Task
from fabric.edge.effects.leasing import Lasts
from fabric.edge.handling.handlers import Answer, Handler, answer_of, failed, interrupted, refused
from fabric.edge.logging.faults import trace_of
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Delivery
from fabric.transport.clock import Clock


class BeingReverted(Exception):  # noqa: N818 - it is no error
    """What a handler would do is just being reverted."""


class Records(Protocol):
    """What of the ledger a call needs. Each raises what ended the connection."""

    def begin(self, id_: bytes, lasts: Lasts | None = None) -> Future[None]:
        """Ends when it is on disk that the handler of this action is called, and for how long what it does lasts.
        BUSY: that is just being reverted."""


class Connection(Protocol):
    """What of a control point's connection a call needs."""

    @property
    def clock(self) -> Clock: ...

    @property
    def ledger(self) -> Records: ...

    def still_valid(self, delivery: Delivery, arrived_ms: int) -> Reject | None:
        """Why the action may not begin now."""


class Calling:
    """`call(handler, action)` runs a handler, on the thread that asks for an answer; it may block."""

    def __init__(
        self, connection: Connection, call: Callable[[Handler, Action], Any],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._connection = connection
        self._call = call
        self._log = log

    def answer(self, task: Task) -> Answer | None:
        """None where nothing is to be said: it could not be written down, so it was not begun, and the next process
        that has the ledger goes on with it. Raises BeingReverted."""
        late = self._late(task) if task.begins is None else None
        if late is None:
            try:
                (task.begins or self._begin(task)).result()
            except FabricError as error:
                if error.code is Code.BUSY:
                    raise BeingReverted from None
                if error.code not in (Code.NOT_KNOWN_HERE, Code.LEASES_FULL, Code.CANCELLED):
                    self._log.error("action not begun", id=task.action.id, code=error.code.label, why=error.detail)
                    return None
                late = Reject(error.code)
        # To write it down took some time.
        late = late or self._late(task)
        if late is not None:
            return interrupted() if task.again else refused(late)
        returned: Any = None
        try:
            returned = self._call(task.handler, task.action)
            answer = answer_of(returned)
            if task.action.control.cancelled and answer.code is Code.HANDLER_FAILED:
                answer = replace(answer, code=Code.CANCELLED)
        except BaseException as error:  # noqa: BLE001 - whatever it raises, an exit too, is the target's result
            self._log.error("handler failed", action=task.action.action, id=task.action.id,
                            error=type(error).__name__, trace=trace_of(error))
            answer = failed(Code.CANCELLED if task.action.control.cancelled else Code.HANDLER_FAILED)
        return answer if task.left is None else task.left.close(answer, returned)

    def _begin(self, task: Task) -> Future[None]:
        return self._connection.ledger.begin(
            task.delivery.message.id, task.lasts(self._connection.clock.now_ms())
        )

    def _late(self, task: Task) -> Reject | None:
        if self._connection.clock.now_ms() >= task.deadline_ms:
            return Reject(Code.EXPIRED)
        return self._connection.still_valid(task.delivery, task.arrived_ms)
