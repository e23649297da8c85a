"""What is rejected gets into the dead letters, in order and once, or whoever rejected it knows that it did not."""

import threading

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.rejecting import Rejected, Rejecting


class Rejects:
    def __init__(self):
        self.kept, self.full_times = [], 0

    def keep(self, source, raw, error, where, severity=None, by=""):
        if self.full_times:
            self.full_times -= 1
            raise OSError(28, "No space left on device")
        self.kept.append((source, raw))


class Stage:
    def __init__(self):
        self.rejects, self.stop, self.counted, self.waited = Rejects(), threading.Event(), [], []
        self.rejecting = Rejecting(
            "conn", self.rejects, lambda: self.counted.append(1), lambda why: self.waited.append(why and why.code),
            self.stop,
        )


@pytest.fixture
def stage(monkeypatch):
    monkeypatch.setattr("relays.gateways.rejecting._ROOM_S", 0.001)
    return Stage()


def rejected(raw):
    return Rejected(raw, FabricError(Code.BAD_INPUT), "x:1")


def test_what_found_no_room_is_kept_before_what_came_later(stage):
    stage.rejects.full_times = 1
    why = stage.rejecting.add(rejected(b"1"))
    assert why.code is Code.SOURCE_AWAY and "No space" in why.detail and (stage.rejects.kept, stage.counted) == ([], [])
    assert stage.rejecting.add(rejected(b"2")) is None
    assert stage.rejects.kept == [("conn", b"1"), ("conn", b"2")] and len(stage.counted) == 2


def test_who_waits_says_why_and_that_it_goes_on(stage):
    stage.rejects.full_times = 2
    assert stage.rejecting.add_and_wait(rejected(b"1"))
    assert stage.waited == [Code.SOURCE_AWAY, Code.SOURCE_AWAY, None]
    assert stage.rejecting.wait() and len(stage.waited) == 3, "nothing waits any more"


def test_what_still_waits_when_it_is_to_stop_can_be_taken_back_once(stage):
    stage.rejects.full_times = 1
    stage.stop.set()
    mine = rejected(b"1")
    assert not stage.rejecting.add_and_wait(mine)
    assert stage.rejecting.take_back(mine) and not stage.rejecting.take_back(mine)
    assert stage.rejecting.keep_up() is None and stage.rejects.kept == []


def test_who_cannot_wait_is_told_that_it_was_not_taken(stage):
    stage.rejects.full_times = 1
    with pytest.raises(FabricError) as raised:
        stage.rejecting.add_now(rejected(b"1"))
    assert raised.value.code is Code.SOURCE_AWAY and stage.waited == [Code.SOURCE_AWAY]
    stage.rejecting.add_now(rejected(b"2"))
    assert stage.rejects.kept == [("conn", b"2")]
