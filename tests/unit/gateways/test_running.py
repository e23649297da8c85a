"""Sources and sinks at work: one that fails stops no other, is begun again, and takes nothing twice."""

import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest

from fabric.edge.identity.identity import Defaults
from fabric.edge.publishing.receipts import Many
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways import running
from relays.gateways.board import Board, State
from relays.gateways.declared import Declared, DeclaredSource, Unfit
from relays.gateways.intake import PointIntake
from relays.gateways.kinds import Need, Pulled, SourceKind
from relays.gateways.mapping import read_mapping
from relays.gateways.options import Options
from relays.gateways.running import Runner

WAIT_S = 20


class Identity:
    id, defaults = "zeek-1", Defaults(Label.GREEN, {})

    def __init__(self, folder):
        self.folder = folder


class Open:
    """A record that was taken, and what becomes of it: said, as in life, by another thread than its giver's."""

    def __init__(self, many, number):
        self._many, self._number = many, number

    def set_result(self, id_):
        self._many._end([(self._number, id_)])

    def set_exception(self, error):
        thread = threading.Thread(target=self._many.refuse, args=(self._number, error))
        thread.start()
        thread.join(WAIT_S)

    def done(self):
        return self._many.future.done()


class Point:
    """Takes what it is given, as it is told to."""

    held_up = None

    def __init__(self, identity):
        self.identity = identity
        self.published, self.passed, self.open = [], [], []
        self.refuses, self.holds = [], False

    def on_refused(self, tell):
        self.tell_refused = tell

    def publish_each_later(self, publications, *, labels_required, wait_s, tell):
        many = Many(len(publications), tell)
        for number, (topic, content, position, options) in enumerate(publications):
            refused = self.refuses.pop(0) if self.refuses else None
            if refused is not None and refused.code is Code.BUSY:
                many.cut(number, refused)
                return many
            taken = Open(many, number)
            if refused is not None:
                many.refuse(number, refused)
                self.pass_over(*position)
                continue
            self.published.append((topic, dict(content), options["severity"].name.lower(), position))
            if self.holds:
                self.open.append(taken)
            else:
                taken.set_result("1.0")
        many.cut(len(publications), FabricError(Code.BUSY))
        return many

    def position_of(self, name):
        return None

    def pass_over(self, source, position):
        self.passed.append((source, position))


class Rejects:
    def __init__(self):
        self.kept = []

        self.full_times = 0
        self.severities = []

    def keep(self, source, raw, error, where, severity=None, by=""):
        if self.full_times:
            self.full_times -= 1
            raise OSError(28, "No space left on device")
        self.severities.append(severity)
        self.kept.append((source, raw, error.code, where))


def source(name, run, needs=()):
    class Source:
        def run(self, intake, stop):
            run(intake, stop)

    kind = SourceKind("test", "Tests.", (), lambda o: None, lambda s, p: Source(), lambda s: needs)
    mapping = read_mapping(Options({"topic": "detections.x", "severity": {"field": "sev"}}))
    return DeclaredSource(name, kind, None, mapping)


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Runs sources, and ends them."""
    monkeypatch.setattr(running, "FIRST_S", 0.01)
    monkeypatch.setattr(running, "_LOOK_S", 0.01)
    identity = Identity(tmp_path)
    changes, seen = [], threading.Condition()

    def tell(change):
        with seen:
            changes.append((change.name, change.state, change.error and change.error.code))
            seen.notify_all()

    class Stage:
        point = Point(identity)

        def run(self, *sources, unfit=()):
            self.runner = Runner(identity, Declared(tuple(sources), (), tuple(unfit)), tell)
            self.runner.start(self.point)

        def wait(self, *change):
            with seen:
                assert seen.wait_for(lambda: change in changes, WAIT_S), f"{change} is not in {changes}"

    stage = Stage()
    yield stage
    stage.runner.close(WAIT_S)


def test_one_that_fails_is_begun_again_and_hinders_no_other(stage):
    tries, goes_on = [], threading.Event()

    def fails(intake, stop):
        tries.append(1)
        if len(tries) == 1:
            raise FabricError(Code.SOURCE_AWAY, "/x")
        if len(tries) == 2:
            raise PermissionError(13, "Permission denied", "/x")
        if len(tries) == 3:
            raise ZeroDivisionError
        intake.take({"n": 1}).result(WAIT_S)
        goes_on.set()
        stop.wait(WAIT_S)

    def works(intake, stop):
        intake.take({"n": 2, "sev": "high"}).result(WAIT_S)
        stop.wait(WAIT_S)

    stage.run(source("a", fails), source("b", works), unfit=[Unfit("sources", "c", FabricError(Code.USAGE, "no kind"))])
    assert goes_on.wait(WAIT_S)
    for change in [
        ("a", State.FAILED, Code.SOURCE_AWAY), ("a", State.FAILED, Code.SOURCE_FAILED), ("a", State.RUNNING, None),
        ("b", State.RUNNING, None), ("c", State.UNFIT, Code.USAGE),
    ]:
        stage.wait(*change)
    assert sorted(each[2] for each in stage.point.published) == ["high", "informational"]
    stage.runner.close(WAIT_S)
    states = {entry.name: (entry.state, entry.taken, entry.restarts) for entry in stage.runner.board.entries}
    assert states == {"a": (State.ENDED, 1, 3), "b": (State.ENDED, 1, 0), "c": (State.UNFIT, 0, 0)}


def test_it_is_not_begun_again_before_it_is_known_what_became_of_what_it_took(stage):
    tries = []

    def fails(intake, stop):
        tries.append(len(stage.point.open))
        if len(tries) == 1:
            intake.take({"n": 1})
            raise FabricError(Code.SOURCE_AWAY, "/x")
        stop.wait(WAIT_S)

    stage.point.holds = True
    stage.run(source("a", fails))
    stage.wait("a", State.RUNNING, None)
    threading.Timer(0.05, lambda: stage.point.open[0].set_result("1.0")).start()
    stage.wait("a", State.FAILED, Code.SOURCE_AWAY)
    assert stage.point.open[0].done()


def test_a_source_that_pulls_is_told_to_look_and_woken_at_the_end_and_others_say_why_not(stage):
    class Pulling:
        def __init__(self):
            self.woken, self.asked = threading.Event(), []

        def run(self, intake, stop):
            intake.waits(None)
            while not stop.is_set():
                self.woken.wait(WAIT_S)

        def pull(self):
            future = Future()
            future.set_result(Pulled(1, 0, 0))
            return future

        def wake(self):
            self.woken.set()

    pulls, other = source("a", None), source("b", lambda intake, stop: stop.wait(WAIT_S))
    pulls = replace(pulls, kind=replace(pulls.kind, open=lambda s, p: Pulling(), pulls=True))
    gone = replace(pulls, name="c", kind=replace(pulls.kind, needs=lambda s: [Need("x", "it is not there", "get it")]))
    stage.run(pulls, other, gone, unfit=[Unfit("sources", "d", FabricError(Code.USAGE))])
    stage.wait("a", State.RUNNING, None)
    stage.wait("c", State.FAILED, Code.SOURCE_UNFIT)
    assert stage.runner.pull("a").result(WAIT_S) == Pulled(1, 0, 0)
    for name, code in (("b", Code.NO_HANDLER), ("c", Code.SOURCE_UNFIT), ("d", Code.USAGE), ("e", Code.NOT_THERE)):
        with pytest.raises(FabricError) as raised:
            stage.runner.pull(name)
        assert raised.value.code is code
    stage.runner.close(WAIT_S)
    stage.wait("a", State.ENDED, None)


def test_what_a_kind_needs_and_is_not_there_is_said_and_looked_for_again(stage):
    needs = [Need("the package x", "it is not installed", "install it")]
    stage.run(source("a", lambda intake, stop: None, needs))
    stage.wait("a", State.FAILED, Code.SOURCE_UNFIT)
    needs.clear()
    stage.wait("a", State.ENDED, None)


def intake_of(tmp_path, **given):
    identity = Identity(tmp_path)
    point, rejects, board = Point(identity), Rejects(), Board()
    mapping = read_mapping(Options({"topic": "detections.{kind}", **given}))
    declared = DeclaredSource("conn", source("conn", None).kind, None, mapping)
    entry = board.add("conn", "sources", "file")
    stop = threading.Event()
    return PointIntake(declared, point, entry, board, rejects, stop), point, rejects, entry, stop


def test_a_record_that_does_not_fit_or_is_refused_is_kept_and_passed(tmp_path):
    intake, point, rejects, entry, _ = intake_of(tmp_path)
    unfit = intake.take({"n": 1}, position=("f", "1"), where="x:1", raw=b"raw")
    assert unfit.exception().code is Code.UNMAPPED
    point.refuses = [FabricError(Code.PUBLISH_DENIED)]
    assert intake.take({"kind": "a"}, position=("f", "2"), where="x:2").exception().code is Code.PUBLISH_DENIED
    point.holds = True
    intake.take({"kind": "b"}, where="x:3", raw=b"3")
    point.open[0].set_exception(FabricError(Code.TOO_LARGE))
    intake.reject(b"bad", FabricError(Code.BAD_INPUT), "x:4", ("f", "4"))
    assert rejects.kept == [
        ("conn", b"raw", Code.UNMAPPED, "x:1"), ("conn", {"kind": "a"}, Code.PUBLISH_DENIED, "x:2"),
        ("conn", b"3", Code.TOO_LARGE, "x:3"), ("conn", b"bad", Code.BAD_INPUT, "x:4"),
    ]
    assert point.passed == [("f", "1"), ("f", "2"), ("f", "4")] and (entry.taken, entry.rejected) == (0, 4)
    assert [each[0] for each in point.published] == ["detections.b"]


def test_while_nothing_more_is_taken_in_it_waits_and_says_why(tmp_path):
    intake, point, rejects, entry, stop = intake_of(tmp_path)
    point.held_up = FabricError(Code.DISK_SHORT, "/outbox")
    point.refuses = [FabricError(Code.BUSY), FabricError(Code.BUSY)]
    told = []
    enter = intake._board.enter
    intake._board.enter = lambda entry, state, error=None: (told.append(state), enter(entry, state, error))
    intake.take({"kind": "a"}).result(0)
    assert told == [State.WAITING, State.WAITING, State.RUNNING] and entry.taken == 1
    stop.set()
    with pytest.raises(FabricError) as raised:
        intake.take({"kind": "a"})
    assert raised.value.code is Code.CLOSED and rejects.kept == []


def test_what_the_end_of_the_connection_left_open_is_nobodys_dead_letter(tmp_path):
    intake, point, rejects, _, _ = intake_of(tmp_path)
    point.holds = True
    intake.take({"kind": "a"})
    intake.ended = FabricError(Code.REVOKED)
    point.open[0].set_exception(FabricError(Code.REVOKED))
    intake.settle()
    assert rejects.kept == []


def test_while_there_is_no_room_for_a_dead_letter_its_source_waits_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("relays.gateways.rejecting._ROOM_S", 0.001)
    intake, point, rejects, entry, stop = intake_of(tmp_path)
    told = []
    enter = intake._board.enter
    intake._board.enter = lambda of, state, why=None: (told.append((state, str(why))), enter(of, state, why))
    rejects.full_times = 2
    intake.reject(b"bad", FabricError(Code.BAD_INPUT), "x:1", ("f", "1"))
    assert [state for state, _ in told] == [State.WAITING, State.WAITING, State.RUNNING]
    assert "cannot be kept: No space" in told[0][1]
    assert [each[3] for each in rejects.kept] == ["x:1"] and entry.rejected == 1 and point.passed == [("f", "1")]
    rejects.full_times = 1
    point.holds = True
    intake.take({"kind": "a"}, where="x:2", severity=Severity.HIGH)
    point.open[0].set_exception(FabricError(Code.TOO_LARGE))
    assert entry.rejected == 1, "the connection's thread waits for nobody"
    intake.take({"kind": "b"}, where="x:3")
    assert [each[3] for each in rejects.kept] == ["x:1", "x:2"] and rejects.severities[1] is Severity.HIGH


def test_what_could_not_be_kept_when_it_had_to_stop_is_read_again(tmp_path):
    intake, point, rejects, entry, stop = intake_of(tmp_path)
    rejects.full_times = 1
    stop.set()
    with pytest.raises(FabricError) as raised:
        intake.reject(b"bad", FabricError(Code.BAD_INPUT), "x:1", ("f", "1"))
    assert raised.value.code is Code.CLOSED and point.passed == [] and rejects.kept == [] and entry.rejected == 0
    assert intake.keep_up() is None and rejects.kept == [], "it is not in two places"


def test_who_is_yet_to_listen_is_not_said_to_run(stage):
    """A sender that came as soon as it was said lost what it sent."""
    begins, ends = threading.Event(), threading.Event()

    def run(intake, stop):
        assert begins.wait(WAIT_S)
        intake.waits(None)
        assert ends.wait(WAIT_S)

    stage.run(source("a", run))
    (entry,) = stage.runner.board.entries
    assert entry.state is State.STARTING
    begins.set()
    stage.wait("a", State.RUNNING, None)
    ends.set()
    stage.wait("a", State.ENDED, None)
