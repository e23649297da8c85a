"""`fabric act` in steps: who is asked, in which order, and what is said when it stops."""

from types import SimpleNamespace

import pytest

from fabric.edge.messages import Outcome
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.selectors import parse_selector
from relays.cli.actions.asked import Asked
from relays.cli.actions.rolling import Rolling, Steps

NAMES = ("fw-1", "fw-2", "fw-3", "fw-4", "fw-5")


class Point:
    """It answers for everybody that a selector selects. `ends`: how it ends where it does not complete."""

    def __init__(self, away=(), **ends):
        self.away, self.ends, self.asked = away, {name.replace("_", "-"): end for name, end in ends.items()}, []

    def request(self, action, target, *, to, watch, dry_run=False, **_):
        selector = parse_selector(to)
        chosen = tuple(name for name in NAMES if selector.matches({"id": name, "role": "firewall"}))
        self.asked.append(("dry" if dry_run else "real", chosen))
        watch(SimpleNamespace(targets=chosen, held=tuple(n for n in chosen if n in self.away), nobody=not chosen))
        for name in chosen:
            if not (dry_run and name in self.away):
                yield Outcome(name, End.READY if dry_run else self.ends.get(name, End.COMPLETED), name)


def roll(point, *typed):
    told, said = [], []
    asked = Asked("deny", "ipv4_net=192.0.2.1", "role=firewall", {})
    rolling = Rolling(point, asked, Steps.typed(*typed), {}, told.append, said.append)
    return rolling.run(lambda _: None), told, said


def test_batches_after_a_dry_run_that_fixes_whom_it_selects():
    point = Point()
    rollout, told, said = roll(point, None, "2", "0s", None)
    assert point.asked == [("dry", NAMES), ("real", NAMES[:2]), ("real", NAMES[2:4]), ("real", NAMES[4:])]
    assert [outcome.target for outcome in told] == list(NAMES) and len(said) == 2 and rollout.not_begun == ()
    assert said[0] == "next in 0 s: step 2 of 3, fw-3, fw-4"


def test_who_is_away_comes_after_who_is_ready():
    point = Point(away=("fw-1", "fw-2"))
    roll(point, None, "3", None, None)
    assert point.asked[1:] == [("real", ("fw-3", "fw-4", "fw-5")), ("real", ("fw-1", "fw-2"))]


def test_it_stops_after_the_step_that_went_wrong_and_names_the_others():
    rollout, told, _ = roll(Point(fw_2=End.FAILED), None, "2", None, ["failed"])
    assert [outcome.target for outcome in told] == ["fw-1", "fw-2"] and rollout.not_begun == NAMES[2:]
    assert rollout.stopped_by.target == "fw-2"


def test_a_tenth_alone():
    rollout, told, _ = roll(Point(), "10%", None, None, None)
    assert len(told) == 1 and rollout.not_begun == NAMES[1:] and rollout.stopped_by is None


@pytest.mark.parametrize(("typed", "says"), [
    ((None, None, "5s", None), "--batch"), ((None, None, None, ["failed"]), "--batch"),
    (("x", None, None, None), "10%"), ((None, "0", None, None), "10%"), ((None, "2", None, ["completed"]), "failed"),
])
def test_what_is_typed_wrong_says_what_to_write(typed, says):
    with pytest.raises(FabricError) as error:
        Steps.typed(*typed)
    assert error.value.code is Code.USAGE and says in error.value.next_step


def test_without_any_of_it_there_are_no_steps():
    assert Steps.typed(None, None, None, None) is None
