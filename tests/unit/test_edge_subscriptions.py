"""What a control point takes, who is told, and when it is acknowledged."""

import pytest

from fabric.edge.receiving.subscriptions import Subscription, Subscriptions
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SESSION_KEEP_MS_MAX, SUBSCRIPTIONS_MAX


class House:
    def __init__(self) -> None:
        self.handled: list[bytes] = []
        self.unread: list[Reject] = []
        self.subscriptions = Subscriptions(self.handle)
        self.got: list[tuple[str, str]] = []
        self.dones: list = []
        self.failed: list = []

    def handle(self, id_, problem) -> None:
        self.handled.append(id_)
        self.unread += [problem] if problem else []

    def add(self, pattern, durable=False) -> Subscription:
        def sink(batch, done):
            self.got.append((pattern, batch))
            self.dones.append(done)

        subscription = Subscription(pattern, sink, self.failed.append, durable)
        self.subscriptions.add(subscription)
        return subscription


@pytest.fixture
def house() -> House:
    return House()


def test_it_is_done_when_all_who_took_it_are_and_nobody_counts_twice(house):
    house.add("a.>")
    house.add("a.b")
    house.subscriptions.take(b"1", "a.b", "batch 1")
    first, second = house.dones
    first()
    first()
    assert house.handled == []
    second()
    assert house.handled == [b"1"]


def test_what_one_of_them_could_not_read_is_refused_when_all_are_done(house):
    house.add("a.>")
    house.add("a.b")
    house.subscriptions.take(b"1", "a.b", "batch 1")
    first, second = house.dones
    first(Reject(Code.BAD_BODY))
    assert house.handled == []
    second()
    assert house.handled == [b"1"] and house.unread == [Reject(Code.BAD_BODY)]


def test_what_nobody_takes_is_done(house):
    house.add("a.>")
    house.subscriptions.take(b"1", "b.c", "batch 1")
    assert house.handled == [b"1"] and house.got == []


def test_what_a_durable_pattern_brings_waits_for_its_program(house):
    house.subscriptions.restore(("a.>", "b.>"))
    assert house.subscriptions.patterns == ("a.>", "b.>") and house.subscriptions.keep_ms == SESSION_KEEP_MS_MAX
    house.subscriptions.take(b"1", "a.b", "batch 1")
    house.subscriptions.take(b"2", "b.b", "batch 2")
    assert house.handled == []
    house.add("a.>", durable=True)
    assert house.got == [("a.>", "batch 1")] and house.handled == []
    house.subscriptions.forget("b.>")
    assert house.handled == [b"2"] and house.subscriptions.patterns == ("a.>",)


def test_a_durable_pattern_outlives_its_subscription_and_another_does_not(house):
    durable, other = house.add("a.>", durable=True), house.add("b.>")
    assert house.subscriptions.drop(durable) and house.subscriptions.drop(other) and not house.subscriptions.drop(other)
    assert house.subscriptions.patterns == ("a.>",)


def test_a_gap_reaches_durable_subscriptions_only(house):
    house.add("a.>", durable=True)
    house.add("b.>")
    house.subscriptions.gap(b"1", "batch 1")
    assert house.got == [("a.>", "batch 1")]
    house.dones[0]()
    assert house.handled == [b"1"]


def test_a_gap_that_nobody_reads_is_done(house):
    house.subscriptions.gap(b"1", "batch 1")
    assert house.handled == [b"1"]


def test_the_guilty_pattern_goes_and_the_others_try_again(house):
    house.add("a.>", durable=True)
    house.add("secret.>", durable=True)
    assert house.subscriptions.refused(Reject(Code.SUBSCRIBE_DENIED, "secret.>"))
    assert [error.code for error in house.failed] == [Code.SUBSCRIBE_DENIED]
    assert house.subscriptions.patterns == ("a.>",)


def test_a_durable_pattern_of_an_earlier_run_that_is_refused_now_ends_too(house):
    house.subscriptions.restore(("secret.>", "a.>"))
    assert house.subscriptions.refused(Reject(Code.SUBSCRIBE_DENIED, "secret.>"))
    assert house.subscriptions.patterns == ("a.>",)


def test_too_many_are_refused_by_name(house):
    for n in range(SUBSCRIPTIONS_MAX + 1):
        house.add(f"a.{n}")
    assert [error.code for error in house.failed] == [Code.TOO_LARGE]
    assert len(house.subscriptions.patterns) == SUBSCRIPTIONS_MAX


def test_confirmed_up_to_an_epoch(house):
    early, late = house.add("a.>"), house.add("b.>")
    early.epoch, late.epoch = 1, 2
    house.subscriptions.confirmed(1)
    assert early.in_force.is_set() and not late.in_force.is_set()


def test_what_several_patterns_of_one_match_comes_once_and_each_is_durable(house):
    got = []
    subscription = Subscription("a.*", lambda batch, done: got.append(batch), house.failed.append, True, ["*.b", "c"])
    house.subscriptions.add(subscription)
    assert house.subscriptions.patterns == ("a.*", "*.b", "c")
    house.subscriptions.take(b"1", "a.b", "both")
    house.subscriptions.take(b"2", "c", "third")
    house.subscriptions.take(b"3", "d.e", "none")
    assert got == ["both", "third"] and house.handled == [b"3"]
    assert house.subscriptions.drop(subscription) and house.subscriptions.patterns == ("a.*", "*.b", "c")
    house.subscriptions.add(subscription)
    house.subscriptions.refused(Reject(Code.SUBSCRIBE_DENIED, "*.b"))
    assert [error.code for error in house.failed] == [Code.SUBSCRIBE_DENIED] and house.subscriptions.patterns == ()
