"""Calls the inverse of what handlers did (SPEC 9.8), and tells requesters what became of the effect of their actions.

Guarantees: a revert runs on a thread of its own, beside handlers that are all at work; one that does not return holds
up others only where many do, and is never called a second time meanwhile; whatever it does, raises or returns, the
ledger learns whether it went well. What a requester is told is forgotten when somebody else holds it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import structlog

from fabric.edge.handling.handlers import Answer, Handler, Handlers, action_kept, answer_of, failed
from fabric.edge.identity.identity import Identity
from fabric.edge.locks import Condition
from fabric.edge.logging.faults import trace_of
from fabric.edge.messages import Action
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ledger_ops import KeepLease
from fabric.protocol.envelope.field_labels import Record
from fabric.protocol.vocabulary.openc2 import End, topic_of
from fabric.transport.clock import Clock

# Reverts at a time. One that has not returned after so long is not counted any more, up to as many threads.
_AT_ONCE: Final = 8
HANGS_MS: Final = 60_000
_THREADS_MAX: Final = 64
# A line in the log now and then says as much as one for each that fails.
_SAY_MS: Final = 10_000


class Effect(NamedTuple):
    """What its requester is told of an effect. `is_last`: of one that is over, nothing follows."""

    id: bytes
    stamp: Stamp
    record: Record
    is_last: bool


class Records(Protocol):
    """What of the ledger a revert needs."""

    def reverted(self, id_: bytes, answer: Answer) -> None:
        """A revert returned. From any thread."""

    def lease_told(self, id_: bytes) -> None:
        """Somebody else holds what is to be said, or nobody can. From any thread."""


class Connection(Protocol):
    """What of a control point's connection a revert needs."""

    @property
    def identity(self) -> Identity: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def ledger(self) -> Records: ...

    @property
    def ended(self) -> FabricError | None:
        """What ended it for good."""


class Reverting:
    """`call(revert, action)` runs one, on a thread of this; it may block."""

    def __init__(
        self, connection: Connection, publish: Callable[[Stamp, Record], Future[str]], handlers: Handlers,
        call: Callable[[Handler, Action], Any], log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._connection = connection
        self._publish = publish
        self._handlers = handlers
        self._call = call
        self._log = log
        self._changed = Condition()
        self._waiting: deque[KeepLease] = deque()
        self._words: deque[Effect] = deque()
        self._began_ms: dict[bytes, int] = {}  # those at work
        self._threads = 0
        self._teller: threading.Thread | None = None
        self._say_ms = 0
        self._stopped = False

    # -- the connection's thread ------------------------------------------------------------------------

    def knows(self, topic: str) -> bool:
        """Whether something reverts such actions."""
        return self._handlers.revert_of(topic) is not None

    def revert(self, lease: KeepLease) -> None:
        """The ledger hears of it."""
        with self._changed:
            if not self._stopped:
                self._waiting.append(lease)
                self._start_threads()

    def tell(self, effect: Effect) -> None:
        """Its requester, when there is somebody to tell."""
        with self._changed:
            if self._stopped:
                return
            self._words.append(effect)
            if self._teller is None:
                name = f"fabric {self._connection.identity.id} effects"
                self._teller = threading.Thread(target=self._tell_all, daemon=True, name=name)
                self._teller.start()
            self._changed.notify_all()

    def hanging(self, now_ms: int) -> list[bytes]:
        """Those that have not returned for long. Others may run beside them."""
        with self._changed:
            self._start_threads()
            return [id_ for id_, began_ms in self._began_ms.items() if now_ms - began_ms >= HANGS_MS]

    # -- from any thread --------------------------------------------------------------------------------

    def finish(self, timeout_s: float | None) -> int:
        """Begin nothing more, and wait for what runs: how many still do."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._began_ms, timeout_s)
            return len(self._began_ms)

    # -- threads of its own -----------------------------------------------------------------------------

    def _start_threads(self) -> None:
        now_ms = self._connection.clock.now_ms()
        hanging = sum(now_ms - began_ms >= HANGS_MS for began_ms in self._began_ms.values())
        wanted = min(_AT_ONCE, len(self._waiting) + len(self._began_ms) - hanging) + hanging
        while self._threads < min(wanted, _THREADS_MAX):
            self._threads += 1
            name = f"fabric {self._connection.identity.id} reverts"
            threading.Thread(target=self._work, daemon=True, name=name).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._threads -= 1
                    return
                lease = self._waiting.popleft()
                self._began_ms[lease.id] = self._connection.clock.now_ms()
            answer = self._revert(lease)
            # Before it is not at work any more: whoever waits for that closes the connection.
            self._connection.ledger.reverted(lease.id, answer)
            with self._changed:
                del self._began_ms[lease.id]
                self._changed.notify_all()

    def _revert(self, lease: KeepLease) -> Answer:
        action = action_kept(lease.envelope, lease.hops)
        if isinstance(action, Reject):
            return failed(action.code)
        revert = self._handlers.revert_of(topic_of(action.action, action.target_type))
        if revert is None:
            self._say("revert failed", action, reason="nothing that runs here ends this effect: run what began it")
            return failed(Code.NOT_REVERTED)
        try:
            answer = answer_of(self._call(revert, action))
            if answer.end is not End.COMPLETED:
                self._say("revert failed", action, reason=answer.reason)
            return answer
        except BaseException as error:  # noqa: BLE001 - whatever it raises, an exit too: it is called again
            self._say("revert failed", action, error=type(error).__name__, trace=trace_of(error))
            return failed(Code.HANDLER_FAILED)

    def _say(self, event: str, action: Action, **fields: str) -> None:
        with self._changed:
            now_ms = self._connection.clock.now_ms()
            if now_ms < self._say_ms:
                return
            self._say_ms = now_ms + _SAY_MS
        self._log.error(event, action=action.action, id=action.id, next="it is called again", **fields)

    def _tell_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._words) or self._stopped)
                if self._stopped:
                    return
                effect = self._words.popleft()
            try:
                self._publish(effect.stamp, effect.record).add_done_callback(partial(self._told, effect))
            except FabricError as error:
                self._not_told(error, effect)

    def _told(self, effect: Effect, done: Future[str]) -> None:
        """On the connection's thread, or at once."""
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._not_told(error, effect)
        elif effect.is_last:
            self._connection.ledger.lease_told(effect.id)

    def _not_told(self, error: BaseException, effect: Effect) -> None:
        """With the connection's end the next program tells it; what only came too late is told again."""
        if self._connection.ended is not None or not effect.is_last:
            return
        if isinstance(error, FabricError) and error.code in (Code.EXPIRED, Code.CLOSED):
            self.tell(effect)
            return
        code = error.code.label if isinstance(error, FabricError) else type(error).__name__
        self._log.error("end of an effect not told", id=effect.stamp.correlation.hex(), code=code)
        self._connection.ledger.lease_told(effect.id)
