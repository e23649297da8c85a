"""The same control point for programs without asyncio: every call blocks until it is done.

    with ControlPoint("zeek-1") as point:
        point.publish("detections.zeek.conn", {"uid": "C1"}, severity="high")
        for message in point.subscribe("detections.>", timeout_s=10):
            ...
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from fabric.edge.acting.executing import AT_ONCE, Executing, Use
from fabric.edge.acting.handlers import Handler, Handlers
from fabric.edge.arguments.checks import to_handler, to_record, to_seconds, to_text
from fabric.edge.identity.identity import Identity
from fabric.edge.leaving import CLOSE_TIMEOUT_S, Leaving
from fabric.edge.logging.faults import place_of
from fabric.edge.logging.log import edge_log
from fabric.edge.loop import EdgeLoop
from fabric.edge.messages import Message, Outcome
from fabric.edge.point import (
    CONNECT_TIMEOUT_S,
    RESULT_WAIT_MS,
    Request,
    as_identity,
    at_once,
    is_async,
    request_arguments,
    snapshot,
)
from fabric.edge.publishing.labelling import Labelling
from fabric.edge.publishing.options import action_stamp, check_wanted, publish_stamp, to_position
from fabric.edge.receiving.iterators import Messages
from fabric.edge.receiving.notices import Notice
from fabric.edge.requesting.latest import Latest
from fabric.edge.requesting.tracking import Tracker
from fabric.edge.until import ending_signals, raise_unless_closed
from fabric.protocol.base.errors import Code, FabricError


class Handling:
    """What `on_message` began: a thread that calls a function for each message."""

    def __init__(self, messages: Messages, thread: threading.Thread) -> None:
        self._messages = messages
        self.thread = thread
        thread.start()

    def close(self) -> None:
        """Want no more. The thread ends, unawaited, when the function returns from the message that it has."""
        self._messages.close_later()

    def join(self, timeout_s: float | None) -> None:
        """Until it has ended, unless it is its own function that asks."""
        if self.thread is not threading.current_thread():
            self.thread.join(timeout_s)


class ControlPoint:
    """See `fabric.edge.point.ControlPoint`; the arguments are the same."""

    def __init__(
        self,
        identity: Identity | str | Path,
        *,
        outbox: Path | str | None = None,
        connect_timeout_s: float | None = CONNECT_TIMEOUT_S,
        wait_for_relay: bool = False,
        actions_at_once: int = AT_ONCE,
    ) -> None:
        self.identity = as_identity(identity)
        self._loop = EdgeLoop(self.identity, None if outbox is None else Path(outbox))
        self._connect_timeout_s = connect_timeout_s
        self._labelling = Labelling()
        self._wait_for_relay = wait_for_relay
        self._handlers = Handlers(self.identity.credential.grants.execute, self._loop.denied)
        self._log = edge_log(self.identity.id)
        self._executing = Executing(
            self._loop, self._handlers, lambda handler, action: handler(action), self._log, at_once(actions_at_once)
        )
        self._leaving = Leaving(self._loop, self._executing, self._log)
        self._handlings: list[Handling] = []  # that run, and some that ended

    def __enter__(self) -> ControlPoint:
        self.connect()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._leave_at_once()

    def connect(self) -> None:
        """Connect, or raise the reason: unreachable, or what the relay has against this identity."""
        try:
            self._loop.start()
            self._leaving.begin()
            self._loop.wait_connected(self._connect_timeout_s, patient=self._wait_for_relay)
        except BaseException:
            self._leave_at_once()
            raise

    def flush(self, timeout_s: float | None = None) -> None:
        """Until all that was published is durable, `publish_later` too, or its future says why not.

        Durable: in the outbox where there is one, else at the relay. Raises TIMED_OUT, with how many are not.
        """
        self._leaving.flush(to_seconds(timeout_s, "a timeout_s"))

    def close(self, timeout_s: float | None = CLOSE_TIMEOUT_S) -> None:
        """Leave: handlers at work end and are answered for, what was published is durable, then the connection ends.

        It takes no longer than `timeout_s` (None: as long as it takes), and next to no time with an outbox. Raises
        NOT_HELD with the number of records that are not known to be held, and will not be sent any more. Leaving
        `with` is this; with an exception it waits for nothing, and the number stands in the log.
        """
        bound_s = to_seconds(timeout_s, "a timeout_s")
        began_s = time.monotonic()

        def left_s() -> float | None:
            return None if bound_s is None else max(0.0, bound_s - time.monotonic() + began_s)

        try:
            # Functions at work return, and how far they came is kept, while there is a connection to say it to.
            for handling in self._handlings:
                handling.close()
            for handling in self._handlings if self._loop.runs else ():
                handling.join(left_s())
            lost = self._leaving.leave(left_s())
        except BaseException:  # Ctrl-C while it waited
            self._leave_at_once()
            raise
        if lost:
            raise self._leaving.not_held(lost)

    def _leave_at_once(self) -> None:
        self._leaving.tell_left(self._leaving.leave(0.0))

    def run_forever(self) -> None:
        """Until Ctrl-C, SIGTERM, or `close` in another thread. Raises what else ended the connection for good.

        Signals end it where it is called in a program's main thread; a handler of the program's own is put back.
        """
        stop = threading.Event()
        self._loop.when_over(stop.set)
        try:
            with ending_signals(stop.set):
                stop.wait()
        finally:
            self._loop.not_when_over(stop.set)
        raise_unless_closed(self._loop)

    def publish(self, topic: str, content: Mapping[str, Any], **options: Any) -> str:
        """The record's id, once it is durable. Options as in the asyncio face."""
        return self.publish_later(topic, content, **options).result()

    def publish_later(
        self, topic: str, content: Mapping[str, Any], *, position: tuple[str, str] | None = None,
        wait_s: float | None = None, labels_required: bool = True, **options: Any,
    ) -> Future[str]:
        """The same without waiting; many of these travel in batches.

        Blocks only while too much of its lane waits; longer than `wait_s` raises BUSY, and the record was not taken.
        """
        stamp = publish_stamp(topic, self.identity.defaults, **options)
        record = to_record(content)
        if labels_required:
            self._labelling.require(stamp.rules, record)
        return self._loop.publish(stamp, record, to_position(position), to_seconds(wait_s, "a wait_s"))

    @property
    def waiting(self) -> int:
        """Records that the relay does not hold yet."""
        return self._loop.outgoing.waiting

    @property
    def put_off(self) -> Code | None:
        """Why the relay last said that it takes nothing now: BUSY or RATE_EXCEEDED. None since it took something."""
        return self._loop.core.put_off

    @property
    def held_up(self) -> FabricError | None:
        """Why what is published goes no further at the moment: the outbox's disk is short (DISK_SHORT), no relay is
        connected, or the relay takes nothing in; or why handlers get no actions: another process executes as this
        identity. None while all goes on, as far as is known."""
        return self._loop.held_up

    def renew(self) -> None:
        """Ask this identity's issuer for a newer credential now. By itself it does so when two thirds are over.

        Raises FabricError: NO_ISSUER where it is not online, USAGE where the authority itself vouches for it.
        """
        self._loop.renewing.renew().result()

    def position_of(self, source: str) -> str | None:
        """How far this source was read, as far as the outbox knows."""
        return self._loop.position(source)

    def on_refused(self, tell: Callable[[str, int, FabricError], None]) -> None:
        """Be told (envelope id, records, why) when what was in the outbox ends without delivery.

        On the connection's thread: it must not block.
        """
        self._loop.outgoing.on_refused = tell

    def on_notice(self, tell: Callable[[Notice], None]) -> None:
        """Be told what relays further up held and could not deliver: expired, denied, withheld, unroutable, no room.

        Counts, some time after it happened. On the connection's thread: it must not block.
        """
        self._loop.deliveries.on_notice = tell

    def on_end(self, tell: Callable[[FabricError], None]) -> None:
        """Be told, once, what ended the connection for good: nothing comes or goes any more, and calls raise it.

        On the connection's thread: it must not block.
        """
        self._loop.on_end = tell

    def drain(self, timeout_s: float) -> bool:
        """Until the relay holds all that was published. False when it does not within the time."""
        return self._loop.outgoing.wait_empty(timeout_s)

    def subscribe(self, pattern: str, *, timeout_s: float | None = None, durable: bool = False) -> Messages:
        """Messages as they come, urgent first, from now on: returns when the relay has the subscription.

        `durable`, and when a message is acknowledged, as in the asyncio face. Iteration ends quietly after `timeout_s`
        in all.
        """
        check_wanted(to_text(pattern, "a pattern", "detections.>"))
        return Messages(self._loop.attaching, pattern, timeout_s, durable)

    def forget(self, pattern: str) -> None:
        """Nothing waits for this durable subscription any more."""
        self._loop.attaching.forget(pattern)

    def on_message(
        self, pattern: str, handler: Callable[[Message], None], *, durable: bool = False
    ) -> Handling:
        """Call a function for each message, on a thread of its own; acknowledged after it returned.

        A message at which the function raises is logged, by id and error type, and counts as handled: it would raise
        again. `durable` as in `subscribe`. The calls end with the connection, or when what is returned is closed.
        """
        to_handler(handler)
        messages = self.subscribe(pattern, durable=durable)

        def consume() -> None:
            with suppress(FabricError), messages:
                for message in messages:
                    try:
                        handler(message)
                    except Exception as error:  # noqa: BLE001 - one message must not silence all that follow
                        self._log.error("on_message raised", id=message.id, **place_of(error))

        handling = Handling(messages, threading.Thread(target=consume, name=f"fabric {pattern}", daemon=True))
        self._handlings = [*(h for h in self._handlings if h.thread.is_alive()), handling]
        return handling

    def wait_ready(self) -> None:
        """Until the relay has what this control point takes by now: its subscriptions, and whether it executes."""
        self._loop.standing.wait_attached(self._connect_timeout_s)

    def on_action(self, action: str, target_type: str) -> Callable[[Handler], Handler]:
        """Decorator: this function executes actions like ("deny", "ipv4_net"), on a thread of its own; `*` is any.

        It returns a map, the result; or None; or an `Answer`. What cannot be sent of a result is left out, and named
        as the reason. What it raises is in this program's log, and the action failed.
        """

        def register(handler: Handler) -> Handler:
            if is_async(handler):
                raise FabricError(
                    Code.USAGE, "an async function handles actions in fabric.edge.ControlPoint only",
                    "give a plain function here",
                )
            first = not self._handlers
            self._handlers.add(
                to_text(action, "an action", "deny"), to_text(target_type, "a target", "*"), to_handler(handler)
            )
            if first:
                self._loop.ledger.execute(self._executing.take)
            return handler

        return register

    @property
    def executing(self) -> Use:
        """How many actions are at work and wait, and how many may be at work at a time (`actions_at_once`)."""
        return self._executing.use

    def finish_actions(self, timeout_s: float | None) -> int:
        """Begin no more actions, refuse what comes and what waits, and wait for those at work: how many still are."""
        return self._executing.finish(to_seconds(timeout_s, "a timeout_s"))

    def request(
        self,
        action: str,
        target: str,
        *,
        to: str,
        args: Mapping[str, Any] | None = None,
        wait_ms: int = RESULT_WAIT_MS,
        watch: Callable[[Request], None] | None = None,
        **options: Any,
    ) -> Iterator[Outcome]:
        """Each target's outcome, in the order in which they end. Raises NOBODY when the selector selects none."""
        spec, record = request_arguments(action, target, to, args)
        stamp = action_stamp(spec, to, self.identity.defaults, **options)
        waiting: Latest[tuple[tuple[str, ...] | None, bool, list[Outcome], bool]] = Latest()

        def tell(tracker: Tracker) -> None:
            waiting.put(snapshot(tracker))

        request = Request(self._loop.request(stamp, record, wait_ms, tell).result().hex())
        seen = 0
        while True:
            targets, nobody, outcomes, done = waiting.get()
            request.targets, request.nobody = targets, nobody
            request.outcomes = {outcome.target: outcome for outcome in outcomes}
            if watch is not None:
                watch(request)
            yield from outcomes[seen:]
            seen = max(seen, len(outcomes))
            if nobody:
                raise FabricError(Code.NOBODY, to)
            if done:
                return
