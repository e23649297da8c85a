"""What a program has yet to read of a subscription: urgent first, to the last step (SPEC 7.4).

Deliveries wait here, unacknowledged, while the program is at an earlier one. Guarantees: a record that is more urgent
is read before the rest of a batch that is less so; of every 16 records one is of the least urgent that wait, so that
none starves; a delivery is done when its last record was read and the program came back for more, or when its turn
comes and it cannot be read. Of each lane one delivery at most is read in part. Not thread-safe: whoever reads owns it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fabric.edge.messages import Message
from fabric.edge.receiving.batch import Batch
from fabric.edge.receiving.subscriptions import Done
from fabric.protocol.base.errors import Reject
from fabric.protocol.vocabulary.severity import Lane

_FLOOR_SHARE = 16


class _Begun:
    """A delivery, and how many of its records were taken."""

    __slots__ = ("batch", "done", "records", "taken")

    def __init__(self, batch: Batch, done: Done) -> None:
        self.batch = batch
        self.done = done
        self.records: Sequence[Message] = ()  # when they were read
        self.taken = 0


class Reader:
    """The deliveries of one subscription that are not read to their end, by lane."""

    def __init__(self) -> None:
        self._lanes: list[deque[_Begun]] = [deque() for _ in Lane]
        self._current: list[tuple[deque[_Begun], _Begun, int]] = []  # where the last records came from, and how many
        self._alone: _Begun | None = None  # the last one alone was of this, and in no other lane there is anything
        self._read = 0

    def add(self, batch: Batch, done: Done) -> None:
        """A delivery came; its records share a stamp, and so a lane."""
        self._alone = None
        if batch:
            self._lanes[batch.lane].append(_Begun(batch, done))
        else:
            done()  # an earlier run has read all of it

    def take(self) -> Message | None:
        """The next record; None when nothing waits. What was read to its end is done."""
        alone = self._alone
        if alone is not None and alone.taken < len(alone.records) - 1:  # mostly: the rest of a batch but for its last
            alone.taken += 1
            self._read += 1
            return alone.records[alone.taken - 1]
        self.finish()
        run = self._run(1)
        if not run:
            return None
        if sum(map(bool, self._lanes)) == 1:
            _, self._alone, _ = self._current[0]
        return run[0]

    def group(self, records_max: int) -> list[Message]:
        """The next records, as many as wait; none when nothing does. What was read to its end before is done."""
        self.finish()
        found: list[Message] = []
        while len(found) < records_max and (run := self._run(records_max - len(found))):
            found += run
        return found

    def _run(self, records_max: int) -> Sequence[Message]:
        """The next records that are of one delivery; none when nothing waits."""
        while waiting := [lane for lane in self._lanes if lane]:
            till_floor = _FLOOR_SHARE - 1 - self._read % _FLOOR_SHARE
            lane = waiting[0] if till_floor else waiting[-1]
            begun = lane[0]
            records = begun.batch.read()
            if isinstance(records, Reject):
                lane.popleft().done(records)
                continue
            if len(waiting) > 1:
                records_max = min(records_max, till_floor or 1)
            run = records[begun.taken : begun.taken + records_max]
            self._read += len(run)
            begun.taken += len(run)
            if begun.taken == len(begun.batch):
                lane.popleft()
            begun.records = records
            self._current.append((lane, begun, len(run)))
            return run
        return ()

    def finish(self) -> None:
        """The program is done with what it took last."""
        self._alone = None
        current, self._current = self._current, []
        for begun in dict.fromkeys([begun for _, begun, _ in current]):
            if begun.taken == len(begun.batch):
                begun.done()

    def put_back(self) -> None:
        """The program failed at what it took last: it is not taken."""
        self._alone = None
        current, self._current = self._current, []
        for lane, begun, count in reversed(current):
            if begun.taken == len(begun.batch):
                lane.appendleft(begun)
            begun.taken -= count

    def in_part(self) -> list[tuple[str, int]]:
        """Of deliveries that were not read to their end: which one, and how many of its records were."""
        found = []
        for lane in self._lanes:
            if lane and lane[0].taken:
                batch = lane[0].batch
                found.append((batch.id, batch.first + lane[0].taken))
        return found
