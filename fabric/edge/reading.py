"""What a program has yet to read of a subscription: urgent first, to the last step (SPEC 7.4).

Deliveries wait here, unacknowledged, while the program is at an earlier one. Guarantees: a record that is more urgent
is read before the rest of a batch that is less so; of every 16 records one is of the least urgent that wait, so that
none starves; a delivery is done when its last record was read and the program came back for more. Of each lane one
delivery at most is read in part. Not thread-safe: whoever reads owns it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from fabric.edge.messages import Message
from fabric.protocol.severity import Lane, lane_of

_FLOOR_SHARE = 16


class _Batch:
    __slots__ = ("done", "messages", "taken")

    def __init__(self, messages: Sequence[Message], done: Callable[[], None]) -> None:
        self.messages = messages
        self.done = done
        self.taken = 0


class Reading:
    def __init__(self) -> None:
        self._lanes: list[deque[_Batch]] = [deque() for _ in Lane]
        self._current: deque[_Batch] | None = None  # where the last record came from
        self._read = 0

    def add(self, messages: Sequence[Message], done: Callable[[], None]) -> None:
        """A delivery came; its records share a stamp, and so a lane."""
        if not messages:
            done()  # an earlier run has read all of it
            return
        first = messages[0]
        self._lanes[lane_of(first.kind, first.severity, first.phase)].append(_Batch(messages, done))

    def take(self) -> Message | None:
        """The next record; None when nothing waits. What was read to its end is done."""
        self.finish()
        waiting = [lane for lane in self._lanes if lane]
        if not waiting:
            return None
        self._read += 1
        self._current = waiting[-1] if self._read % _FLOOR_SHARE == 0 else waiting[0]
        batch = self._current[0]
        batch.taken += 1
        return batch.messages[batch.taken - 1]

    def finish(self) -> None:
        """The program is done with the last record that it took."""
        lane, self._current = self._current, None
        if lane is not None and lane[0].taken == len(lane[0].messages):
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
                id_, _, first = lane[0].messages[0].id.partition(".")
                found.append((id_, int(first) + lane[0].taken))
        return found
