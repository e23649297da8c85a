"""Publish rates (SPEC 8.2): a token bucket per origin, judged at its first relay. Nothing is lost: it waits."""

from __future__ import annotations

from collections import OrderedDict

_ORIGINS_MAX = 10_000
# A bucket holds this many seconds of its rate, so that a batch after a quiet moment is not refused.
_BURST_S = 10


class Rates:
    def __init__(self) -> None:
        # (origin, rate) -> (tokens, at): grants of one origin with different rates do not share a bucket
        self._buckets: OrderedDict[tuple[str, int], tuple[float, int]] = OrderedDict()

    def allow(self, origin: str, records: int, rate_per_s: int, now_ms: int) -> bool:
        """Take `records` tokens; a rate of 0 is not limited. A batch larger than the bucket passes a full one."""
        if rate_per_s == 0:
            return True
        size = float(rate_per_s * _BURST_S)
        tokens, at_ms = self._buckets.get((origin, rate_per_s), (size, now_ms))
        tokens = min(size, tokens + max(0, now_ms - at_ms) * rate_per_s / 1000)
        allowed = tokens >= min(float(records), size)
        self._buckets[origin, rate_per_s] = (tokens - records if allowed else tokens, now_ms)
        self._buckets.move_to_end((origin, rate_per_s))
        if len(self._buckets) > _ORIGINS_MAX:
            self._buckets.popitem(last=False)
        return allowed
