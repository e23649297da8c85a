"""What waits for readers sleeps on disk, but for the next rows (SPEC 10), so that a large backlog takes no memory.

Guarantees: a message sleeps only when everybody for whom it still waits is a durable reader for whom more is kept than
for anybody, with enough awake before it; a reader gets nothing of a lane before what sleeps ahead of it, whoever else
it was awake for (the outbox's gate); what sleeps wakes in its order, when most of what is awake has ended, readers in
turn. Where a driver wakes no rows, nothing sleeps.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.asleep import QUEUES, queue_of
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.envelope.header import Kind
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
        self, custody: Custody, outbox_of: Callable[[str], Outbox | None], keeps_much: Callable[[str], bool],
        touch: Callable[[str], None],
    ) -> None:
        self._custody = custody
        self._outbox_of = outbox_of
        self._keeps_much = keeps_much
        self._touch = touch  # there is something to send to it
        self._awake_rows = 0
        self._gated: dict[str, None] = {}  # readers of whose rows some wait behind a gate
        self._ended: dict[int, Held] = {}  # of which a row ended in this turn
        self._to_see: dict[str, None] = {}  # readers for whom something may have to wake, in turn
        self._over: dict[str, None] = {}  # readers that have too much, of which the oldest sleeps and wakes to go
        self._shrinking: dict[str, int] = {}  # those for whom less is kept than before: what they have at most
        self._parted: dict[str, None] = {}  # readers that are elsewhere by now: their intel wakes, and follows them

    def begin(self, awake_rows: int) -> None:
        """Its driver can wake rows: so many of a lane are awake for one reader before the next sleeps."""
        self._awake_rows = awake_rows

    # -- falling asleep ---------------------------------------------------------------------------------

    def taken(self, held: Held, ready: Ready) -> None:
        """Rows of a message were made, the last of all so far."""
        if not self._awake_rows:
            return
        for row in held.rows.values():
            if not row.sheddable or not row.queued or row.gated:
                continue
            outbox = self._outbox_of(row.destination)
            if outbox is not None and self._overflows(row):
                outbox.set_gate(held.lane, held.order)
                self._gated[row.destination] = None
        self._look(held, ready)

    def _overflows(self, row: Row) -> bool:
        lane = row.held.lane
        return self._keeps_much(row.destination) and not self._has_room(
            row.destination, lane, self._awake_rows + 1, AWAKE_BYTES
        )

    def ended(self, row: Row) -> None:
        """What is left of its message is looked at when the turn ends, and whether its reader needs more."""
        if self._awake_rows:
            self._ended[id(row.held)] = row.held
            if row.destination in self._gated or row.destination in self._custody.readers_asleep:
                self._to_see[row.destination] = None

    def turn_ends(self, ready: Ready) -> None:
        ended, self._ended = self._ended, {}
        for held in ended.values():
            self._look(held, ready)

    def _look(self, held: Held, ready: Ready) -> None:
        for row in held.rows.values():
            if not row.gated or not self._may_sleep(row.destination):
                return
        if held.rows:
            self._custody.put_to_sleep(held, ready)

    def _may_sleep(self, destination: str) -> bool:
        """Not for a session that is over and whose rows have yet to end: when they woke it would be known again."""
        return self._keeps_much(destination) and destination not in self._parted

    def _has_room(self, destination: str, lane: Lane, rows: int, bytes_: int) -> bool:
        outbox = self._outbox_of(destination)
        return outbox is None or (outbox.queued(lane) < rows and outbox.queued_bytes(lane) < bytes_)

    # -- waking -----------------------------------------------------------------------------------------

    def look_around(self) -> None:
        """Now and then: whoever has something that sleeps, or waits behind what slept, is to be seen."""
        self._to_see.update(dict.fromkeys([*self._gated, *self._custody.readers_asleep]))

    def due(self) -> tuple[str, tuple[int, ...]] | None:
        """The reader and the queues of which the next are to wake now, in the order of all of them. Mostly None."""
        while self._to_see:
            destination = next(iter(self._to_see))
            del self._to_see[destination]
            queues = self._due_of(destination)
            if queues:
                self._to_see[destination] = None  # once more, after the others
                return destination, queues
        return None

    def _due_of(self, destination: str) -> tuple[int, ...]:
        asleep = self._custody.readers_asleep
        if destination in self._over:
            for lane in reversed(Lane):
                if asleep.rows_in_lane(destination, lane):
                    return _queues(lane)
        if destination in self._parted:
            for lane in Lane:
                queue = queue_of(lane, Kind.INTEL)
                if asleep.rows_in(destination, queue) and not self._custody.full(lane, AWAKE_BYTES):
                    return (queue,)
            return ()
        for lane in Lane:
            self._open(destination, lane)
            if asleep.rows_in_lane(destination, lane) and self._needs(destination, lane):
                return _queues(lane)
        return ()

    def _needs(self, destination: str, lane: Lane) -> bool:
        return self._has_room(destination, lane, max(1, self._awake_rows // 2), AWAKE_BYTES // 2)

    def _open(self, destination: str, lane: Lane) -> None:
        """The gate of a lane is where the first that sleeps is, once most of what was before it has gone."""
        outbox = self._outbox_of(destination)
        if outbox is None:
            return
        first, gate = self._custody.readers_asleep.first(destination, lane), outbox.gate(lane)
        if gate is None and first is not None:
            outbox.set_gate(lane, first)
            self._gated[destination] = None
        elif gate is not None and (first is None or first > gate) and self._needs(destination, lane):
            outbox.set_gate(lane, first)
            self._touch(destination)
            if all(outbox.gate(each) is None for each in Lane):
                self._gated.pop(destination, None)

    def woke(self, destination: str) -> None:
        """Some of what slept for it is awake, and may go."""
        if destination not in self._parted:
            for lane in Lane:
                self._open(destination, lane)

    # -- who has too much -------------------------------------------------------------------------------

    def hides_older(self, row: Row) -> bool:
        """Whether something sleeps that its reader would miss less than this: an older one, or of a lower lane."""
        asleep, lane, destination = self._custody.readers_asleep, row.held.lane, row.destination
        if any(asleep.rows_in_lane(destination, lower) for lower in Lane if lower > lane):
            return True
        first = asleep.first(destination, lane)
        return first is not None and first < row.held.order

    def has_too_much(self, destination: str) -> None:
        self._over[destination] = self._to_see[destination] = None

    def shrinks(self, outbox: Outbox) -> None:
        """Less is kept for a reader than it has: until that is over, it has no more than now."""
        self._shrinking[outbox.destination] = self._custody.waiting_bytes(outbox) + AWAKE_BYTES
        self.has_too_much(outbox.destination)

    def may_have(self, outbox: Outbox) -> bool:
        """Whether it is still to lose what it had when less was kept for it, and has no more than it had then."""
        at_most = self._shrinking.get(outbox.destination)
        if at_most is None:
            return False
        waiting_bytes = self._custody.waiting_bytes(outbox)
        self._shrinking[outbox.destination] = min(at_most, waiting_bytes + AWAKE_BYTES)
        return waiting_bytes <= at_most

    def is_served(self, destination: str) -> None:
        """It has no more than it may."""
        self._shrinking.pop(destination, None)

    def over(self) -> list[str]:
        """Who had too much, once."""
        over, self._over = list(self._over), {}
        return over

    # -- who is elsewhere -------------------------------------------------------------------------------

    def parts(self, destination: str) -> None:
        """A reader is elsewhere: what of its sleeps may have to follow."""
        if self._has_intel(destination):
            self._parted[destination] = self._to_see[destination] = None

    def stays(self, destination: str) -> None:
        """Its session is here. One that was over and whose last row has yet to end may have a gate from before."""
        self._parted.pop(destination, None)
        outbox = self._outbox_of(destination)
        if outbox is not None and any(outbox.gate(lane) is not None for lane in Lane):
            self._gated[destination] = self._to_see[destination] = None

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
        for known in (self._parted, self._over, self._to_see, self._gated, self._shrinking):
            known.pop(destination, None)
        return self._custody.readers_asleep.forget(destination)


def _queues(lane: Lane) -> tuple[int, ...]:
    return 2 * lane, 2 * lane + 1
