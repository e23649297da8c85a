"""What lies between two nodes: delay, loss, order, copies, directions that are cut, and how much goes through a second.

Every choice comes from one source of randomness, so a run repeats itself.
"""

from __future__ import annotations

import random


class Network:
    """`loss`, `copies`: how many of all frames. `ordered`: frames of one way do not overtake each other."""

    def __init__(self, chosen: random.Random, loss: float, delay_ms: tuple[int, int]) -> None:
        self._random = chosen
        self.loss = loss
        self.delay_ms = delay_ms
        self.copies = 0.0
        self.ordered = False
        self._cut: dict[tuple[str, str], None] = {}
        self._late_ms: dict[tuple[str, str], int] = {}
        self._narrow: dict[tuple[str, str], tuple[float, int]] = {}
        self._busy_until_ms: dict[tuple[str, str], float] = {}
        self._last_ms: dict[tuple[str, str], int] = {}

    # -- its state --------------------------------------------------------------------------------------

    def cut(self, a: str, b: str, *, back: bool = True) -> None:
        """Nothing goes from `a` to `b`, and `back` neither."""
        self._cut[a, b] = None
        if back:
            self._cut[b, a] = None

    def mend(self, a: str, b: str) -> None:
        """Whatever was wrong between these two."""
        for way in ((a, b), (b, a)):
            for known in (self._cut, self._late_ms, self._narrow, self._busy_until_ms):
                known.pop(way, None)

    def is_cut(self, a: str, b: str) -> bool:
        return (a, b) in self._cut

    def be_late(self, a: str, b: str, ms: int) -> None:
        """Everything from `a` to `b` takes up to so much longer."""
        self._late_ms[a, b] = ms

    def be_narrow(self, a: str, b: str, bytes_per_s: int, way_ms: int) -> None:
        """So much goes from `a` to `b`, and takes so long at least."""
        self._narrow[a, b] = bytes_per_s / 1000, way_ms

    # -- a frame ----------------------------------------------------------------------------------------

    def arrivals(self, a: str, b: str, size: int, now_ms: int) -> list[int]:
        """When a frame that leaves now arrives: never, once, or twice."""
        lost = self._random.random() < self.loss or (a, b) in self._cut
        arrivals = [self._arrival(a, b, size, now_ms)]
        if self.copies and self._random.random() < self.copies:
            arrivals.append(arrivals[0] + self._random.randint(0, 2_000))
        return [] if lost else arrivals

    def _arrival(self, a: str, b: str, size: int, now_ms: int) -> int:
        at_ms = now_ms + self._random.randint(*self.delay_ms)
        late_ms = self._late_ms.get((a, b))
        if late_ms is not None:
            at_ms += self._random.randint(0, late_ms)
        narrow = self._narrow.get((a, b))
        if narrow is not None:
            bytes_per_ms, way_ms = narrow
            begins_ms = max(float(now_ms), self._busy_until_ms.get((a, b), 0.0))
            self._busy_until_ms[a, b] = begins_ms + size / bytes_per_ms
            at_ms += int(self._busy_until_ms[a, b]) - now_ms + way_ms
        if self.ordered or narrow is not None:
            at_ms = max(at_ms, self._last_ms.get((a, b), 0))
            self._last_ms[a, b] = at_ms
        return at_ms
