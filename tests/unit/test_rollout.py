"""An action in steps: who is in which, and when it stops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.messages import Outcome
from fabric.edge.requesting.rollout import Rollout, Share, selectors_for, stop_on
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import SELECTOR_BYTES_MAX
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.selectors import Selector, parse_selector

WALLS = tuple(f"fw-{n}" for n in range(10))


def ended(names, end=End.COMPLETED):
    return [Outcome(name, end, name) for name in names]


def run(rollout, end_of=lambda _: End.COMPLETED):
    """The steps that were begun."""
    begun = []
    while step := rollout.next_step():
        begun.append(step)
        rollout.ended([Outcome(name, end_of(name), name) for name in step])
    return begun


@pytest.mark.parametrize(
    ("text", "total", "count"),
    [("10%", 10, 1), ("10%", 11, 2), ("10%", 4, 1), ("100%", 7, 7), ("0.5%", 1000, 5), ("3", 10, 3), ("30", 10, 10)],
)
def test_a_share_is_rounded_up_and_never_nobody(text, total, count):
    assert Share.parse(text).of(total) == count


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "ten", "1e3", "5%%", "½", "1" * 40])
def test_what_is_no_share_is_refused_with_what_to_write(text):
    with pytest.raises(FabricError) as error:
        Share.parse(text)
    assert error.value.code is Code.USAGE and "10%" in error.value.next_step


def test_without_limit_and_batch_it_is_one_step():
    assert run(Rollout("all", WALLS)) == [WALLS]


def test_the_first_tenth_alone_is_one_step_and_the_others_are_named():
    rollout = Rollout("all", WALLS, limit=Share.parse("10%"))
    assert run(rollout) == [("fw-0",)] and rollout.not_begun == WALLS[1:] and rollout.steps == 1


def test_batches_follow_each_other():
    rollout = Rollout("all", WALLS, batch=Share.parse("4"))
    assert rollout.steps == 3 and run(rollout) == [WALLS[:4], WALLS[4:8], WALLS[8:]] and rollout.not_begun == ()


def test_it_stops_after_the_step_in_which_one_failed():
    rollout = Rollout("all", WALLS, batch=Share.parse("4"), stop_on=stop_on(["failed"]))
    begun = run(rollout, lambda name: End.EXPIRED if name == "fw-5" else End.COMPLETED)
    assert begun == [WALLS[:4], WALLS[4:8]] and rollout.not_begun == ("fw-8", "fw-9")
    assert rollout.stopped_by == Outcome("fw-5", End.EXPIRED, "fw-5")


def test_it_goes_on_where_that_is_no_reason_to_stop():
    rollout = Rollout("all", WALLS, batch=Share.parse("5"), stop_on=stop_on(["refused"]))
    assert len(run(rollout, lambda _: End.FAILED)) == 2 and rollout.stopped_by is None


def test_who_was_unknown_and_then_completed_is_no_reason_to_stop():
    rollout = Rollout("all", ("a", "b"), batch=Share.parse("1"), stop_on=stop_on(["failed"]))
    rollout.ended([*ended(rollout.next_step(), End.UNKNOWN), *ended(["a"])])
    assert rollout.next_step() == ("b",)


@pytest.mark.parametrize("word", ["completed", "ready", "", "Failed", "broken"])
def test_what_is_no_end_to_stop_on_is_refused(word):
    with pytest.raises(FabricError) as error:
        stop_on([word])
    assert error.value.code is Code.USAGE


def test_nobody_is_no_step():
    rollout = Rollout("all", (), batch=Share.parse("5"))
    assert run(rollout) == [] and rollout.steps == 0


def test_a_selector_that_leaves_no_room_for_an_id_is_refused():
    with pytest.raises(FabricError) as error:
        selectors_for("role=" + "x" * (SELECTOR_BYTES_MAX - 10), ["fw-1"])
    assert error.value.code is Code.BAD_SELECTOR


NAMES = st.lists(st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True), unique=True, max_size=120)


@given(names=NAMES, to=st.sampled_from(["all", "role=firewall", "role=firewall or segment='a b'", "not id=x"]))
def test_selectors_select_these_and_nobody_else(names, to):
    selectors = [parse_selector(text) for text in selectors_for(to, names)]
    assert all(isinstance(selector, Selector) for selector in selectors)
    node = {"role": "firewall", "segment": "a b"}
    own = parse_selector(to)
    for name in names:
        chosen = sum(selector.matches({"id": name, **node}) for selector in selectors)
        assert chosen == own.matches({"id": name, **node})
    assert not any(selector.matches({"id": "fw_other", **node}) for selector in selectors)


@given(total=st.integers(0, 60), limit=st.one_of(st.none(), st.integers(1, 100)), batch=st.integers(1, 70))
def test_each_target_is_in_one_step_or_not_begun(total, limit, batch):
    targets = tuple(f"n{n}" for n in range(total))
    rollout = Rollout("all", targets, None if limit is None else Share(limit, True), Share(batch, False))
    begun = run(rollout)
    assert [name for step in begun for name in step] + list(rollout.not_begun) == list(targets)
    assert len(begun) == rollout.steps and all(len(step) <= batch for step in begun)
