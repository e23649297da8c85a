"""What is remembered of what was executed: over the end of a program, without an outbox, by one program at a time."""

import sqlite3
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from fabric.edge.acting.cancelled import Cancelled
from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.connection.status import Status
from fabric.edge.effects.lease_clock import Clocks
from fabric.edge.effects.lease_list import NAME as LEASES
from fabric.edge.effects.leasing import Leasing
from fabric.edge.handling.handlers import Answer
from fabric.edge.handling.replies import About, Reply
from fabric.edge.identity.identity import Defaults
from fabric.edge.ledger.ledger import Ledger
from fabric.edge.receiving.attaching import Attaching
from fabric.edge.receiving.subscriptions import Subscriptions
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Connected, Delivery, Ready, Repeated, Seen, SeenAction
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.point.action_room import ACTION_BYTES
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction, Role
from tests.conversation import Conversation
from tests.support import EVERYTHING, FABRIC, HOUR_MS, T0, Authority, draft, entropy, verified

AUTHORITY = Authority("edge-ledger")
ME = AUTHORITY.issue("fw-1", grants=EVERYTHING)
ONE, TWO = bytes(16), bytes(range(16))


class Executor:
    """What becomes of what an earlier program left."""

    def __init__(self):
        self.idempotent = False
        self.taken, self.again, self.answers, self.told, self.cancelled = [], [], [], [], []

    def take(self, delivery):
        self.taken.append(delivery.message.id)

    def take_again(self, delivery):
        self.again.append(delivery.message.id)

    due_ms = None

    def look(self, now_ms):
        pass

    def answer(self, about, answer):
        self.answers.append((about.id, str(answer.end), answer.code))

    def tell_again(self, reply):
        self.told.append(reply)

    def was_cancelled(self, kept, by):
        self.cancelled.append((kept.id, by.id))
        return []

    def is_idempotent(self, topic):
        return self.idempotent


class Reverter:
    """Who calls reverts: it notes which."""

    def __init__(self):
        self.known = True
        self.reverts, self.effects, self.hang = [], [], []

    def knows(self, topic):
        return self.known

    def revert(self, lease):
        self.reverts.append(lease.id)

    def tell(self, effect):
        self.effects.append(effect)

    def hanging(self, now_ms):
        return self.hang


class Program:
    """A control point's program, as far as it executes."""

    def __init__(self, path):
        self.core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"))
        self.calls = Mailbox()
        self.attaching = Attaching(self.core, self.calls, Status(["a"]), Subscriptions(lambda id_, problem: None))
        self.executor = Executor()
        self.reverter = Reverter()
        log = structlog.get_logger()
        self.leasing = Leasing(
            self.core.me.id, path.with_name(LEASES), self.core.time, log,
            lambda _time, now_ms: Clocks(now_ms, "boot", now_ms, now_ms, now_ms),
        )
        self.ledger = Ledger(path, self.core, self.calls, self.attaching, self.leasing, log)

    def execute(self, at_ms=T0):
        self.ledger.execute(self.executor, self.reverter)
        self.turn(at_ms)
        return self

    def turn(self, at_ms):
        ready = Ready()
        self.calls.run(at_ms, ready)
        self.ledger.look(at_ms, ready)

    @property
    def executes(self):
        return self.attaching.take_action is not None and self.core.wanted.executes

    def saw(self, ops, *delivered, at_ms=T0):
        self.ledger.commit(Ready(persist=list(ops), deliver=list(delivered)), at_ms)

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
    first.saw([took(ONE), took(TWO, T0 + 10), Seen(b"s" * 16, Direction.DOWN, T0 + HOUR_MS)])
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
    first.saw([took(ONE, 1_000 + 60_000)])
    first.turn(10_000)
    first.ends()
    second = start().execute(T0 + 20_000)
    assert second.knows(ONE, T0 + 20_000)


def test_it_begins_in_1970_and_knows_what_the_one_before_took_for_as_long_as_it_may_matter(start):
    first = start().execute(T0)
    first.saw([took(ONE, T0 + 60_000)])
    first.ends()
    second = start().execute(1_000)
    # As long as one that was approved may be approved again: this one may have been, for all that is known.
    assert second.knows(ONE, 24 * HOUR_MS) and not second.knows(ONE, 28 * HOUR_MS)


def test_what_was_approved_is_known_for_as_long_as_it_may_be_approved_once_more(start):
    first = start().execute(T0)
    first.saw([took(ONE, T0 + 24 * HOUR_MS), took(TWO, T0 + 60_000)])
    first.ends()
    second = start().execute(T0 + 60_000)
    assert second.knows(ONE, T0 + 23 * HOUR_MS) and not second.knows(TWO, T0 + 2 * HOUR_MS)


def test_its_clock_is_ahead_by_less_than_an_hour_or_a_parent_says_so(start):
    first = start().execute(T0)
    first.saw([took(ONE, T0 + 60_000)])
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
    monkeypatch.setattr("fabric.edge.ledger.left_behind._OVER_MAX", 3)
    first = start().execute()
    first.saw([took(n.to_bytes(16), T0 + n) for n in range(10)] + [took(b"k" * 16)])
    first.ends()
    second = start().execute(T0 + 60_000)
    known = [n for n in range(10) if second.knows(n.to_bytes(16), T0 + 60_000)]
    assert known == [8, 9] and second.knows(b"k" * 16, T0 + 60_000)


def test_it_is_there_when_the_handler_hears_of_it(start, tmp_path):
    """Whatever ends the program after that, kill -9 included."""
    start().execute().saw([took(ONE)])
    with sqlite3.connect(tmp_path / "fw-1" / "ledger") as other:
        assert other.execute("SELECT count(*) FROM kept WHERE name LIKE 'action %'").fetchone() == (1,)
    other.close()


def test_only_its_owner_reads_it_and_there_is_none_where_nothing_is_executed(start, tmp_path):
    program = start()
    program.turn(T0)
    assert not (tmp_path / "fw-1").exists()
    program.execute()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "fw-1").iterdir()}
    assert modes == dict.fromkeys(("ledger", "ledger-shm", "ledger-wal", "ledger.lock", "ledger.ballast"), 0o600)


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
    first.saw([took(ONE)])
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
    first.saw([took(ONE)])
    first.ends()
    second.turn(T0 + 5_500)
    assert second.executes and second.knows(ONE)
    second.turn(T0 + 5_500)  # the list of effects in force is written
    assert second.ledger.due_ms is None


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
        program.saw([took(ONE)])
    assert raised.value.code is Code.SPOOL_FAILED


def test_it_forgets_what_is_over(start, tmp_path):
    program = start().execute()
    program.saw([took(n.to_bytes(16), T0 + 1_000) for n in range(100)] + [took(b"k" * 16)])
    program.turn(T0 + HOUR_MS + 999)
    program.turn(T0 + HOUR_MS + 16_000)
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


# -- from intent to told ------------------------------------------------------------------------------------------

SOAR = AUTHORITY.issue("soar-1", grants=EVERYTHING)
RELAY = AUTHORITY.issue("hq", NodeKind.RELAY)
SELF = SimpleNamespace(id="fw-1", defaults=Defaults(Label.GREEN, {}))


def action(number=1, ttl_ms=60_000, member=SOAR) -> Verified:
    body = {"action": "deny", "target": {"ipv4_net": f"192.0.2.{number}"}, "args": {}}
    return verified(member, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", records=[body], ttl_ms=ttl_ms,
                    sequence=number)


def take(program, message, at_ms=T0):
    program.core.action_room.add(message.header.origin, ACTION_BYTES + len(message.raw))  # as the core does
    seen = SeenAction(message.id, Direction.DOWN, at_ms + HOUR_MS, message.header.origin)
    program.saw([seen], Delivery(message, 5, ("hq",)), at_ms=at_ms)


def reply_to(message, **result):
    return Reply.to(About(message.header, message.leaf), Answer(result=result), SELF)


def done(program, future, at_ms=T0):
    """What a thread waits for ends in a turn of the connection's."""
    assert not future.done()
    ready = Ready()
    program.calls.run(at_ms, ready)
    program.ledger.commit(ready, at_ms)
    return future.result(0)


def connect(program, at_ms=T0):
    """It is with its relay: fabric time and revocations are known."""
    talk = Conversation(program.core)
    talk.now_ms = at_ms
    talk.dial(RELAY, Role.POINT)
    assert talk.told(Connected)


def steps(*wanted):
    """An action that got so far in a program that then died, and the next program."""

    def go(start, message, idempotent=False):
        first = start().execute()
        take(first, message)
        if "begun" in wanted:
            done(first, first.ledger.begin(message.id))
        if "answered" in wanted:
            done(first, first.ledger.keep(reply_to(message, rule=7)))
        if "told" in wanted:
            first.ledger.told(message.id)
            first.turn(T0)
        first.ends()
        second = start()
        second.executor.idempotent = idempotent
        return second.execute(T0 + 1_000)

    return go


def test_what_only_waited_is_executed_when_a_relay_has_said_what_is_in_force(start):
    second = steps("taken")(start, message := action())
    second.turn(T0 + 2_000)
    assert not second.executor.taken and second.ledger.due_ms is not None
    connect(second, T0 + 3_000)
    second.turn(T0 + 3_000)
    assert second.executor.taken == [message.id] and not second.executor.answers
    second.turn(T0 + 4_000)
    assert second.executor.taken == [message.id] and second.ledger.due_ms is None, "once"
    done(second, second.ledger.begin(message.id), T0 + 4_000)


def test_what_was_begun_is_unknown_at_once(start):
    second = steps("begun")(start, message := action())
    second.turn(T0 + 1_000)
    assert second.executor.answers == [(message.id, "unknown", Code.INTERRUPTED)]
    assert not second.executor.taken and not second.executor.again


def test_and_called_again_where_its_handler_is_idempotent_in_time_and_in_force(start):
    second = steps("begun")(start, message := action(), idempotent=True)
    connect(second, T0 + 2_000)
    second.turn(T0 + 2_000)
    assert second.executor.again == [message.id] and not second.executor.answers
    done(second, second.ledger.begin(message.id))


@pytest.mark.parametrize("idempotent", [False, True])
def test_what_is_over_meanwhile_is_not_executed(start, idempotent):
    late = steps("begun" if idempotent else "taken")(start, message := action(), idempotent=idempotent)
    connect(late, T0 + 61_000)
    late.turn(T0 + 61_000)
    ended = ("unknown", Code.INTERRUPTED) if idempotent else ("expired", Code.EXPIRED)
    assert late.executor.answers == [(message.id, *ended)] and not late.executor.taken + late.executor.again


def test_and_ends_when_its_time_does_though_no_relay_is_there(start):
    second = steps("taken")(start, message := action())
    second.turn(T0 + 59_000)
    assert not second.executor.answers
    second.turn(T0 + 60_000)
    assert second.executor.answers == [(message.id, "expired", Code.EXPIRED)]


@pytest.mark.parametrize("far", ["taken", "begun"])
def test_nor_is_what_a_revoked_requester_asked_for(start, far):
    second = steps(far)(start, message := action(), idempotent=True)
    connect(second, T0 + 2_000)
    list_ = issue_revocations(FABRIC, 1, T0, T0 + 24 * HOUR_MS, ["soar-1"], AUTHORITY.signer)
    assert second.core.apply_lists(list_, T0 + 2_000, Ready()) is None
    second.turn(T0 + 2_000)
    ended = ("refused", Code.REVOKED) if far == "taken" else ("unknown", Code.INTERRUPTED)
    assert second.executor.answers == [(message.id, *ended)] and not second.executor.taken + second.executor.again


def test_handlers_that_come_a_moment_later_are_waited_for(start):
    second = steps("begun")(start, message := action(), idempotent=None)
    second.turn(T0 + 2_000)
    assert not second.executor.answers
    second.turn(T0 + 3_000)
    assert second.executor.answers == [(message.id, "unknown", Code.INTERRUPTED)], "and not for ever"


def test_an_answer_that_was_not_told_is_told_as_it_was(start):
    second = steps("begun", "answered")(start, message := action())
    second.turn(T0 + 1_000)
    assert second.executor.told == [reply_to(message, rule=7)]
    assert not second.executor.answers and not second.executor.taken
    second.ledger.told(message.id)
    second.turn(T0 + 1_000)
    second.ends()
    third = start().execute(T0 + 2_000)
    third.turn(T0 + 3_000)
    assert not third.executor.told


def test_what_is_not_to_begin_if_it_comes_is_known_to_the_next_program_for_as_long_as_it_may_come(start):
    first, message, cancelled = start().execute(), action(1), Cancelled()
    take(first, message)  # as if it cancelled: it is what its signer is known by
    for n in (7, 8):
        first.ledger.cancelled(cancelled.add(bytes([n]) * 16, message, T0 + n))
    done(first, first.ledger.keep(reply_to(message)))
    first.ends()
    second = start().execute(T0 + 1_000)
    assert second.executor.cancelled == [(b"\7" * 16, "soar-1"), (b"\10" * 16, "soar-1")]
    second.ends()
    assert start().execute(T0 + 3 * HOUR_MS).executor.cancelled == []


def test_what_was_told_is_told_again_when_the_action_comes_again_once_a_link(start):
    second = steps("begun", "answered", "told")(start, message := action())
    second.turn(T0 + 1_000)
    assert not second.executor.told
    for link, told in ((3, 1), (3, 1), (4, 1), (5, 1)):
        second.ledger.repeated(Repeated(message.id, link))
        assert second.executor.told == [reply_to(message, rule=7)] * told, "one at a time"
    for link, told in ((3, 1), (4, 2), (4, 2)):
        second.ledger.told(message.id)
        second.turn(T0 + 2_000)
        second.ledger.repeated(Repeated(message.id, link))
        assert len(second.executor.told) == told
    second.ledger.repeated(Repeated(bytes(16), 5))
    assert len(second.executor.told) == 2, "of one that it does not know it knows no answer"


def test_of_what_is_at_work_nothing_is_said_when_it_comes_again(start):
    program = start().execute()
    take(program, message := action())
    program.ledger.repeated(Repeated(message.id, 1))
    done(program, program.ledger.begin(message.id))
    program.ledger.repeated(Repeated(message.id, 2))
    done(program, program.ledger.keep(reply_to(message)))
    program.ledger.repeated(Repeated(message.id, 3))
    assert not program.executor.told, "it is being told"


def test_nothing_begins_twice_and_nothing_that_is_not_known(start):
    program = start().execute()
    take(program, message := action())
    done(program, program.ledger.begin(message.id))
    for id_ in (message.id, bytes(16)):
        with pytest.raises(FabricError) as raised:
            done(program, program.ledger.begin(id_))
        assert raised.value.code is Code.NOT_KNOWN_HERE


def test_what_is_begun_as_it_is_taken_is_in_a_commit_of_its_own_after_what_came(start):
    program = start().execute()
    take(program, message := action())
    commits = []
    commit = program.ledger._spool.commit
    program.ledger._spool.commit = lambda ops: (commits.append(list(ops)), commit(ops))
    done = program.ledger.begin_now(message.id, None, T0)
    assert not done.done() and not commits
    program.ledger.commit_begun()
    assert done.result(0) is None and [op.begun for op in commits[0]] == [True]
    program.ledger.commit_begun()
    assert len(commits) == 1, "nothing begins"
    with pytest.raises(FabricError) as raised:
        program.ledger.begin_now(message.id, None, T0).result(0)
    assert raised.value.code is Code.NOT_KNOWN_HERE
    take(program, second := action(2))
    program.ledger._spool._db.close()
    failed = program.ledger.begin_now(second.id, None, T0)
    program.ledger.commit_begun()
    assert failed.exception(0).code is Code.SPOOL_FAILED and program.ledger.held_up is not None


def test_in_a_ledger_that_is_damaged_all_that_is_open_may_have_been_begun(start, tmp_path):
    first = start().execute()
    take(first, one := action(1))
    take(first, action(2))
    first.ends()
    with sqlite3.connect(tmp_path / "fw-1" / "ledger") as db:
        db.execute("UPDATE kept SET body = x'00' WHERE name = ?", [f"intent {action(2).id.hex()}"])
    db.close()
    second = start().execute(T0 + 1_000)
    second.ends()  # before it was told
    third = start().execute(T0 + 2_000)
    third.turn(T0 + 2_000)
    assert third.executor.answers == [(one.id, "unknown", Code.INTERRUPTED)] and not third.executor.taken


def test_a_ledger_of_before_there_were_answers_is_read(start, tmp_path):
    first = start().execute()
    first.saw([took(ONE)])
    first.ends()
    second = start().execute(T0 + 1_000)
    assert second.knows(ONE) and second.why_not(T0 + 1, T0 + 1_000) is None
    second.turn(T0 + 2_000)
    assert not second.executor.answers and not second.executor.taken
    second.ledger.repeated(Repeated(ONE, 1))
    assert not second.executor.told


def test_all_of_an_action_is_forgotten_when_its_time_is_over(start, tmp_path):
    program = start().execute()
    for number in range(3):
        take(program, action(number))
    done(program, program.ledger.begin(action(1).id))
    done(program, program.ledger.keep(reply_to(action(1), x="y" * 999)))
    done(program, program.ledger.keep(reply_to(action(2))))
    program.ledger.told(action(2).id)
    program.turn(T0 + HOUR_MS - 1)
    assert program.core.action_room.bytes > 0
    program.turn(T0 + HOUR_MS + 1_000)
    assert program.core.action_room.bytes == 0
    program.ends()
    with sqlite3.connect(tmp_path / "fw-1" / "ledger") as db:
        left = db.execute("SELECT count(*) FROM kept WHERE name NOT LIKE 'action %'").fetchone()
    db.close()
    assert left == (2,), "since when there is one, and the requester's credential"


# -- a disk that fails, or fills up -------------------------------------------------------------------------------


def test_an_answer_that_cannot_be_written_down_ends_the_connection_after_it_was_told(start):
    program = start().execute()
    take(program, message := action())
    done(program, program.ledger.begin(message.id))
    program.ledger._spool._db.close()
    with capture_logs() as logs, pytest.raises(FabricError) as raised:
        done(program, program.ledger.keep(reply_to(message)))
    assert raised.value.code is Code.SPOOL_FAILED and logs[-1]["at_work"] == 1
    assert not program.core.action_room.is_open, "the relay keeps what comes"
    assert program.ledger.held_up.code is Code.SPOOL_FAILED
    with pytest.raises(FabricError):  # nothing begins any more
        done(program, program.ledger.begin(message.id))
    program.turn(T0 + 5_000)
    program.ledger.told(message.id)
    with pytest.raises(FabricError) as ended:
        program.turn(T0 + 6_000)
    assert ended.value.code is Code.SPOOL_FAILED


def test_and_not_later_than_a_minute_after(start):
    program = start().execute()
    take(program, message := action())
    done(program, program.ledger.begin(message.id))
    program.ledger._spool._db.close()
    with pytest.raises(FabricError):
        done(program, program.ledger.keep(reply_to(message)))
    program.turn(T0 + 1_000)
    program.turn(T0 + 60_999)
    with pytest.raises(FabricError):
        program.turn(T0 + 61_999)


def test_while_the_disk_is_short_no_action_is_taken_in_and_then_they_are_again(start, monkeypatch):
    program = start().execute()
    take(program, message := action())
    done(program, program.ledger.keep(reply_to(message)))
    room, has_room = program.core.action_room, [False]
    monkeypatch.setattr("fabric.spool.spool.Spool.intake_allowed", lambda _: has_room[0])
    commits = []
    monkeypatch.setattr("fabric.spool.spool.Spool.commit", lambda _, ops: commits.append(ops))
    with capture_logs() as logs:
        program.turn(T0 + 1_000)
        program.ledger.told(message.id)
        program.turn(T0 + 2_000)
        assert not commits, "that somebody was told may wait"
        assert not room.is_open and program.ledger.held_up.code is Code.DISK_SHORT
        has_room[0] = True
        program.turn(T0 + 3_000)
        assert room.is_open and program.ledger.held_up is None and len(commits) == 1
    assert [line["code"] for line in logs] == ["E933", "E933"]


def test_who_waits_to_begin_when_it_closes_is_told_so(start):
    program = start().execute()
    take(program, message := action())
    begins = program.ledger.begin(message.id)
    program.calls.run(T0, Ready())
    program.ends()
    assert begins.exception(0).code is Code.CLOSED
    second = start().execute(T0 + 1_000)
    second.turn(T0 + 1_000)
    assert not second.executor.answers, "it was not begun"


def test_until_something_executes_no_action_is_taken_in(start):
    """With an outbox a relay knows the session, and offers what an earlier run had as soon as there is a link."""
    program = start()
    assert not program.core.action_room.is_open
    program.execute()
    assert program.core.action_room.is_open


def test_an_action_that_comes_where_nothing_executes_takes_no_room(start):
    program = start()
    take(program, action())
    assert program.core.action_room.bytes == 0
