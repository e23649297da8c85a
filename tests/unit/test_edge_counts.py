"""How many records are not done yet, and who waits until none is."""

import threading

import pytest

from fabric.edge.publishing.counts import Counts


@pytest.fixture
def queued():
    return [[], []]


@pytest.fixture
def counts(queued):
    return Counts(queued)


def test_each_record_is_counted_once_on_its_way(counts, queued):
    counts.without_place["me"] = 2
    assert (counts.waiting, counts.owed) == (0, 2)
    with counts.steady:
        queued[1] += [1, 2]
        del counts.without_place["me"]
    assert (counts.waiting, counts.owed) == (2, 2)
    with counts.steady:
        queued[1].pop()
        counts.left_lane(1)
    assert (counts.waiting, counts.owed, counts.under_way) == (2, 2, 1)
    counts.told(1)
    assert (counts.waiting, counts.owed) == (2, 1), "it is on disk, and the relay has it not"
    counts.ended(1, 0)
    assert (counts.waiting, counts.owed, counts.under_way) == (1, 1, 0)


def test_what_was_never_queued_is_counted_too_and_what_an_earlier_process_left_is_owed_to_nobody(counts):
    counts.sent_alone()
    counts.resumed(5)
    assert (counts.waiting, counts.owed) == (6, 1)
    counts.ended(1, 1)
    assert (counts.waiting, counts.owed) == (5, 0) and counts.wait_settled(0.0) == 0 and not counts.wait_empty(0.0)


def waiter(wait, *arguments):
    found = []
    thread = threading.Thread(target=lambda: found.append(wait(*arguments)))
    thread.start()
    return thread, found


def test_who_waits_goes_on_when_nothing_waits_or_is_owed_any_more(counts):
    counts.sent_alone()
    settled, left = waiter(counts.wait_settled, 10)
    empty, is_empty = waiter(counts.wait_empty, 10)
    counts.told(1)
    settled.join(10)
    assert left == [0] and empty.is_alive()
    counts.ended(1, 0)
    empty.join(10)
    assert is_empty == [True]


def test_who_waits_for_no_longer_than_so_long_is_told_how_many_are_open(counts):
    counts.without_place["me"] = 3
    assert counts.wait_settled(0.0) == 3 and counts.wait_empty(0.0)


def test_who_waits_looks_again_when_fewer_wait_for_a_place(counts):
    counts.without_place["me"] = 3
    thread, left = waiter(counts.wait_settled, None)
    while counts.steady._waiters is None:
        thread.join(0.001)
    del counts.without_place["me"]
    counts.look()
    thread.join(10)
    assert left == [0]


def test_the_end_ends_the_wait_for_what_is_owed(counts):
    counts.without_place["me"] = 3
    thread, left = waiter(counts.wait_settled, None)
    counts.end()
    thread.join(10)
    assert left == [3] and counts.wait_settled(None) == 3


def test_in_a_fork_nothing_is_owed_to_anybody_and_a_lock_that_is_held_elsewhere_is_not_waited_for(counts, queued):
    queued[0] += [1]
    counts.sent_alone()
    counts.without_place["me"] = 2
    thread, _ = waiter(counts.steady.acquire)
    thread.join(10)
    counts.forked()
    assert (counts.owed, counts.waiting, counts.wait_settled(None)) == (0, 0, 0)
