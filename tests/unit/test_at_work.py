"""What is said of an action before it ends, and when."""

from fabric.edge.acting.at_work import AtWork
from fabric.edge.control import Control
from fabric.edge.handling.replies import About
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, Authority, verified

MESSAGE = verified(
    Authority("at work").issue("soar-1", grants=EVERYTHING), kind=Kind.ACTION, topic="deny.ipv4_net", to="all",
    severity=Severity.HIGH, label=Label.AMBER,
)
ABOUT = About(MESSAGE.header, MESSAGE.leaf)


def at_work():
    one = AtWork()
    one.taken(ABOUT, Control(), 0)
    return one


def said(one, now_ms):
    return [(word.state, word.progress, word.note) for word in one.due(now_ms)]


def test_of_what_ends_at_once_nothing_is_said():
    one = at_work()
    one.begins(ABOUT.id, 0)
    assert one.due_ms == 1_000 and said(one, 999) == []
    one.ended(ABOUT.id)
    assert one.due_ms is None and said(one, 10_000) == []


def test_what_waits_is_accepted_and_then_runs_and_says_so_while_it_does():
    one = at_work()
    assert said(one, 1_000) == [(State.ACCEPTED, None, "")] and said(one, 1_001) == []
    one.begins(ABOUT.id, 1_150)
    assert said(one, 1_999) == [] and said(one, 2_000) == [(State.RUNNING, None, "")]
    assert one.due_ms == 32_000 and said(one, 32_000) == [(State.RUNNING, None, "")]


def test_its_progress_is_said_once_a_second_with_the_last_word():
    one = at_work()
    one.begins(ABOUT.id, 0)
    for percent in range(100):
        one.progresses(ABOUT.id, percent / 100, f"{percent} of 100", percent)
    assert said(one, 100) == [(State.RUNNING, 0.99, "99 of 100")]
    one.progresses(ABOUT.id, 1.0, "", 150)
    assert said(one, 1_099) == [] and said(one, 1_100) == [(State.RUNNING, 1.0, "")]


def test_of_what_is_not_there_nothing_is_said():
    one = AtWork()
    one.begins(b"x" * 16, 0)
    one.progresses(b"x" * 16, 0.5, "", 0)
    one.ended(b"x" * 16)
    assert one.due_ms is None and one.control_of(b"x" * 16) is None


def test_a_word_is_a_result_of_its_action_with_its_label_and_no_end():
    one = at_work()
    one.progresses(ABOUT.id, 0.5, "half", 0)
    (word,) = one.due(0)
    stamp = word.stamp()
    assert (stamp.kind, stamp.to, stamp.correlation, stamp.label) == (Kind.RESULT, "soar-1", ABOUT.leaf, Label.AMBER)
    assert stamp.state is State.ACCEPTED and stamp.audience == MESSAGE.header.audience
    assert word.record("fw-1") == {
        "state": "accepted", "targets": ["fw-1"], "by": "fw-1", "status": 102, "progress": 0.5, "note": "half",
    }
