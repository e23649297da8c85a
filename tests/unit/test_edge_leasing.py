"""Leases in the ledger: whatever ends a program, what was begun is reverted, told, and forgotten; nothing else is."""

import pytest
from structlog.testing import capture_logs

from fabric.edge.effects import leases
from fabric.edge.effects.lease_list import LeaseEntry, read_leases, read_unreadable
from fabric.edge.effects.leasing import Lasts
from fabric.edge.handling.handlers import Answer, failed, interrupted, refused
from fabric.edge.handling.replies import About, Reply
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.lifecycle import State
from tests.support import EVERYTHING, HOUR_MS, T0
from tests.unit.test_edge_ledger import AUTHORITY, SELF, Program, action, take

EFFECT, VARIANT = b"e" * 16, b"v" * 16
FOR_A_SECOND, FOR_GOOD = Lasts(EFFECT, VARIANT, 1_000), Lasts(EFFECT, VARIANT, None)
OTHER = AUTHORITY.issue("soar-2", grants=EVERYTHING)


class Edge:
    """A control point: the program that runs, and those that were killed before."""

    def __init__(self, path):
        self.path, self.now_ms, self.known = path, T0, True
        self.begin()

    def begin(self):
        self.program = Program(self.path)
        self.reverter = self.program.reverter
        self.reverter.known = self.known
        self.program.execute(self.now_ms)

    def turn(self, ms=0):
        self.now_ms += ms
        self.program.turn(self.now_ms)
        self.program.saw([], at_ms=self.now_ms)

    def killed(self, later_ms=0):
        """What is on disk is all that is left."""
        self.program.ledger._spool.close()
        self.program.ledger._spool = None
        self.program.ends()
        self.now_ms += later_ms
        self.begin()
        self.turn()

    def begins(self, message, lasts=FOR_A_SECOND):
        take(self.program, message, self.now_ms)
        future = self.program.ledger.begin(message.id, lasts)
        self.turn()
        return future.result(0)

    def answers(self, message, answer=Answer()):  # noqa: B008 - frozen
        future = self.program.ledger.keep(Reply.to(About(message.header, message.leaf), answer, SELF))
        self.turn()
        future.result(0)

    def reverted(self, message, answer=Answer()):  # noqa: B008 - frozen
        self.program.ledger.reverted(message.id, answer)
        self.turn()

    def told(self, message):
        self.program.ledger.lease_told(message.id)
        self.turn(1_000)

    @property
    def words(self):
        return [(effect.record["effect"], effect.is_last) for effect in self.reverter.effects]

    @property
    def in_force(self):
        return self.program.leasing.in_force

    def rows(self):
        found = self.program.ledger._spool._db.execute("SELECT count(*) FROM kept WHERE name LIKE 'lease %'")
        return found.fetchone()[0]


@pytest.fixture
def edge(tmp_path):
    one = Edge(tmp_path / "fw-1" / "ledger")
    yield one
    one.program.ends()


def test_what_is_due_is_reverted_and_told_and_forgotten(edge):
    message = action()
    edge.begins(message)
    edge.answers(message)
    edge.turn(999)
    assert not edge.reverter.reverts and edge.in_force == 1
    edge.turn(1)
    assert edge.reverter.reverts == [message.id] and not edge.words
    edge.turn(10_000)
    assert edge.reverter.reverts == [message.id], "once, while it runs"
    edge.reverted(message)
    (effect,) = edge.reverter.effects
    assert effect.stamp.kind is Kind.RESULT and effect.stamp.state is State.NONE and effect.is_last
    assert (effect.stamp.to, effect.stamp.correlation, effect.stamp.label) == (
        "soar-1", message.leaf, message.header.label
    )
    assert effect.record == {"effect": "reverted", "targets": ["fw-1"], "by": "fw-1", "at": edge.now_ms}
    assert edge.rows() == 1 and edge.in_force == 0
    edge.told(message)
    assert edge.rows() == 0


@pytest.mark.parametrize("answer", [None, Answer(), interrupted(), failed(Code.HANDLER_FAILED)])
@pytest.mark.parametrize("off_ms", [0, HOUR_MS])
def test_it_is_due_whatever_the_answer_was_and_whoever_runs_by_then(edge, answer, off_ms):
    message = action()
    edge.begins(message)
    if answer is not None:
        edge.answers(message, answer)
    edge.killed(off_ms)
    edge.turn(1_000)
    assert edge.reverter.reverts == [message.id]
    edge.killed()
    assert edge.reverter.reverts == [message.id], "what it did before it was killed nobody knows"
    edge.reverted(message)
    assert edge.words == [("reverted", True)]
    edge.killed()
    assert not edge.reverter.reverts and edge.words == [("reverted", True)]
    edge.told(message)
    if answer is None:
        edge.answers(message, interrupted())
    edge.killed(HOUR_MS)
    assert not edge.reverter.reverts and not edge.words and edge.rows() == 0


def again(edge, message, lasts=FOR_A_SECOND):
    """Its handler is idempotent, and the next process is about to call it."""
    future = edge.program.ledger.begin(message.id, lasts)
    edge.turn()
    future.result(0)


def test_what_was_told_to_have_ended_is_not_called_again_by_the_next_process(edge):
    message = action()
    edge.begins(message)
    edge.killed(HOUR_MS)
    edge.turn(1_000)
    edge.reverted(message)
    assert edge.words == [("reverted", True)]
    edge.told(message)
    for _ in range(2):
        with pytest.raises(FabricError) as raised:
            again(edge, message)
        assert raised.value.code is Code.CANCELLED
        edge.killed()
    edge.answers(message, interrupted())
    edge.told(message)
    assert edge.in_force == edge.rows() == 0


def test_what_was_cancelled_while_it_ran_is_not_called_again_by_the_next_process(edge):
    message = action()
    edge.begins(message, FOR_A_SECOND._replace(left_ms=HOUR_MS))
    edge.program.ledger.release(message.id, lambda word: None)
    edge.turn()
    assert not edge.reverter.reverts, "its handler is at work"
    edge.killed()
    edge.turn()
    assert edge.reverter.reverts == [message.id]
    edge.reverted(message)
    assert edge.words == [("released", True)]
    with pytest.raises(FabricError) as raised:
        again(edge, message)
    assert raised.value.code is Code.CANCELLED


@pytest.mark.parametrize("answer", [refused(Reject(Code.CLOCK_SUSPECT)), failed(Code.CANNOT_RUN)])
def test_what_the_first_call_did_ends_though_the_second_one_did_nothing(edge, answer):
    message = action()
    edge.begins(message)
    edge.killed()
    again(edge, message)
    edge.answers(message, answer)
    edge.turn(1_000)
    assert edge.reverter.reverts == [message.id]


@pytest.mark.parametrize(
    "answer", [refused(Reject(Code.CLOCK_SUSPECT)), refused(Reject(Code.EXPIRED)), failed(Code.CANNOT_RUN)]
)
def test_what_never_began_has_no_end(edge, answer):
    message = action()
    edge.begins(message)
    assert edge.rows() == 1
    edge.answers(message, answer)
    assert edge.rows() == 0 and edge.in_force == 0
    edge.turn(HOUR_MS)
    assert not edge.reverter.reverts and not edge.words


def test_while_it_is_reverted_no_handler_of_it_begins(edge):
    first, second = action(1), action(2)
    edge.begins(first)
    edge.answers(first)
    edge.turn(1_000)
    with pytest.raises(FabricError) as raised:
        edge.begins(second)
    assert raised.value.code is Code.BUSY
    edge.reverted(first)
    future = edge.program.ledger.begin(second.id, FOR_A_SECOND)
    edge.turn()
    future.result(0)


def test_while_a_handler_of_it_is_at_work_it_is_not_reverted(edge):
    first, second = action(1), action(2)
    edge.begins(first)
    edge.answers(first)
    edge.begins(second, FOR_GOOD)
    edge.turn(5_000)
    assert not edge.reverter.reverts
    edge.answers(second, failed(Code.HANDLER_FAILED))
    edge.turn()
    assert edge.reverter.reverts == [first.id]


def test_the_last_of_several_leases_ends_the_effect(edge):
    first, second = action(1), action(2, member=OTHER)
    edge.begins(first)
    edge.begins(second, FOR_A_SECOND._replace(left_ms=60_000))
    edge.answers(first)
    edge.answers(second)
    edge.turn(2_000)
    assert not edge.reverter.reverts and edge.words == [("lasts", True)] and edge.in_force == 1
    assert edge.reverter.effects[0].record["at"] == edge.now_ms, "by the fabric's time"
    edge.turn(58_000)
    assert edge.reverter.reverts == [second.id]


def test_what_is_asked_for_without_an_end_has_none_and_later_an_end_again(edge):
    first, second, third = action(1), action(2), action(3)
    edge.begins(first)
    edge.answers(first)
    edge.begins(second, FOR_GOOD)
    edge.answers(second)
    assert edge.words == [("lasts", True)]
    edge.turn(HOUR_MS)
    assert not edge.reverter.reverts
    edge.begins(third)
    edge.answers(third)
    edge.turn(1_000)
    assert edge.reverter.reverts == [third.id]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("ms", [1, 60_000])
def test_what_one_asked_for_without_an_end_nobody_else_ends(edge, killed, ms):
    """Who asked for the same with a duration of a millisecond had it reverted: it was contained no more."""
    first, second = action(1), action(2, member=OTHER)
    edge.begins(first, FOR_GOOD)
    edge.answers(first)
    edge.begins(second, FOR_A_SECOND._replace(left_ms=ms, variant=b"w" * 16))
    edge.answers(second)
    if killed:
        edge.killed()
    edge.turn(ms)
    assert not edge.reverter.reverts and edge.words == [("lasts", True)] and edge.in_force == 0
    third = action(3, member=OTHER)
    edge.begins(third)
    edge.answers(third)
    words = []
    edge.program.ledger.release(third.id, words.append)
    edge.turn(1)
    assert words == ["lasts"] and not edge.reverter.reverts, "nor by releasing it"
    fourth = action(4)
    edge.begins(fourth)
    edge.answers(fourth, refused(Reject(Code.NO_HANDLER)))
    edge.begins(fifth := action(6, member=OTHER))
    edge.answers(fifth)
    edge.turn(1_000)
    assert not edge.reverter.reverts, "what its requester asked for and did not begin changes nothing"
    edge.begins(sixth := action(7))
    edge.killed()
    edge.turn(1_000)
    assert edge.reverter.reverts == [sixth.id], "who asked for it may, whatever became of that"


def test_what_undoes_it_at_its_target_ends_it_and_what_failed_does_not(edge):
    undo = Lasts(b"u" * 16, VARIANT, None, target=b"t" * 16, undoes=True, is_kept_up=False)

    def ask(number, lasts, answer=Answer(), member=OTHER):  # noqa: B008 - frozen
        message = action(number, member=member)
        edge.begins(message, lasts)
        edge.answers(message, answer)
        edge.turn(1_000)
        return message.id

    first = action(1)
    edge.begins(first, FOR_GOOD._replace(target=b"t" * 16))
    edge.answers(first)
    ask(2, undo, failed(Code.HANDLER_FAILED))
    ask(3, undo._replace(target=b"x" * 16))
    ask(4, undo._replace(undoes=False))
    ask(5, FOR_A_SECOND)
    assert not edge.reverter.reverts
    ask(6, undo)
    assert edge.reverter.reverts == [ask(7, FOR_A_SECOND)]


def test_a_revert_that_fails_is_told_once_and_called_again_and_again(edge):
    message = action()
    edge.begins(message)
    edge.answers(message)
    edge.turn(1_000)
    for n, pause_ms in enumerate((1_000, 2_000, 4_000)):
        edge.reverted(message, failed(Code.HANDLER_FAILED, "exit code 3"))
        edge.turn(pause_ms - 1)
        assert len(edge.reverter.reverts) == n + 1
        edge.turn(1)
        assert len(edge.reverter.reverts) == n + 2
    (effect,) = edge.reverter.effects
    assert (effect.record["effect"], effect.record["code"], effect.is_last) == ("revert failed", "E729", False)
    assert effect.record["reason"] == "revert_failed: exit code 3" and "at" not in effect.record
    edge.reverted(message)
    assert edge.words[-1] == ("reverted", True)


def test_one_that_does_not_return_is_told_and_not_called_a_second_time(edge):
    message = action()
    edge.begins(message)
    edge.answers(message)
    edge.turn(1_000)
    edge.reverter.hang = [message.id]
    edge.turn(60_000)
    edge.turn(60_000)
    assert edge.words == [("revert failed", False)] and edge.reverter.reverts == [message.id]


def test_who_reverts_it_may_be_registered_a_moment_later(edge):
    message = action()
    edge.begins(message)
    edge.answers(message)
    edge.known = False
    edge.killed(HOUR_MS)
    edge.turn(1_000)
    assert not edge.reverter.reverts
    edge.reverter.known = True
    edge.turn(1_000)
    assert edge.reverter.reverts == [message.id] and not edge.words


def test_what_is_released_is_reverted_at_once_and_whoever_did_it_hears_of_it(edge):
    message, heard = action(), []
    edge.begins(message)
    assert edge.program.ledger.requester_of_effect(message.id) == "soar-1"
    edge.answers(message)
    edge.program.ledger.release(message.id, heard.append)
    edge.turn()
    edge.turn()
    assert edge.reverter.reverts == [message.id] and not heard
    edge.reverted(message)
    assert heard == ["released"] and edge.words == [("released", True)]
    assert edge.program.ledger.requester_of_effect(message.id) is None


def test_what_is_released_while_another_action_keeps_it_up_is_over_from_then_on(edge):
    first, second = action(1), action(2)
    for message in (first, second):
        edge.begins(message)
        edge.answers(message)
    heard = []
    edge.program.ledger.release(first.id, heard.append)
    edge.turn()
    assert heard == ["lasts"] and not edge.reverter.reverts
    assert edge.reverter.effects[0].record == {"effect": "lasts", "targets": ["fw-1"], "by": "fw-1", "at": edge.now_ms}


BY_ITSELF = FOR_A_SECOND._replace(ends_itself=True)


@pytest.mark.parametrize("killed", [False, True])
def test_of_what_ends_by_itself_its_requester_hears_when_its_time_is_over_and_nothing_is_called(edge, killed):
    message = action()
    edge.begins(message, BY_ITSELF)
    edge.answers(message)
    if killed:
        edge.known = False  # and no handler is registered for it any more
        edge.killed()
    edge.turn(999)
    assert not edge.words and edge.in_force == 1
    edge.turn(1)
    (effect,) = edge.reverter.effects
    assert effect.record == {"effect": "ended", "targets": ["fw-1"], "by": "fw-1", "at": edge.now_ms}
    assert effect.is_last and not edge.reverter.reverts and edge.in_force == 0
    edge.told(message)
    assert edge.rows() == 0


def test_what_ends_by_itself_is_not_released_and_lasts_where_another_keeps_it_up(edge):
    first, second, other = action(1), action(2), action(3)
    edge.begins(first, BY_ITSELF)
    edge.answers(first)
    assert edge.program.ledger.requester_of_effect(first.id) is None
    edge.begins(second, BY_ITSELF._replace(left_ms=60_000))
    edge.answers(second)
    edge.begins(other, BY_ITSELF._replace(variant=b"w" * 16))
    edge.answers(other)
    edge.turn(2_000)
    assert sorted(edge.words) == [("ended", True), ("lasts", True)]
    edge.turn(60_000)
    assert edge.words[2:] == [("ended", True)] and not edge.reverter.reverts


def test_a_release_is_on_disk(edge):
    message = action()
    edge.begins(message, FOR_A_SECOND._replace(left_ms=HOUR_MS))
    edge.answers(message)
    edge.program.ledger.release(message.id, lambda word: None)
    edge.turn()
    edge.killed()
    assert edge.reverter.reverts == [message.id]


def test_whoever_releases_hears_that_it_fails(edge):
    message, heard = action(), []
    edge.begins(message)
    edge.answers(message)
    edge.program.ledger.release(message.id, heard.append)
    edge.turn()
    edge.turn()
    edge.reverted(message, failed(Code.HANDLER_FAILED))
    assert heard == ["revert failed"]


def test_where_there_is_no_room_the_handler_is_not_called(edge, monkeypatch):
    monkeypatch.setattr(edge.program.leasing, "_leases", leases.Leases(bytes_max=1_000))
    with pytest.raises(FabricError) as raised:
        edge.begins(action())
    assert raised.value.code is Code.LEASES_FULL and edge.rows() == 0


def test_a_lease_that_cannot_be_read_is_named_until_somebody_looked(edge, tmp_path):
    folder, first, second = tmp_path / "fw-1", action(1), action(2)
    for message in (first, second):
        edge.begins(message, FOR_A_SECOND._replace(left_ms=60_000))
    assert read_unreadable(folder) == []
    edge.program.ledger._spool._db._connection.execute(
        "UPDATE kept SET sum = sum + 1 WHERE name = ?", (f"lease {first.id.hex()}",)
    )
    with capture_logs() as said:
        edge.killed()
    told = [each for each in said if each["log_level"] == "error"]
    assert [each["count"] for each in told] == [1, 1] and told[1]["actions"] == [first.id.hex()]
    for _ in range(2):
        edge.turn(2_000)
        assert read_unreadable(folder) == [first.id.hex()], "whoever runs"
        assert [entry.id for entry in read_leases(folder)[0]] == [second.leaf.hex()]
        edge.killed()
    (folder / "leases.json").unlink()
    edge.killed()
    assert read_unreadable(folder) == []
    edge.turn(2_000)
    assert read_unreadable(folder) == [] and len(read_leases(folder)[0]) == 1


def test_whoever_looks_sees_what_is_in_force(edge, tmp_path):
    folder = tmp_path / "fw-1"
    assert read_leases(folder) == ([], 0)
    message = action()
    edge.begins(message, FOR_A_SECOND._replace(left_ms=60_000))
    edge.turn(1_000)
    (entry,), at_ms = read_leases(folder)
    assert at_ms == edge.now_ms
    assert entry == LeaseEntry(
        message.leaf.hex(), "deny", {"ipv4_net": "192.0.2.1"}, "soar-1", message.header.label.short, T0, T0 + 60_000,
        "in force", 0,
    )
    with capture_logs() as said:
        edge.program.ledger.close()
    assert [(each["event"], each["count"]) for each in said] == [("effects stay in force", 1)]
    (folder / "leases.json").write_text("[]")
    with pytest.raises(FabricError) as raised:
        read_leases(folder)
    assert raised.value.code is Code.SPOOL_FAILED


def test_the_list_does_not_wait_for_something_else_to_come(edge):
    message = action()
    edge.turn(5_000)
    edge.begins(message, Lasts(EFFECT, VARIANT, HOUR_MS))
    edge.answers(message)
    due_ms = edge.program.leasing.due_ms
    assert due_ms is not None and due_ms <= edge.now_ms + 1_000
    edge.turn(due_ms - edge.now_ms)
    assert [entry.id for entry in read_leases(edge.path.parent)[0]] == [message.leaf.hex()]
    assert edge.program.leasing.due_ms > edge.now_ms + 60_000
