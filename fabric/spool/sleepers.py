"""Which rows sleep for which reader: numbers and sizes, in the order in which they came (SPEC 10).

Guarantees: twelve bytes a row and reader, and nothing else in memory; rows of one queue wake in their order; what woke
for one reader is awake for all. Rows that no reader wants any more are handed out, some at a time, to be ended on disk.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

from fabric.protocol.custody.asleep import QUEUES, ReadersAsleep, lane_of, queues_of
from fabric.protocol.custody.sleeping import AWAKE_BYTES, AWAKE_ROWS
from fabric.protocol.vocabulary.severity import Lane

# So many wake in one turn: a few milliseconds.
_WAKE_ROWS = 128
_WAKE_BYTES = AWAKE_BYTES // 2
# Of a reader that was forgotten, as much is ended at a time.
_UNWANTED_ROWS = 2_000
_UNWANTED_BYTES = 16 * 2**20
# What was handed out is let go when it is this much, and most of a queue.
_SPENT_MIN = 4_096

Queue = tuple[str, int]  # a reader, and which of its queues


class _Line:
    """One queue. A size of 0 is a row that does not sleep any more."""

    __slots__ = ("next", "numbers", "sizes")

    def __init__(self) -> None:
        self.numbers, self.sizes = array("q"), array("I")
        self.next = 0

    def put(self, n: int, size: int) -> bool:
        """False where it sleeps already."""
        at = len(self.numbers)
        if at and n <= self.numbers[-1]:  # it woke for another reader, and sleeps again
            at = bisect_left(self.numbers, n)
            self.next = min(self.next, at)
            if self.numbers[at] == n:
                slept, self.sizes[at] = self.sizes[at], size
                return not slept
        self.numbers.insert(at, n)
        self.sizes.insert(at, size)
        return True

    def take(self, n: int) -> int:
        """It sleeps no more: its size, 0 where it did not."""
        at = bisect_left(self.numbers, n)
        if at == len(self.numbers) or self.numbers[at] != n:
            return 0
        size, self.sizes[at] = self.sizes[at], 0
        while self.next < len(self.sizes) and not self.sizes[self.next]:
            self.next += 1
        if self.next >= _SPENT_MIN and 2 * self.next > len(self.numbers):
            del self.numbers[: self.next], self.sizes[: self.next]
            self.next = 0
        return size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Number and size of what sleeps, the next to wake first."""
        return ((self.numbers[at], self.sizes[at]) for at in range(self.next, len(self.numbers)) if self.sizes[at])


class Sleepers:
    """`awake_max`: how many rows of a lane are read at the start for each reader; None: all."""

    def __init__(self, awake_max: int | None) -> None:
        self._awake_max = None if awake_max is None else min(awake_max, AWAKE_ROWS)
        self._lines: dict[Queue, _Line] = {}
        self._ended: dict[str, int] = {}  # readers that were forgotten -> the last row that is not wanted
        self._unwanted: list[tuple[str, _Line]] = []
        self._awake: dict[tuple[str, Lane], tuple[int, int]] = {}  # at the start, of a reader: rows and bytes
        self.asleep = ReadersAsleep()

    # -- at the start -----------------------------------------------------------------------------------

    def sleep_at_start(self, queue: int, size: int, readers: Sequence[str]) -> bool:
        """Whether the next row, which waits for these readers only, may sleep; else it counts as awake."""
        if self._awake_max is None:
            return False
        lane = lane_of(queue)
        if all(self._is_deep(reader, lane) for reader in readers):
            return True
        for reader in readers:
            rows, bytes_ = self._awake.get((reader, lane), (0, 0))
            self._awake[reader, lane] = rows + 1, bytes_ + size
        return False

    def _is_deep(self, reader: str, lane: Lane) -> bool:
        rows, bytes_ = self._awake.get((reader, lane), (0, 0))
        sleeps = any((reader, queue) in self._lines for queue in queues_of(lane))
        return sleeps or rows >= (self._awake_max or 0) or bytes_ >= AWAKE_BYTES

    def found(self, n: int, queue: int, size: int, readers: Sequence[str]) -> None:
        """It sleeps, and nobody has counted it yet."""
        for reader in readers:
            self.asleep.add(reader, queue, size, n)
        self.put(n, queue, size, readers)

    # -- later ------------------------------------------------------------------------------------------

    def put(self, n: int, queue: int, size: int, readers: Sequence[str]) -> None:
        """It sleeps from now on; the core has counted it."""
        for reader in readers:
            line = self._lines.get((reader, queue))
            if line is None:
                line = self._lines[reader, queue] = _Line()
            if not line.put(n, size):
                self.asleep.remove(reader, queue, size)

    def due(self, reader: str, queues: Sequence[int]) -> dict[int, int]:
        """The next to wake of these queues together, at least one if any sleeps: numbers, and the queue of each."""
        found: dict[int, int] = {}
        bytes_ = 0
        lines = [[(n, size, queue) for n, size in islice(self._lines.get((reader, queue), ()), _WAKE_ROWS)]
                 for queue in queues]
        for n, size, queue in merge(*lines):
            bytes_ += size
            if found and (len(found) == _WAKE_ROWS or bytes_ > _WAKE_BYTES):
                break
            found[n] = queue
        return found

    def woke(self, n: int, queue: int, readers: Collection[str]) -> None:
        """It is awake, or no more, for these."""
        for reader in readers:
            line = self._lines.get((reader, queue))
            size = line.take(n) if line is not None else 0
            if size:
                self.asleep.remove(reader, queue, size)
            if line is not None and line.next == len(line.numbers):
                del self._lines[reader, queue]
            elif line is not None:
                self.asleep.begins_at(reader, queue, line.numbers[line.next])

    def end(self, reader: str, last: int) -> None:
        """Nothing of it is wanted any more, up to the row with this number; the core has let it go."""
        self._ended[reader] = last
        lines = (self._lines.pop((reader, queue), None) for queue in range(QUEUES))
        self._unwanted += [(reader, line) for line in lines if line is not None]

    def ended_before(self, reader: str, last: int) -> None:
        """The same, as it was found on disk: nothing of it was read yet."""
        self._ended[reader] = last

    @property
    def any_ended(self) -> bool:
        return bool(self._ended)

    def is_unwanted(self, reader: str, n: int) -> bool:
        """Whether this row waited for an earlier time of a reader, and is to be ended for it."""
        return n <= self._ended.get(reader, 0)

    def found_unwanted(self, n: int, size: int, readers: Iterable[str]) -> None:
        """A row of which this is so, in the order of numbers."""
        for reader in readers:
            known = next((line for name, line in self._unwanted if name == reader), None)
            if known is None:
                known = _Line()
                self._unwanted.append((reader, known))
            known.put(n, size)

    def unwanted(self) -> tuple[str, list[int]] | None:
        """Some of what is to be ended for a reader; `done_with` when it is."""
        while self._unwanted and not any(True for _ in self._unwanted[-1][1]):
            self._unwanted.pop()
        if not self._unwanted:
            return None
        reader, line = self._unwanted[-1]
        some: list[int] = []
        bytes_ = 0
        for n, size in islice(line, _UNWANTED_ROWS):
            bytes_ += size
            if some and bytes_ > _UNWANTED_BYTES:
                break
            some.append(n)
        return reader, some

    def done_with(self, numbers: Sequence[int]) -> None:
        """What was last said to be unwanted is over on disk."""
        for n in numbers:
            self._unwanted[-1][1].take(n)

    def all_ended(self) -> list[str]:
        """Readers of whom nothing is left that is to be ended. Each once."""
        if self._unwanted:
            return []
        ended, self._ended = list(self._ended), {}
        return ended
