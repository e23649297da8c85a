"""How a program leaves its connection without losing what it published.

Guarantees: leaving waits, for the time that it is given, for the handlers at work, whose results are sent, and for all
that was published; records that are not known to be held when that time is over are counted and reported once. With an
outbox a record is held when it is on this machine's disk, so there is next to nothing to wait for. The end of the
connection ends the wait.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable

import structlog

from fabric.edge.acting.executing import Executing
from fabric.edge.loop import EdgeLoop
from fabric.protocol.base.errors import Code, FabricError

# A relay that was started again is back in a few seconds, and one that is full takes something every now and then.
# Longer than a person waits, shorter than what a supervisor of services gives (90 s with systemd).
CLOSE_TIMEOUT_S = 60.0


class Leaving:
    """Every call may block, and belongs to a thread of the program's."""

    def __init__(
        self, loop: EdgeLoop, executing: Executing, log: structlog.typing.FilteringBoundLogger,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._executing = executing
        self._log = log
        self._now_s = now_s

    def begin(self) -> None:
        """There is a connection. A program that ends without leaving it is told, as far as there is anybody to tell."""
        atexit.register(self._forgotten)

    def _forgotten(self) -> None:
        left = self._loop.lanes.counts.owed
        if left > 0:
            self._log.error("the program ended without close(): not all is held", records=left)

    def flush(self, timeout_s: float | None) -> None:
        """Until it is known of all that was published what became of it. Raises TIMED_OUT, or what ended it, with how
        many are still open."""
        left = self._loop.lanes.counts.wait_settled(timeout_s)
        if not left:
            return
        ended = self._loop.ended
        if ended is not None:
            raise FabricError(ended.code, _with(f"{left} record(s) are not known to be held", ended), ended.next_step)
        raise FabricError(
            Code.TIMED_OUT, f"{left} record(s) are not held yet", "wait longer, or keep them with an outbox"
        )

    def leave(self, timeout_s: float | None) -> int:
        """End the connection. How many records are not known to be held, and are not sent any more; 0 the next time."""
        loop = self._loop
        atexit.unregister(self._forgotten)
        if not loop.runs:
            timeout_s = 0.0
        deadline_s = None if timeout_s is None else self._now_s() + timeout_s
        try:
            self._executing.finish(timeout_s)
            loop.intake.leave()
            loop.lanes.counts.wait_settled(None if deadline_s is None else max(0.0, deadline_s - self._now_s()))
        finally:  # Ctrl-C ends the wait, and still says goodbye
            loop.stop()
            self._executing.abandon()
        return loop.publisher.take_left()

    def tell_left(self, records: int) -> None:
        """Of whoever leaves by an error, which says enough: the number is in the log."""
        if records:
            self._log.warning("left without waiting: not all is held", records=records)

    def not_held(self, records: int) -> FabricError:
        """What whoever leaves in peace is told."""
        words = f"{records} record(s) will not be sent any more"
        ended = self._loop.ended
        return FabricError(Code.NOT_HELD, words if ended is None else _with(words, ended))


def _with(words: str, ended: FabricError) -> str:
    return words if ended.code is Code.CLOSED else f"{words}: {ended}"
