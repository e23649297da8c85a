"""Rows that wait on disk only, since nothing can happen to them until their turn comes (SPEC 10).

Guarantees: wherever room is checked, what sleeps counts like what is awake. `Asleep` counts rows on their way up,
`ReadersAsleep` rows for readers. The rows themselves are the driver's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from fabric.protocol.base.shares import Holdings
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction

# Copies that were offered to what sleeps. A sender repeats within seconds; of what is forgotten the row is read again.
OFFERED_MAX = 4_096
# Queues of one reader: of each lane its events, and its intel, which alone follows a reader who moves.
QUEUES = 2 * len(Lane)


def queue_of(lane: Lane, kind: Kind) -> int:
    """The queue in which a message sleeps: each lane has two, one for intel and one for everything else."""
    return 2 * lane + (kind is Kind.INTEL)


def queues_of(lane: Lane) -> tuple[int, int]:
    """The two queues of a lane."""
    return 2 * lane, 2 * lane + 1


def lane_of(queue: int) -> Lane:
    """The lane of a queue (`queue_of`)."""
    return Lane(queue // 2)


class Asleep:
    """What of a backlog its driver has on disk, and will restore when its turn comes (SPEC 10)."""

    def __init__(self) -> None:
        self.rows = [0] * len(Lane)
        self.bytes = [0] * len(Lane)
        # Of the origins only that is known without reading the rows: one whose credential was renewed since counts as
        # another.
        self.signer_bytes: Holdings[tuple[Lane, bytes]] = Holdings()
        self.voucher_bytes: Holdings[tuple[Lane, str]] = Holdings()
        self._voucher_of: dict[bytes, str] = {}
        self._offered: OrderedDict[tuple[bytes, Direction], int] = OrderedDict()  # which parts, a bit each

    def are_of(self, voucher_of: Callable[[bytes], str]) -> None:
        """Who vouches for the signers, asked once, of those that sleep now."""
        self._voucher_of = {signer: voucher_of(signer) for _, signer in self.signer_bytes}
        self.voucher_bytes.clear()
        for (lane, signer), bytes_ in self.signer_bytes.items():
            self._count_voucher(lane, signer, bytes_)

    def _count_voucher(self, lane: Lane, signer: bytes, bytes_: int) -> None:
        if voucher := self._voucher_of.get(signer, ""):
            self.voucher_bytes.add((lane, voucher), bytes_)

    def offer(self, copy: Verified, direction: Direction) -> bool:
        """Whether this copy may have parts that the row which sleeps lacks: for its driver to look, and once only."""
        key, known = (copy.id, direction), self._offered.get((copy.id, direction), 0)
        parts = known | sum(1 << n for n, part in enumerate(copy.envelope.parts) if part is not None)
        self._offered[key] = parts
        self._offered.move_to_end(key)
        if len(self._offered) > OFFERED_MAX:
            self._offered.popitem(last=False)
        return parts != known

    def add(self, lane: Lane, signer: bytes, bytes_: int) -> None:
        self.rows[lane] += 1
        self.grew(lane, signer, bytes_)

    def grew(self, lane: Lane, signer: bytes, bytes_: int) -> None:
        """A row became longer where it sleeps."""
        self.bytes[lane] += bytes_
        self.signer_bytes.add((lane, signer), bytes_)
        self._count_voucher(lane, signer, bytes_)

    def remove(self, lane: Lane, signer: bytes, bytes_: int) -> None:
        self.rows[lane] -= 1
        self.grew(lane, signer, -bytes_)


class ReadersAsleep:
    """How much sleeps for each reader, queue by queue. A core adds, its driver removes what wakes."""

    def __init__(self) -> None:
        self._rows: dict[str, list[int]] = {}
        self._bytes: dict[str, int] = {}
        self._first: dict[tuple[str, int], int] = {}  # the place of the first that sleeps in a queue (`Held.order`)
        self.bytes = 0  # for all of them

    def add(self, destination: str, queue: int, bytes_: int, order: int) -> None:
        key = destination, queue
        self._first[key] = min(order, self._first.get(key, order))
        self._rows.setdefault(destination, [0] * QUEUES)[queue] += 1
        self._bytes[destination] = self._bytes.get(destination, 0) + bytes_
        self.bytes += bytes_

    def remove(self, destination: str, queue: int, bytes_: int) -> None:
        """A row woke, or is no more. Nothing where its reader was forgotten meanwhile."""
        rows = self._rows.get(destination)
        if rows is None:
            return
        rows[queue] -= 1
        self._bytes[destination] -= bytes_
        self.bytes -= bytes_
        if not rows[queue]:
            self._first.pop((destination, queue), None)
        if not any(rows):
            del self._rows[destination], self._bytes[destination]

    def begins_at(self, destination: str, queue: int, order: int) -> None:
        """Which row of this queue is now the first that sleeps."""
        if self.rows_in(destination, queue):
            self._first[destination, queue] = order

    def first(self, destination: str, lane: Lane) -> int | None:
        """The place of the first that sleeps in a lane; None: nothing does."""
        queues = (2 * lane, 2 * lane + 1)
        return min((self._first[destination, q] for q in queues if (destination, q) in self._first), default=None)

    def forget(self, destination: str) -> int:
        """How many rows there were."""
        self.bytes -= self._bytes.pop(destination, 0)
        for queue in range(QUEUES):
            self._first.pop((destination, queue), None)
        return sum(self._rows.pop(destination, ()))

    def bytes_of(self, destination: str) -> int:
        return self._bytes.get(destination, 0)

    def rows_in(self, destination: str, queue: int) -> int:
        rows = self._rows.get(destination)
        return rows[queue] if rows is not None else 0

    def rows_of(self, destination: str) -> int:
        return sum(self._rows.get(destination, ()))

    def rows_in_lane(self, destination: str, lane: Lane) -> int:
        return self.rows_in(destination, 2 * lane) + self.rows_in(destination, 2 * lane + 1)

    def served(self, destination: str) -> None:
        """The others come first the next time."""
        self._rows[destination] = self._rows.pop(destination)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._rows))

    def __contains__(self, destination: object) -> bool:
        return destination in self._rows
