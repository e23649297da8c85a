"""What a control point takes, who is told, and when it is acknowledged."""

from dataclasses import dataclass

import pytest

from fabric.edge.incoming import Incoming, Subscription
from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import SESSION_KEEP_MS_MAX, SUBSCRIPTIONS_MAX


@dataclass(frozen=True)
class Said:
    id: str
    kind: str = "event"


class House:
    def __init__(self) -> None:
        self.handled: list[bytes] = []
        self.incoming = Incoming(self.handled.append)
        self.got: list[tuple[str, list]] = []
        self.dones: list = []
        self.failed: list = []

    def add(self, pattern, durable=False) -> Subscription:
        def sink(messages, done):
            self.got.append((pattern, messages))
            self.dones.append(done)

        subscription = Subscription(pattern, sink, self.failed.append, durable)
        self.incoming.add(subscription)
        return subscription


@pytest.fixture
def house() -> House:
    return House()


def test_it_is_done_when_all_who_took_it_are_and_nobody_counts_twice(house):
    house.add("a.>")
    house.add("a.b")
    house.incoming.take(b"1", "a.b", [Said("1.0")])
    first, second = house.dones
    first()
    first()
    assert house.handled == []
    second()
    assert house.handled == [b"1"]


def test_what_nobody_takes_is_done(house):
    house.add("a.>")
    house.incoming.take(b"1", "b.c", [Said("1.0")])
    assert house.handled == [b"1"] and house.got == []


def test_what_a_durable_pattern_brings_waits_for_its_program(house):
    house.incoming.restore(("a.>", "b.>"))
    assert house.incoming.patterns == ("a.>", "b.>") and house.incoming.keep_ms == SESSION_KEEP_MS_MAX
    house.incoming.take(b"1", "a.b", [Said("1.0")])
    house.incoming.take(b"2", "b.b", [Said("2.0")])
    assert house.handled == []
    house.add("a.>", durable=True)
    assert house.got == [("a.>", [Said("1.0")])] and house.handled == []
    house.incoming.forget("b.>")
    assert house.handled == [b"2"] and house.incoming.patterns == ("a.>",)


def test_a_durable_pattern_outlives_its_subscription_and_another_does_not(house):
    durable, other = house.add("a.>", durable=True), house.add("b.>")
    assert house.incoming.drop(durable) and house.incoming.drop(other) and not house.incoming.drop(other)
    assert house.incoming.patterns == ("a.>",)


def test_a_gap_reaches_durable_subscriptions_only(house):
    house.add("a.>", durable=True)
    house.add("b.>")
    house.incoming.gap(b"1", [Said("1.0", "result")])
    assert house.got == [("a.>", [Said("1.0", "gap")])]
    house.dones[0]()
    assert house.handled == [b"1"]


def test_a_gap_that_nobody_reads_is_done(house):
    house.incoming.gap(b"1", [Said("1.0", "result")])
    assert house.handled == [b"1"]


def test_the_guilty_pattern_goes_and_the_others_try_again(house):
    house.add("a.>", durable=True)
    house.add("secret.>", durable=True)
    assert house.incoming.refused(Reject(Code.SUBSCRIBE_DENIED, "secret.>"))
    assert [error.code for error in house.failed] == [Code.SUBSCRIBE_DENIED] and house.incoming.patterns == ("a.>",)


def test_a_durable_pattern_of_an_earlier_run_that_is_refused_now_ends_too(house):
    house.incoming.restore(("secret.>", "a.>"))
    assert house.incoming.refused(Reject(Code.SUBSCRIBE_DENIED, "secret.>"))
    assert house.incoming.patterns == ("a.>",)


def test_too_many_are_refused_by_name(house):
    for n in range(SUBSCRIPTIONS_MAX + 1):
        house.add(f"a.{n}")
    assert [error.code for error in house.failed] == [Code.TOO_LARGE]
    assert len(house.incoming.patterns) == SUBSCRIPTIONS_MAX


def test_confirmed_up_to_an_epoch(house):
    early, late = house.add("a.>"), house.add("b.>")
    early.epoch, late.epoch = 1, 2
    house.incoming.confirmed(1)
    assert early.in_force.is_set() and not late.in_force.is_set()
