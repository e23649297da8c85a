"""What a requester learns of approvals, how long it waits for them, and what its book keeps of them."""

from contextlib import closing
from dataclasses import replace

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.messages import Approvals, Step
from fabric.edge.requesting.account import RESULTS_MS, account_of, heard, word_of
from fabric.edge.requesting.held import approvals_of, demanded, from_book, to_book
from fabric.edge.requesting.recorder import Recorder
from fabric.edge.requesting.request import Progress, Request
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.policies import WITHIN_MS_MAX
from fabric.protocol.vocabulary.lifecycle import State
from fabric.spool.book import Book, Change, Entry
from relays.cli.actions.course import why_of
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


WOULD = {"rule": "ot", "require": 2, "roles": ["ot-lead"], "within_ms": WITHIN}
WORDS = "would be held: rule ot, 2 of ot-lead, within 10m"


def test_of_a_dry_run_it_is_known_for_what_it_would_be_held_and_nobody_waits_for_that():
    tracker = tracker_of(dry_run=True)
    take(tracker, "ready", ["fw-1"], by=WALL)  # it overtook the list of targets
    take(tracker, "selected", approval=WOULD)
    take(tracker, "held", ["fw-2"], state=State.HELD)
    for step in tracker.steps.values():
        assert step.state is State.HELD and step.approval.text == WORDS and not step.approval.is_asked
    assert tracker.steps["fw-2"].away and tracker.held == ("fw-2",)
    assert tracker.done and tracker.deadline_ms == T0 + TTL + WAIT and tracker.held_until_ms == 0
    assert tracker.steps["fw-1"].approval.to_json() == {"given": False} | WOULD
    assert from_book(to_book(tracker.steps["fw-1"].approval)) == tracker.steps["fw-1"].approval


@pytest.mark.parametrize("said", [None, [], {}, {"within_ms": 0}, {"within_ms": "10m"}, {"within_ms": True}])
def test_what_says_of_no_hold_counts_for_nothing(said):
    assert demanded({"approval": said}) is None and demanded({}) is None


def test_what_a_relay_says_of_a_rule_is_bounded_and_printable_and_of_dry_runs_only():
    found = demanded({"approval": {"rule": "\x1b[2J" * 99, "require": 2**70, "roles": ["a\n", 7], "within_ms": 2**70}})
    assert found.within_ms == WITHIN_MS_MAX and found.require == 8 and found.text.isprintable()
    assert len(found.rule) == 256 and found.roles == ("a?", "")
    tracker = tracker_of()
    take(tracker, "selected", approval=WOULD)
    assert tracker.steps == {}


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


def test_who_denied_it_and_why_is_known_and_kept_in_whole_and_a_terminal_obeys_none_of_it():
    tracker, why = held(), "x" * 500 + "\x1b[2J" + "y" * 99
    take(tracker, "refused", code="E419", reason="denied", denied_by="anna\n", why=why)
    for outcome in tracker.outcomes():
        assert outcome.denied_by == "anna?" and outcome.why == "x" * 500 + "?[2J" + "y" * 8
        assert outcome.to_json()["why"] == outcome.why and heard(word_of(outcome, T0)) == outcome
        assert why_of(outcome) == f"E419 denied at hq; anna?: {outcome.why}"


@pytest.mark.parametrize("said", [{"why": "because"}, {"denied_by": 7, "why": "because"}, {"denied_by": ""}])
def test_of_whom_nobody_denied_nothing_is_said(said):
    tracker = held()
    take(tracker, "refused", code="E419", **said)
    assert all(not (each.denied_by or each.why) and "why" not in each.to_json() for each in tracker.outcomes())


def test_a_target_says_nothing_of_who_denied_it():
    tracker = held()
    take(tracker, "refused", ["fw-1"], by=WALL, denied_by="anna", why="because")
    assert not tracker.ends["fw-1"].denied_by


def test_who_is_away_when_it_was_approved_is_away():
    tracker = held()
    take(tracker, "approved", **APPROVED)
    take(tracker, "held", ["fw-2"], state=State.HELD)
    step = tracker.steps["fw-2"]
    assert tracker.held == ("fw-2",) and (step.state, step.away, step.approval.given) == (State.APPROVED, True, True)
    assert tracker.news[-1] == step and not tracker.steps["fw-1"].away
    told = len(tracker.news)
    take(tracker, "held", ["fw-2"], state=State.HELD)
    assert len(tracker.news) == told, "it is said once"
    take(tracker, "dispatched", ["fw-2"], state=State.DISPATCHED)
    assert (tracker.steps["fw-2"].state, tracker.steps["fw-2"].away) == (State.DISPATCHED, False)
    take(tracker, "held", ["fw-2"], state=State.HELD)
    assert tracker.steps["fw-2"].state is State.DISPATCHED


def test_the_book_keeps_that_what_was_approved_waits_for_who_is_away(tmp_path):
    message = verified(
        ME, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", ttl_ms=TTL,
        records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}],
    )
    tracker = held()
    take(tracker, "approved", at_ms=T0 + 200, **APPROVED)
    before = [word_of(news, T0 + 200) for news in tracker.news]
    take(tracker, "held", ["fw-2"], state=State.HELD)
    with closing(Book(tmp_path / "actions")) as book:
        book.add(Entry(0, message.leaf, "", T0, T0 + TTL, message.raw, ME.credential.raw), T0)
        for words in (before, [word_of(tracker.news[-1], T0 + 300)], before):  # another process heard less
            book.record([Change(message.leaf, words, ("fw-1", "fw-2"), "hq", until_ms=T0 + WITHIN)], T0)
        entry = book.by_id(message.leaf)
        account = account_of(entry, book.words(entry.n), T0 + 400)
    assert account.to_json()["states"] == {"fw-1": "approved", "fw-2": "approved"}
    assert account.away == ("fw-2",) and account.approval.given


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
    st.booleans(), st.integers(0, 2**40),
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
