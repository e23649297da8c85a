"""Who is let in when, and who is let in no more."""

from collections import Counter

from fabric.protocol.base.limits import TWIN_REPLACED_MAX, TWIN_WINDOW_MS
from fabric.protocol.links.admission import Admission, Twins
from tests.support import T0


def test_the_first_few_wait_for_nobody():
    door = Admission(per_s=10, burst=3)
    assert [door.ask(n, T0) for n in range(5)] == [True, True, True, False, False]
    assert len(door) == 2


def test_the_others_are_let_in_in_order_at_a_steady_rate():
    door = Admission(per_s=100, burst=5)
    door.ask(0, T0)
    for n in range(1, 400):
        door.ask(n, T0)
    let_in, per_tenth = [], Counter()
    for now_ms in range(T0, T0 + 5_000, 20):
        for link in door.due(now_ms):
            let_in.append(link)
            per_tenth[(now_ms - T0) // 100] += 1
    assert let_in == list(range(5, 400))
    assert max(per_tenth.values()) <= 12 and len(door) == 0


def test_nobody_overtakes_who_waits():
    door = Admission(per_s=1_000, burst=1)
    assert (door.ask(1, T0), door.ask(2, T0)) == (True, False)
    assert door.ask(3, T0 + 500) is False
    assert door.due(T0 + 500) == [2], "the burst is the most that was saved up"
    assert door.due(T0 + 501) == [3]


def test_too_many_are_told_so():
    door = Admission(per_s=1, burst=1, queued_max=2)
    assert [door.ask(n, T0) for n in range(4)] == [True, False, False, None]


def test_who_left_loses_his_turn():
    door = Admission(per_s=1_000, burst=1)
    for n in range(3):
        door.ask(n, T0)
    door.forget(1)
    door.forget(7)
    assert door.due(T0 + 1) == [2]


def test_a_clock_that_stands_still_or_goes_back_lets_nobody_in_for_nothing():
    door = Admission(per_s=1_000, burst=1)
    for n in range(3):
        door.ask(n, T0)
    assert door.due(T0 - 5_000) == [] and door.due(T0 - 5_000) == []
    assert door.due(T0 - 4_999) == [1]


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
