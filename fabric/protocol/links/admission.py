"""How fast a relay admits nodes that connect (SPEC 7.7), and which it turns away as twins.

Guarantees: HELLOs that come together are answered at a steady rate, in the order in which their nodes came; a node that
comes again and again is let in at a rate of its own and holds nobody up; the queue has a bound, of all and of each
node; where live links of one node or session replace each other again and again, two processes use it, and the
newcomer is turned away. Holds no link and no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from fabric.protocol.access.rates import Rates
from fabric.protocol.base.limits import (
    ADMISSIONS_BURST,
    ADMISSIONS_PER_ID_PER_S,
    ADMISSIONS_PER_S,
    ADMISSIONS_QUEUED_MAX,
    ADMISSIONS_QUEUED_PER_ID_MAX,
    TWIN_REPLACED_MAX,
    TWIN_WINDOW_MS,
)

_SECOND_MS = 1_000


class Admission:
    """Links that wait to be let in. Tokens are counted in thousandths, so that nothing is lost to rounding."""

    def __init__(
        self, per_s: int = ADMISSIONS_PER_S, burst: int = ADMISSIONS_BURST, queued_max: int = ADMISSIONS_QUEUED_MAX
    ) -> None:
        self._per_s = per_s
        self._burst = burst * _SECOND_MS
        self._queued_max = queued_max
        self._tokens = self._burst
        self._filled_ms = 0
        self._rates = Rates()  # of each node
        self._queues: OrderedDict[str, OrderedDict[int, None]] = OrderedDict()  # node -> its links
        self._node_of: dict[int, str] = {}  # of those

    def __len__(self) -> int:
        return len(self._node_of)

    def ask(self, link: int, node: str) -> bool:
        """This link of a node waits from here on: see `due`. False where too many wait already, of all or of it."""
        own = self._queues.get(node, ())
        if len(self._node_of) >= self._queued_max or len(own) >= ADMISSIONS_QUEUED_PER_ID_MAX:
            return False
        self._queues.setdefault(node, OrderedDict())[link] = None
        self._node_of[link] = node
        return True

    def due(self, now_ms: int) -> list[int]:
        """Whose turn it is. Nodes take turns; one that came too often of late waits, and holds nobody up."""
        links = []
        while self._queues and self._has_token(now_ms):
            node = next((n for n in self._queues if self._rates.allow(n, 1, ADMISSIONS_PER_ID_PER_S, now_ms)), None)
            if node is None:
                break
            self._tokens -= _SECOND_MS
            link = next(iter(self._queues[node]))
            self.forget(link)
            if node in self._queues:
                self._queues.move_to_end(node)
            links.append(link)
        return links

    def forget(self, link: int) -> None:
        """It waits no more."""
        node = self._node_of.pop(link, None)
        if node is None:
            return
        del self._queues[node][link]
        if not self._queues[node]:
            del self._queues[node]

    def _has_token(self, now_ms: int) -> bool:
        self._tokens = min(self._burst, self._tokens + max(0, now_ms - self._filled_ms) * self._per_s)
        self._filled_ms = now_ms
        return self._tokens >= _SECOND_MS


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
