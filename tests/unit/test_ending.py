import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.ending import PART_ROWS, Ending
from fabric.protocol.custody.outbox import Held, Row
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from tests.support import T0, Authority, verified

ORIGIN = Authority("ending").issue("zeek-1")
EVENT = verified(ORIGIN)
GONE = Reject(Code.SUBSCRIBER_GONE)


def held(message):
    return Held(message, Direction.DOWN, Lane.LOW, 0, T0, T0 + 60_000, ())


def row_of(message):
    return Row(held(message), "point:reader/00")


def rows_of(count):
    """All of one message: a million of them are made here."""
    one = held(EVENT)
    return [Row(one, "point:reader/00") for _ in range(count)]


@pytest.fixture
def settled():
    return []


@pytest.fixture
def ending(settled):
    def settle(row, reason, now_ms, ready):
        assert not row.done
        row.done = True
        settled.append((row, reason))

    return Ending(settle)


def turns(ending):
    count = 0
    while ending:
        ending.turn(T0, Ready())
        count += 1
    return count


def test_few_rows_end_in_one_turn_in_their_order(ending, settled):
    rows = rows_of(PART_ROWS)
    ending.end(rows, GONE, T0, Ready())
    assert settled == []
    assert ending.turn(T0, Ready()) == rows
    assert settled == [(row, GONE) for row in rows] and not ending


def test_thousands_end_a_part_a_turn(ending, settled):
    ending.end(rows_of(10_000), GONE, T0, Ready())
    parts = []
    while ending:
        before = len(ending)
        parts.append(len(ending.turn(T0, Ready())))
        assert parts[-1] <= max(PART_ROWS, before // 32)
    assert sum(parts) == len(settled) == 10_000 and len(parts) < 40


@pytest.mark.parametrize("each_turn", [500, 2_000])
def test_it_does_not_grow_whatever_comes_with_each_turn(ending, each_turn):
    for _ in range(150):
        ending.end(rows_of(each_turn), GONE, T0, Ready())
        ending.turn(T0, Ready())
    assert len(ending) <= 32 * each_turn


@pytest.mark.parametrize("kind", [Kind.ACTION, Kind.RESULT])
def test_what_somebody_waits_for_ends_at_once(ending, settled, kind):
    ending.end(rows_of(5_000), GONE, T0, Ready())
    made = {"topic": "deny.ipv4_net", "kind": kind}
    row = row_of(verified(ORIGIN, **made, to="soar-1") if kind is Kind.RESULT else verified(ORIGIN, **made))
    ending.end([row], GONE, T0, Ready())
    assert settled == [(row, GONE)]


def test_i_leave_and_come_back_again_and_again_before_what_waited_for_me_ended(ending, settled):
    rows = rows_of(5_000)
    for _ in range(50):
        ending.end(rows, GONE, T0, Ready())
    assert len(ending) == 5_000
    turns(ending)
    assert [row for row, _ in settled] == rows


def test_a_row_ends_once(ending, settled):
    twice, otherwise = rows_of(2)
    ending.end([twice, otherwise], GONE, T0, Ready())
    ending.end([twice], Reject(Code.EXPIRED), T0, Ready())
    otherwise.done = True
    assert ending.turn(T0, Ready()) == [twice, otherwise], "both: an outbox may be empty by now"
    assert settled == [(twice, GONE)] and not ending
