"""What a source did not take, counted until somebody tells it: a flood of it is one line, not a flood of lines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from fabric.protocol.base.errors import Code, FabricError

# Of senders that were refused so many are named; the rest are counted.
NAMED_MAX: Final = 8


class Counts:
    """Of any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: dict[str, tuple[str, int]] = {}
        self._more_refused = 0
        self._lost: dict[str, int] = {}

    def refused(self, host: str, why: str) -> None:
        """A sender was not let in."""
        with self._lock:
            if host in self._refused or len(self._refused) < NAMED_MAX:
                self._refused[host] = (why, self._refused.get(host, ("", 0))[1] + 1)
            else:
                self._more_refused += 1

    def lost(self, why: str, count: int = 1) -> None:
        """So many messages came, and are gone."""
        with self._lock:
            self._lost[why] = self._lost.get(why, 0) + count

    def tell(self, note: Callable[[str], None], lost: Callable[[FabricError], None]) -> None:
        """What there was since the last time."""
        with self._lock:
            refused, self._refused = self._refused, {}
            more, self._more_refused = self._more_refused, 0
            gone, self._lost = self._lost, {}
        for host, (why, count) in refused.items():
            times = f" ({count} times)" if count > 1 else ""
            note(f"{Code.SYSLOG_REFUSED.label} {host}: {why}{times}")
        if more:
            note(f"{Code.SYSLOG_REFUSED.label} {more} more from others")
        for why, count in gone.items():
            lost(FabricError(Code.SYSLOG_LOST, f"{count} {why}"))
