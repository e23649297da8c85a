"""What a requester believes of an action's ends, from whom."""

import pytest

from fabric.edge.messages import Step
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.limits import TARGETS_MAX
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, T0, Authority, derive, verified

AUTHORITY = Authority("tracking")
RELAY, LOW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("hq", "low"))
WALLS = {name: AUTHORITY.issue(name, grants=EVERYTHING) for name in ("fw-1", "fw-2")}
DIGEST = derive("action")


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(DIGEST, T0, T0 + 10_000)


def take(tracker, member, end, targets=(), correlation=DIGEST, **content):
    message = verified(member, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=correlation)
    return tracker.take(message, {"end": end, "targets": list(targets), **content}, T0 + 100)


def ends(tracker):
    return {outcome.target: str(outcome.end) for outcome in tracker.outcomes()}


def test_it_is_done_when_every_target_ended(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, WALLS["fw-1"], "completed", result={"rule": 7})
    assert not tracker.done
    take(tracker, WALLS["fw-2"], "failed", code="E709")
    assert tracker.done and ends(tracker) == {"fw-1": "completed", "fw-2": "failed"}
    assert tracker.ends["fw-1"].result == {"rule": 7} and tracker.ends["fw-1"].took_ms == 100


def test_a_result_that_overtook_the_list_of_targets_counts(tracker):
    take(tracker, WALLS["fw-1"], "completed")
    assert ends(tracker) == {}
    take(tracker, RELAY, "selected", ["fw-1"])
    assert tracker.done and ends(tracker) == {"fw-1": "completed"}


def test_an_end_bears_the_highest_label_of_what_came_of_it(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    for name in WALLS:
        message = verified(
            WALLS[name], kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=DIGEST, label=Label.GREEN,
            records=[{"end": "completed", "result": {"host": "plc-7"}}], rules={"result": Label.AMBER},
        )
        content = {"end": "completed", "targets": [name], "result": {"host": "plc-7"}}
        if name == "fw-2":  # a relay on the way took it out
            message = message.with_parts_of(message.envelope._replace(parts=(message.envelope.parts[0], None)))
            del content["result"]
        tracker.take(message, content, T0 + 100)
    assert {name: tracker.ends[name].label for name in WALLS} == {"fw-1": Label.AMBER, "fw-2": Label.GREEN}
    assert tracker.ends["fw-1"].to_json()["label"] == "amber"


def test_a_terminal_obeys_nobody_s_words(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "\x1b[2J"])
    take(tracker, WALLS["fw-1"], "failed", code="E709\x1b[2J", reason="no\nroom")
    assert tracker.targets == ("fw-1",)
    assert (tracker.ends["fw-1"].code, tracker.ends["fw-1"].reason) == ("E709?[2J", "no?room")


def test_who_is_away_is_known_and_still_awaited(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, RELAY, "held", ["fw-2"])
    take(tracker, WALLS["fw-1"], "completed")
    assert tracker.held == ("fw-2",) and not tracker.done
    take(tracker, RELAY, "expired", ["fw-2"])
    assert tracker.done and ends(tracker) == {"fw-1": "completed", "fw-2": "expired"}


def test_of_a_dry_run_nothing_is_awaited_of_who_is_away(tracker):
    tracker.dry_run = True
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, RELAY, "held", ["fw-2"])
    assert not tracker.done
    take(tracker, WALLS["fw-1"], "ready")
    assert tracker.done and ends(tracker) == {"fw-1": "ready"}


def test_who_was_asked_to_execute_does_not_end_as_ready(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, WALLS["fw-1"], "ready")
    assert ends(tracker) == {}


def test_that_somebody_is_away_is_for_a_relay_to_say(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, WALLS["fw-1"], "held", ["fw-1"])
    assert tracker.held == () and not tracker.done


def test_nobody(tracker):
    take(tracker, RELAY, "nobody")
    assert tracker.done and tracker.nobody


@pytest.mark.parametrize("end", ["completed", "failed", "selected twice", "nonsense"])
def test_a_relay_is_not_believed_what_only_a_target_can_say(tracker, end):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, RELAY, end, ["fw-1"])
    assert not tracker.done


def test_a_target_speaks_for_itself_only(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, WALLS["fw-1"], "completed", ["fw-2"])
    assert ends(tracker) == {"fw-1": "completed"}


def test_who_was_not_selected_is_not_heard(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, WALLS["fw-2"], "completed")
    assert ends(tracker) == {}


def test_another_request_s_result_is_not_heard(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, WALLS["fw-1"], "completed", correlation=derive("another"))
    assert not tracker.done


def test_an_end_is_final_but_for_unknown_which_its_target_replaces(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, RELAY, "unknown", ["fw-1"])
    take(tracker, RELAY, "expired", ["fw-1"])
    assert ends(tracker) == {"fw-1": "unknown"}
    take(tracker, WALLS["fw-1"], "completed")
    take(tracker, WALLS["fw-1"], "failed")
    assert ends(tracker) == {"fw-1": "completed"}


def test_silence_is_unknown_after_the_deadline(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, WALLS["fw-1"], "completed")
    assert tracker.time_out(T0 + 9_999) == []
    (late,) = tracker.time_out(T0 + 10_000)
    assert (late.target, late.end, late.code) == ("fw-2", End.UNKNOWN, "E909") and tracker.done


def test_an_action_that_reached_nobody_has_one_end_for_all(tracker):
    take(tracker, RELAY, "refused", code="E601")
    assert tracker.done and [(o.target, str(o.end), o.code) for o in tracker.outcomes()] == [("", "refused", "E601")]


def test_that_a_relay_below_does_not_know_ends_nothing_before_the_targets_are_known(tracker):
    """Its row was sent and not answered: whoever took it may still name the targets, and they answer."""
    take(tracker, LOW, "unknown", code="E502")
    assert not tracker.done and not tracker.outcomes()
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, WALLS["fw-1"], "completed")
    assert ends(tracker) == {"fw-1": "completed"}


def test_of_all_targets_at_once_the_relay_where_it_turned_speaks_and_no_other(tracker):
    """A relay on the way up had lost the acknowledgement: it said `expired` of what was being executed."""
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, LOW, "expired")
    assert ends(tracker) == {} and not tracker.done
    take(tracker, RELAY, "refused", code="E724")
    assert ends(tracker) == {"fw-1": "refused", "fw-2": "refused"}


def test_an_action_of_which_nothing_was_heard_is_unknown(tracker):
    tracker.time_out(T0 + 10_000)
    assert [(o.target, o.end) for o in tracker.outcomes()] == [("", End.UNKNOWN)]


def test_what_anybody_signs_before_the_targets_are_known_is_bounded(tracker):
    """Whoever has a key of this fabric, and a relay that lets it pass, can answer my request without end."""
    for n in range(TARGETS_MAX // 64 + 1):
        for k in range(3):
            take(tracker, RELAY, "unknown", [f"nobody-{n}-{k}-{j}" for j in range(64)])
    assert len(tracker._early) == 2 * TARGETS_MAX
    take(tracker, RELAY, "selected", ["fw-1"])
    assert tracker._early == {} and not tracker.done
    take(tracker, WALLS["fw-1"], "completed")
    assert tracker.done


def test_large_results_do_not_wait_without_end_for_the_targets(tracker, monkeypatch):
    monkeypatch.setattr("fabric.edge.requesting.tracking._EARLY_BYTES_MAX", 50)
    take(tracker, WALLS["fw-1"], "completed")
    take(tracker, WALLS["fw-2"], "completed")
    assert len(tracker._early) < 2


def test_a_relay_s_report_says_nothing_of_what_was_done(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, RELAY, "unknown", ["fw-1"], result={"rule": "x" * 1_000}, reason="y" * 10_000, code=["E7"])
    outcome = tracker.ends["fw-1"]
    assert outcome.result == {} and outcome.code == "" and len(outcome.reason) == 256


def test_more_targets_than_there_can_be_are_not_kept(tracker):
    take(tracker, RELAY, "selected", [f"fw-{n}" for n in range(TARGETS_MAX + 100)])
    assert len(tracker.targets) == TARGETS_MAX


# -- a target that does not know what it did ------------------------------------------------------------------


def test_a_target_may_say_that_it_does_not_know_and_its_later_word_counts(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, WALLS["fw-1"], "unknown", code="E722")
    assert ends(tracker) == {"fw-1": "unknown"} and tracker.unknown() == ("fw-1",)
    take(tracker, RELAY, "expired", ["fw-1"])
    take(tracker, RELAY, "unknown", ["fw-1"])
    assert tracker.ends["fw-1"].by == "fw-1", "no relay knows better"
    take(tracker, WALLS["fw-1"], "completed")
    assert ends(tracker) == {"fw-1": "completed"}


def test_it_is_its_word_instead_of_a_relay_s_and_once(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    take(tracker, RELAY, "unknown", ["fw-1"])
    assert len(take(tracker, WALLS["fw-1"], "unknown", code="E722")) == 1
    assert take(tracker, WALLS["fw-1"], "unknown", code="E722") == []
    assert (tracker.ends["fw-1"].by, tracker.ends["fw-1"].code) == ("fw-1", "E722")


def test_all_have_ended_when_one_does_not_know(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, WALLS["fw-1"], "unknown", code="E722")
    assert tracker.done
    take(tracker, WALLS["fw-1"], "completed")
    assert ends(tracker) == {"fw-1": "completed"}, "a later word of its counts, though nobody waits for it any more"


def test_of_words_that_overtook_the_list_of_targets_the_same_holds(tracker):
    for end in ("unknown", "completed", "failed", "unknown"):
        take(tracker, WALLS["fw-1"], end)
    take(tracker, RELAY, "unknown", ["fw-1"])
    take(tracker, RELAY, "selected", ["fw-1"])
    assert ends(tracker) == {"fw-1": "completed"}


def say(tracker, member, state, at_ms=100, body=None, **content):
    message = verified(
        member, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=DIGEST, state=state,
    )
    said = {"end" if state.end else "state": state.word} if body is None else body
    tracker.take(message, {**said, "targets": [member.credential.id], **content}, T0 + at_ms)


def states(tracker):
    return [(step.target, step.state) for step in tracker.news if hasattr(step, "state")]


def test_a_target_says_how_far_it_is(tracker):
    take(tracker, RELAY, "selected", ["fw-1", "fw-2"])
    say(tracker, WALLS["fw-1"], State.ACCEPTED)
    say(tracker, WALLS["fw-1"], State.RUNNING, progress=0.5, note="half\x1b", status=102)
    say(tracker, WALLS["fw-1"], State.ACCEPTED)
    step = tracker.steps["fw-1"]
    assert (step.state, step.progress, step.note) == (State.RUNNING, 0.5, "half?") and not tracker.done
    say(tracker, WALLS["fw-1"], State.RUNNING, progress=1)
    assert tracker.steps["fw-1"].progress == 1.0 and states(tracker)[-2:] == [("fw-1", State.RUNNING)] * 2
    say(tracker, WALLS["fw-1"], State.COMPLETED)
    say(tracker, WALLS["fw-1"], State.RUNNING)
    assert ends(tracker) == {"fw-1": "completed"} and len(states(tracker)) == 3


@pytest.mark.parametrize("progress", [-0.1, 1.1, float("nan"), "0.5", True, None])
def test_progress_that_is_none_is_left_out(tracker, progress):
    take(tracker, RELAY, "selected", ["fw-1"])
    say(tracker, WALLS["fw-1"], State.RUNNING, progress=progress, note=7)
    assert tracker.steps["fw-1"] == Step("fw-1", State.RUNNING, "fw-1")


def test_a_result_whose_record_contradicts_its_header_is_ignored_and_counted(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    say(tracker, WALLS["fw-1"], State.COMPLETED, body={"end": "failed"})
    say(tracker, WALLS["fw-1"], State.RUNNING, body={"end": "completed"})
    say(tracker, WALLS["fw-1"], State.RUNNING, body={})
    assert tracker.contradictions == 3 and not tracker.steps and not tracker.ends


def test_a_step_is_for_its_target_or_the_relay_where_it_turned_to_say(tracker):
    other = AUTHORITY.issue("mid", NodeKind.RELAY)
    say(tracker, WALLS["fw-1"], State.ACCEPTED)  # it is not known yet whether it is one
    take(tracker, RELAY, "selected", ["fw-1"])
    say(tracker, WALLS["fw-2"], State.ACCEPTED)
    for member, state in ((other, State.DISPATCHED), (RELAY, State.RUNNING), (WALLS["fw-1"], State.DISPATCHED)):
        say(tracker, member, state, body={"end": state.word, "targets": ["fw-1"]})
    assert tracker.steps == {}
    take(tracker, RELAY, "held", ["fw-1"])
    take(tracker, RELAY, "dispatched", ["fw-1"])
    assert states(tracker) == [("fw-1", State.HELD), ("fw-1", State.DISPATCHED)]


def test_what_a_target_says_after_a_relay_s_unknown_is_taken_though_nobody_waits_any_more(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, RELAY, "unknown", ["fw-1"])
    assert tracker.done
    say(tracker, WALLS["fw-1"], State.COMPLETED)
    assert ends(tracker) == {"fw-1": "completed"}


def test_a_resolution_is_for_the_relay_where_it_turned_to_say(tracker):
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, WALLS["fw-1"], "resolved", outcome="completed")
    take(tracker, AUTHORITY.issue("mid", NodeKind.RELAY), "resolved", outcome="completed")
    assert tracker.resolution == ""
    take(tracker, WALLS["fw-1"], "completed")
    take(tracker, RELAY, "resolved", outcome="completed")
    assert tracker.resolution == "completed"


def says(tracker, member, effect, **content):
    message = verified(member, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=DIGEST)
    return tracker.take(message, {"effect": effect, "targets": [member.credential.id], **content}, T0 + 100)


def test_the_end_of_an_effect_that_overtook_the_list_of_targets_counts_and_only_its_target_s(tracker):
    tracker.lasts = True
    for effect, at_ms in (("revert failed", {}), ("reverted", {"at": T0}), ("revert failed", {})):
        says(tracker, WALLS["fw-1"], effect, **at_ms)
        says(tracker, WALLS["fw-2"], effect, **at_ms)
        says(tracker, RELAY, effect, **at_ms)
    assert not tracker.effects
    take(tracker, RELAY, "selected", ["fw-1"])
    take(tracker, WALLS["fw-1"], "completed")
    assert {name: effect.word for name, effect in tracker.effects.items()} == {"fw-1": "reverted"}
    assert not tracker.effects_due, "it does not believe for ever that something is in force that is not"
