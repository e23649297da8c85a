"""The outbox (SPEC 7.4): for one destination, the messages it has yet to acknowledge, urgent first.

Guarantees: strict order of lanes with a floor, so that nothing starves; within a lane, origins take turns, so that
nobody drowns another; a row stays until its destination acknowledged it, and is offered again when that takes too
long. Keeps little in flight: what the peer's credit allows and `pace` finds good. ZeroMQ's queues are not priority
queues, so order exists only in here, and only for what has not been sent.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from fabric.protocol.base.limits import ID_BYTES, RETRY_MS_MAX
from fabric.protocol.custody.fair_queue import FairQueue
from fabric.protocol.custody.line import Place
from fabric.protocol.custody.pace import Pace
from fabric.protocol.custody.sessions import UNSENT, is_point
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.vocabulary.severity import LAST_URGENT, Lane
from fabric.protocol.wire.frames import Direction

_LANES = tuple(Lane)
# Of every 16 bytes sent, lanes that had to wait get one together with their turn (SPEC 7.4: the floor).
_FLOOR_SHARE = 16
# However long the wait for an answer grows, a message is tried about as often as this in its life.
_TRIES_MIN = 8


@dataclass(slots=True, eq=False)
class Held:
    """A message in custody, shared by the rows of its destinations."""

    message: Verified
    direction: Direction
    lane: Lane
    age_ms: int  # when it was received
    received_at_ms: int
    expires_at_ms: int
    hops: tuple[str, ...]
    rows: dict[str, Row] = field(default_factory=dict)
    transit_rows: int = 0  # of those in `rows`, how many may not be dropped to make room
    restored: bool = False  # read back after a restart
    size: int = 0  # bytes, as they are counted here and in every outbox; changed by `Custody.replace` only
    order: int = 0  # its place among all that this node ever held, restarts included; 0 where its driver has none

    def __post_init__(self) -> None:
        self.size = len(self.message.raw)

    def age_at(self, now_ms: int) -> int:
        return self.age_ms + max(0, now_ms - self.received_at_ms)

    def is_under_way(self, destination: str) -> bool:
        """Whether it may be there: what goes there to others as well would go again to those who have it."""
        row = self.rows.get(destination)
        return row is not None and row.maybe_taken


def visit_of(id_: bytes, moved: int, targets: Sequence[str]) -> bytes:
    """By what an item is answered and known again: the message, and where it followed somebody, how often and whom."""
    if not moved:
        return id_
    return hashlib.sha256(id_ + moved.to_bytes(8, "big") + "/".join(targets).encode()).digest()[:ID_BYTES]


@dataclass(slots=True, eq=False)
class Row:
    """One destination of a held message. In flight when `sent_at_ms` is set; `tries` says whether it ever was."""

    held: Held
    destination: str
    targets: tuple[str, ...] = ()
    sent_at_ms: int | None = None
    tries: int = 0
    # A peer that has gone may have taken it, and the next one need not know; or it was sent before a restart, perhaps.
    unanswered: bool = False
    done: bool = False
    queued: bool = False
    gated: bool = False  # queued, behind something that sleeps
    not_before_ms: int = 0
    place: Place = (True, 0)  # among those of its origin in its outbox, which sets it
    moved: int = 0  # how often its targets were to be reached by another way, in vain (SPEC 7.8)
    sent_as: bytes = b""  # its visit when it was last sent
    wire_bytes: int = 0  # what it took of the peer's credit when it was last sent
    # Whether its destination is a reader, who may lose it when too much waits (SPEC 7.5).
    sheddable: bool = field(init=False)

    def __post_init__(self) -> None:
        kind = self.held.message.header.kind
        self.sheddable = (kind is Kind.EVENT or kind is Kind.INTEL) and is_point(self.destination)

    @property
    def said_moved(self) -> int:
        """What its item says: to a control point it is a delivery like any other, which knows what it had by the id."""
        return 0 if is_point(self.destination) else self.moved

    @property
    def visit(self) -> bytes:
        id_ = self.held.message.id
        return visit_of(id_, self.said_moved, self.targets) if self.moved else id_

    @property
    def maybe_taken(self) -> bool:
        """Whether it may be where it goes. What waits for somebody to be anywhere was sent to nobody."""
        return self.destination not in UNSENT and (self.tries > 0 or self.unanswered)


class Outbox:
    """Rows for one destination. The caller owns time, credit and what a row looks like on the wire."""

    def __init__(self, destination: str, retry_ms: int) -> None:
        self.destination = destination
        self.paces = _paces()
        self._retry_ms = retry_ms
        # Of the lanes in which something waited, urgent first: in most of a crowded relay's outboxes nothing ever does.
        self._queues: dict[Lane, FairQueue] = {}
        self._owed_bytes = [0] * len(Lane)
        self._in_flight: OrderedDict[bytes, Row] = OrderedDict()
        self.in_flight_bytes = [0] * len(Lane)
        self._unanswered_since_ms: int | None = None  # while something is in flight
        self._numbered = 0
        self.bytes = 0  # of all rows that have not ended

    def add(self, row: Row) -> None:
        self._numbered += 1
        row.place = self._place_of(row)
        self.bytes += row.held.size
        self._queue(row.held.lane).push(row)

    def _queue(self, lane: Lane) -> FairQueue:
        """Where something of this lane is to wait."""
        if lane not in self._queues:
            self._queues[lane] = FairQueue()
            self._queues = dict(sorted(self._queues.items()))
        return self._queues[lane]

    def _place_of(self, row: Row) -> Place:
        """What was held before a restart goes first, also when it is read long after it.

        A reader's rows go in the order in which its relay held them, where its driver knows that: some slept meanwhile.
        """
        if row.held.order and is_point(row.destination):
            return True, row.held.order
        return not row.held.restored, self._numbered

    def grew(self, row: Row, bytes_: int) -> None:
        """The message of a row of this outbox became longer: it is counted wherever the row is."""
        self.bytes += bytes_
        if row.queued and not row.gated:
            self._queues[row.held.lane].bytes += bytes_
        if row.sent_at_ms is not None:
            self.in_flight_bytes[row.held.lane] += bytes_

    def take(self, now_ms: int, allowance_bytes: list[int]) -> Row | None:
        """The row to send next, or None. `allowance_bytes`: what the peer's credit leaves, per lane.

        The pace counts what is under way of a lane and of those before it, so that the lower ones never keep an urgent
        one back; what a lower lane is owed goes nevertheless. One message may always go when nothing of its lane is in
        flight, so that no lane stops for good.
        """
        waiting: list[tuple[Lane, Row]] = []
        first: tuple[Lane, Row] | None = None
        ahead_bytes = 0
        for lane in _LANES:
            under_way_bytes = self.in_flight_bytes[lane]
            ahead_bytes += under_way_bytes
            queue = self._queues.get(lane)
            if queue is None or not queue.bytes:
                continue  # nothing of it may go
            head = queue.head(now_ms, self._in_flight)
            if head is None or (under_way_bytes and head.held.size > allowance_bytes[lane]):
                continue
            pace = self.paces[lane]
            paced = not under_way_bytes or ahead_bytes + head.held.size <= pace.window_bytes
            if not paced:
                pace.held_back()
            if paced and first is None:
                first = lane, head
            elif first is not None:
                waiting.append((lane, head))
        if first is None:
            return None
        chosen, row = first
        for lane, head in waiting:
            if self._owed_bytes[lane] >= head.held.size:
                self._owed_bytes[lane] = 0
                chosen = lane
                break
        else:
            for lane, _ in waiting:
                self._owed_bytes[lane] += row.held.size // _FLOOR_SHARE + 1
        return self._queues[chosen].pop()

    def sent(self, row: Row, now_ms: int, wire_bytes: int) -> None:
        row.sent_at_ms = now_ms
        row.wire_bytes = wire_bytes
        row.tries += 1
        if self._unanswered_since_ms is None:
            self._unanswered_since_ms = now_ms
        row.sent_as = row.visit
        self._in_flight[row.sent_as] = row
        self.in_flight_bytes[row.held.lane] += row.held.size

    def settle(self, id_: bytes, now_ms: int) -> Row | None:
        """The destination answered for this id: its row, no longer in flight."""
        row = self._in_flight.pop(id_, None)
        if row is not None:
            assert row.sent_at_ms is not None
            if row.tries == 1:  # of what was sent twice nobody knows which one is answered
                self.paces[row.held.lane].answered(row.sent_at_ms, now_ms)
            self._landed(row)
        self._unanswered_since_ms = now_ms if self._in_flight else None
        return row

    def again(self, row: Row, not_before_ms: int) -> None:
        """Offer a settled row once more, not before a time; at its place among those of its origin."""
        row.not_before_ms = not_before_ms
        self._queue(row.held.lane).push(row)

    def hold_back(self, row: Row, reader: str, now_ms: int, otherwise_ms: int) -> None:
        """A settled row waits for a reader, and so does what comes after it on its topic."""
        if not self._queue(row.held.lane).hold_back(row, reader, now_ms):
            row.not_before_ms = otherwise_ms

    def ask(self) -> None:
        """What waits for readers asks at once, one row of each topic: they may be waited for no more."""
        for queue in self._queues.values():
            queue.ask()

    def held_back(self, lane: Lane, origin: str, topic: str) -> tuple[str, int]:
        return self._queues[lane].held_back(origin, topic) if lane in self._queues else ("", 0)

    def waiting_for(self) -> dict[str, int]:
        """Readers for whom the peer takes nothing more, and how many messages wait because of each."""
        waiting: dict[str, int] = {}
        for queue in self._queues.values():
            for reader, rows in queue.waiting_for():
                waiting[reader] = waiting.get(reader, 0) + rows
        return waiting

    def end(self, row: Row) -> None:
        """The row is over, wherever it is."""
        if not row.done:
            self.bytes -= row.held.size
        row.done = True
        if row.queued:
            self._queues[row.held.lane].discard(row)
        if row.sent_at_ms is not None and self._in_flight.pop(row.sent_as, None) is not None:
            self._landed(row)
            if not self._in_flight:
                self._unanswered_since_ms = None

    def least(self) -> Row | None:
        """What is missed least: of the rows that wait and may be dropped, the oldest in the lowest lane."""
        for queue in reversed(self._queues.values()):
            oldest = queue.oldest(sheddable=True)
            if oldest is not None:
                return oldest
        return None

    def _landed(self, row: Row) -> None:
        row.sent_at_ms = None
        self.in_flight_bytes[row.held.lane] -= row.held.size

    def overdue(self, now_ms: int) -> list[Row]:
        """Rows in flight for too long, taken back into their lanes; the wait doubles with every try."""
        late = []
        for row in self._in_flight.values():
            assert row.sent_at_ms is not None
            if now_ms - row.sent_at_ms >= self._wait_ms(row):
                late.append(row)
        self._take_back(late, now_ms)
        return late

    def _take_back(self, rows: Sequence[Row], not_before_ms: int) -> None:
        for row in reversed(rows):  # each has its place before the next, mostly at the front
            del self._in_flight[row.sent_as]
            self._landed(row)
            self.again(row, not_before_ms)

    def _wait_ms(self, row: Row) -> int:
        doubled: int = self._retry_ms << min(row.tries - 1, 8)
        # What lives for seconds is not offered three times and then buried.
        share_ms = row.held.message.header.ttl_ms // _TRIES_MIN
        return min(RETRY_MS_MAX, doubled, max(self._retry_ms, share_ms))

    def recall(self) -> None:
        """The link is gone: everything in flight waits for the next one, oldest first."""
        self._unanswered_since_ms = None
        for row in self.rows():
            row.unanswered = row.unanswered or row.tries > 0
        self._take_back(list(self._in_flight.values()), 0)
        self.ask()  # the next peer may have no reader that waits
        self.paces = _paces()  # the next one may be another way

    def stalled(self, now_ms: int, stall_ms: int) -> bool:
        """Whether it was sent something and has answered nothing for this long."""
        return self._unanswered_since_ms is not None and now_ms - self._unanswered_since_ms > stall_ms

    def rows(self) -> list[Row]:
        return [*self._in_flight.values(), *(row for queue in self._queues.values() for row in queue)]

    def queued(self, lane: Lane) -> int:
        """Rows that may go next: neither in flight nor behind the gate."""
        return self._queues[lane].open_rows if lane in self._queues else 0

    def queued_bytes(self, lane: Lane) -> int:
        return self._queues[lane].bytes if lane in self._queues else 0

    def gate(self, lane: Lane) -> int | None:
        return self._queues[lane].gate if lane in self._queues else None

    def set_gate(self, lane: Lane, gate: int | None) -> None:
        """What this reader is to get of a lane from this place on waits until what sleeps before it was sent."""
        if gate is not None or lane in self._queues:
            self._queue(lane).set_gate(gate)

    def oldest(self) -> Row | None:
        """Of all that has not ended, what came first; what was put back is taken to be where it was."""
        firsts = [queue.oldest() for queue in self._queues.values()] + list(self._in_flight.values())
        return min((row for row in firsts if row is not None), key=lambda row: row.held.received_at_ms, default=None)

    def counts(self) -> list[int]:
        """Messages per lane, in flight included."""
        counts = [len(self._queues.get(lane, ())) for lane in _LANES]
        for row in self._in_flight.values():
            counts[row.held.lane] += 1
        return counts

    @property
    def empty(self) -> bool:
        return not self._in_flight and not any(self._queues.values())


def _paces() -> tuple[Pace, ...]:
    """By lane: one for the urgent ones, and one for the others.

    What is urgent passes the others where it is read: how soon it is answered says nothing of what waits there.
    """
    urgent, others = Pace(), Pace()
    return tuple([urgent if lane <= LAST_URGENT else others for lane in _LANES])
