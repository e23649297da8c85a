"""What becomes of records of which not all were taken, or not in time."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from typing import Final

from fabric.edge.publishing.receipts import Many
from fabric.protocol.base.errors import Code, FabricError

# What is being committed when the time is over ends so soon, unless the disk hangs.
_COMMIT_S: Final = 60.0


class Taking:
    """What becomes of records of which not all were taken at once."""

    def __init__(self) -> None:
        self._parts: list[tuple[Many, int] | FabricError] = []
        self._ended: Future[list[str | FabricError]] = Future()
        self._lock = threading.Lock()
        self._open = 1  # more may be added

    def add(self, many: Many) -> None:
        """More were taken."""
        self._parts.append((many, many.taken))
        with self._lock:
            self._open += 1
        many.future.add_done_callback(self._done)

    def reject(self, error: FabricError) -> None:
        """One more was rejected."""
        self._parts.append(error)

    def whole(self) -> Future[list[str | FabricError]]:
        """No more are added: done when it is known what became of all."""
        self._done(None)
        return self._ended

    def _done(self, _ended: object) -> None:
        with self._lock:
            self._open -= 1
            is_done = not self._open
        if is_done:
            outcomes: list[str | FabricError] = []
            for part in self._parts:
                outcomes += [part] if isinstance(part, FabricError) else part[0].result()[: part[1]]
            self._ended.set_result(outcomes)


def known_in_time(many: Many, wait_s: float) -> list[str | FabricError]:
    """What became of each. What is not on its way to the disk when the time is over is withdrawn: BUSY."""
    try:
        return many.result(wait_s)
    except LateError:
        many.withdraw(FabricError(Code.BUSY, "the outbox has no room"))
    try:
        return many.result(_COMMIT_S)
    except LateError:
        late = FabricError(Code.BUSY, "its disk does not answer, and may hold some of it")
        return [late if outcome is None else outcome for outcome in many.outcomes()]
