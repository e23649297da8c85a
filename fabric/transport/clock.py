"""A clock that does not jump under a running node.

Guarantees: `now_ms` never goes back, and follows the machine's clock: a difference of more than a second, found once
a second, is adopted forwards at once and backwards by standing still. Milliseconds since 1970.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_CHECK_MS = 1_000
_STEP_MS = 1_000


class Clock:
    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._base_ms = wall_ns() // 1_000_000 - monotonic_ns() // 1_000_000
        self._checked_ms = 0
        self._last_ms = 0

    def now_ms(self) -> int:
        elapsed_ms = self._monotonic_ns() // 1_000_000
        if elapsed_ms - self._checked_ms >= _CHECK_MS:
            self._checked_ms = elapsed_ms
            base_ms = self._wall_ns() // 1_000_000 - elapsed_ms
            if abs(base_ms - self._base_ms) > _STEP_MS:
                self._base_ms = base_ms
        self._last_ms = max(self._last_ms, self._base_ms + elapsed_ms)
        return self._last_ms
