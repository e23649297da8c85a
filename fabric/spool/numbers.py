"""Which row of the spool a message is: the numbers of the rows that were read or written in this run.

Guarantees: a number is never used again while its row could be there; the backlog learns of each message that ended.
"""

from __future__ import annotations

from typing import NamedTuple

from fabric.protocol.core.ready import Put, Sleep
from fabric.protocol.wire.frames import Direction
from fabric.spool.backlog import Backlog
from fabric.spool.sleepers import Sleepers


class Known(NamedTuple):
    """A message's row: its number, and until when the message is to live."""

    n: int
    until_ms: int  # when it is expired


class Numbers:
    """`awake_max`: see `Backlog`."""

    def __init__(self, awake_max: int | None = None) -> None:
        self._known: dict[tuple[bytes, int], Known] = {}
        self.last = 0
        self.backlog = Backlog(awake_max)
        self.sleepers = Sleepers(awake_max)

    def is_there(self, n: int) -> None:
        """A row with this number was found on disk."""
        self.last = max(self.last, n)

    def new(self, put: Put) -> int:
        """The number of a row that is being written."""
        self.last += 1
        self.read(self.last, put)
        return self.last

    def read(self, n: int, put: Put) -> None:
        self._known[(put.id, int(put.direction))] = Known(n, put.expires_at_ms)

    def find(self, id_: bytes, direction: Direction) -> Known | None:
        return self._known.get((id_, int(direction)))

    def number_of(self, put: Put) -> int:
        """Of a row that was read."""
        return self._known[(put.id, int(put.direction))].n

    def put_to_sleep(self, op: Sleep) -> None:
        """From here on its row is known by those for whom it sleeps."""
        known = self._known.pop((op.id, int(op.direction)), None)
        if known is not None:
            self.sleepers.put(known.n, op.queue, op.bytes, op.destinations)

    def forget(self, id_: bytes, direction: Direction) -> int:
        """The row goes; it must have been there."""
        n = self._known.pop((id_, int(direction))).n
        self.backlog.ended(n)
        return n
