"""Many records of a source at a real control point: which were taken in time, and what became of the others."""

import threading
from types import SimpleNamespace

import pytest

from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways import taking
from relays.gateways.board import Board, State
from relays.gateways.declared import DeclaredSource
from relays.gateways.intake import PointIntake
from relays.gateways.kinds import Given, SourceKind
from relays.gateways.mapping import read_mapping
from relays.gateways.options import Options
from tests.support import EVERYTHING, Authority
from tests.unreachable import unreachable_relay

AUTHORITY = Authority("taking")
ME = AUTHORITY.issue("api-1", grants=EVERYTHING)
WAIT_S = 30
KIND = SourceKind("test", "Tests.", (), lambda options: None, lambda settings, place: None)


class Rejects:
    def __init__(self):
        self.kept, self.full = [], False

    def keep(self, source, raw, error, where, severity=None, by=""):
        if self.full:
            raise OSError(28, "No space left on device")
        self.kept.append((raw, error.code, where))


class Stage:
    def __init__(self, point):
        board, self.rejects, self.stop, self.point = Board(), Rejects(), threading.Event(), point
        mapping = read_mapping(Options({"topic": "detections.{kind}", "severity": {"field": "sev"}}))
        self.entry = board.add("api", "sources", "test")
        declared = DeclaredSource("api", KIND, None, mapping)
        self.intake = PointIntake(declared, point, self.entry, board, self.rejects, self.stop)

    def publish(self, records, wait_s=WAIT_S):
        given = [Given(record, ("log", str(n)), f"x {n}") for n, record in enumerate(records)]
        return self.intake.publish_many(given, [self.intake.mapped(record, checked=True) for record in records], wait_s)


@pytest.fixture
def stage(tmp_path):
    with unreachable_relay(AUTHORITY, ME, tmp_path) as identity:
        point = ControlPoint(identity, outbox=tmp_path / "outbox")
        point._loop.start()
        yield Stage(point)
        point._leave_at_once()


def a(**more):
    return {"kind": "a", **more}


def test_each_is_durable_or_in_the_dead_letters(stage):
    outcomes = stage.publish([a(sev="high"), a(x=object()), a(sev="low")])
    assert [isinstance(outcome, str) for outcome in outcomes] == [True, False, True]
    stage.intake.settle()
    assert [each[1:] for each in stage.rejects.kept] == [(Code.BAD_INPUT, "x 1")]
    assert (stage.entry.taken, stage.entry.rejected, stage.point.position_of("log")) == (2, 1, "2")
    stage.stop.set()
    with pytest.raises(FabricError) as raised:
        stage.publish([a()])
    assert raised.value.code is Code.CLOSED


def test_what_is_not_durable_in_time_is_never_published(stage, monkeypatch):
    monkeypatch.setattr(stage.point._loop.lanes._in_flight, "has_room", lambda *_: False)
    assert {outcome.code for outcome in stage.publish([a(), a()], 0.01)} == {Code.BUSY}
    monkeypatch.undo()
    (outcome,) = stage.publish([a()])
    assert isinstance(outcome, str) and stage.point.waiting == stage.entry.taken == 1 and not stage.rejects.kept


def test_of_what_a_disk_that_hangs_may_hold_is_said_so(stage, monkeypatch):
    monkeypatch.setattr(taking, "_COMMIT_S", 0.0)
    many = taking.Many(3)
    assert many.send([SimpleNamespace(number=0)])
    many.refuse(1, FabricError(Code.BAD_INPUT))
    outcomes = taking.known_in_time(many, 0.0)
    assert [outcome.code for outcome in outcomes] == [Code.BUSY, Code.BAD_INPUT, Code.BUSY]
    assert "may hold" in outcomes[0].detail and "no room" in outcomes[2].detail


def test_while_dead_letters_have_no_room_nothing_is_taken_and_nobody_waits(stage):
    stage.rejects.full = True
    with pytest.raises(FabricError) as raised:
        stage.intake.reject(b"raw", FabricError(Code.BAD_INPUT), "x", waits=False)
    assert raised.value.code is Code.SOURCE_AWAY and stage.entry.state is State.WAITING
    assert isinstance(stage.publish([a(), a(x=object())])[0], str)  # what it rejected was not known before
    with pytest.raises(FabricError) as raised:
        stage.publish([a()])
    assert raised.value.code is Code.SOURCE_AWAY and stage.entry.state is State.WAITING
    stage.rejects.full = False
    assert isinstance(stage.publish([a()])[0], str) and stage.entry.state is State.RUNNING
    assert [each[2] for each in stage.rejects.kept] == ["x 1"]
