"""Who is let in when, and who is let in no more."""

from collections import Counter

from fabric.protocol.base.limits import (
    ADMISSIONS_PER_ID_PER_S,
    ADMISSIONS_QUEUED_PER_ID_MAX,
    SESSIONS_OPEN_MAX,
    TWIN_REPLACED_MAX,
    TWIN_WINDOW_MS,
)
from fabric.protocol.links.admission import Admission, Twins
from tests.support import T0


def come(door, *links):
    """Each is of a node of its own."""
    return [door.ask(link, f"node-{link}") for link in links]


def test_the_first_few_wait_for_nobody():
    door = Admission(per_s=10, burst=3)
    assert all(come(door, *range(5)))
    assert door.due(T0) == [0, 1, 2] and len(door) == 2


def test_the_others_are_let_in_in_order_at_a_steady_rate():
    door = Admission(per_s=100, burst=5)
    come(door, *range(400))
    let_in, per_tenth = [], Counter()
    for now_ms in range(T0, T0 + 5_000, 20):
        for link in door.due(now_ms):
            let_in.append(link)
            per_tenth[(now_ms - T0) // 100] += 1
    assert let_in == list(range(400))
    assert max(per_tenth.values()) <= 12 + 5 and len(door) == 0


def test_nobody_overtakes_who_waits():
    door = Admission(per_s=1_000, burst=1)
    come(door, 1)
    assert door.due(T0) == [1]
    come(door, 2, 3)
    assert door.due(T0 + 500) == [2], "the burst is the most that was saved up"
    assert door.due(T0 + 501) == [3]


def test_too_many_are_told_so():
    door = Admission(per_s=1, burst=1, queued_max=2)
    assert come(door, 0, 1, 2) == [True, True, False]


def test_who_left_loses_his_turn():
    door = Admission(per_s=1_000, burst=1)
    come(door, 0, 1, 2)
    for link in (0, 1, 7):
        door.forget(link)
    assert door.due(T0 + 1) == [2] and len(door) == 0


def test_a_clock_that_stands_still_or_goes_back_lets_nobody_in_for_nothing():
    door = Admission(per_s=1_000, burst=1)
    come(door, 0, 1)
    assert door.due(T0) == [0]
    assert door.due(T0 - 5_000) == [] and door.due(T0 - 5_000) == []
    assert door.due(T0 - 4_999) == [1]


def test_all_sessions_of_a_node_are_back_at_once_after_a_restart_of_its_relay():
    door = Admission()
    let_in = 0
    for link in range(SESSIONS_OPEN_MAX):
        assert door.ask(link, "busy")
        let_in += len(door.due(T0))
    assert let_in + len(door.due(T0 + 500)) == SESSIONS_OPEN_MAX


def test_a_node_that_comes_again_and_again_waits_and_holds_nobody_up():
    """Each of its sessions costs everybody who publishes what it subscribes to."""
    door = Admission()
    let_in = Counter()
    for tenth in range(600):
        now_ms = T0 + tenth * 100
        for n in range(8):
            door.ask(10_000 + tenth * 10 + n, "restless")
            assert len(door) <= ADMISSIONS_QUEUED_PER_ID_MAX, "and what waits of it is bounded"
        door.ask(tenth, f"node-{tenth}")
        for link in door.due(now_ms):
            let_in["restless" if link >= 10_000 else "others"] += 1
            assert link >= 10_000 or link == tenth, "an honest one waited"
    assert let_in["others"] == 600
    assert let_in["restless"] <= 10 * ADMISSIONS_PER_ID_PER_S + 60 * ADMISSIONS_PER_ID_PER_S
    assert len(door) >= ADMISSIONS_QUEUED_PER_ID_MAX - 1


def test_living_links_that_replace_each_other_again_and_again_are_two_processes():
    twins = Twins()
    asked = [twins.is_twin("relay:cell", T0 + n * 1_000) for n in range(TWIN_REPLACED_MAX + 2)]
    assert asked == [False] * TWIN_REPLACED_MAX + [True] * 2
    assert not twins.is_twin("relay:other", T0)


def test_seldom_is_no_twin_and_is_forgotten():
    twins = Twins()
    for n in range(20):
        assert not twins.is_twin("relay:cell", T0 + n * TWIN_WINDOW_MS)
    twins.sweep(T0 + 30 * TWIN_WINDOW_MS)
    assert twins._replaced == {}
