"""What sleeps on disk: rows that wait for the uplink and nothing else, beyond those that are read at the start.

Nothing but being sent, or running out, can happen to such a row, so nobody needs to know more of it than its number
until its turn comes. Guarantees: in each lane the oldest are awake first; when most of those have ended, the next are
due, a few at a time, so that no turn takes long. Knows numbers and sizes only; rows are the spool's.
"""

from __future__ import annotations

from array import array

from fabric.protocol.severity import Lane

# Fewer awake than this in a lane, and more are due: enough for a link at full speed to find something to send.
_AWAKE_MIN = 1_000
# So many are read, verified and taken back in one turn: a few milliseconds.
_WAKE_ROWS = 128


class Backlog:
    """`awake_max`: how many of each lane are read at the start; None: all."""

    def __init__(self, awake_max: int | None) -> None:
        self._awake_max = awake_max
        self._awake_min = _AWAKE_MIN if awake_max is None else min(_AWAKE_MIN, awake_max)
        self._numbers = [array("q") for _ in Lane]
        self._sizes = [array("I") for _ in Lane]
        self._next = [0] * len(Lane)  # the first that sleeps
        self._awake: dict[int, Lane] = {}
        self._awake_rows = [0] * len(Lane)
        self.bytes = [0] * len(Lane)  # of those that sleep

    def add(self, n: int, lane: Lane, size: int) -> bool:
        """A row that could sleep, in the order of numbers. Whether it does."""
        if self._awake_max is None or self._awake_rows[lane] < self._awake_max:
            self._wake(n, lane)
            return False
        self._numbers[lane].append(n)
        self._sizes[lane].append(size)
        self.bytes[lane] += size
        return True

    def _wake(self, n: int, lane: Lane) -> None:
        self._awake[n] = lane
        self._awake_rows[lane] += 1

    @property
    def rows(self) -> list[int]:
        """How many sleep, per lane."""
        return [len(numbers) - first for numbers, first in zip(self._numbers, self._next, strict=True)]

    def ended(self, n: int) -> None:
        """A row is over. Of those that were never in here too."""
        lane = self._awake.pop(n, None)
        if lane is not None:
            self._awake_rows[lane] -= 1

    def due(self) -> list[int]:
        """The rows that wake now, all of one lane, the most urgent first. Mostly none."""
        for lane in Lane:
            first, numbers = self._next[lane], self._numbers[lane]
            if first < len(numbers) and self._awake_rows[lane] < self._awake_min:
                end = min(len(numbers), first + _WAKE_ROWS)
                self._next[lane] = end
                self.bytes[lane] -= sum(self._sizes[lane][first:end])
                woken = list(numbers[first:end])
                for n in woken:
                    self._wake(n, lane)
                return woken
        return []
