"""The same control point for programs without asyncio: every call blocks until it is done.

    with ControlPoint("zeek-1") as point:
        point.publish("detections.zeek.conn", {"uid": "C1"}, severity="high")
        for message in point.subscribe("detections.>", timeout_s=10):
            ...
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from fabric.edge.compose import Position
from fabric.edge.handlers import Handler, Handlers, answer_of, failed, read_action, refused, result_stamp
from fabric.edge.identity import Identity
from fabric.edge.incoming import Subscription
from fabric.edge.logs import edge_log
from fabric.edge.loop import EdgeLoop
from fabric.edge.messages import Message, Outcome
from fabric.edge.notices import Notice
from fabric.edge.point import (
    CONNECT_TIMEOUT_S,
    RESULT_WAIT_MS,
    Request,
    as_identity,
    request_arguments,
    snapshot,
)
from fabric.edge.reading import Reading
from fabric.edge.stamps import action_stamp, publish_stamp
from fabric.edge.tracking import Tracker
from fabric.protocol.errors import Code, FabricError, Reject
from fabric.protocol.ready import Delivery
from fabric.protocol.topics import check_pattern

_HANDLER_THREADS = 8


class Messages:
    """An iterator over what a subscription brings."""

    def __init__(self, loop: EdgeLoop, pattern: str, timeout_s: float | None, durable: bool) -> None:
        self._loop = loop
        self._waiting: queue.SimpleQueue[tuple[list[Message], Callable[[], None]] | FabricError] = queue.SimpleQueue()
        self._reading = Reading()
        self._failure: FabricError | None = None  # raised when all that came before it is read
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._subscription = Subscription(
            pattern, lambda messages, done: self._waiting.put((messages, done)), self._waiting.put, durable
        )
        loop.subscribe(self._subscription)
        while not self._subscription.in_force.wait(0.02) and self._waiting.empty():
            if self._deadline is not None and time.monotonic() > self._deadline:
                break

    @property
    def in_force(self) -> bool:
        """Whether the relay has confirmed the subscription."""
        return self._subscription.in_force.is_set()

    def __iter__(self) -> Messages:
        return self

    def __next__(self) -> Message:
        while True:
            self._gather()
            left_s = None if self._deadline is None else self._deadline - time.monotonic()
            if left_s is not None and left_s <= 0.0:
                self.close()
                raise StopIteration
            message = self._reading.take()
            if message is not None:
                return message
            if self._failure is not None:
                raise self._failure
            with suppress(queue.Empty):
                self._take_in(self._waiting.get(timeout=left_s))

    def _gather(self) -> None:
        """What came meanwhile may be more urgent than what is being read."""
        with suppress(queue.Empty):
            while self._failure is None:
                self._take_in(self._waiting.get_nowait())

    def _take_in(self, item: tuple[list[Message], Callable[[], None]] | FabricError) -> None:
        if isinstance(item, FabricError):
            self._failure = item
        else:
            self._reading.add(*item)

    def close(self) -> None:
        """Want no more. What was taken to the end of its batch is acknowledged."""
        self._reading.finish()
        for batch, records in self._reading.in_part():
            self._loop.stopped_in(batch, records)
        self._loop.unsubscribe(self._subscription)


class ControlPoint:
    """See `fabric.edge.point.ControlPoint`; the arguments are the same."""

    def __init__(
        self,
        identity: Identity | str | Path,
        *,
        outbox: Path | str | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.identity = as_identity(identity)
        self._loop = EdgeLoop(self.identity, None if outbox is None else Path(outbox))
        self._connect_timeout_s = connect_timeout_s
        self._handlers = Handlers(self.identity.credential.grants.execute, self._loop.denied)
        self._executor = ThreadPoolExecutor(_HANDLER_THREADS, f"fabric {self.identity.id}")
        self._log = edge_log(self.identity.id)

    def __enter__(self) -> ControlPoint:
        self.connect()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        try:
            self._loop.start()
            self._loop.wait_connected(self._connect_timeout_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._loop.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def publish(self, topic: str, content: Mapping[str, Any], **options: Any) -> str:
        """The record's id, once it is durable. Options as in the asyncio face."""
        return self.publish_later(topic, content, **options).result()

    def publish_later(
        self, topic: str, content: Mapping[str, Any], *, position: tuple[str, str] | None = None,
        wait_s: float | None = None, **options: Any,
    ) -> Future[str]:
        """The same without waiting; many of these travel in batches.

        Blocks only while too much of its lane waits; longer than `wait_s` raises BUSY, and the record was not taken.
        """
        stamp = publish_stamp(topic, self.identity.defaults, **options)
        return self._loop.publish(stamp, dict(content), None if position is None else Position(*position), wait_s)

    @property
    def waiting(self) -> int:
        """Records that the relay does not hold yet."""
        return self._loop.outgoing.waiting

    @property
    def put_off(self) -> Code | None:
        """Why the relay last said that it takes nothing now: BUSY or RATE_EXCEEDED. None since it took something."""
        return self._loop.core.put_off

    def renew(self) -> None:
        """Ask this identity's issuer for a newer credential now. By itself it does so when two thirds are over.

        Raises FabricError: NO_ISSUER where it is not online, USAGE where the authority itself vouches for it.
        """
        self._loop.renew().result()

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
        self._loop.on_notice = tell

    def drain(self, timeout_s: float) -> bool:
        """Until the relay holds all that was published. False when it does not within the time."""
        return self._loop.outgoing.wait_empty(timeout_s)

    def subscribe(self, pattern: str, *, timeout_s: float | None = None, durable: bool = False) -> Messages:
        """Messages as they come, urgent first, from now on: returns when the relay has the subscription.

        `durable` as in the asyncio face. A batch is acknowledged when it was read to its end. Iteration ends quietly
        after `timeout_s` in all.
        """
        problem = check_pattern(pattern)
        if problem is not None:
            raise FabricError(problem.code, problem.detail)
        return Messages(self._loop, pattern, timeout_s, durable)

    def forget(self, pattern: str) -> None:
        """Nothing waits for this durable subscription any more."""
        self._loop.forget(pattern)

    def on_message(self, pattern: str, handler: Callable[[Message], None]) -> Messages:
        """Call a function for each message, on a thread of its own; acknowledged after it returned.

        A message at which the function raises is logged, by id and error type, and counts as handled: it would raise
        again. The end of the connection ends the calls.
        """
        messages = self.subscribe(pattern)

        def consume() -> None:
            with suppress(FabricError):
                for message in messages:
                    try:
                        handler(message)
                    except Exception as error:  # noqa: BLE001 - one message must not silence all that follow
                        self._log.error("on_message raised", id=message.id, error=type(error).__name__)

        self._executor.submit(consume)
        return messages

    def wait_ready(self) -> None:
        """Until the relay has what this control point takes by now: its subscriptions, and whether it executes."""
        self._loop.standing.wait_attached(self._connect_timeout_s)

    def on_action(self, action: str, target_type: str) -> Callable[[Handler], Handler]:
        """Decorator: this function executes actions like ("deny", "ipv4_net"), on a thread of its own."""

        def register(handler: Handler) -> Handler:
            first = not self._handlers
            self._handlers.add(action, target_type, handler)
            if first:
                self._loop.execute(self._on_delivery)
            return handler

        return register

    def _on_delivery(self, delivery: Delivery) -> None:
        self._executor.submit(self._execute, delivery, self._loop.clock.now_ms())

    def _execute(self, delivery: Delivery, arrived_ms: int) -> None:
        handler = self._handlers.find(delivery.message.header.topic)
        action = read_action(delivery)
        problem: Reject | None
        if isinstance(action, Reject):
            problem = action
        elif handler is None:
            problem = Reject(Code.NO_HANDLER)
        else:
            problem = self._loop.still_valid(delivery, arrived_ms)
        if problem is not None or handler is None or isinstance(action, Reject):
            answer = refused(problem or Reject(Code.NO_HANDLER))
        else:
            try:
                answer = answer_of(handler(action))
            except Exception as error:  # noqa: BLE001 - a handler's failure is a result, not this program's end
                self._log.warning("handler failed", action=action.action, error=type(error).__name__)
                answer = failed(Code.HANDLER_FAILED)
        stamp = result_stamp(delivery, answer, self.identity.defaults)
        try:
            self._loop.publish(stamp, answer.record(self.identity.id)).result()
        except FabricError as error:
            self._log.warning("result not sent", code=error.code.label)

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
        waiting: queue.SimpleQueue[tuple[tuple[str, ...] | None, bool, list[Outcome], bool]] = queue.SimpleQueue()

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
