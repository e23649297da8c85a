"""How fast a relay admits nodes that connect (SPEC 7.7), and which it turns away as twins.

Guarantees: HELLOs that come together are answered at a steady rate, in the order in which they came, and the queue has
a bound; where live links of one node or session replace each other again and again, two processes use it, and the
newcomer is turned away. Holds no link and no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from fabric.protocol.base.limits import (
    ADMISSIONS_BURST,
    ADMISSIONS_PER_S,
    ADMISSIONS_QUEUED_MAX,
    TWIN_REPLACED_MAX,
    TWIN_WINDOW_MS,
)

_SECOND_MS = 1_000


class Admission:
    """Tokens are counted in thousandths, so that nothing is lost to rounding."""

    def __init__(
        self, per_s: int = ADMISSIONS_PER_S, burst: int = ADMISSIONS_BURST, queued_max: int = ADMISSIONS_QUEUED_MAX
    ) -> None:
        self._per_s = per_s
        self._burst = burst * _SECOND_MS
        self._queued_max = queued_max
        self._tokens = self._burst
        self._filled_ms = 0
        self._queue: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._queue)

    def ask(self, link: int, now_ms: int) -> bool | None:
        """True: now. False: in its turn, see `due`. None: too many wait already."""
        if not self._queue and self._take(now_ms):
            return True
        if len(self._queue) >= self._queued_max:
            return None
        self._queue[link] = None
        return False

    def due(self, now_ms: int) -> list[int]:
        """Whose turn it is."""
        links = []
        while self._queue and self._take(now_ms):
            links.append(self._queue.popitem(last=False)[0])
        return links

    def forget(self, link: int) -> None:
        self._queue.pop(link, None)

    def _take(self, now_ms: int) -> bool:
        self._tokens = min(self._burst, self._tokens + max(0, now_ms - self._filled_ms) * self._per_s)
        self._filled_ms = now_ms
        if self._tokens < _SECOND_MS:
            return False
        self._tokens -= _SECOND_MS
        return True


class Twins:
    """Destinations whose link was replaced while it lived, and when."""

    def __init__(self) -> None:
        self._replaced: dict[str, deque[int]] = {}

    def is_twin(self, destination: str, now_ms: int) -> bool:
        """Asked when a link is about to replace one that lives."""
        times = self._replaced.setdefault(destination, deque(maxlen=TWIN_REPLACED_MAX + 1))
        while times and now_ms - times[0] > TWIN_WINDOW_MS:
            times.popleft()
        times.append(now_ms)
        return len(times) > TWIN_REPLACED_MAX

    def sweep(self, now_ms: int) -> None:
        for destination, times in list(self._replaced.items()):
            if now_ms - times[-1] > TWIN_WINDOW_MS:
                del self._replaced[destination]
