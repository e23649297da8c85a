"""Since when there is a ledger: what was issued before that may have been executed, and is refused (SPEC 9.3).

A machine's clock may be years off when a program begins and be put right while it runs. So the file has the fabric's
time, as it was known; it is written again when it is known for sure. What is over is over by every clock that there is.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.core.ready import KeepPosition, Op
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.envelope.header import Header

# The row that says it: as far as a source was read is what it resembles most.
_SINCE = "since"
# Clocks that were measured over a network agree by this. No program ends and begins anew without its file within it.
_CLOCKS_MS = 1_000


class Beginning:
    """Of one ledger, by this time."""

    def __init__(self, time: Timekeeper) -> None:
        self._time = time
        # By the fabric's time as far as it was known; of a new file it is when it was opened, by the steady clock.
        self._since_ms: int | None = None
        self._opened_ms = 0
        self._is_settled = False  # what the file says is by a clock that the parent confirmed

    def opened(self, ops: Sequence[Op], now_ms: int, *, is_sound: bool) -> list[Op]:
        """The file has these. What is to be written where it is new, or some of it cannot be read: it begins now."""
        self._opened_ms = now_ms
        since = [op.position for op in ops if isinstance(op, KeepPosition) and op.source == _SINCE]
        if since and is_sound:
            self._since_ms = int(since[0])
            return []
        return [KeepPosition(_SINCE, str(self._time.now(now_ms)))]

    def settle(self, now_ms: int) -> list[Op]:
        """When the time is known for sure, once: the next program is to read when it began by that."""
        if self._is_settled or not self._time.measured or self._time.suspect:
            return []
        self._is_settled = True
        since_ms = self._known_since(now_ms)
        return [KeepPosition(_SINCE, str(since_ms))] if since_ms != self._since_ms else []

    def surely(self, now_ms: int) -> int:
        """What was over then is over, whatever a parent says, and though the clock is ahead by up to an hour."""
        return min(self._time.now(now_ms), self._time.own(now_ms)) - TTL_MAX_MS["action"]

    def why_not(self, action: Header, now_ms: int) -> Reject | None:
        """Whether this action may have been executed before there was a ledger."""
        before = action.issued_at_ms < self._known_since(now_ms) - _CLOCKS_MS
        return Reject(Code.NOT_KNOWN_HERE, action.topic) if before else None

    def _known_since(self, now_ms: int) -> int:
        """Since it was opened at the latest, whatever clock said when it was new."""
        opened_ms = self._opened_ms + self._time.now(now_ms) - now_ms
        return opened_ms if self._since_ms is None else min(self._since_ms, opened_ms)
