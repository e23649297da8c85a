"""How many records of a program are not done yet, and waiting until none is.

Guarantees: each is counted once, at any moment, from when it is given until it ends; whoever waits is woken when
nothing waits or is owed any more, and at the end of the connection. Of any thread.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized

from fabric.edge.locks import Condition


class Counts:
    """`queued`: what waits in each lane. `under_way`: records that left these, until the relay holds them or they
    ended."""

    def __init__(self, queued: Sequence[Sized]) -> None:
        # Held while a record goes from one of these numbers to another, or leaves what is queued.
        self.steady = Condition()
        self.under_way = 0
        self._queued = queued
        # Records that wait for a place in their lane, by who waits. They go in and out of it in one step, so that
        # Ctrl-C leaves none behind.
        self.without_place: dict[object, int] = {}
        self._open = 0  # of those under way: their program does not know what became of them
        self._has_ended = False

    @property
    def waiting(self) -> int:
        """Records, from when they are in their lane until the relay holds them or they ended."""
        with self.steady:
            return self.under_way + sum(map(len, self._queued))

    @property
    def owed(self) -> int:
        """Records, from when they are given until their program can know what became of them."""
        with self.steady:
            return sum(self.without_place.values()) + self._open + sum(map(len, self._queued))

    def wait_empty(self, timeout_s: float | None) -> bool:
        """Until the relay holds all that was published. False when it does not within the time."""
        with self.steady:
            return self.steady.wait_for(lambda: not self.waiting, timeout_s)

    def wait_settled(self, timeout_s: float | None) -> int:
        """Until it is known what became of all that was published, or there is an end: how many are still open."""
        with self.steady:
            self.steady.wait_for(lambda: self.owed <= 0 or self._has_ended, timeout_s)
            return max(0, self.owed)

    def look(self) -> None:
        """Fewer wait for a place: wake who waits until nothing does."""
        with self.steady:
            self._wake()

    def left_lane(self, records: int) -> None:
        """So many are under way, and no more queued. Called while `steady` is held for that."""
        self.under_way += records
        self._open += records

    def sent_alone(self) -> None:
        """One is under way that was never queued."""
        with self.steady:
            self.under_way += 1
            self._open += 1

    def resumed(self, records: int) -> None:
        """So many are under way since an earlier process, which told its program that they are on disk."""
        with self.steady:
            self.under_way += records

    def told(self, records: int) -> None:
        """Of so many their program knows that they are on disk. They are under way until the relay has them."""
        with self.steady:
            self._open -= records
            self._wake()

    def ended(self, records: int, still_open: int) -> None:
        """So many are no more under way, and of so many of them their program was not told before."""
        with self.steady:
            self.under_way -= records
            self._open -= still_open
            self._wake()

    def end(self) -> None:
        """The connection has ended: nobody waits any longer."""
        with self.steady:
            self._has_ended = True
            self.steady.notify_all()

    def forked(self) -> None:
        """This process is a fork: what is not done yet is the other's, and who held the lock may not be here."""
        self.steady = Condition()
        self.under_way = self._open = 0
        self.without_place.clear()
        self._queued = ()

    def _wake(self) -> None:
        queued = sum(map(len, self._queued))
        if not self.under_way + queued or sum(self.without_place.values()) + self._open + queued <= 0:
            self.steady.notify_all()
