"""When a server is asked again: never sooner than it was declared, and less and less often while it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# What a source waits at most after many faults; one that is asked less often anyway waits no longer than that.
MOST_S: Final = 900.0
# A server that wants to be left alone for longer is asked by then all the same.
RETRY_AFTER_MOST_S: Final = 3_600.0
# Of the wait: so that many that began together do not come together.
_JITTER: Final = 0.1


class Pace:
    """`random`: from 0 to 1."""

    def __init__(self, every_s: float, random: Callable[[], float]) -> None:
        self._every_s = every_s
        self._random = random
        self._faults = 0

    def well(self) -> float:
        """It answered: how long to wait."""
        self._faults = 0
        return self._spread(self._every_s)

    def faulty(self, retry_after_s: float = 0.0) -> float:
        """It did not, and may have said for how long it wants to be left alone."""
        grown_s = self._every_s * 2.0 ** min(self._faults, 20)
        self._faults += 1
        wait_s = max(self._every_s, min(grown_s, MOST_S), min(retry_after_s, RETRY_AFTER_MOST_S))
        return self._spread(wait_s)

    def _spread(self, wait_s: float) -> float:
        return wait_s * (1.0 + _JITTER * self._random())
