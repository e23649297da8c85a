"""How long a loop reads before it commits and sends what came of it.

Long while it reads what can wait, since many messages then share a commit; over at once when something urgent came, so
that this waits for nobody's commit but its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fabric.protocol.ready import Arrived
from fabric.protocol.severity import Lane
from fabric.protocol.wire import Data

_TURN_NS = 8_000_000


class Turn:
    """A turn that begins now."""

    def __init__(self, elapsed_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._elapsed_ns = elapsed_ns
        self._lap_ns = elapsed_ns()
        self._ends_ns = self._lap_ns + _TURN_NS

    def over_after(self, arrived: Arrived | None) -> bool:
        """Whether this frame is the last that the turn takes. None: one that was let go."""
        frame = arrived.frame if arrived is not None else None
        urgent = isinstance(frame, Data) and frame.lane <= Lane.CRITICAL
        return urgent or self._elapsed_ns() >= self._ends_ns

    def lap_ns(self) -> int:
        """Time since the last call, or since the turn began: what the frame between them cost."""
        before_ns, self._lap_ns = self._lap_ns, self._elapsed_ns()
        return self._lap_ns - before_ns
