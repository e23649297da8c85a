"""What sleeps on disk: rows that wait for the uplink and nothing else, beyond those that are read at the start.

Such a row can only be sent, get more parts, or expire, so until its turn comes its number and whose it is are enough to
know. Guarantees: in each lane the oldest are awake first; when most of those have ended, the next are due, a few at a
time, so that no turn takes long. Rows are the spool's.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

from fabric.protocol.custody.asleep import Asleep
from fabric.protocol.vocabulary.severity import Lane

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
        self._whose = [array("I") for _ in Lane]  # the signer's place among `_signers`
        self._signers: dict[bytes, int] = {}
        self._next = [0] * len(Lane)  # the first that sleeps
        self._awake: dict[int, Lane] = {}
        self._awake_rows = [0] * len(Lane)
        self.asleep = Asleep()
        # Of those that are known as seen: ids, of which eight bytes are enough to look for one, and numbers.
        self._ids, self._ids_numbers = array("Q"), array("q")
        self._by_id: dict[int, int] | None = None  # made when somebody asks

    def sleeps(self, lane: Lane) -> bool:
        """Whether the next row that could sleep in this lane does."""
        return self._awake_max is not None and self._awake_rows[lane] >= self._awake_max

    def add(self, n: int, lane: Lane, size: int, signer: bytes) -> None:
        """A row that sleeps, in the order of numbers."""
        self._numbers[lane].append(n)
        self._sizes[lane].append(size)
        self._whose[lane].append(self._signers.setdefault(signer, len(self._signers)))
        self.asleep.add(lane, signer, size)

    def is_awake(self, n: int, lane: Lane) -> None:
        """A row that could sleep does not, or not any more."""
        self._awake[n] = lane
        self._awake_rows[lane] += 1

    def are_known(self, seen: Iterable[tuple[bytes, int]]) -> None:
        """The ids and numbers of those that sleep and are known as seen."""
        for id_, n in seen:
            self._ids.append(_short(id_))
            self._ids_numbers.append(n)

    def find(self, id_: bytes) -> int | None:
        """The number of the row that sleeps, perhaps, under this id: eight bytes of it are compared."""
        if self._by_id is None:
            self._by_id = dict(zip(self._ids, self._ids_numbers, strict=True))
        n = self._by_id.get(_short(id_))
        return n if n is not None and any(self._asleep_at(n, lane) is not None for lane in Lane) else None

    def grew(self, n: int, bytes_: int) -> None:
        """A row that sleeps is getting more parts: it is counted as long as it will be."""
        for lane in Lane:
            if (at := self._asleep_at(n, lane)) is not None:
                self._sizes[lane][at] += bytes_
                self.asleep.grew(lane, list(self._signers)[self._whose[lane][at]], bytes_)

    def _asleep_at(self, n: int, lane: Lane) -> int | None:
        """The place of a row that sleeps in this lane."""
        numbers = self._numbers[lane]
        at = bisect_left(numbers, n, self._next[lane])
        return at if at < len(numbers) and numbers[at] == n else None

    def ended(self, n: int) -> None:
        """A row is over. Of those that were never in here too."""
        lane = self._awake.pop(n, None)
        if lane is not None:
            self._awake_rows[lane] -= 1

    def due(self) -> list[int]:
        """The rows that wake now, all of one lane, the most urgent first. Mostly none."""
        if not any(self.asleep.rows):
            return []
        for lane in Lane:
            first, numbers = self._next[lane], self._numbers[lane]
            if first < len(numbers) and self._awake_rows[lane] < self._awake_min:
                end = min(len(numbers), first + _WAKE_ROWS)
                self._next[lane] = end
                signers = list(self._signers)
                for at in range(first, end):
                    self.asleep.remove(lane, signers[self._whose[lane][at]], self._sizes[lane][at])
                    self.is_awake(numbers[at], lane)
                return list(numbers[first:end])
        return []


def _short(id_: bytes) -> int:
    return int.from_bytes(id_[-8:])
