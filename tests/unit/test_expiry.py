"""What of a spool is forgotten, when, and how much a call: what still matters stays."""

import pytest

from fabric.protocol.core.ledger_ops import (
    KeepAnswer,
    KeepCancelled,
    KeepForGood,
    KeepIntent,
    KeepLease,
    KeepLeaseTime,
    KeepTold,
)
from fabric.protocol.core.ready import (
    EndAsleep,
    KeepApproval,
    KeepCredential,
    KeepDispatch,
    KeepEnd,
    KeepHead,
    KeepHold,
    KeepMember,
    KeepOpen,
    Put,
    Seen,
    SeenAction,
    Sleep,
)
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from fabric.spool import Spool
from tests.support import DAY_MS, MINUTE_MS, T0

UNTIL_MS = T0 + 500
ROUND_MS = 15_000
ID = b"i" * 16

RUN_OUT = [
    KeepDispatch(ID * 2, "fw-1", 2, UNTIL_MS, "soar-1", "relay:plant", 5, "cell", ID),
    SeenAction(ID, Direction.DOWN, UNTIL_MS, "soar-1"),
    KeepOpen(ID * 2, b"about", ("fw-1",), UNTIL_MS, 3, is_late=True),
    KeepEnd(ID * 2, "fw-1", 4, UNTIL_MS),
    KeepIntent(ID, UNTIL_MS, 5, T0 - DAY_MS, T0 - DAY_MS, ("hq",), b"envelope"),
    KeepAnswer(ID, UNTIL_MS, "soar-1", b"answer"),
    KeepTold(ID, UNTIL_MS),
    KeepCancelled(ID, "soar-1", UNTIL_MS, b"s" * 16, b"header"),
]
# Somebody else says when these are over.
STAY = [
    KeepHold(ID * 2, b"body", UNTIL_MS), KeepApproval(ID * 2, "boss", b"c", b"envelope", UNTIL_MS),
    KeepMember("fw-1", b"credential", 1, 1), KeepHead("fw-1", b"head", 0, ""),
    KeepLease(ID, UNTIL_MS, 1, "soar-1", b"e", b"v", (), 0, "", 0, b"envelope"),
    KeepForGood(b"e" * 16, "soar-1", b"t" * 16, 1), KeepLeaseTime(1, "boot", 1, 1, 1, is_settled=True),
]


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool" / "hq.db")
    opened.load(T0)
    yield opened
    opened.close()


def rows(spool, table):
    return [row[0] for row in spool._db.execute(f"SELECT * FROM {table}")]


def seen(number, until_ms):
    return Seen(number.to_bytes(16), Direction.UP, until_ms)


@pytest.mark.parametrize("op", RUN_OUT, ids=lambda op: type(op).__name__)
def test_what_says_until_when_it_matters_goes_then_and_not_before(spool, op):
    spool.commit([op])
    spool.sweep(UNTIL_MS - 1)
    assert len(rows(spool, "kept")) == 1
    spool.sweep(UNTIL_MS - 1 + ROUND_MS)
    assert rows(spool, "kept") == []


@pytest.mark.parametrize("op", RUN_OUT, ids=lambda op: type(op).__name__)
def test_it_goes_at_its_time(spool, op):
    spool.commit([op])
    spool.sweep(UNTIL_MS)
    assert rows(spool, "kept") == []


def test_what_does_not_say_it_stays(spool):
    spool.commit(STAY)
    for later_ms in (0, DAY_MS, 400 * DAY_MS):
        spool.sweep(UNTIL_MS + later_ms)
    assert len(rows(spool, "kept")) == len(STAY)


def test_a_round_looks_at_all_a_few_a_call_and_the_next_begins_a_while_after_it_began(spool, monkeypatch):
    monkeypatch.setattr("fabric.spool.expiry._SWEEP_ROWS", 2)
    ends = [KeepEnd(ID * 2, f"fw-{n}", 4, UNTIL_MS) for n in range(5)]
    spool.commit(ends)
    left = []
    for _ in range(4):
        spool.sweep(UNTIL_MS)
        left.append(len(rows(spool, "kept")))
    assert left == [3, 1, 0, 0]
    spool.commit(ends)
    spool.sweep(UNTIL_MS + ROUND_MS - 1)
    assert len(rows(spool, "kept")) == 5
    spool.sweep(UNTIL_MS + ROUND_MS)
    assert len(rows(spool, "kept")) == 3


DAMAGE = ["meta = x'c1'", "meta = 'text'", "body = 'text'", "sum = sum + 1"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_row_that_is_damaged_is_not_believed_to_be_over(spool, damage):
    spool.commit(RUN_OUT[:2])
    spool._db.execute(f"UPDATE kept SET {damage} WHERE name LIKE 'action %'")
    spool.sweep(UNTIL_MS)
    assert [name.partition(" ")[0] for name in rows(spool, "kept")] == ["action"]


def test_what_was_seen_goes_at_its_time_the_oldest_first_and_a_few_a_call(spool, monkeypatch):
    monkeypatch.setattr("fabric.spool.expiry._SWEEP_ROWS", 2)
    spool.commit([seen(n, UNTIL_MS) for n in range(3)] + [seen(3, UNTIL_MS + 1), seen(4, UNTIL_MS)])
    spool.sweep(UNTIL_MS - 1)
    assert len(rows(spool, "seen")) == 5
    spool.sweep(UNTIL_MS)
    assert rows(spool, "seen") == [3, 4, 5]
    spool.sweep(UNTIL_MS)
    assert rows(spool, "seen") == [4, 5], "what is behind one that still matters waits for it"
    spool.sweep(UNTIL_MS + 1)
    assert rows(spool, "seen") == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_row_of_what_was_seen_ends_nobody_and_keeps_up_nothing(spool, damage):
    spool.commit([seen(n, UNTIL_MS) for n in range(3)])
    spool._db.execute(f"UPDATE seen SET {damage} WHERE n = 1")
    spool.sweep(UNTIL_MS)
    assert rows(spool, "seen") == [1], "the next start sets it aside"


def test_once_a_minute_no_more_is_left_of_what_was_seen_than_is_ever_read(spool, monkeypatch):
    monkeypatch.setattr("fabric.spool.expiry.SEEN_MAX", 3)
    spool.commit([seen(n, T0 + DAY_MS) for n in range(5)])
    spool.sweep(T0)
    assert rows(spool, "seen") == [3, 4, 5]
    spool.commit([seen(5, T0 + DAY_MS)])
    spool.sweep(T0 + MINUTE_MS - 1)
    assert rows(spool, "seen") == [3, 4, 5, 6]
    spool.sweep(T0 + MINUTE_MS)
    assert rows(spool, "seen") == [4, 5, 6]


def test_of_credentials_the_newest_stay_twice_as_many_as_are_known_at_a_time(spool, monkeypatch):
    monkeypatch.setattr("fabric.spool.expiry.CREDENTIALS_CACHED_MAX", 3)
    digests = [bytes([n]) * 16 for n in range(8)]
    spool.commit([KeepCredential(digest, b"raw") for digest in digests])
    spool.sweep(T0)
    assert rows(spool, "kept") == [f"credential {digest.hex()}" for digest in digests[2:]]


# -- what sleeps for readers that were forgotten ------------------------------------------------------------

ANNA, BOB = "point:anna/00", "point:bob/00"


def asleep(spool, *readers, numbers=(1,)):
    """One row for each number, for these readers, and nothing of it in memory."""
    for number in numbers:
        id_ = number.to_bytes(16)
        held = Put(id_, Direction.DOWN, Lane.LOW, b"envelope", 0, T0, T0 + DAY_MS, (), tuple((r, ()) for r in readers))
        spool.commit([held, Sleep(id_, Direction.DOWN, 0, 8, readers)])


def waiting(spool):
    ended = spool._db.execute("SELECT n, destination FROM done ORDER BY n, destination")
    return rows(spool, "messages"), ended.fetchall()


def test_what_sleeps_for_another_stays_for_that_one_until_that_one_is_forgotten_too(spool):
    asleep(spool, ANNA, BOB)
    spool.commit([EndAsleep(ANNA)])
    spool.sweep(T0)
    assert waiting(spool) == ([1], [(1, ANNA)])
    spool.commit([EndAsleep(BOB)])
    spool.sweep(T0)
    assert waiting(spool) == ([], [])


def test_what_sleeps_for_the_forgotten_only_goes_and_what_came_since_stays(spool):
    asleep(spool, ANNA, numbers=(1, 2))
    spool.commit([EndAsleep(ANNA)])
    asleep(spool, ANNA, numbers=(3,))
    for _ in range(3):
        spool.sweep(T0)
    assert waiting(spool) == ([3], [])
    assert rows(spool, "kept") == [], "and that it was forgotten is not kept for longer than it takes"


def test_more_than_are_asked_for_at_once_go_all_the_same(spool, monkeypatch):
    monkeypatch.setattr("fabric.spool.expiry.ROWS_AT_ONCE", 2)
    asleep(spool, ANNA, numbers=range(1, 6))
    spool.commit([EndAsleep(ANNA)])
    spool.sweep(T0)
    assert waiting(spool) == ([], [])
