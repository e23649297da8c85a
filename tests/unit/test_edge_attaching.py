"""What a control point's relay is told that it takes, and when that is known to be in force."""

import pytest

from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.connection.status import Status
from fabric.edge.receiving.attaching import Attaching
from fabric.edge.receiving.subscriptions import Subscription, Subscriptions
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Attached, KeepPosition, Ready
from fabric.protocol.point.point import Point
from tests.support import EVERYTHING, T0, Authority, entropy

AUTHORITY = Authority("edge-attaching")
ME = AUTHORITY.issue("zeek-1", grants=EVERYTHING)


class House:
    def __init__(self, durable=False):
        self.core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"))
        self.calls = Mailbox()
        self.status = Status(["a"])
        self.subscriptions = Subscriptions(lambda id_, problem: None)
        self.attaching = Attaching(self.core, self.calls, self.status, self.subscriptions)
        self.failed = []
        if durable:
            self.attaching.restore()

    def subscribe(self, pattern, durable=False):
        subscription = Subscription(pattern, lambda messages, done: None, self.failed.append, durable)
        self.attaching.subscribe(subscription)
        return subscription

    def turn(self):
        ready = Ready()
        self.calls.run(T0, ready)
        return ready

    @property
    def wanted(self):
        return self.core.wanted


@pytest.fixture
def house():
    made = House()
    yield made
    made.calls.close()


@pytest.fixture
def durable():
    made = House(durable=True)
    yield made
    made.calls.close()


def test_every_change_is_told_under_a_later_epoch(house):
    first = house.subscribe("a.>")
    house.turn()
    told = [(house.wanted.epoch, house.wanted.subscriptions)]
    house.subscribe("b.>")
    house.turn()
    told.append((house.wanted.epoch, house.wanted.subscriptions))
    house.attaching.unsubscribe(first)
    house.turn()
    told.append((house.wanted.epoch, house.wanted.subscriptions))
    assert [patterns for _, patterns in told] == [("a.>",), ("a.>", "b.>"), ("b.>",)]
    assert told[0][0] < told[1][0] < told[2][0]


def test_only_the_latest_confirmation_says_that_all_of_it_is_in_force(house):
    first = house.subscribe("a.>")
    house.turn()
    early = house.wanted.epoch
    second = house.subscribe("b.>")
    house.turn()
    house.attaching.confirmed(Attached(early))
    assert first.in_force.is_set() and not second.in_force.is_set() and not house.status.attached.is_set()
    house.attaching.confirmed(Attached(house.wanted.epoch))
    assert second.in_force.is_set() and house.status.attached.is_set()


def test_what_is_refused_is_left_out_of_the_next_try(house):
    house.subscribe("a.>")
    house.subscribe("secrets.>")
    house.turn()
    house.attaching.refused(Reject(Code.SUBSCRIBE_DENIED, "secrets.>"))
    house.turn()
    assert house.wanted.subscriptions == ("a.>",) and [error.code for error in house.failed] == [Code.SUBSCRIBE_DENIED]


def test_who_is_durable_executes_nothing(house, durable):
    with pytest.raises(FabricError):
        house.subscribe("a.>", durable=True)  # without an outbox there is nothing to remember in
    durable.subscribe("a.>", durable=True)
    durable.turn()
    with pytest.raises(FabricError):
        durable.attaching.check_may_execute()
    durable.attaching.forget("a.>")
    durable.turn()
    durable.attaching.check_may_execute()
    durable.attaching.execute(print, T0, Ready())
    assert durable.wanted.executes
    with pytest.raises(FabricError):
        durable.subscribe("b.>", durable=True)


def test_where_a_reader_stopped_is_kept_when_it_was_the_only_one(durable):
    durable.subscribe("a.>", durable=True)
    durable.turn()
    durable.attaching.stopped_in("00ff", 3)
    assert [op for op in durable.turn().persist if isinstance(op, KeepPosition)] == [KeepPosition("batch 00ff", "3")]
    durable.subscribe("b.>")
    durable.turn()
    durable.attaching.stopped_in("00ff", 4)
    assert not [op for op in durable.turn().persist if isinstance(op, KeepPosition)]


def test_who_is_to_execute_is_not_ready_by_what_was_confirmed_before(house):
    house.subscribe("a.>")
    house.turn()
    house.attaching.will_execute()
    house.attaching.confirmed(Attached(house.wanted.epoch))
    assert not house.status.attached.is_set(), "the ledger is waited for"
    house.attaching.execute(lambda delivery: None, T0, Ready())
    house.attaching.confirmed(Attached(house.wanted.epoch))
    assert house.status.attached.is_set()


def test_a_session_may_be_kept_without_a_subscription_and_that_is_confirmed_for_itself(house):
    house.turn()
    house.attaching.keep(5_000)
    house.attaching.confirmed(Attached(house.wanted.epoch))  # of before: the change waits for its turn
    assert not house.status.attached.is_set()
    house.turn()
    assert house.wanted.keep_ms == 5_000 and not house.status.attached.is_set()
    house.attaching.confirmed(Attached(house.wanted.epoch))
    assert house.status.attached.is_set()
    house.attaching.keep(0)
    house.turn()
    assert house.wanted.keep_ms == 0


def test_that_it_executes_is_said_anew_with_each_link_but_the_first(house):
    house.attaching.connected()
    house.attaching.connected()
    house.turn()
    assert house.wanted.epoch == 0, "who executes nothing has nothing to say"
    house.attaching.execute(lambda delivery: None, T0, Ready())
    before = house.wanted.epoch
    house.attaching.connected()
    house.turn()
    assert house.wanted.executes and house.wanted.epoch > before
