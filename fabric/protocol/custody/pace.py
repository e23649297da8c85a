"""How much may be in flight to one peer, so that little waits in queues that know no lanes (SPEC 7.3).

What is sent cannot be overtaken before its receiver has read it, and then by what is urgent only: it is in buffers of
two processes and two kernels. So a sender has only as much unanswered as its peer handles in a few milliseconds. It
measures how long answers take and compares that with the minimum of the last half minute: while answers are quick it
sends more, when they are late less. Guarantees: bounded both ways; only the sender's own clock is used; a round trip
that became longer for good is learnt within a minute.
"""

from __future__ import annotations

from typing import Final

from fabric.protocol.base.limits import LANE_WINDOW_BYTES

# Below this the cost of frames, commits and answers is more than what is in them.
WINDOW_BYTES_MIN: Final = 16_384
WINDOW_BYTES_MAX: Final = LANE_WINDOW_BYTES
_FIRST_BYTES: Final = 65_536
# How much longer than the quickest an answer may take before less is let go: what a message of a higher lane, unless it
# is urgent, may find in its way at each hop.
QUEUE_MS_TARGET: Final = 8
# The quickest answer is that of this period and the one before. Each begins with little under way, so that a queue
# that never empties is not taken for the length of the way.
_PERIOD_MS: Final = 30_000


class Pace:
    """For messages that are answered in the order in which they were sent.

    Rounds follow each other: one ends with the answer to what was sent after it began.
    """

    __slots__ = (
        "_doubling", "_held_back", "_period_from_ms", "_quickest_before_ms", "_quickest_ms", "_round_from_ms",
        "_round_took_ms", "window_bytes",
    )

    def __init__(self) -> None:
        self.window_bytes = _FIRST_BYTES
        self._doubling = True
        self._held_back = False  # whether more would have been sent in this round
        self._round_from_ms = 0
        self._round_took_ms: int | None = None
        self._period_from_ms: int | None = None
        self._quickest_ms: int | None = None
        self._quickest_before_ms: int | None = None

    def held_back(self) -> None:
        """Something waits that the window did not let go."""
        self._held_back = True

    def answered(self, sent_ms: int, now_ms: int) -> None:
        """The peer answered what it was sent once, then."""
        took_ms = max(0, now_ms - sent_ms)
        self._begin_period(now_ms)
        self._quickest_ms = _least(self._quickest_ms, took_ms)
        self._round_took_ms = _least(self._round_took_ms, took_ms)
        if sent_ms < self._round_from_ms:
            return
        quickest_ms = _least(self._quickest_before_ms, self._quickest_ms)
        self._adjust(self._round_took_ms - quickest_ms, self._round_took_ms)
        self._round_from_ms, self._round_took_ms, self._held_back = now_ms + 1, None, False

    def _adjust(self, queue_ms: int, took_ms: int) -> None:
        """Once a round: `queue_ms` is how much of `took_ms` the quickest answer of the round waited."""
        if queue_ms > QUEUE_MS_TARGET:
            # What would have taken the target's time; at most halved, since one round can be bad luck.
            share = max(0.5, 1 - (queue_ms - QUEUE_MS_TARGET) / took_ms)
            self.window_bytes = max(WINDOW_BYTES_MIN, int(self.window_bytes * share))
            self._doubling = False
        elif self._held_back and queue_ms <= QUEUE_MS_TARGET // 2:
            more = self.window_bytes if self._doubling else WINDOW_BYTES_MIN // 2
            self.window_bytes = min(WINDOW_BYTES_MAX, self.window_bytes + more)

    def _begin_period(self, now_ms: int) -> None:
        if self._period_from_ms is None:
            self._period_from_ms = now_ms
        elif now_ms - self._period_from_ms >= _PERIOD_MS:
            self._period_from_ms = now_ms
            self._quickest_before_ms, self._quickest_ms = self._quickest_ms, None
            self.window_bytes, self._doubling = WINDOW_BYTES_MIN, True


def _least(known_ms: int | None, ms: int) -> int:
    return ms if known_ms is None else min(known_ms, ms)
