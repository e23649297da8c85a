"""What a program iterates over, on either face: how it ends, and what then counts as taken.

Guarantees, the same on both: a record is taken when the program comes back for the next one or closes; one at which it
raised, inside `with`, is not, and comes again with what followed it in its message. An iterator that is dropped without
either gets no more, and acknowledges nothing else.
"""

from __future__ import annotations

import asyncio
import queue
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from types import TracebackType

from fabric.edge.messages import Message
from fabric.edge.receiving.attaching import Attaching
from fabric.edge.receiving.batch import Batch
from fabric.edge.receiving.reader import Reader
from fabric.edge.receiving.subscriptions import Done, Subscription
from fabric.protocol.base.errors import FabricError

# A delivery and what acknowledges it; or why there are no more; or None, when the program wants no more.
Item = tuple[Batch, Done] | FabricError | None


class Subscribed:
    """`put` takes items from the connection's thread to the program's; it must not hold this object."""

    def __init__(
        self, attaching: Attaching, pattern: str, durable: bool, put: Callable[[Item], None], also: Sequence[str] = (),
    ) -> None:
        self._attaching = attaching
        self._reading = Reader()
        self._failure: FabricError | None = None  # raised when all that came before it is read
        self._over = False
        self._subscription = Subscription(pattern, lambda batch, done: put((batch, done)), put, durable, also)
        attaching.subscribe(self._subscription)
        self._let_go = weakref.finalize(self, attaching.unsubscribe, self._subscription)
        self._let_go.atexit = False

    @property
    def in_force(self) -> bool:
        """Whether the relay has confirmed the subscription."""
        return self._subscription.in_force.is_set()

    def _take_in(self, item: Item) -> None:
        if item is None:
            self._end(taken=True)
        elif isinstance(item, FabricError):
            self._failure = item
        else:
            self._reading.add(*item)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _end(self, *, taken: bool) -> None:
        """`taken`: whether the program is done with the record that it had last."""
        if self._over:
            return
        self._over = True
        if taken:
            self._reading.finish()
        else:
            self._reading.put_back()
        for batch, records in self._reading.in_part():
            self._attaching.stopped_in(batch, records)
        self._let_go()


class Messages(Subscribed):
    """What a subscription brings. For one thread. `with` closes it; so does `close`."""

    def __init__(
        self, attaching: Attaching, pattern: str, timeout_s: float | None, durable: bool, also: Sequence[str] = (),
    ) -> None:
        self._waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        super().__init__(attaching, pattern, durable, self._waiting.put, also)
        while not self._subscription.in_force.wait(0.02) and self._waiting.empty():
            if self._deadline is not None and time.monotonic() > self._deadline:
                break

    def __iter__(self) -> Messages:
        return self

    def __next__(self) -> Message:
        while self._goes_on():
            message = self._reading.take()
            if message is not None:
                return message
            self._wait()
        raise StopIteration

    def group(self, records_max: int) -> list[Message]:
        """The next messages, as many as wait, so many at most; none when there will be no more. They are taken, all of
        them, when the program comes for the next ones or closes: for who makes them durable together."""
        while self._goes_on():
            found = self._reading.group(records_max)
            if found:
                return found
            self._wait()
        return []

    def _goes_on(self) -> bool:
        """Whether there is more to read, or may be. Takes in what came: it may be more urgent than what is being read.
        """
        while self._failure is None and not self._over and not self._waiting.empty():
            self._take_in(self._waiting.get_nowait())
        if self._deadline is not None and not self._over and time.monotonic() >= self._deadline:
            self.close()
            self._raise_failure()
        return not self._over

    def _wait(self) -> None:
        """Until more comes, or its time is over. Raises why no more will."""
        self._raise_failure()
        left_s = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        with suppress(queue.Empty):
            self._take_in(self._waiting.get(timeout=left_s))

    def close(self) -> None:
        """Want no more. The record that was read last counts as taken, so the message that it ends is acknowledged."""
        self._end(taken=True)

    def close_later(self) -> None:
        """From another thread than the one that reads, which closes it when it comes for the next record."""
        self._waiting.put(None)

    def __enter__(self) -> Messages:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(taken=error is None)


class AsyncMessages(Subscribed, AsyncIterator[Message]):
    """What a subscription brings, in asyncio. `async with` closes it; so does `aclose`."""

    def __init__(self, attaching: Attaching, pattern: str, durable: bool) -> None:
        waiting: asyncio.Queue[Item] = asyncio.Queue()
        program = asyncio.get_running_loop()
        self._waiting = waiting

        def put(item: Item) -> None:
            program.call_soon_threadsafe(waiting.put_nowait, item)

        super().__init__(attaching, pattern, durable, put)

    async def __anext__(self) -> Message:
        while not self._over:
            # What came meanwhile may be more urgent than what is being read.
            while self._failure is None and not self._waiting.empty():
                self._take_in(self._waiting.get_nowait())
            message = None if self._over else self._reading.take()
            if message is not None:
                return message
            self._raise_failure()
            if not self._over:
                self._take_in(await self._waiting.get())
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Want no more. The record that was read last counts as taken, so the message that it ends is acknowledged."""
        self._end(taken=True)
        self._waiting.put_nowait(None)  # for a task that waits for the next one

    def close_later(self) -> None:
        """Want no more, when whoever reads comes for the next record."""
        self._waiting.put_nowait(None)

    async def __aenter__(self) -> AsyncMessages:
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(taken=error is None)
        self._waiting.put_nowait(None)
