"""What was seen (SPEC 7.5): by (id, direction), until the message would be expired anyway.

Guarantees: a repeat within that time, and within the last `seen_max` messages, is known as one. The bound keeps
memory finite under any ttl; a sender repeats within seconds, so what it forgets first is what matters least.
"""

from __future__ import annotations

from collections import OrderedDict

from fabric.protocol.wire import Direction

SEEN_MAX = 200_000


class Dedup:
    def __init__(self, seen_max: int = SEEN_MAX) -> None:
        self._until: OrderedDict[tuple[bytes, Direction], int] = OrderedDict()
        self._seen_max = seen_max

    def __len__(self) -> int:
        return len(self._until)

    def seen(self, id_: bytes, direction: Direction, now_ms: int) -> bool:
        until = self._until.get((id_, direction))
        return until is not None and until > now_ms

    def add(self, id_: bytes, direction: Direction, until_ms: int) -> None:
        self._until[(id_, direction)] = until_ms
        if len(self._until) > self._seen_max:
            self._until.popitem(last=False)

    def sweep(self, now_ms: int, steps_max: int = 64) -> None:
        """Forget some of the oldest that no longer matter; bounded work a call."""
        for _ in range(min(steps_max, len(self._until))):
            key, until = next(iter(self._until.items()))
            if until > now_ms:
                return
            del self._until[key]
