"""What waits of one lane in an outbox (SPEC 7.4): origins in turn, and each in the order in which its rows came.

Guarantees: no origin waits for another's backlog; rows that ended while they waited are let go soon; where something of
a reader's sleeps, nothing that it is to get after that may go.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Container, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from fabric.protocol.custody.line import Line

if TYPE_CHECKING:
    from fabric.protocol.custody.outbox import Row

# Rows behind a gate that ended are let go when most are like this, and there are enough to be worth the work.
_SPARE = 32


class FairQueue:
    """First come, first served within an origin; origins in turn. Rows that ended while they waited are let go soon.

    `gate`: what a reader is to get from this place on waits, whoever it is from, since something before it sleeps.
    """

    __slots__ = ("_dead", "_gated", "_gated_live", "_origins", "_rows", "bytes", "gate")

    def __init__(self) -> None:
        self._origins: OrderedDict[str, Line] = OrderedDict()
        self._rows = 0  # in the queues, dead ones included
        self._dead = 0
        self.bytes = 0  # of those that may go
        self.gate: int | None = None
        self._gated: list[tuple[int, int, Row]] = []  # a heap, by their order
        self._gated_live = 0  # of these, how many have not ended

    def push(self, row: Row) -> None:
        if self.gate is not None and row.held.order >= self.gate and row.sheddable:
            row.queued = row.gated = True
            heapq.heappush(self._gated, (row.held.order, id(row), row))
            self._gated_live += 1
            return
        self._line_for(row).push(row)

    def _line_for(self, row: Row) -> Line:
        """Where this row is to wait; it is counted."""
        origin = row.held.message.header.origin
        line = self._origins.get(origin)
        if line is None:
            line = self._origins[origin] = Line()
        row.queued = True
        self._rows += 1
        self.bytes += row.held.size
        return line

    def set_gate(self, gate: int | None) -> None:
        """What is before it from now on may go, and what is not waits."""
        if gate == self.gate:
            return
        is_lower = gate is not None and (self.gate is None or gate < self.gate)
        self.gate = gate
        if is_lower:
            rows = [row for row in self if not row.gated]
            self._origins.clear()
            self._rows = self._dead = self.bytes = 0
            for row in rows:
                self.push(row)
        while self._gated and (gate is None or self._gated[0][0] < gate):
            row = heapq.heappop(self._gated)[2]
            if not row.done:
                row.gated = False
                self._gated_live -= 1
                self.push(row)

    def discard(self, row: Row) -> None:
        """A row that waits has ended. When most are like this, they go together."""
        row.queued = False
        if row.gated:
            self._gated_live -= 1
            if len(self._gated) > 2 * self._gated_live + _SPARE:
                self._gated = [entry for entry in self._gated if not entry[2].done]
                heapq.heapify(self._gated)
            return
        self._dead += 1
        self.bytes -= row.held.size
        if 2 * self._dead > self._rows:
            for origin, line in list(self._origins.items()):
                line.drop_dead()
                if not line:
                    del self._origins[origin]
            self._rows -= self._dead
            self._dead = 0

    def head(self, now_ms: int, in_flight: Container[bytes]) -> Row | None:
        """The next row to send. One whose answer could be taken for another's waits for that."""
        for _ in range(len(self._origins)):
            origin, line = next(iter(self._origins.items()))
            first, dead = line.head(now_ms, in_flight)
            self._rows -= dead
            self._dead -= dead
            if first is not None:
                return first
            if line:
                self._origins.move_to_end(origin)
            else:
                del self._origins[origin]
        return None

    def hold_back(self, row: Row, reader: str, now_ms: int) -> bool:
        """Its topic waits for a reader: what else its origin sends goes by it. False where too many topics wait."""
        return self._line_for(row).hold_back(row, reader, now_ms)

    def ask(self) -> None:
        for line in self._origins.values():
            line.ask()

    def held_back(self, origin: str, topic: str) -> tuple[str, int]:
        """For which reader the topic waits, if it does, and how many bytes of it."""
        line = self._origins.get(origin)
        return ("", 0) if line is None else line.held_back(topic)

    def waiting_for(self) -> Iterator[tuple[str, int]]:
        """Readers that are waited for, each with how many rows; a reader as often as there are topics."""
        for line in self._origins.values():
            yield from line.waiting_for()

    def pop(self) -> Row:
        origin, line = next(iter(self._origins.items()))
        row = line.pop()
        row.queued = False
        self._rows -= 1
        self.bytes -= row.held.size
        if line:
            self._origins.move_to_end(origin)
        else:
            del self._origins[origin]
        return row

    def oldest(self, *, sheddable: bool = False) -> Row | None:
        """Of the first of each origin, the one that came first; of those only that may be dropped, if so asked."""
        firsts = [
            first for line in self._origins.values()
            if (first := next((row for row in line if not row.done and (not sheddable or row.sheddable)), None))
        ]
        while self._gated and self._gated[0][2].done:
            heapq.heappop(self._gated)
        gated = self._gated[0][2] if self._gated else None
        return min(firsts, key=lambda row: row.held.received_at_ms, default=gated)

    @property
    def open_rows(self) -> int:
        """Of those that wait, how many may go."""
        return self._rows - self._dead

    def __len__(self) -> int:
        return self.open_rows + self._gated_live

    def __iter__(self) -> Iterator[Row]:
        waiting = (row for line in self._origins.values() for row in line)
        return (row for row in chain(waiting, [entry[2] for entry in sorted(self._gated)]) if not row.done)
