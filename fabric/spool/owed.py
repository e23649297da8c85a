"""One commit a turn, and none where all that is to be committed may wait for the next (SPEC 10).

Guarantees: operations reach the disk in order; what a frame of this turn promises is there before `commit` returns;
ends of rows alone wait for a moment, since forgetting one only means that a message is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.core.ready import Op, may_wait
from fabric.spool.spool import Spool

# How long, and how many, ends of rows wait for a commit that has to be made anyway.
_OWED_MS = 50
_OWED_MAX = 512


class Owed:
    """The operations of one spool that have not been committed."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._ops: list[Op] = []
        self._since_ms = 0

    def commit(self, ops: Sequence[Op], now_ms: int) -> None:
        """These operations and what is owed, now or, when all of it may wait, a moment later."""
        if not ops and not self._ops:
            return
        if not self._ops:
            self._since_ms = now_ms
        self._ops += ops
        late = now_ms - self._since_ms >= _OWED_MS or len(self._ops) >= _OWED_MAX
        if late or not all(may_wait(op) for op in ops):
            self.settle()

    def settle(self) -> None:
        """All that is owed, now."""
        ops, self._ops = self._ops, []
        if ops:
            self._spool.commit(ops)

    @property
    def due_ms(self) -> int | None:
        """When `commit` must be called again, if anything is owed."""
        return self._since_ms + _OWED_MS if self._ops else None
