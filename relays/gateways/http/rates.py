"""How fast, and how much at a time: a bucket for each token, and room for all, of which each token has a share."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from fabric.protocol.base.errors import Code, FabricError

# Requests at work at a time; others wait for one of these threads, and of one token for half of them.
WORKERS: Final = 16
# Of the whole room: the pool has few threads, and so all small ones together take little.
_SMALL: Final = 512
# What is refused costs what so many bytes for each record do; and no more than somebody can wait who meant no harm.
_REFUSED_BYTES: Final = 256
_REFUSED_S_MAX: Final = 10


class Bucket:
    """So many records a second, as many at once. How many a request has is known when it was read: it may go into debt,
    and whoever comes before that is paid waits. For one thread."""

    def __init__(self, rate_per_s: int, now_s: Callable[[], float]) -> None:
        self._rate_per_s = rate_per_s
        self._now_s = now_s
        self._left = float(rate_per_s)
        self._at_s = now_s()

    def admit(self) -> None:
        """Raises HTTP_RATE."""
        if self.wait_s() > 0.0:
            raise FabricError(Code.HTTP_RATE, f"{self._rate_per_s:,} records a second")

    def wait_s(self) -> float:
        """Until one more request may come."""
        now_s = self._now_s()
        self._left = min(float(self._rate_per_s), self._left + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        return 0.0 if self._left > 0.0 else max(0.001, -self._left / self._rate_per_s)

    def spend(self, records: int) -> None:
        """A request had so many."""
        self._left -= max(1, records)

    def refuse(self, size: int) -> None:
        """A request of so many bytes was refused, which was work as well."""
        self.spend(min(size // _REFUSED_BYTES, _REFUSED_S_MAX * self._rate_per_s))


class Room:
    """Bytes of bodies, or of what is read of them, that are in memory; or requests. Of any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self._of: Counter[str] = Counter()  # what each has who is named
        self._lock = threading.Lock()

    def take(self, size: int, who: str = "") -> None:
        """Who is named has no more than is left for the others. Raises HTTP_BUSY where there is not so much."""
        with self._lock:
            if size > self._left or who and self._of[who] + 2 * size > self._left:
                raise FabricError(Code.HTTP_BUSY, "many or large requests are here at this moment")
            self._left -= size
            self._of[who] += size

    def give(self, size: int, who: str = "") -> None:
        """It is free again."""
        with self._lock:
            self._left += size
            self._of[who] -= size
            if not self._of[who]:
                del self._of[who]

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """So much of it for as long as this lasts; what is larger than all of it comes alone, and what is small needs
        none, so that large ones keep nobody else waiting. Raises HTTP_BUSY."""
        size = 0 if size <= self._most // _SMALL else min(size, self._most)
        self.take(size)
        try:
            yield
        finally:
            self.give(size)
