"""What a core wants kept is there at the next start as it was said, by its name, until it is forgotten."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fabric.protocol.core.ledger_ops import (
    ForgetAction,
    ForgetLease,
    KeepAnswer,
    KeepCancelled,
    KeepForGood,
    KeepIntent,
    KeepLease,
    KeepLeaseTime,
    KeepTold,
)
from fabric.protocol.core.ready import (
    Done,
    KeepApproval,
    KeepCredential,
    KeepDirectory,
    KeepDispatch,
    KeepEnd,
    KeepGap,
    KeepHead,
    KeepHold,
    KeepLists,
    KeepMember,
    KeepNotice,
    KeepOpen,
    KeepOwner,
    KeepPolicies,
    KeepPosition,
    KeepSession,
    Put,
    Replace,
    Seen,
    SeenAction,
)
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from fabric.spool import Spool
from tests.support import DAY_MS, T0

ID, DIGEST = b"i" * 16, b"d" * 32
LATER = T0 + DAY_MS


def found(path, now_ms=T0):
    spool = Spool(path)
    try:
        return spool.load(now_ms)
    finally:
        spool.close()


def kept(path, *turns):
    """What the next process finds after these commits."""
    spool = Spool(path)
    spool.load(T0)
    for ops in turns:
        spool.commit(ops)
    spool.close()
    return found(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool" / "hq.db"


# -- any values -----------------------------------------------------------------------------------------------

texts = st.text("ab '\";%_-/^\N{LATIN SMALL LETTER U WITH DIAERESIS}", min_size=1, max_size=8)
raws = st.binary(min_size=1, max_size=40)
ids, digests = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**45)
untils = st.integers(T0 + 1, 2**45)
hops = st.lists(texts, max_size=3).map(tuple)
SAID = st.one_of(
    st.builds(KeepOwner, texts, texts, ids), st.builds(KeepPosition, texts, texts),
    st.builds(KeepCredential, ids, raws), st.builds(KeepLists, raws), st.builds(KeepPolicies, raws),
    st.builds(KeepDirectory, raws), st.builds(KeepSession, texts, raws),
    st.builds(KeepMember, texts, raws, numbers, numbers), st.builds(KeepHead, texts, raws, numbers, texts),
    st.builds(KeepGap, texts, st.integers(1, 2**40)), st.builds(KeepNotice, texts, raws),
    st.builds(KeepDispatch, digests, texts, st.integers(0, 4), untils, texts, texts, numbers, texts, raws),
    st.builds(KeepHold, digests, raws, untils), st.builds(KeepApproval, digests, texts, raws, raws, untils),
    st.builds(KeepOpen, digests, raws, hops, untils, st.integers(0, 9), st.booleans()),
    st.builds(KeepEnd, digests, texts, st.integers(1, 9), untils),
    st.builds(SeenAction, ids, st.sampled_from(Direction), untils, texts),
    st.builds(KeepIntent, ids, untils, numbers, numbers, numbers, hops, raws, st.booleans()),
    st.builds(KeepAnswer, ids, untils, texts, raws), st.builds(KeepTold, ids, untils),
    st.builds(KeepCancelled, ids, texts, untils, ids, raws),
    st.builds(KeepLease, ids, numbers, numbers, texts, ids, ids, hops, st.integers(0, 3), texts, numbers, raws),
    st.builds(KeepForGood, ids, texts, ids, st.integers(1, 2**45)),
    st.builds(KeepLeaseTime, numbers, texts, numbers, numbers, numbers, st.booleans()),
)
ALONE = (KeepOwner, KeepLists, KeepPolicies, KeepDirectory, KeepLeaseTime)


def subject(op):
    """What it is about: a newer word about the same replaces it."""
    match op:
        case KeepApproval() | KeepEnd() | KeepDispatch() | SeenAction() | KeepCancelled() | KeepForGood():
            return type(op), *op[:2]
        case _ if isinstance(op, ALONE):
            return (type(op),)
    return type(op), op[0]


@given(st.lists(SAID, max_size=12))
def test_whatever_is_said_is_there_as_it_was_said_last(ops):
    last = {subject(op): op for op in ops}
    assume(not any((KeepIntent, op.id) in last for op in ops if isinstance(op, KeepAnswer)))  # it is answered later
    with tempfile.TemporaryDirectory() as folder:
        assert sorted(map(repr, kept(Path(folder) / "spool" / "hq.db", ops))) == sorted(map(repr, last.values()))


# -- and forgotten --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "forgets"), [
    (KeepSession("point:a/00", b"attachment"), KeepSession("point:a/00", b"")),
    (KeepPosition("queue", "1"), KeepPosition("queue", "")),
    (KeepMember("fw-1", b"credential", 5, 6), KeepMember("fw-1", b"", 5)),
    (KeepHead("fw-1", b"head", 5, "hq"), KeepHead("fw-1", b"", 0, "")),
    (KeepGap("point:a/00", 3), KeepGap("point:a/00", 0)),
    (KeepNotice("zeek-1 ab", b"body"), KeepNotice("zeek-1 ab", b"")),
    (KeepHold(DIGEST, b"body", LATER), KeepHold(DIGEST)),
    (KeepApproval(DIGEST, "boss", b"credential", b"envelope", LATER), KeepApproval(DIGEST, "boss")),
    (KeepOpen(DIGEST, b"about", ("fw-1",), LATER), KeepOpen(DIGEST)),
    (KeepEnd(DIGEST, "fw-1", 4, LATER), KeepEnd(DIGEST, "fw-1", 0)),
    (KeepLease(ID, 1, 2, "soar-1", b"e", b"v", ("hq",), 0, "", 0, b"envelope"), ForgetLease(ID)),
    (KeepForGood(b"e" * 16, "soar-1", b"t" * 16, 5), KeepForGood(b"e" * 16, "soar-1", b"t" * 16, 0)),
    (KeepCancelled(ID, "soar-1", LATER, b"s" * 16, b"header"), KeepCancelled(ID, "soar-1", LATER, b"s" * 16, b"")),
    (KeepAnswer(ID, LATER, "soar-1", b"answer"), KeepAnswer(ID, 0, "", b"")),
    (KeepIntent(ID, LATER, 1, 2, 3, (), b"envelope"), ForgetAction(ID)),
    (KeepAnswer(ID, LATER, "soar-1", b"answer"), ForgetAction(ID)),
    (KeepTold(ID, LATER), ForgetAction(ID)),
], ids=lambda op: type(op).__name__)
def test_an_empty_word_forgets_in_the_same_turn_or_later_and_says_nothing_where_there_was_none(path, op, forgets):
    assert kept(path, [forgets]) == []
    assert kept(path, [op, forgets]) == []
    assert kept(path, [forgets, op]) == [op]
    assert kept(path, [forgets]) == []


def test_nobody_else_is_forgotten_with_it(path):
    ops = [KeepEnd(DIGEST, "fw-1", 4, LATER), KeepEnd(DIGEST, "fw-2", 4, LATER), KeepEnd(b"x" * 32, "fw-1", 4, LATER)]
    assert kept(path, ops, [KeepEnd(DIGEST, "fw-1", 0)]) == ops[1:]


# -- messages -------------------------------------------------------------------------------------------------

HELD = Put(ID, Direction.UP, Lane.LOW, b"envelope", 7, T0, LATER, ("hq",), (("^", ()), ("relay:low", ("fw-1",))))


def test_what_ends_that_is_not_there_is_nothing_and_what_follows_it_is_something(path):
    end = Done(ID, Direction.DOWN, "^", last=True)
    assert kept(path, [end, HELD, end._replace(last=False)]) == [HELD]
    assert kept(path, [end, KeepLists(b"lists")]) == [KeepLists(b"lists"), HELD]


def test_a_fuller_copy_of_what_came_in_the_same_turn_or_before_leaves_all_else_of_it(path):
    assert kept(path, [HELD, Replace(ID, Direction.UP, b"fuller")]) == [HELD._replace(envelope=b"fuller")]
    assert kept(path) == [HELD._replace(envelope=b"fuller")]
    spool = Spool(path)
    spool.load(T0)
    spool.commit([Replace(ID, Direction.UP, b"fullest"), Replace(ID, Direction.DOWN, b"of another")])
    spool.close()
    assert found(path) == [HELD._replace(envelope=b"fullest")]


def test_a_message_that_was_seen_once_is_known_by_its_direction_for_as_long_as_it_lives(path):
    low = Done(ID, Direction.UP, "relay:low", last=False)
    assert kept(path, [HELD, low, Done(ID, Direction.UP, "^", last=True)]) == [Seen(ID, Direction.UP, LATER)]
    assert found(path, LATER - 1) == [Seen(ID, Direction.UP, LATER)] and found(path, LATER) == []
