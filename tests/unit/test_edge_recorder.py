"""What is written down of actions, when, and what is said while that cannot be."""

import pytest
import structlog

from fabric.edge.publishing.drafts import Stamp
from fabric.edge.requesting.account import account_of
from fabric.edge.requesting.recorder import _GATHER_MS, _OTHERS_MAX, NotKeptError, Recorder
from fabric.edge.requesting.requests import Requests
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.spool.book import Book
from tests.support import EVERYTHING, T0, Authority, verified

AUTHORITY = Authority("edge-recorder")
ME = AUTHORITY.issue("soar-1", grants=EVERYTHING)
RELAY = AUTHORITY.issue("hq", NodeKind.RELAY)
WALLS = {name: AUTHORITY.issue(name, grants=EVERYTHING) for name in ("fw-1", "fw-2")}
RECORD = {"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}
STAMP = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, 60_000, Label.GREEN, to="all")


def action(value="192.0.2.1", args=None):
    return verified(ME, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", label=Label.GREEN, severity=Severity.HIGH,
                    ttl_ms=60_000, records=[{**RECORD, "target": {"ipv4_net": value}, "args": args or {}}])


class Record:
    def __init__(self, content):
        self.content = content


class Program:
    """A program of an identity, and what it was told. `path`: of the book that all of them share."""

    def __init__(self, path):
        self.recorder = Recorder(path, structlog.get_logger())
        self.requests = Requests(self.recorder)
        self.told = []

    def ask(self, message, key=""):
        entry = self.recorder.write_down(message, key, T0)
        end_ms = T0 + 65_000
        tracker = Tracker(message.leaf, T0, end_ms) if entry is None else self.recorder.begin(entry, end_ms)
        self.requests.add(tracker, lambda tracker: self.told.append({o.target: o.end for o in tracker.outcomes()}))
        return tracker

    def hear(self, asked, member, end, at_ms=T0, state=State.NONE, **content):
        result = verified(
            member, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=asked.leaf, state=state
        )
        self.requests.take(result, [Record({"end" if state.end or not state else "state": end, **content})], at_ms)

    def selected(self, asked, *targets):
        self.hear(asked, RELAY, "selected", targets=list(targets))

    def turn(self, at_ms=T0 + _GATHER_MS):
        self.recorder.commit(at_ms)
        for tracker in self.recorder.look(at_ms):
            self.requests.tell(tracker)


@pytest.fixture
def path(tmp_path):
    book = Book(tmp_path / "actions")
    book.keep(b"s" * 16, is_kept=True)
    book.close()
    return tmp_path / "actions"


@pytest.fixture
def programs(path):
    made = [Program(path) for _ in range(2)]
    yield made
    for program in made:
        program.recorder.close()


def account(path, asked, at_ms=T0):
    book = Book(path)
    entry = book.by_id(asked.leaf)
    found = account_of(entry, book.words(entry.n), at_ms)
    book.close()
    return found


def test_what_was_asked_and_every_word_is_in_the_book(programs, path):
    program, asked = programs[0], action()
    program.ask(asked)
    program.selected(asked, "fw-1", "fw-2")
    program.hear(asked, WALLS["fw-1"], "running", state=State.RUNNING, progress=0.5)
    program.hear(asked, WALLS["fw-1"], "completed", result={"rule": 7})
    program.turn()
    found = account(path, asked)
    assert (found.requester, found.action, found.target, found.to) == ("soar-1", "deny", RECORD["target"], "all")
    assert [(w.target, w.state) for w in found.words] == [("fw-1", State.RUNNING), ("fw-1", State.COMPLETED)]
    assert found.states == {"fw-1": State.COMPLETED} and found.targets == ("fw-1", "fw-2") and found.is_open
    program.hear(asked, WALLS["fw-2"], "failed", code="E709")
    program.hear(asked, RELAY, "resolved", outcome="partly")
    program.turn(T0 + 2 * _GATHER_MS)
    found = account(path, asked)
    assert not found.is_open and found.resolution == "partly" and found.states["fw-2"] is State.FAILED


def test_words_without_a_key_gather_and_those_with_one_are_written_at_once(programs, path):
    program, asked, keyed = programs[0], action("192.0.2.1"), action("192.0.2.2")
    program.ask(asked)
    program.turn(T0)
    program.selected(asked, "fw-1")
    program.turn(T0)
    program.selected(asked, "fw-1")
    program.hear(asked, WALLS["fw-1"], "completed")
    program.turn(T0 + 1)
    assert program.recorder.due_ms is not None
    program.ask(keyed, "K")
    program.selected(keyed, "fw-1")
    program.turn(T0 + 1)
    assert account(path, keyed).targets == ("fw-1",) and account(path, asked).states == {"fw-1": State.COMPLETED}


def test_what_waits_is_written_at_the_end(programs, path):
    program, asked = programs[0], action()
    program.ask(asked)
    program.selected(asked, "fw-1")
    program.recorder.close()
    assert account(path, asked).targets == ("fw-1",)


def test_a_relay_is_told_that_a_word_was_heard_when_it_is_on_disk(programs, path):
    program, asked = programs[0], action()
    program.ask(asked, "K")
    program.selected(asked, "fw-1")
    heard = []
    program.recorder.when_written(lambda: heard.append(1))
    assert heard == []
    break_disk(program)
    program.turn()
    assert heard == [] and program.recorder.due_ms is not None, "it is tried again"
    mend_disk(program)
    program.turn(T0 + 5_000)
    assert heard == [1] and account(path, asked).targets == ("fw-1",)
    program.recorder.when_written(lambda: heard.append(2))
    assert heard == [1, 2], "nothing waits for a disk now"


def break_disk(program):
    program.recorder.open()._db.execute("PRAGMA query_only = ON")


def mend_disk(program):
    program.recorder.open()._db.execute("PRAGMA query_only = OFF")


def test_without_a_key_a_disk_that_fails_is_said_once_and_holds_up_nothing(programs, path):
    program, asked = programs[0], action()
    program.ask(asked)
    break_disk(program)
    with structlog.testing.capture_logs() as logs:
        program.recorder._log = structlog.get_logger()
        for number in (2, 3):
            program.ask(action(f"192.0.2.{number}"))
        program.selected(asked, "fw-1")
        program.turn()
    assert [log["code"] for log in logs] == ["E938"]
    assert program.recorder._changes == {} and program.told[-1] == {}
    with pytest.raises(FabricError) as raised:
        program.ask(action("192.0.2.4"), "K")
    assert raised.value.code is Code.BOOK_FAILED


def test_another_program_under_the_same_key_follows_the_first(programs, path):
    first, second = programs
    asked = action()
    first.ask(asked, "K")
    first.selected(asked, "fw-1", "fw-2")
    first.hear(asked, WALLS["fw-1"], "completed")
    first.turn()
    assert second.recorder.known("K", STAMP, RECORD).id == asked.leaf
    assert second.recorder.write_down(action("192.0.2.9"), "K", T0).id == asked.leaf, "quicker than was looked"
    second.ask(asked, "K")
    assert second.told == [{"fw-1": End.COMPLETED}], "what is known is told at once"
    second.turn()
    first.hear(asked, WALLS["fw-2"], "running", state=State.RUNNING, progress=0.5)
    first.turn(T0 + 300)
    second.turn(T0 + 500)
    assert second.told[-1] == {"fw-1": End.COMPLETED} and second.requests.get(asked.leaf).steps["fw-2"].progress == 0.5
    number = len(second.told)
    second.turn(T0 + 700)
    assert len(second.told) == number, "nothing is told twice"
    second.hear(asked, WALLS["fw-2"], "failed")
    second.turn(T0 + 900)
    first.turn(T0 + 1_100)
    assert first.told[-1] == second.told[-1] == {"fw-1": End.COMPLETED, "fw-2": End.FAILED}
    assert first.requests.get(asked.leaf) is None and not account(path, asked).is_open


def test_that_one_gave_up_is_in_the_book_and_no_end_for_another(programs, path):
    first, second = programs
    asked = action()
    first.ask(asked, "K")
    first.selected(asked, "fw-1")
    second.ask(asked, "K")
    first.requests.time_out(T0 + 65_000)
    first.turn(T0 + 65_000)
    assert first.told[-1] == {"fw-1": End.UNKNOWN} and account(path, asked).states == {"fw-1": State.UNKNOWN}
    second.turn(T0 + 65_001)
    assert second.requests.get(asked.leaf) is not None and account(path, asked).is_open
    first.hear(asked, WALLS["fw-1"], "completed", T0 + 70_000)
    first.turn(T0 + 70_000)
    second.turn(T0 + 70_500)
    assert second.told[-1] == {"fw-1": End.COMPLETED} and account(path, asked).states == {"fw-1": State.COMPLETED}


def test_one_who_gave_up_before_anybody_was_named_still_writes_down_what_comes(programs, path):
    program, asked = programs[0], action()
    program.ask(asked)
    program.turn()
    program.requests.time_out(T0 + 65_000)
    program.selected(asked, "fw-1")
    program.hear(asked, WALLS["fw-1"], "completed", T0 + 65_001)
    program.turn(T0 + 66_000)
    assert account(path, asked).states == {"fw-1": State.COMPLETED} and not account(path, asked).is_open


def test_that_the_connection_ended_is_no_word_of_anybody(programs, path):
    program, asked = programs[0], action()
    program.ask(asked)
    program.selected(asked, "fw-1")
    program.requests.close()
    program.recorder.close()
    assert program.told[-1] == {"fw-1": End.UNKNOWN} and account(path, asked).states == {}


def test_a_program_that_collects_writes_down_what_others_asked_for_and_nothing_else(programs, path):
    asks, collects = programs
    asked, unheard_of = action(), action("192.0.2.7")
    asks.ask(asked, "K")
    collects.hear(asked, RELAY, "selected", targets=["fw-1"])
    assert collects.recorder._others == {}, "who has no book open looks into none"
    collects.recorder.open()
    collects.hear(unheard_of, RELAY, "selected", targets=["fw-1"])
    collects.hear(asked, RELAY, "selected", targets=["fw-1"])
    collects.hear(asked, WALLS["fw-1"], "completed")
    collects.turn()
    asks.turn()
    assert asks.told[-1] == {"fw-1": End.COMPLETED} and asks.requests.get(asked.leaf) is None


def test_what_comes_while_the_book_cannot_be_read_is_acknowledged_when_it_is_in_there(programs, path, monkeypatch):
    asks, collects = programs
    asked, acknowledged = action(), []
    asks.ask(asked, "K")
    collects.recorder.open()

    def hear(member, end, **content):
        collects.hear(asked, member, end, **content)
        collects.recorder.when_written(lambda: acknowledged.append(end))

    def busy(_book, _id):
        raise FabricError(Code.BOOK_FAILED, "database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(Book, "by_id", busy)
        hear(RELAY, "selected", targets=["fw-1"])
        collects.turn(T0 + 1_000)
    hear(WALLS["fw-1"], "completed")
    collects.turn(T0 + 1_999)
    assert acknowledged == [] and account(path, asked).targets is None
    collects.turn(collects.recorder.due_ms)
    assert acknowledged == ["selected", "completed"]
    assert account(path, asked).states == {"fw-1": State.COMPLETED}


def test_while_the_book_cannot_be_read_so_many_words_wait_for_it_and_no_more(programs, monkeypatch):
    asks, collects = programs
    asked, acknowledged = action(), []
    asks.ask(asked, "K")
    collects.recorder.open()
    monkeypatch.setattr("fabric.edge.requesting.recorder._WAITING_MAX", 2)

    def busy(_book, _id):
        raise FabricError(Code.BOOK_FAILED, "database is locked")

    monkeypatch.setattr(Book, "by_id", busy)
    for number in range(3):
        collects.hear(asked, WALLS["fw-1"], "completed", T0 + 2_000 * number)
        collects.recorder.when_written(lambda n=number: acknowledged.append(n))
        collects.turn(T0 + 2_000 * number + 1_000)
        assert len(acknowledged) == (3 if number == 2 else 0)
    assert not collects.recorder._unread


def test_of_others_actions_so_many_are_known_at_a_time(programs):
    asks, collects = programs
    collects.recorder.open()
    for number in range(_OTHERS_MAX + 5):
        asked = action(f"192.0.2.{number}")
        asks.recorder.write_down(asked, "", T0)
        asks.turn(T0 + number * 300)
        collects.hear(asked, RELAY, "selected", targets=["fw-1"])
    assert len(collects.recorder._others) == len(collects.recorder._written) == _OTHERS_MAX


def test_a_key_is_for_what_was_asked_first(programs):
    program = programs[0]
    assert program.recorder.known("K", STAMP, RECORD) is None
    program.ask(action(), "K")
    for stamp, record, differs in (
        (STAMP._replace(ttl_ms=1), RECORD, "ttl"),
        (STAMP._replace(terms=Terms(dry_run=True)), RECORD, "terms"),
        (STAMP._replace(to="id=fw-1"), {**RECORD, "args": {"duration": 7}}, "arguments, to"),
        (STAMP, {**RECORD, "args": {**RECORD["args"], "response_requested": "none"}}, "arguments"),
        (STAMP, {**RECORD, "action": "allow", "target": {"ipv4_net": "192.0.2.2"}}, "action, target"),
    ):
        with pytest.raises(FabricError) as raised:
            program.recorder.known("K", stamp, record)
        assert (raised.value.code, raised.value.detail) == (Code.KEY_TAKEN, f"what differs: {differs}")


def test_under_a_key_one_is_not_true(programs):
    """They are equal to Python, and not to a handler."""
    program = programs[0]
    asked = {**RECORD, "args": {"force": 1}}
    program.recorder.write_down(action(args={"force": 1}), "K", T0)
    assert program.recorder.known("K", STAMP, asked) is not None
    with pytest.raises(FabricError) as raised:
        program.recorder.known("K", STAMP, {**asked, "args": {"force": True}})
    assert raised.value.detail == "what differs: arguments"


def test_without_anybody_who_keeps_results_nothing_is_sent_under_a_key(programs, path):
    book = Book(path)
    assert book.let_go(T0)
    book.close()
    with pytest.raises(NotKeptError):
        programs[0].ask(action(), "K")
    programs[0].ask(action())


def test_a_refusal_is_final_and_an_arrival_is_remembered(programs, path):
    program, asked = programs[0], action()
    program.ask(asked, "K")
    program.recorder.arrived(asked.leaf)
    program.turn()
    assert program.recorder.known("K", STAMP, RECORD).arrived
    program.recorder.refused(asked.leaf, FabricError(Code.REQUEST_DENIED, "deny.ipv4_net"))
    program.turn()
    entry = program.recorder.known("K", STAMP, RECORD)
    assert (entry.refused, entry.why, entry.closed) == (403, "deny.ipv4_net", True)
    assert account(path, asked).refused is Code.REQUEST_DENIED
