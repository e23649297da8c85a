"""How far each action is, what is kept of it, and what of a requester's goes when there is no more room."""

import pytest

from fabric.edge.ledger.executions import Executions, Stage
from fabric.protocol.core.ledger_ops import ForgetAction, KeepAnswer, KeepIntent, KeepTold
from fabric.protocol.point.action_room import ACTION_BYTES, ActionRoom
from tests.support import HOUR_MS, T0

UNTIL_MS = T0 + HOUR_MS
LINK, OTHER_LINK = 1, 2
BIG = 4 * ACTION_BYTES
ROOM, TOLD_ROOM = 64 * ACTION_BYTES, 20 * ACTION_BYTES
ONE, TWO = bytes([1]) * 16, bytes([2]) * 16


@pytest.fixture
def room():
    return ActionRoom(ROOM)


@pytest.fixture
def executions(room):
    return Executions(room, TOLD_ROOM)


def nothing():
    raise AssertionError("the whole answer has room")


def taken(executions, id_=ONE, requester="soar-1", until_ms=UNTIL_MS, envelope=b"envelope"):
    """As the core does it."""
    executions.room.add(requester, ACTION_BYTES + len(envelope))
    return executions.take(KeepIntent(id_, until_ms, 1, 2, 3, ("hq",), envelope), requester, until_ms)


def answered(executions, id_=ONE, requester="soar-1", answer=b"answer"):
    taken(executions, id_, requester)
    executions.begin(id_)
    return executions.answer(id_, answer, nothing)


def told(executions, id_=ONE, requester="soar-1", answer=b"answer"):
    answered(executions, id_, requester, answer)
    return executions.tell(id_)


def test_the_steps_of_an_action_and_what_each_keeps(executions, room):
    intent = taken(executions)
    assert executions.get(ONE).stage is Stage.TAKEN and executions.at_work == 0 and len(executions) == 1
    assert executions.begin(ONE) == [intent._replace(begun=True)]
    assert executions.get(ONE).stage is Stage.BEGUN and executions.at_work == 1
    assert executions.answer(ONE, b"answer", nothing) == [KeepAnswer(ONE, UNTIL_MS, "soar-1", b"answer")]
    assert executions.get(ONE).stage is Stage.ANSWERED and executions.at_work == 1
    assert room.bytes == ACTION_BYTES + len(b"answer") and executions.told_bytes == 0
    assert executions.tell(ONE) == [KeepTold(ONE, UNTIL_MS)]
    assert executions.get(ONE).stage is Stage.TOLD and executions.at_work == 0
    assert room.bytes == 0 and executions.told_bytes == ACTION_BYTES + len(b"answer")


def test_nothing_is_begun_a_second_time_whatever_its_stage(executions):
    taken(executions)
    assert executions.begin(ONE)
    assert executions.begin(ONE) is None
    executions.answer(ONE, b"answer", nothing)
    assert executions.begin(ONE) is None
    executions.tell(ONE)
    assert executions.begin(ONE) is None and executions.begin(TWO) is None


def test_a_step_out_of_order_is_none(executions):
    assert executions.answer(ONE, b"answer", nothing) == [] and executions.tell(ONE) == []
    taken(executions)
    assert executions.tell(ONE) == [] and executions.get(ONE).stage is Stage.TAKEN
    told(executions, TWO)
    assert executions.answer(TWO, b"another", nothing) == [] and executions.tell(TWO) == []


def test_an_action_of_which_nothing_was_begun_is_answered_all_the_same(executions):
    taken(executions)
    assert executions.answer(ONE, b"no", nothing) and executions.at_work == 1


def test_an_answer_that_finds_no_room_is_kept_without_its_result(executions, room):
    taken(executions)
    left = ROOM - room.bytes
    room.add("others", left - 10)
    assert executions.answer(ONE, b"w" * (len(b"envelope") + 11), lambda: b"bare") == [
        KeepAnswer(ONE, UNTIL_MS, "soar-1", b"bare")
    ]
    assert executions.get(ONE).bytes == ACTION_BYTES + len(b"bare")


def test_an_answer_as_short_as_the_action_needs_no_room(executions, room):
    taken(executions)
    room.add("others", ROOM)
    (kept,) = executions.answer(ONE, b"w" * len(b"envelope"), nothing)
    assert kept.answer == b"w" * len(b"envelope")


def test_of_what_was_told_a_requester_s_own_oldest_goes_and_nobody_else_s(executions):
    told(executions, TWO, "soar-2")
    gone = []
    for n in range(10, 30):
        gone += [op.id[0] for op in told(executions, bytes([n]) * 16, "soar-1", b"w" * (BIG - ACTION_BYTES))
                 if isinstance(op, KeepAnswer)]
        assert executions.told_bytes <= TOLD_ROOM
    # Four times what is left is what one may have: of twenty, beside one of another, three of four.
    assert gone == [*range(10, 27)] and executions.repeats(TWO, LINK)
    assert not executions.repeats(bytes([26]) * 16, LINK), "its answer is gone, and that it was told is known"
    assert executions.get(bytes([26]) * 16).stage is Stage.TOLD and executions.repeats(bytes([27]) * 16, LINK)


def test_one_that_is_larger_than_all_that_may_be_kept_goes_at_once(executions):
    assert told(executions, answer=b"w" * TOLD_ROOM) == [KeepTold(ONE, UNTIL_MS), KeepAnswer(ONE, 0, "", b"")]
    assert executions.told_bytes == 0


def test_what_comes_again_is_answered_again_once_a_link_and_one_answer_at_a_time(executions):
    told(executions)
    assert executions.repeats(ONE, LINK) and executions.at_work == 1
    assert not executions.repeats(ONE, OTHER_LINK), "an answer is on its way"
    assert executions.tell(ONE) == [] and executions.at_work == 0
    assert not executions.repeats(ONE, LINK) and executions.repeats(ONE, OTHER_LINK)


@pytest.mark.parametrize("step", [taken, answered])
def test_what_was_not_told_is_not_answered_again(executions, step):
    step(executions)
    assert not executions.repeats(ONE, LINK) and not executions.repeats(TWO, LINK)


@pytest.mark.parametrize("step", [taken, answered, told])
def test_all_of_it_is_forgotten_at_its_time_whatever_its_stage(executions, room, step):
    step(executions)
    assert executions.expire(UNTIL_MS - 1) == []
    assert executions.expire(UNTIL_MS) == [ForgetAction(ONE)] and executions.expire(UNTIL_MS) == []
    assert (len(executions), room.bytes, executions.told_bytes, executions.at_work) == (0, 0, 0, 0)


def test_so_many_are_forgotten_in_one_call(executions):
    for n in range(5):
        taken(executions, bytes([n]) * 16)
    assert [len(executions.expire(UNTIL_MS, steps_max=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_one_that_is_taken_once_more_counts_once_and_until_its_later_time(executions, room):
    told(executions)
    taken(executions, until_ms=UNTIL_MS + 5)
    assert executions.told_bytes == 0 and room.bytes == ACTION_BYTES + len(b"envelope")
    assert executions.expire(UNTIL_MS) == [] and executions.get(ONE).stage is Stage.TAKEN
    assert executions.expire(UNTIL_MS + 5) == [ForgetAction(ONE)]


def test_what_a_requester_was_told_until_its_time_was_over_counts_no_more(executions):
    for n in range(10):
        told(executions, bytes([n]) * 16, answer=b"w" * (BIG - ACTION_BYTES))
        executions.expire(UNTIL_MS)
    assert all(
        len(told(executions, bytes([n]) * 16, answer=b"w" * (BIG - ACTION_BYTES))) == 1 for n in range(10, 14)
    ), "nothing goes for it"


# -- from disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_open_is_called_again_and_written_as_begun_once(executions, room, begun):
    intent = KeepIntent(ONE, UNTIL_MS, 1, 2, 3, (), b"envelope", begun)
    assert executions.restore(intent, "soar-1", UNTIL_MS + 9) == []
    assert executions.get(ONE).stage is (Stage.BEGUN if begun else Stage.TAKEN)
    assert room.bytes == ACTION_BYTES + len(b"envelope")
    assert executions.begin(ONE) == ([] if begun else [intent._replace(begun=True, until_ms=UNTIL_MS + 9)])
    assert executions.begin(ONE) is None and executions.expire(UNTIL_MS + 8) == []


def test_what_was_answered_is_not_open_and_what_was_told_has_its_other_room(executions, room):
    answer = KeepAnswer(ONE, UNTIL_MS, "soar-1", b"answer")
    executions.restore(answer, "soar-1", UNTIL_MS)
    assert executions.get(ONE).stage is Stage.ANSWERED and executions.begin(ONE) is None
    assert room.bytes == ACTION_BYTES + len(b"answer") and executions.at_work == 0
    assert executions.restore(KeepTold(ONE, UNTIL_MS), "", UNTIL_MS) == []
    assert room.bytes == 0 and executions.told_bytes == ACTION_BYTES + len(b"answer")
    assert executions.restore(KeepTold(ONE, UNTIL_MS), "", UNTIL_MS) == [], "it was told already"
    assert executions.told_bytes == ACTION_BYTES + len(b"answer") and executions.repeats(ONE, LINK)


def test_that_something_was_told_of_which_no_answer_is_left_is_nothing(executions):
    assert executions.restore(KeepTold(ONE, UNTIL_MS), "", UNTIL_MS) == [] and executions.get(ONE) is None


def test_a_second_row_of_an_action_changes_nothing(executions, room):
    executions.restore(KeepAnswer(ONE, UNTIL_MS, "soar-1", b"answer"), "soar-1", UNTIL_MS)
    executions.restore(KeepIntent(ONE, UNTIL_MS, 1, 2, 3, (), b"envelope"), "soar-1", UNTIL_MS)
    executions.restore(KeepAnswer(ONE, UNTIL_MS, "soar-1", b"another answer"), "soar-1", UNTIL_MS)
    assert executions.get(ONE).stage is Stage.ANSWERED and room.bytes == ACTION_BYTES + len(b"answer")


def test_what_was_told_and_finds_no_room_any_more_is_forgotten_on_disk_too(room):
    executions = Executions(room, ACTION_BYTES)
    executions.restore(KeepAnswer(ONE, UNTIL_MS, "soar-1", b"answer"), "soar-1", UNTIL_MS)
    assert executions.restore(KeepTold(ONE, UNTIL_MS), "", UNTIL_MS) == [KeepAnswer(ONE, 0, "", b"")]
    assert executions.told_bytes == 0 and executions.get(ONE).stage is Stage.TOLD
