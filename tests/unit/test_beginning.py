"""Since when there is a ledger, by a clock that may be put right: written again once, when it is known for sure."""

import pytest

from fabric.edge.ledger.beginning import Beginning
from fabric.protocol.core.ready import KeepPosition
from tests.support import HOUR_MS, T0


class Time:
    """The fabric's time is ahead of the steady clock by so much."""

    def __init__(self):
        self.ahead_ms, self.own_ahead_ms, self.measured, self.suspect = 0, 0, False, False

    def now(self, now_ms):
        return now_ms + self.ahead_ms

    def own(self, now_ms):
        return now_ms + self.own_ahead_ms


@pytest.fixture
def time():
    return Time()


def since(ms):
    return KeepPosition("since", str(ms))


def test_a_new_one_begins_now_by_the_fabric_s_time_and_another_source_says_nothing_of_it(time):
    time.ahead_ms = 500
    assert Beginning(time).opened([KeepPosition("queue", "1")], T0, is_sound=True) == [since(T0 + 500)]


def test_what_the_file_says_stays_where_all_of_it_can_be_read_and_only_there(time):
    assert Beginning(time).opened([since(T0 - HOUR_MS)], T0, is_sound=True) == []
    assert Beginning(time).opened([since(T0 - HOUR_MS)], T0, is_sound=False) == [since(T0)]


def test_it_is_written_by_the_time_that_is_known_for_sure_and_once(time):
    beginning = Beginning(time)
    beginning.opened([], T0, is_sound=True)
    time.ahead_ms, time.suspect = 700, True
    assert beginning.settle(T0 + 1) == [], "nobody told it"
    time.measured = True
    assert beginning.settle(T0 + 2) == [], "and who told it may be wrong"
    time.measured, time.suspect = False, False
    assert beginning.settle(T0 + 3) == []
    time.measured = True
    assert beginning.settle(T0 + 4) == [since(T0 + 700)]
    time.ahead_ms = 900
    assert beginning.settle(T0 + 5) == []


def test_what_is_in_the_file_already_is_not_written_again(time):
    time.measured = True
    beginning = Beginning(time)
    beginning.opened([since(T0 - HOUR_MS)], T0, is_sound=True)
    assert beginning.settle(T0) == []


def test_it_is_over_only_by_every_clock_and_after_the_hours_for_which_an_action_may_live(time):
    time.ahead_ms, time.own_ahead_ms = 5, 9
    lives_ms = T0 + 5 - Beginning(time).surely(T0)
    time.ahead_ms, time.own_ahead_ms = 9, 5
    assert T0 + 5 - Beginning(time).surely(T0) == lives_ms >= HOUR_MS
