"""How an action stands by what the book says of it, whoever wrote that and in whatever order."""

import json
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.messages import Outcome, Step
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.requesting.account import account_of, asked_of, heard, recall, tracker_of, word_of
from fabric.edge.requesting.accounts import account_under, find_account, read_accounts
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.spool.book import NAME, Book, Change, Entry, Word
from tests.support import EVERYTHING, T0, Authority, verified

AUTHORITY = Authority("edge-account")
ME = AUTHORITY.issue("soar-1", grants=EVERYTHING)
RECORD = {"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {"duration": 5}}
ASKED = verified(
    ME, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", label=Label.GREEN, severity=Severity.HIGH, ttl_ms=60_000,
    records=[RECORD],
)
TARGETS = ("fw-1", "fw-2")
ENTRY = Entry(1, ASKED.leaf, "K", T0, T0 + 1_000, ASKED.raw, b"", TARGETS, "hq")


def word(state, target="fw-1", by=None, **said):
    return Word(0, target, state, target if by is None else by, T0, T0, said)


def states(words, at_ms=T0, **entry):
    return dict(account_of(ENTRY._replace(**entry), words, at_ms).states)


def test_it_says_what_was_asked_for():
    found = account_of(ENTRY, [], T0)
    assert (found.id, found.requester) == (ASKED.leaf.hex(), "soar-1")
    assert (found.action, found.target) == ("deny", RECORD["target"])
    assert (found.args, found.to, found.severity, found.label) == ({"duration": 5}, "all", Severity.HIGH, Label.GREEN)
    assert found.heard_ms == T0 and found.is_open and found.states == {} and found.outcomes == ()
    json.dumps(found.to_json())


def test_of_what_is_sealed_its_header_is_said():
    sealed = verified(
        ME, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", label=Label.GREEN, records=[RECORD],
        rules=dict.fromkeys(RECORD, Label.RED), recipients=("soar-1", "fw-1"), sealed_to=[ME],
    )
    found = account_of(ENTRY._replace(envelope=sealed.raw), [], T0)
    assert (found.action, found.target, found.args) == ("deny", {}, {})


def test_a_target_is_where_its_last_word_put_it():
    assert states([word(State.HELD, by="hq"), word(State.ACCEPTED)]) == {"fw-1": State.ACCEPTED}
    assert states([word(State.COMPLETED), word(State.RUNNING)]) == {"fw-1": State.COMPLETED}
    assert states([word(State.UNKNOWN, by="hq"), word(State.COMPLETED)]) == {"fw-1": State.COMPLETED}
    assert states([word(State.COMPLETED), word(State.UNKNOWN, by="hq")]) == {"fw-1": State.COMPLETED}
    assert states([word(State.COMPLETED, "fw-9")]) == {}, "it was not selected"


def test_what_nobody_said_is_unknown_when_its_time_is_over():
    assert states([word(State.RUNNING)], T0 + 1_000) == {"fw-1": State.UNKNOWN, "fw-2": State.UNKNOWN}
    assert states([word(State.UNKNOWN, by="")]) == {"fw-1": State.UNKNOWN}
    assert states([], T0 + 1_000, targets=None) == {"": State.UNKNOWN} and states([], targets=None) == {}
    assert states([], T0 + 1_000, targets=(), nobody=True) == {} == states([], T0 + 1_000, targets=None, refused=403)


def test_it_is_over_when_every_target_has_ended_and_none_is_unknown():
    every = [word(State.COMPLETED), word(State.FAILED, "fw-2")]
    assert not account_of(ENTRY, every, T0).is_open
    assert account_of(ENTRY, [every[0], word(State.UNKNOWN, "fw-2", "hq")], T0).is_open
    assert not account_of(ENTRY._replace(closed=True), [], T0).is_open
    assert states([word(State.REFUSED, "", "hq", code="E601")], targets=None) == {"": State.REFUSED}


HEARD = st.builds(
    Outcome, st.sampled_from(["", *TARGETS]), st.sampled_from(End), st.sampled_from(["hq", "fw-1"]),
    st.integers(0, 600), st.text(max_size=4), st.text(max_size=9),
    st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
    st.sampled_from(Label), st.integers(0, 10**6),
) | st.builds(
    Step, st.sampled_from(TARGETS), st.sampled_from([State.ACCEPTED, State.RUNNING]), st.just("fw-1"),
    st.none() | st.floats(0, 1), st.text(max_size=5),
)


@given(HEARD)
def test_what_is_written_down_is_read_back(said):
    assert heard(word_of(said, T0)) == said


WORDS = st.lists(st.builds(
    word, st.sampled_from(list(State)[1:]), st.sampled_from(TARGETS), st.sampled_from([None, "hq", ""]),
), max_size=12)


@given(WORDS, st.integers(0, 12))
def test_to_read_all_at_once_and_bit_by_bit_is_the_same(words, cut):
    header, _ = asked_of(ASKED.raw)
    at_once = tracker_of(ENTRY, header, words, 2**53)
    bit_by_bit = Tracker(ASKED.leaf, T0, 2**53)
    recall(bit_by_bit, ENTRY, words[:cut])
    recall(bit_by_bit, ENTRY, words[:cut])  # another process wrote, and this one reads what it knows
    recall(bit_by_bit, ENTRY, words[cut:])
    assert (at_once.ends, at_once.steps) == (bit_by_bit.ends, bit_by_bit.steps)
    assert all(at_once._state(target).end is not None or target not in at_once.ends for target in TARGETS)


def test_what_cannot_be_read_is_said():
    with pytest.raises(FabricError) as raised:
        asked_of(b"\x00")
    assert raised.value.code is Code.BOOK_FAILED


@pytest.fixture
def folder(tmp_path):
    now_ms = time.time_ns() // 1_000_000
    with closing(Book(tmp_path / NAME)) as book:
        book.keep(b"s" * 16, is_kept=True)
        book.add(ENTRY._replace(asked_ms=now_ms, until_ms=now_ms + 60_000), now_ms)
        book.record([Change(ASKED.leaf, [word(State.COMPLETED, at=1)], TARGETS, "hq")], now_ms)
    return tmp_path


def test_programs_read_the_book_without_a_connection(folder, tmp_path):
    (found,) = read_accounts(folder)
    assert found.states == {"fw-1": State.COMPLETED} and read_accounts(folder, open_only=True) == [found]
    assert find_account(folder, ASKED.leaf.hex()[:6].upper()) == found
    for nothing in ("ffff", "", "%", "x'", ASKED.leaf.hex() + "0"):
        with pytest.raises(FabricError) as raised:
            find_account(folder, nothing)
        assert raised.value.code is Code.NO_ACTION
    with closing(Book(folder / NAME)) as book:
        book.record([Change(ASKED.leaf, closed=True)], T0)
    assert read_accounts(folder, open_only=True) == [] and read_accounts(tmp_path / "elsewhere") == []


def test_what_is_under_a_key_is_what_was_asked_for(folder, tmp_path):
    stamp = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, 60_000, Label.GREEN, to="all")
    assert account_under(folder, "K", stamp, RECORD).id == ASKED.leaf.hex()
    assert account_under(folder, "L", stamp, RECORD) is None
    assert account_under(tmp_path / "elsewhere", "K", stamp, RECORD) is None
    with pytest.raises(FabricError) as raised:
        account_under(folder, "K", stamp._replace(terms=Terms(require_all=True)), RECORD)
    assert raised.value.code is Code.KEY_TAKEN
