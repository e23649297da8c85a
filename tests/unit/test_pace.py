"""How much goes unanswered: a peer of a given speed, at the end of a way of a given length."""

import pytest

from fabric.protocol.custody.pace import QUEUE_MS_TARGET, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, Pace

MESSAGE = 500


class Peer:
    """Takes `per_ms` bytes a millisecond, `way_ms` away there and back. More than it takes always waits to be sent."""

    def __init__(self, per_ms, way_ms):
        self.per_ms, self.way_ms = per_ms, way_ms
        self.now_ms, self.taken, self.flying, self.queue_ms = 1_000, 0, [], []
        self.pace = Pace()
        self.debt = 0.0

    def run(self, ms):
        for _ in range(ms):
            self.now_ms += 1
            self.debt = min(self.debt + self.per_ms, self.per_ms + MESSAGE)
            while self.flying and self.debt >= MESSAGE and self.flying[0] + self.way_ms <= self.now_ms:
                self.debt -= MESSAGE
                self.taken += MESSAGE
                sent_ms = self.flying.pop(0)
                self.queue_ms.append(self.now_ms - sent_ms - self.way_ms)
                self.pace.answered(sent_ms, self.now_ms)
            while (len(self.flying) + 1) * MESSAGE <= self.pace.window_bytes:
                self.flying.append(self.now_ms)
            self.pace.held_back()

    def settled(self, ms=2_000):
        """How long messages waited, and how much of what it could the peer had to do."""
        self.run(ms)
        self.queue_ms.clear()
        before = self.taken
        self.run(ms)
        ordered = sorted(self.queue_ms)
        return ordered[len(ordered) * 9 // 10], (self.taken - before) / (self.per_ms * ms)


@pytest.mark.parametrize("way_ms", [1, 5, 20])
@pytest.mark.parametrize("per_ms", [4_000, 10_000])
def test_little_waits_and_the_peer_has_always_something_to_do(per_ms, way_ms):
    waited_ms, busy = Peer(per_ms, way_ms).settled()
    assert waited_ms <= 3 * QUEUE_MS_TARGET
    assert busy > 0.85


def test_a_slow_peer_has_the_least_that_makes_sense():
    peer = Peer(500, 1)
    peer.settled()
    assert peer.pace.window_bytes < 2 * WINDOW_BYTES_MIN


def test_a_fast_peer_far_away_is_given_all_that_there_is():
    peer = Peer(100_000, 50)
    peer.run(3_000)
    assert peer.pace.window_bytes == WINDOW_BYTES_MAX


def test_who_has_little_to_send_does_not_widen_the_window():
    pace = Pace()
    first = pace.window_bytes
    for now_ms in range(0, 20_000, 100):
        pace.answered(now_ms, now_ms + 1)
    assert pace.window_bytes == first


def test_the_window_stays_within_its_bounds_whatever_the_clock_says():
    pace = Pace()
    for sent_ms, now_ms in [(0, 5), (10, 3_600_000), (3_600_000, 20), (30, 40), (50, 50), (2**50, 2**53)]:
        pace.held_back()
        pace.answered(sent_ms, now_ms)
        assert WINDOW_BYTES_MIN <= pace.window_bytes <= WINDOW_BYTES_MAX


def test_a_way_that_became_longer_is_found_out():
    peer = Peer(10_000, 1)
    peer.settled()
    peer.way_ms = 20
    peer.run(65_000)
    assert peer.settled()[1] > 0.85


def test_an_endless_flood_does_not_teach_it_that_answers_are_slow():
    peer = Peer(4_000, 2)
    peer.run(75_000)
    assert peer.settled()[0] <= 3 * QUEUE_MS_TARGET
