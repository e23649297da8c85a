"""Which parent: the machine by hand. `jitter` is always 1 here, so every wait is the longest that it can be."""

import pytest

from fabric.protocol.links.uplink import (
    ANSWER_MS,
    GRACE_MS,
    HURRY_MS,
    RETURN_MS,
    RETURN_MS_MAX,
    SHORT_STAY_MS,
    SHUN_MS,
    SPREAD_MS,
    STABLE_MS,
    STEP_MS,
    Uplink,
)
from tests.support import T0

LATEST_MS = GRACE_MS + SPREAD_MS


def uplink(*parents, jitter=1.0):
    return Uplink(parents or ("east", "west", "north"), lambda: jitter)


def at(machine, parent, now_ms=T0):
    """With this parent for long."""
    machine.came(parent, now_ms)
    machine.opened(parent, now_ms)
    return machine


def test_the_preferred_parent_has_its_chance_first_and_every_further_one_a_step_later():
    machine = uplink()
    assert machine.wanted(T0) == ["east"]
    assert machine.wanted(T0 + LATEST_MS - 1) == ["east"]
    assert machine.wanted(T0 + LATEST_MS) == ["east", "west"]
    assert machine.wanted(T0 + LATEST_MS + STEP_MS) == ["east", "west", "north"]


def test_moments_are_of_full_jitter():
    assert uplink(jitter=0.0).wanted(T0 + GRACE_MS) == ["east"], "asked for the first time then"
    early = uplink(jitter=0.0)
    early.wanted(T0)
    assert early.wanted(T0 + GRACE_MS) == ["east", "west"]


def test_who_is_there_is_greeted_at_once_when_there_is_no_parent():
    machine = uplink()
    assert machine.choice(T0) == ""
    machine.came("east", T0)
    assert machine.choice(T0) == "east"


def test_one_that_does_not_answer_keeps_nobody_from_the_next():
    machine = uplink()
    machine.wanted(T0)
    later = T0 + LATEST_MS
    machine.came("east", T0)
    machine.greeted("east", T0)
    machine.came("west", later)
    assert machine.choice(later) == "west"
    machine.greeted("east", later)
    assert machine.choice(later + ANSWER_MS - 1) == ""
    assert machine.choice(later + ANSWER_MS) == "west"


def test_of_two_that_answer_the_better_one_is_kept():
    machine = at(uplink(), "west")
    assert machine.takes("east") and not machine.takes("north") and not machine.takes("west")


def test_a_parent_that_closed_may_be_restarting_and_has_a_moment():
    machine = at(uplink(), "east")
    now = T0 + SHORT_STAY_MS
    machine.lost(now, patient=True)
    assert machine.wanted(now) == ["east"]
    assert machine.wanted(now + LATEST_MS) == ["east", "west"]


def test_one_that_fell_silent_is_left_at_once():
    machine = at(uplink(), "east")
    now = T0 + SHORT_STAY_MS
    machine.lost(now, patient=False)
    assert machine.wanted(now) == []
    assert machine.wanted(now + SPREAD_MS) == ["west"], "it would answer, and keep us waiting again"
    assert machine.wanted(now + SPREAD_MS + STEP_MS) == ["east", "west", "north"]


def test_with_a_parent_only_better_ones_are_tried_and_not_at_once():
    machine = at(uplink(), "west")
    assert machine.wanted(T0) == ["west"]
    assert machine.wanted(T0 + RETURN_MS) == ["east", "west"]
    assert "north" not in machine.wanted(T0 + RETURN_MS_MAX)


def test_a_better_one_is_greeted_when_its_connection_has_lasted():
    machine = at(uplink(), "west")
    back = T0 + RETURN_MS
    machine.came("east", back)
    assert machine.choice(back + STABLE_MS - 1) == ""
    assert machine.choice(back + STABLE_MS) == "east"
    machine.went("east")
    machine.came("east", back + STABLE_MS)
    assert machine.choice(back + STABLE_MS) == "", "it begins again"


def test_one_that_is_lost_again_and_again_is_tried_more_and_more_seldom():
    machine, now, waits = uplink(), T0, []
    for _ in range(9):
        at(machine, "east", now)
        machine.lost(now + 1_000, patient=True)
        at(machine, "west", now + 1_000)
        began = now = now + 1_000
        while "east" not in machine.wanted(now):
            now += 500
        waits.append(now - began)
    assert waits[0] <= 2 * RETURN_MS and waits == sorted(waits) and waits[-1] == RETURN_MS_MAX
    at(machine, "east", now)
    machine.lost(now + SHORT_STAY_MS, patient=True)
    assert machine.wanted(now + SHORT_STAY_MS) == ["east"], "a long stay makes good for all of it"


def test_a_parent_that_flaps_keeps_nobody_from_the_next():
    machine, now = at(uplink(), "east"), T0
    for _ in range(3):
        machine.lost(now + 500, patient=True)
        now += 500
        at(machine, "east", now)
    machine.lost(now + 500, patient=True)
    assert "west" in machine.wanted(now + LATEST_MS - 1_000), "it waits since the first time"


def test_one_that_says_that_it_goes_is_left_for_anybody_and_kept_until_then():
    machine = at(uplink(), "east")
    machine.shun("east", T0)
    assert machine.wanted(T0) == ["east", "west", "north"]
    machine.came("north", T0)
    assert machine.choice(T0) == "north"
    assert machine.takes("north")
    machine.opened("north", T0)
    assert machine.wanted(T0 + RETURN_MS) == ["west", "north"]
    assert machine.wanted(T0 + SHUN_MS + RETURN_MS) == ["east", "west", "north"]


def test_who_has_nobody_else_stays():
    machine = at(uplink("east"), "east")
    machine.shun("east", T0)
    assert machine.wanted(T0) == ["east"] and not machine.alternatives
    machine.lost(T0 + 1, patient=False)
    assert machine.wanted(T0 + 1) == ["east"]


def test_a_parent_that_nobody_named_is_the_last():
    machine = uplink("east")
    machine.came("guest", T0)
    assert machine.parents == ["east", "guest"]


@pytest.mark.parametrize("parents", [(), ("east",), ("east", "east", "west")])
def test_without_parents_nobody_is_wanted_and_none_is_wanted_twice(parents):
    machine = Uplink(parents, lambda: 0.0)
    assert machine.wanted(T0 + LATEST_MS) == list(dict.fromkeys(parents))[:1]
    assert machine.choice(T0) == ""


# -- another order --------------------------------------------------------------------------------------------


def test_a_node_that_moved_goes_to_the_nearest_at_once():
    machine = at(uplink(), "east")
    machine.rank(["plant", "east", "west"], T0, at_once=True)
    assert machine.wanted(T0) == ["plant", "east"], "what it has stays until there is another"
    machine.came("plant", T0 + 1)
    assert machine.choice(T0 + 1) == "plant", "there is no time to prove that it lasts"
    machine.opened("plant", T0 + 1)
    assert machine.current == "plant" and machine.wanted(T0 + 1) == ["plant"]


def test_where_the_nearest_does_not_answer_the_next_is_tried_a_step_later():
    machine = at(uplink(), "east")
    machine.rank(["plant", "cell", "east"], T0, at_once=True)
    assert machine.wanted(T0 + STEP_MS - 1) == ["plant", "east"]
    assert machine.wanted(T0 + STEP_MS) == ["plant", "cell", "east"]


def test_the_haste_is_over_after_a_while():
    machine = at(uplink(), "east")
    machine.rank(["plant", "east"], T0, at_once=True)
    machine.came("plant", T0 + HURRY_MS)
    assert machine.choice(T0 + HURRY_MS) == ""
    assert machine.choice(T0 + HURRY_MS + STABLE_MS) == "plant"


def test_a_new_order_without_a_move_is_followed_as_one_goes_back():
    machine = at(uplink(), "west")
    machine.rank(["north", "west", "east"], T0, at_once=False)
    assert machine.wanted(T0) == ["west"]
    later = T0 + LATEST_MS + STEP_MS
    assert machine.wanted(later) == ["north", "west"], "a worse one is for when it is lost"
    machine.came("north", later)
    assert machine.choice(later) == ""
    assert machine.choice(later + STABLE_MS) == "north"


def test_one_that_is_left_out_stays_until_there_is_another():
    machine = at(uplink(), "east")
    machine.rank(["north"], T0, at_once=True)
    assert machine.current == "east" and machine.wanted(T0) == ["north"] and machine.takes("north")
    machine.came("north", T0)
    assert machine.choice(T0) == "north"


def test_a_worse_one_is_not_gone_to_in_haste():
    machine = at(uplink(), "east")
    machine.rank(["east", "plant"], T0, at_once=True)
    machine.came("plant", T0)
    assert machine.choice(T0 + 1) == "" and machine.wanted(T0) == ["east"]


def test_whoever_has_none_tries_the_first_at_once_and_the_others_in_turn():
    machine = uplink()
    machine.rank([], T0, at_once=False)
    assert machine.wanted(T0) == [] and machine.choice(T0) == ""
    machine.rank(["plant", "cell"], T0 + 9, at_once=False)
    assert machine.wanted(T0 + 9) == ["plant"]
    assert machine.wanted(T0 + 9 + STEP_MS) == ["plant", "cell"]


def test_losing_the_nearest_and_going_back_is_as_ever():
    machine = at(uplink(), "east")
    machine.rank(["plant", "cell"], T0, at_once=True)
    machine.came("plant", T0)
    machine.opened("plant", T0)
    later = T0 + SHORT_STAY_MS
    machine.lost(later, patient=False)
    assert machine.wanted(later + SPREAD_MS) == ["cell"]
    machine.came("cell", later + SPREAD_MS)
    machine.opened("cell", later + SPREAD_MS)
    assert machine.wanted(later + SPREAD_MS + RETURN_MS) == ["plant", "cell"]


def test_a_better_order_soon_after_a_move_does_not_end_the_haste():
    machine = at(uplink(), "east")
    machine.rank(["plant", "east", "cell"], T0, at_once=True)
    machine.rank(["plant", "cell", "east"], T0 + 5, at_once=False)
    assert machine.wanted(T0 + 5) == ["plant", "east"]
    machine.came("plant", T0 + 6)
    assert machine.choice(T0 + 6) == "plant"
