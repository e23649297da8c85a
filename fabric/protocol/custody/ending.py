"""Rows that end by the thousand, when a session is over, an origin is revoked or much runs out: a part of them a turn.

To end a row is work, here and on disk, and a reader that left may have left ten thousand. Guarantee: a turn ends 256 of
what is to end, or one in 32 where that is more, so that whoever leaves much, again and again, does not make it grow.
A row waits for its end once, however often its session comes back and leaves again before that. Actions and results
end at once: somebody waits for their end, and nobody has many. What is to end is not sent meanwhile: its session has no
link, or `Release.fit` refuses it; only a session that comes back before may still get some of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.outbox import Row
from fabric.protocol.envelope.header import Kind

# A few milliseconds of work, with the commit.
PART_ROWS = 256
_SHARE = 32
_AWAITED = (Kind.ACTION, Kind.RESULT)


class Ending:
    """`settle` ends one row for this reason, now."""

    def __init__(self, settle: Callable[[Row, Reject, int, Ready], None]) -> None:
        self._settle = settle
        self._waiting: OrderedDict[Row, Reject] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def end(
        self, rows: Iterable[Row], reason: Reject, now_ms: int, ready: Ready, *, awaited: Reject | None = None
    ) -> None:
        """These end for this reason, in this turn or in later ones; actions and results for `awaited`, if given."""
        for row in rows:
            if row.held.message.header.kind in _AWAITED:
                self._settle(row, awaited or reason, now_ms, ready)
            else:
                self._waiting.setdefault(row, reason)

    def turn(self, now_ms: int, ready: Ready) -> list[Row]:
        """End a part. Returns its rows; some may have ended otherwise meanwhile."""
        part = []
        for _ in range(min(len(self._waiting), max(PART_ROWS, len(self._waiting) // _SHARE))):
            row, reason = self._waiting.popitem(last=False)
            if not row.done:
                self._settle(row, reason, now_ms, ready)
            part.append(row)
        return part
