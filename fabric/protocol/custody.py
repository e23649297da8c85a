"""Custody (SPEC 7.4): the messages that this node has answered for, until each destination has them.

Guarantees: what is put is persisted with all its rows in one `Put`; a row ends once and is persisted as `Done`; when
the last row ends, the message goes. A lane's bytes are counted, so that intake can be refused before disk runs out;
what is held is never dropped to make room. What waits for readers only has quotas of its own and counts in no lane.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from fabric.protocol.dedup import Dedup
from fabric.protocol.limits import LANE_QUOTA_BYTES
from fabric.protocol.outbox import Held, Outbox, Row
from fabric.protocol.ready import Done, Put, Ready, Replace, Seen
from fabric.protocol.severity import Lane
from fabric.protocol.verify import Verified
from fabric.protocol.wire import Direction

# Deadlines of what ended are let go when most are like this, and there are enough to be worth the work.
_DEADLINES_SPARE = 32

HeldKey = tuple[bytes, Direction]
Destinations = Sequence[tuple[str, tuple[str, ...]]]  # (destination, the action's targets for it)


class Custody:
    def __init__(self, outbox_of: Callable[[str], Outbox], quota_bytes: int = LANE_QUOTA_BYTES) -> None:
        self._outbox_of = outbox_of
        self._quota_bytes = quota_bytes
        self._held: dict[HeldKey, Held] = {}
        self._deadlines: list[tuple[int, int, HeldKey]] = []
        self._sequence = 0
        self.lane_bytes = [0] * len(Lane)
        self.intake_open = True  # the driver closes it when its disk is nearly full
        self.dedup = Dedup()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, id_: bytes, direction: Direction) -> Held | None:
        return self._held.get((id_, direction))

    def full(self, lane: Lane, bytes_: int) -> bool:
        return not self.intake_open or self.lane_bytes[lane] + bytes_ > self._quota_bytes

    def put(self, held: Held, destinations: Destinations, ready: Ready) -> None:
        """Take custody for these destinations, at least one."""
        assert destinations
        id_ = held.message.id
        ready.persist.append(
            Put(
                id_, held.direction, held.lane, held.message.raw, held.age_ms, held.received_at_ms,
                held.expires_at_ms, held.hops, tuple(destinations),
            )
        )
        self.adopt(held, destinations)

    def adopt(self, held: Held, destinations: Destinations) -> None:
        """The same for what is on disk already."""
        key = (held.message.id, held.direction)
        self.dedup.add(*key, held.expires_at_ms)
        self._held[key] = held
        self._sequence += 1
        heapq.heappush(self._deadlines, (held.expires_at_ms, self._sequence, key))
        for destination, targets in destinations:
            row = Row(held, destination, targets)
            held.rows[destination] = row
            if not row.sheddable:
                held.transit_rows += 1
                if held.transit_rows == 1:
                    self.lane_bytes[held.lane] += held.size
            self._outbox_of(destination).add(row)

    def saw(self, id_: bytes, direction: Direction, until_ms: int, ready: Ready) -> None:
        """Remember a message that has no destination here."""
        self.dedup.add(id_, direction, until_ms)
        ready.persist.append(Seen(id_, direction, until_ms))

    def replace(self, held: Held, fuller: Verified, ready: Ready) -> None:
        """A copy with more parts came: rows that have not been delivered carry it."""
        held.message = fuller
        ready.persist.append(Replace(fuller.id, held.direction, fuller.raw))

    def end(self, row: Row, ready: Ready) -> None:
        """This destination has it, or never will."""
        held = row.held
        if held.rows.pop(row.destination, None) is None:
            return
        self._outbox_of(row.destination).end(row)
        last = not held.rows
        if not row.sheddable:
            held.transit_rows -= 1
            if held.transit_rows == 0:
                self.lane_bytes[held.lane] -= held.size
        ready.persist.append(Done(held.message.id, held.direction, row.destination, last))
        if last:
            del self._held[(held.message.id, held.direction)]
            if len(self._deadlines) > 2 * len(self._held) + _DEADLINES_SPARE:
                self._deadlines = [entry for entry in self._deadlines if entry[2] in self._held]
                heapq.heapify(self._deadlines)

    def overdue(self, now_ms: int) -> list[Held]:
        """Messages whose time is probably up, each offered once; `later` puts one back."""
        due = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, _, key = heapq.heappop(self._deadlines)
            held = self._held.get(key)
            if held is not None:
                due.append(held)
        return due

    def later(self, held: Held, at_ms: int) -> None:
        self._sequence += 1
        heapq.heappush(self._deadlines, (at_ms, self._sequence, (held.message.id, held.direction)))
