"""What a running sink gets: groups that are acknowledged when it comes for the next, and a topic less is forgotten."""

import threading

import pytest

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways import outtake as module
from relays.gateways.board import Board, State
from relays.gateways.declared import DeclaredSink
from relays.gateways.outtake import PointOuttake
from tests.unit.gateways.support import message


class Messages:
    in_force = True

    def __init__(self, groups):
        self.left, self.ended = list(groups), []

    def group(self, records_max):
        return self.left.pop(0) if self.left else []

    def close_later(self):
        self.left.clear()

    def __enter__(self):
        return self

    def __exit__(self, type_, error, trace):
        self.ended.append(error)


class Point:
    wanted = ("a.>", "b", "old")

    def __init__(self, identity, **options):
        self.options, self.held_up, self.forgotten, self.closed = options, None, [], []
        self.messages = Messages([[message(1), message(2)], [message(3)]])

    def connect(self):
        pass

    def subscribe(self, first, *, durable, also):
        self.subscribed = (first, durable, list(also))
        return self.messages

    def forget(self, pattern):
        self.forgotten.append(pattern)

    def close(self, timeout_s):
        self.closed.append(timeout_s)


class Rejects:
    def keep(self, source, raw, error, where):
        if where.startswith("0"):
            raise OSError(28, "No space left on device")


@pytest.fixture
def made(make):
    return make()


@pytest.fixture
def make(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "ControlPoint", Point)

    def make(*label_max):
        board = Board()
        entry = board.add("all", "sinks", "jsonlines")
        declared = DeclaredSink("all", None, None, ("a.>", "b"), *label_max)
        stop = threading.Event()
        return PointOuttake(declared, None, tmp_path / "x.outbox", entry, board, Rejects(), stop), entry, stop

    return make


def test_nothing_above_what_it_hands_out_reaches_the_sink(make):
    outtake, entry, _ = make(Label.GREEN)
    seen = [each for group in outtake.groups(10) for each in group]
    assert [(each.content, each.withheld) for each in seen] == [({}, {Label.AMBER: 1})] * 3 and entry.withheld == 0
    outtake, entry, _ = make(Label.CLEAR)
    assert list(outtake.groups(10)) == [], "their envelopes are above it"
    assert (entry.taken, entry.withheld) == (0, 3) and entry.position == message(3).id, "and that is counted"


def test_a_group_counts_when_the_sink_comes_for_the_next_one(made):
    outtake, entry, _ = made
    outtake.open()
    counted = [entry.taken for _ in outtake.groups(10)]
    assert counted == [0, 2] and entry.taken == 3 and entry.state is State.RUNNING
    assert outtake._point.subscribed == ("a.>", True, ["b"]) and outtake._point.forgotten == ["old"]
    outtake.close(None)
    assert outtake._point.messages.ended == [None] and outtake._point.closed


def test_a_sink_that_failed_has_not_taken_its_last_group(made):
    outtake, entry, _ = made
    next(outtake.groups(10))
    error = FabricError(Code.SINK_AWAY, "/x")
    outtake.close(error)
    assert outtake._point.messages.ended == [error] and entry.taken == 0


def test_it_ends_when_it_is_told_before_and_after_it_subscribed(made):
    outtake, _, stop = made
    outtake.stop()
    assert outtake._point.closed == [0.0], "it does not wait for a relay then"
    stop.set()
    assert list(outtake.groups(10)) == []


def test_while_its_relay_is_away_it_waits_and_goes_on_by_itself(made):
    outtake, entry, _ = made
    outtake._point.held_up = FabricError(Code.UNREACHABLE, "hq")
    outtake.look()
    assert entry.state is State.WAITING and entry.error.code is Code.UNREACHABLE
    outtake._point.held_up = None
    outtake.look()
    assert entry.state is State.RUNNING
    outtake.waits(FabricError(Code.SINK_AWAY, "/x"))
    outtake.look()
    assert entry.state is State.WAITING, "its own reason is not the relay's"


def test_what_it_rejects_and_cannot_be_kept_is_not_acknowledged(made):
    outtake, entry, _ = made
    with pytest.raises(FabricError) as raised:
        outtake.reject(message(1), FabricError(Code.BAD_BODY))
    assert raised.value.code is Code.SINK_AWAY and entry.rejected == 1
