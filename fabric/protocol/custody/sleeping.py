"""What waits for readers sleeps on disk, but for the next rows (SPEC 10), so that a large backlog takes no memory.

Guarantees: a message sleeps only when everybody for whom it still waits is a durable reader for whom more is kept than
for anybody, with enough awake before it; what sleeps wakes in its order, when most of what is awake has ended. Where a
driver wakes no rows, nothing sleeps.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.asleep import QUEUES, lane_of, queue_of
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.vocabulary.severity import Lane

# So much of a lane is awake for one reader before the next sleeps, and half of it before more wakes: enough for a link
# at full speed to find something to send.
AWAKE_ROWS = 2_000
AWAKE_BYTES = 4_194_304
_EVERY_QUEUE = tuple(range(QUEUES))
_INTEL = _EVERY_QUEUE[1::2]


class Sleeping:
    """Which of the held messages for readers sleep, and which wake next; the driver reads and wakes them.

    `keeps_much`: whether a destination is a durable reader for which more than the default is kept.
    """

    def __init__(
        self, custody: Custody, outbox_of: Callable[[str], Outbox | None], keeps_much: Callable[[str], bool]
    ) -> None:
        self._custody = custody
        self._outbox_of = outbox_of
        self._keeps_much = keeps_much
        self.awake_rows = 0  # the driver says how many, where it can wake the others
        self._since_ms: dict[tuple[str, int], int] = {}  # when the first of a queue that sleeps was received
        self._over: dict[str, None] = {}  # readers that have too much, of which the oldest sleeps and wakes to go
        self._parted: dict[str, None] = {}  # readers that are elsewhere by now: their intel wakes, and follows them

    def look(self, held: Held, ready: Ready) -> None:
        """After rows of a message were made, or ended: it sleeps if it may."""
        if self.awake_rows and held.rows and all(self._may_sleep(row) for row in held.rows.values()):
            queue = queue_of(held.lane, held.message.header.kind)
            for destination in held.rows:
                if not self._custody.readers_asleep.rows_in(destination, queue):
                    self._since_ms[destination, queue] = held.received_at_ms
            self._custody.put_to_sleep(held, ready)

    def _may_sleep(self, row: Row) -> bool:
        lane = row.held.lane
        return (
            row.sheddable and row.sent_at_ms is None and row.destination not in self._parted
            and (self._custody.readers_asleep.rows_in_lane(row.destination, lane) > 0
                 or (self._keeps_much(row.destination)
                     and not self._has_room(row.destination, lane, self.awake_rows + 1, AWAKE_BYTES)))
        )

    def _has_room(self, destination: str, lane: Lane, rows: int, bytes_: int) -> bool:
        outbox = self._outbox_of(destination)
        return outbox is None or (outbox.queued(lane) < rows and outbox.queued_bytes(lane) < bytes_)

    def due(self) -> tuple[str, int] | None:
        """The reader and the queue of which some are to wake now; readers in turn. Mostly None."""
        asleep = self._custody.readers_asleep
        for destination in self._over:
            for queue in reversed(_EVERY_QUEUE):
                if asleep.rows_in(destination, queue):
                    return destination, queue
        for destination in asleep:
            parted = destination in self._parted
            for queue in _INTEL if parted else _EVERY_QUEUE:
                if not asleep.rows_in(destination, queue):
                    continue
                lane = lane_of(queue)
                if parted and not self._custody.full(lane, AWAKE_BYTES):
                    return destination, queue
                if not parted and self._has_room(destination, lane, self.awake_rows // 2, AWAKE_BYTES // 2):
                    return destination, queue
        return None

    def hides_older(self, row: Row) -> bool:
        """Whether something sleeps that its reader would miss less than this: an older one, or of a lower lane."""
        asleep, lane, destination = self._custody.readers_asleep, row.held.lane, row.destination
        if any(asleep.rows_in_lane(destination, lower) for lower in Lane if lower > lane):
            return True
        since_ms = self._since_ms.get((destination, queue_of(lane, row.held.message.header.kind)), -1)
        is_older = row.held.restored or row.held.received_at_ms <= since_ms
        return not is_older and asleep.rows_in_lane(destination, lane) > 0

    def has_too_much(self, destination: str) -> None:
        self._over[destination] = None

    def over(self) -> list[str]:
        """Who had too much, once."""
        over, self._over = list(self._over), {}
        return over

    def parts(self, destination: str) -> None:
        """A reader is elsewhere: what of its sleeps may have to follow."""
        if self._has_intel(destination):
            self._parted[destination] = None

    def stays(self, destination: str) -> None:
        self._parted.pop(destination, None)

    def parted(self) -> list[str]:
        """Who is elsewhere and has intel that sleeps, or slept until now."""
        known = list(self._parted)
        for destination in known:
            if not self._has_intel(destination):
                del self._parted[destination]
        return known

    def _has_intel(self, destination: str) -> bool:
        return any(self._custody.readers_asleep.rows_in(destination, queue) for queue in _INTEL)

    def forget(self, destination: str) -> int:
        """How many messages slept for it."""
        self._parted.pop(destination, None)
        self._over.pop(destination, None)
        for queue in _EVERY_QUEUE:
            self._since_ms.pop((destination, queue), None)
        return self._custody.readers_asleep.forget(destination)
