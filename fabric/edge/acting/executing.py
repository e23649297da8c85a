"""Actions at work (SPEC 9.3): from a delivery to a handler, and to the one result that its requester gets.

Guarantees: no more than `at_once` handlers run at a time, each on a thread of its own that keeps nobody from ending the
program; an action that finds none free waits, urgent first, and ends as expired when its time is over; every action
that was taken ends in an answer, whatever its handler does, raises or returns: what cannot be sent of a result is left
out and named. That a handler is called is in the ledger before it is, and an answer before it is told; one that cannot
be written there is told nevertheless. After `finish` nothing new begins: what comes is refused, what waits too.

A handler's traceback stands in this control point's own log, bounded, and nowhere else.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import structlog

from fabric.edge.acting.at_work import AtWork, Word
from fabric.edge.acting.cancelled import Cancelled
from fabric.edge.acting.handlers import (
    Answer,
    Handler,
    Handlers,
    answer_of,
    failed,
    interrupted,
    read_action,
    refused,
)
from fabric.edge.acting.replies import About, Reply
from fabric.edge.control import Control
from fabric.edge.identity.identity import Identity
from fabric.edge.locks import Condition
from fabric.edge.logging.faults import trace_of
from fabric.edge.messages import Action
from fabric.edge.publishing.composer import Stamp
from fabric.protocol.access.permissions import cancels, may_cancel
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.field_labels import Record
from fabric.protocol.vocabulary.openc2 import End, Status
from fabric.transport.clock import Clock

AT_ONCE = 8
# Actions that wait for a handler: what eight handlers of a second each get through in two minutes.
WAITING_MAX = 1_024
# How often those are looked at that wait: an answer that one came too late is for somebody who waits for it.
_LOOK_S = 0.1
# A line in the log now and then says as much as one for each action that has to wait.
_SAY_MS = 10_000


class _Task(NamedTuple):
    delivery: Delivery
    action: Action
    handler: Handler
    arrived_ms: int
    deadline_ms: int  # by this machine's steady clock
    again: bool  # its handler was called before, by a process that ended


class Use(NamedTuple):
    """How the handlers of a control point are used."""

    running: int
    waiting: int
    at_once: int


class _Letter(NamedTuple):
    """A reply on its way. `is_kept`: the ledger has it. `again`: what is refused of it may be told as less."""

    reply: Reply
    is_kept: bool = False
    again: bool = True


class Records(Protocol):
    """What of the ledger an execution needs. Each call raises what ended the connection."""

    def begin(self, id_: bytes) -> Future[None]:
        """Ends when it is on disk that the handler of this action is called."""

    def keep(self, reply: Reply) -> Future[None]:
        """Ends when it is on disk what a requester is to be told."""

    def told(self, id_: bytes) -> None:
        """Somebody else holds the answer."""


class Connection(Protocol):
    """What of a control point's connection an execution needs."""

    @property
    def identity(self) -> Identity: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def ledger(self) -> Records: ...

    @property
    def ended(self) -> FabricError | None:
        """What ended it for good."""

    def still_valid(self, delivery: Delivery, arrived_ms: int) -> Reject | None:
        """Why the action may not begin now."""


class Executing:
    """`call(handler, action)` runs a handler, on a thread of this; it may block. The future of `publish` ends when the
    result is durable, or with why not."""

    def __init__(
        self,
        connection: Connection,
        publish: Callable[[Stamp, Record], Future[str]],
        handlers: Handlers,
        call: Callable[[Handler, Action], Any],
        log: structlog.typing.FilteringBoundLogger,
        at_once: int = AT_ONCE,
    ) -> None:
        self._connection = connection
        self._publish = publish
        self._handlers = handlers
        self._call = call
        self._log = log
        self._at_once = at_once
        self._changed = Condition()
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, _Task]] = []  # a heap: lane, order of arrival
        self._letters: deque[_Letter] = deque()
        self._threads: list[threading.Thread] = []
        self._at_work = AtWork()
        self._cancelled = Cancelled()
        self._to_cancel: list[Control] = []
        self._telling = 0  # handlers that are just hearing that they are cancelled
        self._running = 0
        self._open = 0  # actions taken, until their answer is on its way
        self._say_ms = 0
        self._finishing = False
        self._abandoned = False

    @property
    def use(self) -> Use:
        with self._changed:
            return Use(self._running, len(self._waiting), self._at_once)

    # -- the connection's thread ------------------------------------------------------------------------

    def take(self, delivery: Delivery) -> None:
        """An action is to be executed."""
        self._take(delivery, again=False)

    def take_again(self, delivery: Delivery) -> None:
        """The same of one whose handler was called by an earlier process: what it may have done is not known."""
        self._take(delivery, again=True)

    def answer(self, about: About, answer: Answer) -> None:
        """An action of an earlier process is not executed."""
        with self._changed:
            self._open += 1
            self._tell_later(_Letter(self._reply(about, answer)))

    def tell_again(self, reply: Reply) -> None:
        """What the ledger has already."""
        with self._changed:
            self._open += 1
            self._tell_later(_Letter(reply, is_kept=True))

    def is_idempotent(self, topic: str) -> bool | None:
        """Whether the handler of these actions is; None where there is none."""
        return self._handlers.is_idempotent(topic)

    def _take(self, delivery: Delivery, *, again: bool) -> None:
        now_ms = self._connection.clock.now_ms()
        header = delivery.message.header
        about = About(header, delivery.message.leaf)
        control = Control(lambda progress, note: self._progresses(about.id, progress, note))
        action = read_action(delivery)
        if isinstance(action, Action):
            action = replace(action, control=control)
        handler = self._handlers.find(header.topic)
        with self._changed:
            self._open += 1
            if isinstance(action, Reject):
                self._not_begun(delivery, refused(action), again)
            elif cancelled := cancels(header):
                self._not_begun(delivery, self._cancel(delivery, action, cancelled, now_ms), again)
            elif self._cancelled.has(about.id, header.origin, self._connection.identity.credential, now_ms):
                self._not_begun(delivery, refused(Reject(Code.CANCELLED)), again)
            elif handler is None:
                self._not_begun(delivery, refused(Reject(Code.NO_HANDLER)), again)
            elif self._finishing:
                self._not_begun(delivery, refused(Reject(Code.STOPPING)), again)
            elif len(self._waiting) >= WAITING_MAX:
                self._not_begun(delivery, refused(Reject(Code.HANDLERS_BUSY)), again)
            elif header.terms.dry_run:
                late = self._connection.still_valid(delivery, now_ms)
                self._not_begun(delivery, Answer(End.READY) if late is None else refused(late), again)
            else:
                # Its stop_time may come before its time to live is over.
                deadline_ms = now_ms + max(0, action.deadline_ms - delivery.message.counts_from_ms - delivery.age_ms)
                task = _Task(delivery, action, handler, now_ms, deadline_ms, again)
                heapq.heappush(self._waiting, (header.lane, next(self._numbers), task))
                self._at_work.taken(about, control, now_ms)
                self._start_threads()
                self._changed.notify_all()
            say = self._running + len(self._waiting) > self._at_once and now_ms >= self._say_ms
            if say:
                self._say_ms = now_ms + _SAY_MS
        if say:
            self._log.warning(
                "all handlers are busy", running=self._at_once, waiting=len(self._waiting),
                next="make them faster, or give the control point more of them",
            )

    def _cancel(self, delivery: Delivery, action: Action, cancelled: bytes, now_ms: int) -> Answer:
        """End this action: what waits is not begun, and who is at work hears of it. What comes later is refused."""
        id_ = cancelled[:ID_BYTES]
        if action.target.value != id_.hex():
            return refused(Reject(Code.BAD_ACTION, "target.command: not the action that the header names"))
        if delivery.message.header.terms.dry_run:
            return Answer(End.READY)
        by, header = delivery.message.credential, delivery.message.header
        known = self._at_work.control_of(id_)
        if known is None:
            self._cancelled.add(id_, by, header, now_ms)
            return Answer(result={"was": "not at work"})
        control, requester = known
        if not may_cancel(by, header, requester, self._connection.identity.credential):
            return refused(Reject(Code.REQUEST_DENIED))
        task = next((task for _, _, task in self._waiting if task.delivery.message.id == id_), None)
        if task is None:
            if not control.cancelled and control not in self._to_cancel:
                self._to_cancel.append(control)
                self._tell_handlers()
            return Answer(result={"was": "running"})
        self._waiting = [entry for entry in self._waiting if entry[2] is not task]
        heapq.heapify(self._waiting)
        self._not_begun(task.delivery, refused(Reject(Code.CANCELLED)), task.again)
        return Answer(result={"was": "waiting"})

    # -- from any thread --------------------------------------------------------------------------------

    def _progresses(self, id_: bytes, progress: float | None, note: str) -> None:
        with self._changed:
            self._at_work.progresses(id_, progress, note, self._connection.clock.now_ms())
            self._changed.notify_all()

    def finish(self, timeout_s: float | None) -> int:
        """Begin nothing more, refuse what waits, and wait for what runs: how many still do. Their results, and the
        refusals, are on their way then: published, not yet held."""
        with self._changed:
            self._finishing = True
            while self._waiting:
                task = heapq.heappop(self._waiting)[2]
                self._not_begun(task.delivery, refused(Reject(Code.STOPPING)), task.again)
            self._changed.notify_all()
            # A handler that closes its own control point does not wait for itself.
            own = int(threading.current_thread() in self._threads)
            self._changed.wait_for(lambda: self._open <= own, timeout_s)
            return max(0, self._running - own)

    def abandon(self) -> None:
        """The connection is over: no thread waits for anything any more."""
        with self._changed:
            self._finishing = self._abandoned = True
            running = self._running
            self._changed.notify_all()
        if running:
            self._log.error("closed while handlers were at work: what they do is not told", running=running)

    # -- threads of its own -----------------------------------------------------------------------------

    def _start_threads(self) -> None:
        """One that tells answers and looks at what waits, and as many handlers as there is work for."""
        wanted = 1 + min(self._at_once, self._running + len(self._waiting))
        while len(self._threads) < wanted:
            first = not self._threads
            thread = threading.Thread(
                target=self._clerk if first else self._work, daemon=True,
                name=f"fabric {self._connection.identity.id} {'answers' if first else 'handler'}",
            )
            self._threads.append(thread)
            thread.start()

    def _not_begun(self, delivery: Delivery, answer: Answer, again: bool) -> None:
        """What is said of it later; what an earlier process did of it nobody knows."""
        about = About(delivery.message.header, delivery.message.leaf)
        self._at_work.ended(about.id)
        self._tell_later(_Letter(self._reply(about, interrupted() if again else answer)))

    def _tell_later(self, letter: _Letter) -> None:
        self._letters.append(letter)
        self._start_threads()
        self._changed.notify_all()

    def _clerk(self) -> None:
        """Answers what needs no handler, and what waited for one until its time was over; says what is at work."""
        while True:
            with self._changed:
                words = self._at_work.due(self._connection.clock.now_ms())
                while not (self._letters or words or self._abandoned):
                    self._changed.wait(self._pause_s())
                    self._expire()
                    words = self._at_work.due(self._connection.clock.now_ms())
                if self._abandoned:
                    return
                letters = list(self._letters)
                self._letters.clear()
            self._tell(letters)
            for word in words:
                self._say(word)

    def _pause_s(self) -> float | None:
        """How long nothing is to be done, if nothing comes."""
        due_ms = self._at_work.due_ms
        until_due_s = None if due_ms is None else max(0.001, (due_ms - self._connection.clock.now_ms()) / 1000)
        if self._waiting:
            return _LOOK_S if until_due_s is None else min(_LOOK_S, until_due_s)
        return until_due_s

    def _tell_handlers(self) -> None:
        """Each on a thread of its own, which may be held up for as long as a program likes; no more than handlers."""
        while self._to_cancel and self._telling < self._at_once:
            self._telling += 1
            name = f"fabric {self._connection.identity.id} cancels"
            threading.Thread(target=self._tell_handler, args=[self._to_cancel.pop(0)], daemon=True, name=name).start()

    def _tell_handler(self, control: Control) -> None:
        try:
            control.cancel()
        except BaseException as error:  # noqa: BLE001 - whatever a program does when it hears of it, an exit too
            self._log.error("on_cancel raised", error=type(error).__name__, trace=trace_of(error))
        with self._changed:
            self._telling -= 1
            self._tell_handlers()

    def _say(self, word: Word) -> None:
        """Nobody waits for it: what cannot be said now is said the next time."""
        with suppress(FabricError):
            self._publish(word.stamp(), word.record(self._connection.identity.id)).add_done_callback(lambda _: None)

    def _expire(self) -> None:
        now_ms = self._connection.clock.now_ms()
        late = [entry for entry in self._waiting if entry[2].deadline_ms <= now_ms]
        if not late:
            return
        self._waiting = [entry for entry in self._waiting if entry[2].deadline_ms > now_ms]
        heapq.heapify(self._waiting)
        for _, _, task in late:
            self._not_begun(task.delivery, _EXPIRED, task.again)
        self._log.warning("actions expired while all handlers were busy", count=len(late), running=self._running)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._abandoned)
                if self._abandoned:
                    return
                task = heapq.heappop(self._waiting)[2]
                self._running += 1
                self._at_work.begins(task.delivery.message.id, self._connection.clock.now_ms())
            answer = self._execute(task)
            message = task.delivery.message
            with self._changed:
                self._at_work.ended(message.id)
            # It is at work until its answer is on its way, and not until somebody holds it.
            if answer is not None:
                self._tell([_Letter(self._reply(About(message.header, message.leaf), answer))])
            with self._changed:
                self._open -= answer is None
                self._running -= 1
                self._changed.notify_all()

    def _execute(self, task: _Task) -> Answer | None:
        """None where nothing is to be said: it could not be written down, so it was not begun, and the next process
        that has the ledger goes on with it."""
        late = self._late(task)
        if late is None:
            try:
                self._connection.ledger.begin(task.delivery.message.id).result()
            except FabricError as error:
                if error.code is not Code.NOT_KNOWN_HERE:
                    self._log.error("action not begun", id=task.action.id, code=error.code.label, why=error.detail)
                    return None
                late = Reject(error.code)
        # To write it down took some time.
        late = late or self._late(task)
        if late is not None:
            return interrupted() if task.again else refused(late)
        try:
            answer = answer_of(self._call(task.handler, task.action))
            if task.action.control.cancelled and answer.code is Code.HANDLER_FAILED:
                return replace(answer, code=Code.CANCELLED)
            return answer
        except BaseException as error:  # noqa: BLE001 - whatever it raises, an exit too, is the target's result
            self._log.error("handler failed", action=task.action.action, id=task.action.id,
                            error=type(error).__name__, trace=trace_of(error))
            return failed(Code.CANCELLED if task.action.control.cancelled else Code.HANDLER_FAILED)

    def _late(self, task: _Task) -> Reject | None:
        if self._connection.clock.now_ms() >= task.deadline_ms:
            return Reject(Code.EXPIRED)
        return self._connection.still_valid(task.delivery, task.arrived_ms)

    # -- answers ----------------------------------------------------------------------------------------

    def _reply(self, about: About, answer: Answer) -> Reply:
        if answer.code is Code.RESULT_UNFIT:
            self._log.warning("result not sent whole", id=about.leaf.hex(), why=answer.reason)
        try:
            return Reply.to(about, answer, self._connection.identity)
        except Exception as error:  # noqa: BLE001 - an answer of a kind that nobody thought of is not to be silence
            self._log.error("result not sent", error=type(error).__name__, trace=trace_of(error))
            return Reply.to(about, failed(Code.HANDLER_FAILED), self._connection.identity)

    def _tell(self, letters: Sequence[_Letter]) -> None:
        """Write them down, together, and publish each."""
        for letter, kept in [(letter, self._keep(letter)) for letter in letters]:
            try:
                if kept is not None:
                    kept.result()
            except FabricError as error:  # it was done, and is told nevertheless
                self._log.error("result not kept", id=letter.reply.stamp.correlation.hex(), code=error.code.label)
            self._publish_one(letter)

    def _keep(self, letter: _Letter) -> Future[None] | None:
        try:
            return None if letter.is_kept else self._connection.ledger.keep(letter.reply)
        except FabricError:
            return None  # the end of the connection, which publishing finds as well

    def _publish_one(self, letter: _Letter) -> None:
        """One that is refused is tried once more, as no more than how it ended."""
        try:
            sent = self._publish(letter.reply.stamp, letter.reply.record)
            sent.add_done_callback(lambda done: self._told(done, letter))
        except FabricError as error:
            self._not_told(letter.reply, error)
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def _told(self, done: Future[str], letter: _Letter) -> None:
        """On the connection's thread, or at once."""
        error = None if done.cancelled() else done.exception()
        if error is None:
            self._connection.ledger.told(letter.reply.id)
            return
        # With the connection's end there is nobody to tell any more.
        if letter.again and isinstance(error, FabricError) and self._connection.ended is None:
            with self._changed:
                if not self._abandoned:
                    self._open += 1
                    self._tell_later(_Letter(letter.reply.bare(error.code.cause), again=False))
                    return
        self._not_told(letter.reply, error)

    def _not_told(self, reply: Reply, error: BaseException) -> None:
        code = error.code.label if isinstance(error, FabricError) else type(error).__name__
        self._log.error("result not sent", id=reply.stamp.correlation.hex(), code=code)


_EXPIRED = Answer(End.EXPIRED, int(Status.SERVICE_UNAVAILABLE), code=Code.HANDLERS_BUSY)
