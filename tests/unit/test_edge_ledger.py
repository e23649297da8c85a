"""What is remembered of what was executed: over the end of a program, without an outbox, by one program at a time."""

import sqlite3

import pytest

from fabric.edge.acting.ledger import Ledger
from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.connection.status import Status
from fabric.edge.receiving.attaching import Attaching
from fabric.edge.receiving.subscriptions import Subscriptions
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Ready, Seen, SeenAction
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.point.point import Point
from fabric.protocol.wire.frames import Direction
from tests.support import EVERYTHING, HOUR_MS, T0, Authority, draft, entropy

AUTHORITY = Authority("edge-ledger")
ME = AUTHORITY.issue("fw-1", grants=EVERYTHING)
ONE, TWO = bytes(16), bytes(range(16))


class Program:
    """A control point's program, as far as it executes."""

    def __init__(self, path):
        self.core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"))
        self.calls = Mailbox()
        self.attaching = Attaching(self.core, self.calls, Status(["a"]), Subscriptions(lambda id_, problem: None))
        self.ledger = Ledger(path, self.core, self.calls, self.attaching)

    def execute(self, at_ms=T0):
        self.ledger.execute(print)
        self.turn(at_ms)
        return self

    def turn(self, at_ms):
        ready = Ready()
        self.calls.run(at_ms, ready)
        self.ledger.look(at_ms, ready)

    @property
    def executes(self):
        return self.attaching.take_action is not None and self.core.wanted.executes

    def knows(self, id_, at_ms=T0):
        return self.core.custody.dedup.seen(id_, Direction.DOWN, at_ms)

    def why_not(self, issued_at_ms, at_ms):
        header = draft(ME, kind=Kind.ACTION, topic="deny.ipv4_net", issued_at_ms=issued_at_ms)[0]
        refused = self.ledger.why_not(header, at_ms)
        return refused.code if refused is not None else None

    def ends(self):
        self.ledger.close()
        self.calls.close()


@pytest.fixture
def start(tmp_path):
    started = []

    def start():
        started.append(Program(tmp_path / "fw-1" / "ledger"))
        return started[-1]

    yield start
    for program in started:
        program.ends()


def took(id_, until_ms=T0 + HOUR_MS):
    return SeenAction(id_, Direction.DOWN, until_ms, "soar-1")


def test_what_was_taken_is_known_to_the_next_program_until_its_time_is_over(start):
    first = start().execute()
    first.ledger.commit([took(ONE), took(TWO, T0 + 10), Seen(b"s" * 16, Direction.DOWN, T0 + HOUR_MS)])
    first.ends()
    second = start().execute(T0 + 10)
    assert second.executes and second.knows(ONE) and not second.knows(b"s" * 16)
    second.ends()
    third = start().execute(T0 + HOUR_MS + 10)
    assert third.knows(ONE, T0 + HOUR_MS + 10) and not third.knows(TWO, T0 + HOUR_MS + 10)


# -- a machine whose clock is wrong when it starts ----------------------------------------------------------------


def tell(program, fabric_ms, at_ms, link=1):
    program.core.time.hear(link, ME.credential, at_ms, fabric_ms, at_ms)


def test_it_began_in_1970_and_its_clock_was_put_right_before_the_next_program_began(start):
    first = start().execute(1_000)
    first.core.time.wall_is_ahead(T0 - 1_000)
    first.ledger.commit([took(ONE, 1_000 + 60_000)])
    first.turn(10_000)
    first.ends()
    second = start().execute(T0 + 20_000)
    assert second.knows(ONE, T0 + 20_000)


def test_it_begins_in_1970_and_knows_what_the_one_before_took_for_as_long_as_it_may_matter(start):
    first = start().execute(T0)
    first.ledger.commit([took(ONE, T0 + 60_000)])
    first.ends()
    second = start().execute(1_000)
    assert second.knows(ONE, HOUR_MS) and not second.knows(ONE, 2 * HOUR_MS)


def test_its_clock_is_ahead_by_less_than_an_hour_or_a_parent_says_so(start):
    first = start().execute(T0)
    first.ledger.commit([took(ONE, T0 + 60_000)])
    tell(first, T0 + 365 * 24 * HOUR_MS, T0)
    first.turn(T0 + 2_000)
    first.ends()
    second = start().execute(T0 + HOUR_MS)
    assert second.knows(ONE, T0 + HOUR_MS)


def test_a_ledger_that_began_by_a_clock_far_ahead_refuses_nothing_later(start):
    start().execute(T0 + 24 * HOUR_MS).ends()
    second = start().execute(T0)
    assert second.why_not(T0 + 1_000, T0 + 1_000) is None
    assert second.why_not(T0 - 60_000, T0 + 1_000) is Code.NOT_KNOWN_HERE
    tell(second, T0 + 2_000, T0 + 2_000)
    second.turn(T0 + 2_000)
    second.ends()
    third = start().execute(T0 + HOUR_MS)
    assert third.why_not(T0 + 1_000, T0 + HOUR_MS) is None, "the file has the right time now"


def test_a_ledger_that_began_by_a_clock_far_behind_takes_nothing_older(start):
    first = start().execute(1_000)
    first.core.time.wall_is_ahead(T0 - 1_000)
    tell(first, T0 + 1_000, 2_000)
    first.turn(2_000)
    first.ends()
    second = start().execute(T0 + 60_000)
    assert second.why_not(T0 - 60_000, T0 + 60_000) is Code.NOT_KNOWN_HERE
    assert second.why_not(T0 + 10_000, T0 + 60_000) is None


def test_a_clock_that_is_put_right_while_it_runs_moves_no_beginning_of_before(start):
    start().execute(T0).ends()
    second = start().execute(1_000)
    second.core.time.wall_is_ahead(T0 + HOUR_MS - 1_000)
    assert second.why_not(T0 + HOUR_MS + 1_000, 2_000) is None and second.why_not(T0 + 1_000, 2_000) is None


def test_what_is_over_leaves_room_for_what_is_new(start, monkeypatch):
    monkeypatch.setattr("fabric.edge.acting.ledger._OVER_MAX", 3)
    first = start().execute()
    first.ledger.commit([took(n.to_bytes(16), T0 + n) for n in range(10)] + [took(b"k" * 16)])
    first.ends()
    second = start().execute(T0 + 60_000)
    known = [n for n in range(10) if second.knows(n.to_bytes(16), T0 + 60_000)]
    assert known == [8, 9] and second.knows(b"k" * 16, T0 + 60_000)


def test_it_is_there_when_the_handler_hears_of_it(start, tmp_path):
    """Whatever ends the program after that, kill -9 included."""
    start().execute().ledger.commit([took(ONE)])
    with sqlite3.connect(tmp_path / "fw-1" / "ledger") as other:
        assert other.execute("SELECT count(*) FROM kept WHERE name LIKE 'action %'").fetchone() == (1,)
    other.close()


def test_only_its_owner_reads_it_and_there_is_none_where_nothing_is_executed(start, tmp_path):
    program = start()
    program.turn(T0)
    assert not (tmp_path / "fw-1").exists()
    program.execute()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "fw-1").iterdir()}
    assert modes == dict.fromkeys(("ledger", "ledger-shm", "ledger-wal", "ledger.lock"), 0o600)


def test_what_was_issued_before_there_was_a_ledger_may_have_been_executed(start):
    program = start().execute()
    assert program.why_not(T0 - 1_001, T0 + 5) is Code.NOT_KNOWN_HERE
    assert program.why_not(T0 - 1_000, T0 + 5) is None and program.why_not(T0 + 3, T0 + 5) is None
    program.ends()
    later = start().execute(T0 + HOUR_MS)
    assert later.why_not(T0 + 3, T0 + HOUR_MS) is None, "it was there all the time"


def test_that_is_asked_by_the_fabric_s_time(start, monkeypatch):
    """This machine's clock is ten seconds ahead of the root's."""
    program = start().execute()
    monkeypatch.setattr(program.core.time, "now", lambda now_ms: now_ms - 10_000)
    assert program.why_not(T0 - 10_000, T0 + 5) is None
    assert program.why_not(T0 - 12_000, T0 + 5) is Code.NOT_KNOWN_HERE


def test_a_row_that_cannot_be_read_makes_it_a_new_ledger(start, tmp_path):
    first = start().execute()
    first.ledger.commit([took(ONE)])
    first.ends()
    with sqlite3.connect(tmp_path / "fw-1" / "ledger") as db:
        db.execute("UPDATE kept SET meta = x'00' WHERE name LIKE 'action %'")
    db.close()
    second = start().execute(T0 + 60_000)
    assert not second.knows(ONE)
    assert second.why_not(T0 + 10, T0 + 60_000) is Code.NOT_KNOWN_HERE, "whatever it was, it is not executed again"


def test_a_second_program_waits_for_the_first_to_end_and_then_executes(start):
    first, second = start().execute(), start().execute()
    assert first.executes and not second.executes and second.ledger.due_ms is not None
    second.turn(T0 + 5_000)
    first.ledger.commit([took(ONE)])
    first.ends()
    second.turn(T0 + 5_500)
    assert second.executes and second.knows(ONE) and second.ledger.due_ms is None


def test_and_not_for_ever(start):
    start().execute()
    second = start().execute()
    second.turn(T0 + 11_000)
    with pytest.raises(FabricError) as raised:
        second.turn(T0 + 12_000)
    assert raised.value.code is Code.ALREADY_RUNNING and raised.value.next_step


def test_what_cannot_be_written_down_is_not_executed(start):
    program = start().execute()
    program.ledger._spool._db.close()
    with pytest.raises(FabricError) as raised:
        program.ledger.commit([took(ONE)])
    assert raised.value.code is Code.SPOOL_FAILED


def test_it_forgets_what_is_over(start, tmp_path):
    program = start().execute()
    program.ledger.commit([took(n.to_bytes(16), T0 + 1_000) for n in range(100)] + [took(b"k" * 16)])
    program.turn(T0 + HOUR_MS + 999)
    program.turn(T0 + HOUR_MS + 2_000)
    left = program.ledger._spool._db.execute("SELECT count(*) FROM kept WHERE name LIKE 'action %'").fetchone()
    assert left == (1,)


def test_while_it_waits_it_says_for_whom(start):
    first, second = start().execute(), start().execute()
    assert first.ledger.held_up is None
    why = second.ledger.held_up
    assert why.code is Code.ALREADY_RUNNING and "executes actions as fw-1" in why.detail
    first.ends()
    second.turn(T0 + 500)
    assert second.executes and second.ledger.held_up is None
