"""Rates (SPEC 8.2): token buckets, applied at an origin's first relay. What exceeds a rate waits, and is not lost.

Guarantees: nobody has more than a rate allows, whatever others do and however many they are: a bucket is forgotten only
when it is full, which is as good as new. Where there is no room for another bucket, its origin waits until others are
full, which is soon: a bucket holds some seconds of its rate.
"""

from __future__ import annotations

from collections.abc import Hashable

# What one process of a relay can have below it, several times over.
_BUCKETS_MAX = 16_384
# A bucket holds this many seconds of its rate, so that a batch after a quiet moment is not refused.
_BURST_S = 10
# Full buckets are looked for this often at most: it is a look at all of them.
_LOOK_MS = 1_000


class Rates:
    """Token buckets, one for each (whose, rate); each holds what the rate allows in ten seconds."""

    def __init__(self, buckets_max: int = _BUCKETS_MAX) -> None:
        # (whose, rate) -> (tokens, at): what somebody may do under different rates does not share a bucket
        self._buckets: dict[tuple[Hashable, int], tuple[float, int]] = {}
        self._buckets_max = buckets_max
        self._looked_ms: int | None = None

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, whose: Hashable, records: int, rate_per_s: int, now_ms: int) -> bool:
        """Take `records` tokens; a rate of 0 is not limited. A batch larger than the bucket passes a full one."""
        if rate_per_s == 0:
            return True
        key = whose, rate_per_s
        if key not in self._buckets and not self._has_room(now_ms):
            return False
        size = float(rate_per_s * _BURST_S)
        tokens, at_ms = self._buckets.get(key, (size, now_ms))
        tokens = _filled(tokens, at_ms, rate_per_s, now_ms)
        allowed = tokens >= min(float(records), size)
        self._buckets[key] = tokens - records if allowed else tokens, now_ms
        return allowed

    def _has_room(self, now_ms: int) -> bool:
        if len(self._buckets) < self._buckets_max:
            return True
        if self._looked_ms is None or now_ms - self._looked_ms >= _LOOK_MS:
            self._looked_ms = now_ms
            for (whose, rate_per_s), (tokens, at_ms) in list(self._buckets.items()):
                if _filled(tokens, at_ms, rate_per_s, now_ms) >= rate_per_s * _BURST_S:
                    del self._buckets[whose, rate_per_s]
        return len(self._buckets) < self._buckets_max


def _filled(tokens: float, at_ms: int, rate_per_s: int, now_ms: int) -> float:
    return min(float(rate_per_s * _BURST_S), tokens + max(0, now_ms - at_ms) * rate_per_s / 1000)
