"""What a requester learns of approvals, how long it waits for them, and what its book keeps of them."""

from dataclasses import replace

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.messages import Approvals, Step
from fabric.edge.requesting.account import RESULTS_MS, account_of, heard, word_of
from fabric.edge.requesting.held import approvals_of, from_book, to_book
from fabric.edge.requesting.recorder import Recorder
from fabric.edge.requesting.request import Progress, Request
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.policies import WITHIN_MS_MAX
from fabric.protocol.vocabulary.lifecycle import State
from fabric.spool.book import Book, Change, Entry
from tests.support import EVERYTHING, MINUTE_MS, T0, Authority, derive, verified

AUTHORITY = Authority("held")
RELAY = AUTHORITY.issue("hq", NodeKind.RELAY)
OTHER = AUTHORITY.issue("mid", NodeKind.RELAY)
ME = AUTHORITY.issue("soar-1", grants=EVERYTHING)
WALL = AUTHORITY.issue("fw-1", grants=EVERYTHING)
DIGEST = derive("action")
TTL, WAIT, WITHIN = MINUTE_MS, 5_000, 10 * MINUTE_MS
HELD = {"within_ms": WITHIN, "rule": "ot", "require": 2, "roles": ["ot-lead"], "code": "E411", "reason": "due"}
APPROVED = {"approved_by": ["anna", "ben"], "escalated": False}


def tracker_of(**fields):
    return Tracker(DIGEST, T0, T0 + TTL + WAIT, **{"ttl_ms": TTL, "wait_ms": WAIT} | fields)


def take(tracker, end, targets=("fw-1", "fw-2"), at_ms=T0 + 100, by=RELAY, state=State.NONE, **content):
    message = verified(by, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=DIGEST, state=state)
    return tracker.take(message, {"end": end, "targets": list(targets), **content}, at_ms)


def held(**more):
    tracker = tracker_of(**more)
    take(tracker, "selected")
    take(tracker, "held", state=State.HELD, **HELD)
    return tracker


def test_what_is_held_is_awaited_as_long_as_it_may_be():
    tracker = held()
    assert tracker.steps["fw-1"].approval == Approvals(False, T0 + 100 + WITHIN, "ot", 2, ("ot-lead",))
    assert tracker.steps["fw-2"].state is State.HELD and tracker.held == ()  # nobody is away
    assert tracker.deadline_ms == T0 + 100 + WITHIN + TTL + WAIT
    assert tracker.time_out(T0 + TTL + WAIT) == []


def test_from_the_approval_on_its_time_runs():
    tracker = held()
    take(tracker, "approved", at_ms=T0 + 3 * MINUTE_MS, state=State.APPROVED, **APPROVED)
    said = tracker.steps["fw-1"].approval
    assert (said.given, said.approved_by, said.until_ms) == (True, ("anna", "ben"), T0 + 3 * MINUTE_MS + TTL)
    assert tracker.deadline_ms == T0 + 3 * MINUTE_MS + TTL + WAIT
    take(tracker, "completed", ["fw-1"], by=WALL)
    assert tracker.ends["fw-1"].end == "completed"
    assert [one.target for one in tracker.time_out(tracker.deadline_ms)] == ["fw-2"]


def test_who_waits_longer_than_that_goes_on_waiting():
    tracker = held()
    tracker.wait_until(T0 + 60 * MINUTE_MS)
    take(tracker, "approved", at_ms=T0 + MINUTE_MS, **APPROVED)
    assert tracker.deadline_ms == T0 + 60 * MINUTE_MS


def test_no_hold_is_longer_than_a_policy_may_ask():
    tracker = held()
    for n in range(1, 30):
        tracker.steps.clear()
        take(tracker, "held", at_ms=T0 + n * WITHIN_MS_MAX, **HELD | {"within_ms": 2**50})
    assert tracker.deadline_ms <= T0 + WITHIN_MS_MAX + 2 * TTL + WAIT
    tracker.steps.clear()
    take(tracker, "approved", at_ms=T0 + 30 * WITHIN_MS_MAX, **APPROVED)
    assert tracker.deadline_ms <= T0 + WITHIN_MS_MAX + 2 * TTL + WAIT


def test_only_where_it_turned_it_is_held():
    tracker = tracker_of()
    take(tracker, "selected")
    take(tracker, "held", by=OTHER, **HELD)
    take(tracker, "approved", by=OTHER, **APPROVED)
    assert tracker.steps == {} and tracker.deadline_ms == T0 + TTL + WAIT


def test_it_may_be_said_before_the_targets_are():
    tracker = tracker_of()
    take(tracker, "held", by=OTHER, **HELD | {"within_ms": 1})
    take(tracker, "held", **HELD)
    take(tracker, "selected")
    assert tracker.steps["fw-1"].approval.until_ms == T0 + 100 + WITHIN
    assert tracker.deadline_ms == T0 + 100 + WITHIN + TTL + WAIT


def test_of_what_overtakes_the_targets_little_is_kept():
    tracker = tracker_of()
    for n in range(20):
        take(tracker, "held", by=AUTHORITY.issue(f"r-{n}", NodeKind.RELAY), **HELD)
    assert len(tracker._early_holds) == 8


@pytest.mark.parametrize(("end", "code"), [("refused", "E419"), ("expired", "E411")])
def test_a_denial_and_the_end_of_a_hold_are_ends(end, code):
    tracker = held()
    take(tracker, end, code=code, reason="lead-1: that host runs the plant")
    assert tracker.done and {outcome.code for outcome in tracker.outcomes()} == {code}


def test_who_is_away_when_it_was_approved_is_away():
    tracker = held()
    take(tracker, "approved", **APPROVED)
    take(tracker, "held", ["fw-2"], state=State.HELD)
    assert tracker.held == ("fw-2",) and tracker.steps["fw-2"].approval.given


def test_a_program_is_told_what_it_waits_for():
    tracker, request, seen = held(), Request(DIGEST.hex()), []
    request.learn(Progress.of(tracker), lambda r: seen.append(r.approval.text))
    tracker.news.clear()
    take(tracker, "approved", **APPROVED)
    request.learn(Progress.of(tracker), lambda r: seen.append(r.approval.text))
    tracker.news.clear()
    take(tracker, "running", ["fw-1"], by=WALL, state=State.NONE)
    request.learn(Progress.of(tracker), None)
    assert seen == ["waits for 2 of ot-lead", "approved by anna, ben"] and request.approval.given


def test_the_book_keeps_who_approved(tmp_path):
    message = verified(
        ME, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", ttl_ms=TTL,
        records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}],
    )
    tracker = held()
    take(tracker, "approved", at_ms=T0 + 200, **APPROVED)
    until_ms = T0 + WITHIN + 2 * 3_600_000
    book = Book(tmp_path / "actions")
    book.add(Entry(0, message.leaf, "", T0, T0 + TTL, message.raw, ME.credential.raw), T0)
    words = [word_of(news, T0 + 100 + n) for n, news in enumerate(tracker.news)]
    book.record([Change(message.leaf, words, ("fw-1", "fw-2"), "hq", until_ms=until_ms)], T0)
    book.record([Change(message.leaf, until_ms=5)], T0)
    entry = book.by_id(message.leaf)
    assert entry.until_ms == until_ms and book.newest(9, awaited_at_ms=T0 + WITHIN)
    account = account_of(entry, book.words(entry.n), T0 + 300)
    assert account.is_open and account.approval.approved_by == ("anna", "ben")
    assert account.to_json()["approval"] == {
        "given": True, "until": T0 + 200 + TTL, "approved_by": ["anna", "ben"], "escalated": False
    }
    again = tracker_of()
    again.recall_targets(("fw-1", "fw-2"), "hq", nobody=False)
    for word in book.words(entry.n)[:2]:
        again.recall(heard(word))
    assert again.deadline_ms == T0 + 100 + WITHIN + TTL + WAIT and again.held == ()
    book.close()


def test_something_is_awaited_of_what_is_held_for_as_long_as_it_may_be(tmp_path):
    message = verified(
        ME, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", ttl_ms=TTL,
        records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}],
    )
    recorder = Recorder(tmp_path / "actions", structlog.get_logger())
    recorder.open().keep(b"s" * 16, is_kept=True)
    entry = recorder.write_down(message, "K", T0)
    tracker = recorder.begin(entry, T0 + TTL + WAIT, WAIT)
    assert (tracker.ttl_ms, tracker.wait_ms) == (TTL, WAIT)
    tracker.digest = DIGEST
    take(tracker, "selected")
    take(tracker, "held", **HELD)
    tracker.digest = message.leaf
    recorder.heard(tracker, T0 + 100)
    recorder.commit(T0 + 100)
    assert recorder.open().awaited_until(T0) == T0 + 100 + WITHIN + TTL + RESULTS_MS
    recorder.close()


approvals = st.builds(
    Approvals, st.booleans(), st.integers(0, 2**50), st.text(max_size=5), st.integers(0, 8),
    st.lists(st.text(max_size=5), max_size=3).map(tuple), st.lists(st.text(max_size=5), max_size=3).map(tuple),
    st.booleans(),
)


@given(approvals)
def test_what_the_book_keeps_is_read_as_it_was(said):
    assert from_book(to_book(said)) == said
    step = Step("fw-1", State.HELD, "hq", approval=said)
    assert heard(word_of(step, T0)) == step and from_book(None) is None


junk = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.integers() | st.text(max_size=3))


@settings(max_examples=150)
@given(st.fixed_dictionaries(dict.fromkeys((*HELD, *APPROVED), junk)), st.sampled_from(list(State)))
def test_whatever_a_relay_says_it_is_bounded_and_printable(said, state):
    found = approvals_of(state, said, T0, TTL)
    if found is not None:
        assert T0 <= found.until_ms <= T0 + WITHIN_MS_MAX and 0 <= found.require <= 8
        assert all(text.isprintable() for text in (found.rule, *found.roles, *found.approved_by))
        assert replace(found, given=True).text and found.text
