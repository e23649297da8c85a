"""Actions at work (SPEC 9.3): from a delivery to a handler, and to the one result that its requester gets.

Guarantees: no more than `at_once` handlers run at a time, each on a thread of its own that keeps nobody from ending the
program; an action that finds none free waits, urgent first, and ends as expired when its time is over; every action
that was taken ends in an answer, whatever its handler does, raises or returns: what cannot be sent of a result is left
out and named. That a handler is called is in the ledger before it is, and an answer before it is told; one that cannot
be written there is told nevertheless. After `finish` nothing new begins: what comes is refused, what waits too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import structlog

from fabric.edge.acting.at_work import AtWork
from fabric.edge.acting.attachments import Attachments
from fabric.edge.acting.calling import BeingReverted, Calling
from fabric.edge.acting.calling import Connection as CallConnection
from fabric.edge.acting.calling import Records as CallRecords
from fabric.edge.acting.cancelling import Cancelling
from fabric.edge.acting.cancelling import Records as CancelRecords
from fabric.edge.acting.clerk import Clerk
from fabric.edge.acting.letters import Connection as AnswerConnection
from fabric.edge.acting.letters import Letter, Letters
from fabric.edge.acting.letters import Records as AnswerRecords
from fabric.edge.acting.waiting import Entry, Task, Waiting
from fabric.edge.control import Control
from fabric.edge.effects.lasting import Lasting, lasting_of
from fabric.edge.effects.leasing import Lasts
from fabric.edge.effects.reverting import Records as RevertRecords
from fabric.edge.effects.reverting import Reverting
from fabric.edge.handling.handlers import (
    Answer,
    Handler,
    Handlers,
    interrupted,
    read_action,
    refused,
)
from fabric.edge.handling.replies import About, Reply
from fabric.edge.locks import Condition, Room
from fabric.edge.messages import Action
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.access.permissions import cancels
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ledger_ops import KeepCancelled
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.field_labels import Record
from fabric.protocol.envelope.parts import Open
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.openc2 import End, Status

AT_ONCE = 8
# Actions that wait for a handler: what eight handlers of a second each get through in two minutes.
WAITING_MAX = 1_024
# A line in the log now and then says as much as one for each action that has to wait.
_SAY_MS = 10_000


class Use(NamedTuple):
    """How the handlers of a control point are used."""

    running: int
    waiting: int
    at_once: int


class Records(AnswerRecords, RevertRecords, CancelRecords, CallRecords, Protocol):
    """What of the ledger an execution needs. Each call raises what ended the connection."""

    def begin_now(self, id_: bytes, lasts: Lasts | None, now_ms: int) -> Future[None]:
        """As `begin`, by the connection's thread, in whose turn it is on disk."""


class Connection(AnswerConnection, CallConnection, Protocol):
    """What of a control point's connection an execution needs."""

    @property
    def ledger(self) -> Records: ...


class Executing:
    """`call(handler, action)` runs a handler, on a thread of this; it may block. The future of `publish` ends when the
    result is durable, or with why not. `attachments` keeps what the handler of an action leaves; `open_` is for what is
    sealed."""

    def __init__(
        self,
        connection: Connection,
        publish: Callable[[Stamp, Record], Future[str]],
        handlers: Handlers,
        call: Callable[[Handler, Action], Any],
        log: structlog.typing.FilteringBoundLogger,
        at_once: int = AT_ONCE,
        attachments: Callable[[Verified], Attachments | None] = lambda _: None,
        open_: Open | None = None,
    ) -> None:
        self._open = open_
        self._attachments = attachments
        self._connection = connection
        self._publish = publish
        self._handlers = handlers
        self._calling = Calling(connection, call, log)
        self._log = log
        self._at_once = at_once
        self._changed = Condition()
        self._free = Room(self._changed)  # handlers that wait for work; each of them is woken for a task of its own
        desk = Room(self._changed)
        self._waiting = Waiting()
        self._letters = Letters(connection, publish, self._changed, desk, log)
        self.reverting = Reverting(connection, publish, handlers, call, log)
        self._threads: list[threading.Thread] = []
        self._at_work = AtWork()
        self._clerk = Clerk(
            connection, publish, self._letters, self._at_work, self._waiting, self._changed, desk, self._expire
        )
        self._cancelling = Cancelling(
            connection, self._at_work, self._waiting, self._not_begun, self._changed, at_once, log
        )
        self._running = 0
        self._say_ms = 0
        self._due_ms: int | None = None
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
            self._letters.taken()
            self._tell_later(self._letters.reply(about, answer))

    def tell_again(self, reply: Reply) -> None:
        """What the ledger has already."""
        with self._changed:
            self._letters.taken()
            self._tell_later(reply, is_kept=True)

    def was_cancelled(self, kept: KeepCancelled, by: Credential) -> list[KeepCancelled]:
        """An earlier process was told not to begin an action that comes. What is forgotten for it."""
        with self._changed:
            return self._cancelling.restore(kept, by, self._connection.clock.now_ms())

    def is_idempotent(self, topic: str) -> bool | None:
        """Whether the handler of these actions is; None where there is none."""
        return self._handlers.is_idempotent(topic)

    @property
    def due_ms(self) -> int | None:
        """When `look` is to be called at the latest."""
        return self._due_ms

    def look(self, now_ms: int) -> None:
        """Each turn: something may be to be said of what does not end at once. The clerk need not wait for that."""
        if not self._at_work and self._due_ms is None:
            return  # as mostly: no lock for that
        with self._changed:
            due_ms = self._at_work.due_ms
            is_due = due_ms is not None and due_ms <= now_ms
            if is_due:
                self._clerk.needed(waits=False)
            self._due_ms = None if is_due else due_ms

    def _take(self, delivery: Delivery, *, again: bool) -> None:
        now_ms = self._connection.clock.now_ms()
        header = delivery.message.header
        about = About(header, delivery.message.leaf)
        left = self._attachments(delivery.message)
        control = Control(lambda progress, note: self._progresses(about.id, progress, note), left)
        action = read_action(delivery, self._open)
        if isinstance(action, Action):
            action = replace(action, control=control)
        with self._changed:
            self._letters.taken()
            if isinstance(action, Reject):
                self._not_begun(delivery, refused(action), again)
            elif cancelled := cancels(header):
                self._cancelling.cancel(delivery, action, cancelled, now_ms, again=again)
            elif isinstance(task := self._task(delivery, action, left, now_ms, again=again), Task):
                self._enqueue(task, about, control)
            else:
                self._not_begun(delivery, task, again)
            say = self._running + len(self._waiting) > self._at_once and now_ms >= self._say_ms
            if say:
                self._say_ms = now_ms + _SAY_MS
        if say:
            self._log.warning(
                "all handlers are busy", running=self._at_once, waiting=len(self._waiting),
                next="make them faster, or give the control point more of them",
            )

    def _task(
        self, delivery: Delivery, action: Action, left: Attachments | None, now_ms: int, *, again: bool
    ) -> Task | Answer:
        """What a handler is to do, or the answer that this action gets at once."""
        message = delivery.message
        header = message.header
        if self._cancelling.has(message.id, header, now_ms):
            return refused(Reject(Code.CANCELLED))
        handler = self._handlers.find(header.topic)
        if handler is None:
            return refused(Reject(Code.NO_HANDLER))
        lasting = self._lasting(action, delivery)
        if isinstance(lasting, Reject):
            return refused(lasting)
        if self._finishing:
            return refused(Reject(Code.STOPPING))
        if len(self._waiting) >= WAITING_MAX:
            return refused(Reject(Code.HANDLERS_BUSY))
        if header.terms.dry_run:
            late = self._connection.still_valid(delivery, now_ms)
            return Answer(End.READY) if late is None else refused(late)
        # Its stop_time may come before its time to live is over.
        deadline_ms = now_ms + max(0, action.deadline_ms - message.counts_from_ms - delivery.age_ms)
        return Task(delivery, action, handler, lasting, now_ms, deadline_ms, again, left)

    def _enqueue(self, task: Task, about: About, control: Control) -> None:
        begins = self._begins(task)
        self._waiting.add(task._replace(begins=begins))
        self._at_work.taken(about, control, task.arrived_ms)
        self._start_threads()
        self._due_ms = self._at_work.due_ms
        if begins is None:
            self._clerk.needed(waits=True)
            self._free.notify()
        else:
            begins.add_done_callback(lambda _: self._may_begin())

    def _begins(self, task: Task) -> Future[None] | None:
        """Where a handler is free, this thread says itself that it is called: the turn has a commit for that too."""
        busy = self._running + len(self._waiting) >= self._at_once
        if busy or task.again or self._connection.still_valid(task.delivery, task.arrived_ms) is not None:
            return None
        now_ms = self._connection.clock.now_ms()
        return self._connection.ledger.begin_now(task.delivery.message.id, task.lasts(now_ms), now_ms)

    def _may_begin(self) -> None:
        with self._changed:
            self._free.notify()

    def _lasting(self, action: Action, delivery: Delivery) -> Lasting | Reject | None:
        """Which effect it has, and what here ends that; NOT_REVERTED where nothing ends one that is to end."""
        topic, lasting = delivery.message.header.topic, lasting_of(action)
        if not self._handlers.ends(topic):
            if lasting.ends:
                return Reject(Code.NOT_REVERTED, topic)
            return lasting._replace(is_kept_up=False) if lasting.undoes else None
        too_long = lasting.why_not(delivery.message.counts_from_ms + delivery.age_ms)
        return too_long or lasting._replace(ends_itself=self._handlers.revert_of(topic) is None)

    # -- from any thread --------------------------------------------------------------------------------

    def _progresses(self, id_: bytes, progress: float | None, note: str) -> None:
        with self._changed:
            self._at_work.progresses(id_, progress, note, self._connection.clock.now_ms())
            self._clerk.needed(waits=False)

    def finish(self, timeout_s: float | None) -> int:
        """Begin nothing more, refuse what waits, and wait for what runs: how many still do. Their results, and the
        refusals, are on their way then: published, not yet held."""
        with self._changed:
            self._finishing = True
            for task in self._waiting.all():
                self._not_begun(task.delivery, refused(Reject(Code.STOPPING)), task.again)
            self._cancelling.finish()
            # A handler that closes its own control point does not wait for itself.
            own = int(threading.current_thread() in self._threads)
            self._changed.wait_for(lambda: self._letters.open <= own, timeout_s)
            # Whose answer is on its way has perhaps yet to say that its thread is free.
            running = max(0, min(self._running, self._letters.open) - own)
        return running + self.reverting.finish(0.0 if running else timeout_s)

    def abandon(self) -> None:
        """The connection is over: no thread waits for anything any more."""
        with self._changed:
            self._finishing = self._abandoned = True
            self._letters.abandon()
            self._clerk.abandon()
            running = self._running
            self._free.notify_all()
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
                target=self._clerk.run if first else self._work, daemon=True,
                name=f"fabric {self._connection.identity.id} {'answers' if first else 'handler'}",
            )
            self._threads.append(thread)
            thread.start()

    def _not_begun(self, delivery: Delivery, answer: Answer, again: bool) -> None:
        """What is said of it later; what an earlier process did of it nobody knows."""
        about = About(delivery.message.header, delivery.message.leaf)
        self._at_work.ended(about.id)
        self._tell_later(self._letters.reply(about, interrupted() if again else answer))

    def _tell_later(self, reply: Reply, *, is_kept: bool = False) -> None:
        self._letters.add(reply, is_kept=is_kept)
        self._start_threads()

    def _expire(self) -> None:
        """Several times a second, while something waits."""
        now_ms = self._connection.clock.now_ms()
        if self._waiting.look_again():
            self._free.notify_all()
        late = self._waiting.late(now_ms)
        if not late:
            return
        for task in late:
            self._not_begun(task.delivery, _EXPIRED, task.again)
        self._log.warning("actions expired while all handlers were busy", count=len(late), running=self._running)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._free.wait_for(lambda: self._waiting.next() is not None or self._abandoned)
                entry = self._waiting.next()
                if entry is None or self._abandoned:
                    return
                task = self._waiting.take(entry)
                self._running += 1
                self._at_work.begins(task.delivery.message.id, self._connection.clock.now_ms())
            try:
                answer = self._calling.answer(task)
            except BeingReverted:
                self._put_back(entry)
                continue
            message = task.delivery.message
            with self._changed:
                self._at_work.ended(message.id)
            # It is at work until its answer is on its way, and not until somebody holds it.
            if answer is not None:
                self._letters.tell([Letter(self._letters.reply(About(message.header, message.leaf), answer))])
            with self._changed:
                if answer is None:
                    self._letters.not_owed()
                self._running -= 1

    def _put_back(self, entry: Entry) -> None:
        with self._changed:
            self._running -= 1
            if self._finishing:
                self._not_begun(entry.task.delivery, refused(Reject(Code.STOPPING)), entry.task.again)
                return
            self._waiting.put_off(entry._replace(task=entry.task._replace(begins=None)))
            self._clerk.needed(waits=True)


_EXPIRED = Answer(End.EXPIRED, int(Status.SERVICE_UNAVAILABLE), code=Code.HANDLERS_BUSY)
