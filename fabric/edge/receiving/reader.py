"""What a program has yet to read of a subscription: urgent first, to the last step (SPEC 7.4).

Deliveries wait here, unacknowledged, while the program is at an earlier one. Guarantees: a record that is more urgent
is read before the rest of a batch that is less so; of every 16 records one is of the least urgent that wait, so that
none starves; a delivery is done when its last record was read and the program came back for more, or when its turn
comes and it cannot be read. Of each lane one delivery at most is read in part. Not thread-safe: whoever reads owns it.
"""

from __future__ import annotations

from collections import deque

from fabric.edge.messages import Message
from fabric.edge.receiving.batch import Batch
from fabric.edge.receiving.subscriptions import Done
from fabric.protocol.base.errors import Reject
from fabric.protocol.vocabulary.severity import Lane

_FLOOR_SHARE = 16


class _Begun:
    """A delivery, and how many of its records were taken."""

    __slots__ = ("batch", "done", "taken")

    def __init__(self, batch: Batch, done: Done) -> None:
        self.batch = batch
        self.done = done
        self.taken = 0


class Reader:
    """The deliveries of one subscription that are not read to their end, by lane."""

    def __init__(self) -> None:
        self._lanes: list[deque[_Begun]] = [deque() for _ in Lane]
        self._current: deque[_Begun] | None = None  # where the last record came from
        self._read = 0

    def add(self, batch: Batch, done: Done) -> None:
        """A delivery came; its records share a stamp, and so a lane."""
        if batch:
            self._lanes[batch.lane].append(_Begun(batch, done))
        else:
            done()  # an earlier run has read all of it

    def take(self) -> Message | None:
        """The next record; None when nothing waits. What was read to its end is done."""
        self.finish()
        while waiting := [lane for lane in self._lanes if lane]:
            lane = waiting[-1] if (self._read + 1) % _FLOOR_SHARE == 0 else waiting[0]
            records = lane[0].batch.read()
            if isinstance(records, Reject):
                lane.popleft().done(records)
                continue
            self._read += 1
            self._current = lane
            lane[0].taken += 1
            return records[lane[0].taken - 1]
        return None

    def finish(self) -> None:
        """The program is done with the last record that it took."""
        lane, self._current = self._current, None
        if lane is not None and lane[0].taken == len(lane[0].batch):
            lane.popleft().done()

    def put_back(self) -> None:
        """The program failed at the last record that it took: it is not taken."""
        lane, self._current = self._current, None
        if lane is not None:
            lane[0].taken -= 1

    def in_part(self) -> list[tuple[str, int]]:
        """Of deliveries that were not read to their end: which one, and how many of its records were."""
        found = []
        for lane in self._lanes:
            if lane and lane[0].taken:
                batch = lane[0].batch
                found.append((batch.id, batch.first + lane[0].taken))
        return found
