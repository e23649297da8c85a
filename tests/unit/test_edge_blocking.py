"""Iterating over a subscription: order, the end of its time, and where the next run begins."""

import time

import pytest

from fabric.edge.blocking import Messages
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
