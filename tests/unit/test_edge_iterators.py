"""Iterating over a subscription: order, the end of its time, and where the next run begins; alike on both faces."""

import asyncio
import gc
import threading
import time
from contextlib import nullcontext

import pytest

from fabric.edge.blocking import Handling
from fabric.edge.receiving.iterators import AsyncMessages, Messages
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Severity
from tests.unit.test_edge_reader import Told


class Relay:
    """What is attached to one: what it was told, and a subscription to bring things to."""

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
        self.subscription.sink(Told(name, count, severity), lambda problem=None: self.done.append(name))


def test_what_came_meanwhile_and_is_more_urgent_comes_first():
    relay = Relay()
    messages = Messages(relay, "a.>", None, False)
    relay.bring("low", 2)
    first = next(messages).id
    relay.bring("now", 1, Severity.CRITICAL)
    assert [first, next(messages).id, next(messages).id] == ["low.0", "now.0", "low.1"]
    assert relay.done == ["now"]


def test_time_ends_it_though_there_is_more_to_read(monkeypatch):
    relay, now = Relay(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    messages = Messages(relay, "a.>", 10.0, True)
    relay.bring("a", 5)
    read = []
    for message in messages:
        read.append(message.id)
        now[0] += 4.0
    assert read == ["a.0", "a.1", "a.2"]
    assert relay.stopped == [("a", 3)] and relay.ended == 1 and relay.done == []


def test_an_error_is_raised_when_all_that_came_before_it_is_read():
    relay = Relay()
    messages = Messages(relay, "a.>", None, False)
    relay.bring("a", 1)
    relay.subscription.fail(FabricError(Code.SUBSCRIBE_DENIED))
    assert next(messages).id == "a.0"
    with pytest.raises(FabricError):
        next(messages)
    assert relay.done == ["a"]


def test_closing_after_the_last_record_of_a_batch_acknowledges_it():
    relay = Relay()
    messages = Messages(relay, "a.>", None, False)
    relay.bring("a", 1)
    next(messages)
    messages.close()
    assert relay.done == ["a"] and relay.stopped == [] and relay.ended == 1


def test_the_thread_of_a_handler_ends_when_it_is_closed():
    relay = Relay()
    messages = Messages(relay, "a.>", None, False)
    came = threading.Event()

    def consume():
        for _ in messages:
            came.set()

    handling = Handling(messages, threading.Thread(target=consume, daemon=True))
    relay.bring("a", 1)
    assert came.wait(10)
    handling.close()
    handling.thread.join(10)
    assert not handling.thread.is_alive()
    assert relay.done == ["a"] and relay.ended == 1


def blocking(relay, read, fault):
    with Messages(relay, "a.>", None, True) as messages:
        relay.bring("a", 3)
        for _ in range(read):
            next(messages)
        if fault:
            raise fault


def in_asyncio(relay, read, fault):
    async def program():
        async with AsyncMessages(relay, "a.>", True) as messages:
            relay.bring("a", 3)
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
    relay = Relay()
    with pytest.raises(ValueError) if fault else nullcontext():
        face(relay, read, fault)
    assert (relay.stopped, relay.done, relay.ended) == (stopped, done, 1)


def test_what_is_let_go_wants_no_more_and_acknowledges_nothing():
    async def program(relay):
        messages = AsyncMessages(relay, "a.>", False)
        relay.bring("a", 1)
        async for _ in messages:
            break

    in_threads, in_tasks = Relay(), Relay()
    messages = Messages(in_threads, "a.>", None, False)
    in_threads.bring("a", 1)
    for _ in messages:
        break
    del messages
    asyncio.run(program(in_tasks))
    gc.collect()
    for relay in (in_threads, in_tasks):
        assert relay.ended == 1 and relay.done == [] and relay.stopped == []


def test_who_waits_for_the_next_record_is_told_that_it_was_closed():
    async def program():
        messages = AsyncMessages(Relay(), "a.>", False)
        waiting = asyncio.ensure_future(anext(messages, "over"))
        await asyncio.sleep(0)
        await messages.aclose()
        assert await waiting == "over"

    asyncio.run(asyncio.wait_for(program(), 10))
