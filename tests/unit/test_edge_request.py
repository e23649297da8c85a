"""What a request has learnt of its targets: each outcome is new once."""

from types import SimpleNamespace

import pytest

from fabric.edge.requesting.latest import Latest
from fabric.edge.requesting.request import Progress, Request, is_given_by_itself, key_for, to_key
from fabric.protocol.base.errors import FabricError


def outcome(target):
    return SimpleNamespace(target=target)


def test_each_outcome_is_new_once_also_where_some_progress_was_never_looked_at():
    request = Request("a1")
    one, two, three = (outcome(name) for name in ("fw-1", "fw-2", "fw-3"))
    targets = ("fw-1", "fw-2", "fw-3")
    assert request.learn(Progress(targets, (), False, [], False), None) == []
    assert request.learn(Progress(targets, (), False, [one, two], False), None) == [one, two]
    assert request.learn(Progress(targets, (), False, [one, two], False), None) == []
    assert not request.done
    assert request.learn(Progress(targets, (), False, [one, two, three], True), None) == [three]
    assert request.done and list(request.outcomes) == list(targets)


def test_an_end_in_place_of_unknown_is_new():
    request = Request("a1")
    unknown, completed = (SimpleNamespace(target="fw-1", end=end) for end in ("unknown", "completed"))
    request.learn(Progress(("fw-1", "fw-2"), (), False, [unknown], False), None)
    assert request.learn(Progress(("fw-1", "fw-2"), (), False, [completed], False), None) == [completed]
    assert request.outcomes == {"fw-1": completed}


def test_who_watches_sees_the_outcomes_before_they_are_read():
    request, seen = Request("a1"), []
    progress = Progress(("fw-1",), (), False, [outcome("fw-1")], True)
    request.learn(progress, lambda watched: seen.append((watched.targets, watched.outcomes)))
    assert [(targets, list(outcomes)) for targets, outcomes in seen] == [(("fw-1",), ["fw-1"])]


def test_that_nobody_was_selected_is_known():
    request = Request("a1")
    assert request.learn(Progress((), (), True, [], True), None) == [] and request.nobody and request.done


def test_what_was_not_looked_at_is_joined_to_what_comes_next():
    latest = Latest(join=lambda before, after: before + after)
    for value in ("a", "b", "c"):
        latest.put(value)
    assert latest.get() == "abc" and latest.take() is None
    latest.put("d")
    assert latest.get() == "d"


@pytest.mark.parametrize("key", ["", " \n", "x" * 257, "\x1b", None, 7])
def test_a_key_is_printable_text(key):
    with pytest.raises(FabricError, match="E908"):
        to_key(key)
    assert to_key("incident 4711/block") == "incident 4711/block"


def test_an_action_whose_effect_ends_is_kept_under_a_key_of_its_own():
    """Its end comes long after, when whoever asked has left: without a key nobody would keep that word."""
    assert key_for("incident/1", {"duration": 1}, dry_run=False) == "incident/1"
    made = {key_for(None, {name: 1}, dry_run=False) for name in ("duration", "stop_time") for _ in range(8)}
    assert len(made) == 16 and all(to_key(key) == key for key in made)
    assert [key_for(None, args, dry_run=False) for args in (None, {}, {"start_time": 1}, "odd")] == [""] * 4
    assert key_for(None, {"duration": 1}, dry_run=True) == ""
    assert all(is_given_by_itself(key) for key in made)
    assert not any(is_given_by_itself(key) for key in ("", "incident/1", "effect/of-somebody", f"x{next(iter(made))}"))
