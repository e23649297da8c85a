"""Iterating over a subscription: order, the end of its time, and where the next run begins; alike on both faces."""

import asyncio
import gc
import threading
import time
from contextlib import nullcontext

import pytest

from fabric.edge.blocking import Handling, Messages
from fabric.edge.subscribed import AsyncMessages
from fabric.protocol.errors import Code, FabricError
from fabric.protocol.severity import Severity
from tests.unit.test_edge_reading import Said


class Loop:
    """The connection: what it was told, and a subscription to bring things to."""

    def __init__(self):
        self.stopped, self.ended, self.done = [], 0, []

    def subscribe(self, subscription):
        self.subscription = subscription
        subscription.in_force.set()

    def unsubscribe(self, subscription):
        self.ended += 1

    def stopped_in(self, batch, records):
        self.stopped.append((batch, records))

    def bring(self, name, count, severity=Severity.LOW):
        messages = [Said(f"{name}.{n}", severity) for n in range(count)]
        self.subscription.sink(messages, lambda: self.done.append(name))


def test_what_came_meanwhile_and_is_more_urgent_comes_first():
    loop = Loop()
    messages = Messages(loop, "a.>", None, False)
    loop.bring("low", 2)
    first = next(messages).id
    loop.bring("now", 1, Severity.CRITICAL)
    assert [first, next(messages).id, next(messages).id] == ["low.0", "now.0", "low.1"]
    assert loop.done == ["now"]


def test_time_ends_it_though_there_is_more_to_read(monkeypatch):
    loop, now = Loop(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    messages = Messages(loop, "a.>", 10.0, True)
    loop.bring("a", 5)
    read = []
    for message in messages:
        read.append(message.id)
        now[0] += 4.0
    assert read == ["a.0", "a.1", "a.2"]
    assert loop.stopped == [("a", 3)] and loop.ended == 1 and loop.done == []


def test_an_error_is_raised_when_all_that_came_before_it_is_read():
    loop = Loop()
    messages = Messages(loop, "a.>", None, False)
    loop.bring("a", 1)
    loop.subscription.fail(FabricError(Code.SUBSCRIBE_DENIED))
    assert next(messages).id == "a.0"
    with pytest.raises(FabricError):
        next(messages)
    assert loop.done == ["a"]


def test_closing_after_the_last_record_of_a_batch_acknowledges_it():
    loop = Loop()
    messages = Messages(loop, "a.>", None, False)
    loop.bring("a", 1)
    next(messages)
    messages.close()
    assert loop.done == ["a"] and loop.stopped == [] and loop.ended == 1


def test_the_thread_of_a_handler_ends_when_it_is_closed():
    loop = Loop()
    messages = Messages(loop, "a.>", None, False)
    came = threading.Event()

    def consume():
        for _ in messages:
            came.set()

    handling = Handling(messages, threading.Thread(target=consume, daemon=True))
    loop.bring("a", 1)
    assert came.wait(10)
    handling.close()
    handling.thread.join(10)
    assert not handling.thread.is_alive()
    assert loop.done == ["a"] and loop.ended == 1


def blocking(loop, read, fault):
    with Messages(loop, "a.>", None, True) as messages:
        loop.bring("a", 3)
        for _ in range(read):
            next(messages)
        if fault:
            raise fault


def in_asyncio(loop, read, fault):
    async def program():
        async with AsyncMessages(loop, "a.>", True) as messages:
            loop.bring("a", 3)
            for _ in range(read):
                await anext(messages)
            if fault:
                raise fault

    asyncio.run(program())


@pytest.mark.parametrize("face", [blocking, in_asyncio])
@pytest.mark.parametrize(("read", "fault", "stopped", "done"), [
    (2, None, [("a", 2)], []),
    (2, ValueError(), [("a", 1)], []),
    (1, ValueError(), [], []),
    (3, None, [], ["a"]),
    (3, ValueError(), [("a", 2)], []),
])
def test_a_record_is_taken_when_the_program_closes_and_not_when_it_raises(face, read, fault, stopped, done):
    loop = Loop()
    with pytest.raises(ValueError) if fault else nullcontext():
        face(loop, read, fault)
    assert (loop.stopped, loop.done, loop.ended) == (stopped, done, 1)


def test_what_is_let_go_wants_no_more_and_acknowledges_nothing():
    async def program(loop):
        messages = AsyncMessages(loop, "a.>", False)
        loop.bring("a", 1)
        async for _ in messages:
            break

    in_threads, in_tasks = Loop(), Loop()
    messages = Messages(in_threads, "a.>", None, False)
    in_threads.bring("a", 1)
    for _ in messages:
        break
    del messages
    asyncio.run(program(in_tasks))
    gc.collect()
    for loop in (in_threads, in_tasks):
        assert loop.ended == 1 and loop.done == [] and loop.stopped == []


def test_who_waits_for_the_next_record_is_told_that_it_was_closed():
    async def program():
        messages = AsyncMessages(Loop(), "a.>", False)
        waiting = asyncio.ensure_future(anext(messages, "over"))
        await asyncio.sleep(0)
        await messages.aclose()
        assert await waiting == "over"

    asyncio.run(asyncio.wait_for(program(), 10))
