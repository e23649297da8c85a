"""A program's requests on their way: who is told when a result, or the end of its time, adds to one.

Guarantees: no more than `OPEN_MAX` are open, and each ends at its deadline. All of it runs on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fabric.edge.messages import Message
from fabric.edge.tracking import Tracker
from fabric.protocol.errors import Code, FabricError
from fabric.protocol.verify import Verified

Tell = Callable[[Tracker], None]
# A program that asks for actions waits for what becomes of them. Each keeps what its targets say until its deadline.
OPEN_MAX = 4_096


class Requests:
    def __init__(self) -> None:
        self._requests: dict[bytes, tuple[Tracker, Tell]] = {}

    def check_room(self) -> None:
        """Raises BUSY where as many are open as may be."""
        if len(self._requests) >= OPEN_MAX:
            raise FabricError(Code.BUSY, f"{OPEN_MAX} requests are open", "wait for what becomes of them")

    def add(self, tracker: Tracker, tell: Tell) -> None:
        """`tell` is called whenever the tracker has learnt something."""
        self._requests[tracker.digest] = tracker, tell

    def take(self, message: Verified, messages: Sequence[Message], now_ms: int) -> None:
        """A result came, perhaps of one of them."""
        known = self._requests.get(message.header.correlation)
        if known is None:
            return
        tracker, tell = known
        for record in messages:
            tracker.take(message, record.content, now_ms)
        self._tell(tracker, tell)

    def time_out(self, now_ms: int) -> None:
        for tracker, tell in list(self._requests.values()):
            if tracker.time_out(now_ms) or tracker.done:
                self._tell(tracker, tell)

    def close(self) -> None:
        """Nothing more will come: what is open is unknown."""
        for tracker, tell in list(self._requests.values()):
            tracker.time_out(tracker.deadline_ms)
            self._tell(tracker, tell)

    def _tell(self, tracker: Tracker, tell: Tell) -> None:
        tell(tracker)
        if tracker.done:
            self._requests.pop(tracker.digest, None)
