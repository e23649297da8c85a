"""What a reader counts of a run: how many of each severity, how long they took, and which way they came.

Bounded: however many records there are, latencies are counted in steps of two percent, and the largest exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from fabric.edge.messages import Message
from relays.benching.marks import PROBE, mark_of

_STEP: Final = math.log(1.02)
# What is faster than this counts as this: less than a step of any clock that is used here.
_MS_MIN: Final = 0.001


class Latencies:
    """Milliseconds, of any number of records."""

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()
        self.max_ms = 0.0

    @property
    def count(self) -> int:
        return self._steps.total()

    def add(self, ms: float) -> None:
        self._steps[math.ceil(math.log(max(ms, _MS_MIN) / _MS_MIN) / _STEP)] += 1
        self.max_ms = max(self.max_ms, ms)

    def to_json(self) -> dict[str, Any]:
        """Records, and milliseconds; without a record no milliseconds."""
        if not self._steps:
            return {"records": 0, "p50_ms": None, "p99_ms": None, "max_ms": None}
        return {
            "records": self.count, "p50_ms": round(self.percentile(0.5), 3), "p99_ms": round(self.percentile(0.99), 3),
            "max_ms": round(self.max_ms, 3),
        }

    def percentile(self, share: float) -> float:
        """What so much of them did not exceed, by nearest rank and to two percent. There is one at least."""
        rank = max(1, math.ceil(round(self.count * share, 6)))
        for step in sorted(self._steps):
            rank -= self._steps[step]
            if rank <= 0:
                return min(self.max_ms, _MS_MIN * math.exp(step * _STEP))
        raise AssertionError("there is nothing to rank")


class Tally:
    """Of the records of one run that come to one reader. For one thread that takes; its numbers any thread may read.

    `reached`: something of the run came. `withheld`: something of its publisher came whose content this reader may not
    see, with this label.
    """

    def __init__(self, run: str, publisher: str) -> None:
        self._run, self._publisher = run, publisher
        self.reached = False
        self.withheld = ""
        self._last_s = 0.0
        self._path: Sequence[str] = ()
        self._all = Latencies()
        self._of: dict[str, Latencies] = {}  # by severity
        self.records = 0

    def take(self, message: Message, now_s: float) -> None:
        """`now_s`: by the same clock as `Mark.at_s`."""
        if message.origin != self._publisher:
            return
        mark = mark_of(message.content, self._run)
        if mark is None:
            if message.withheld and not self.reached:
                self.withheld = max(message.withheld).short
            return
        self.reached = True
        if mark.number == PROBE:
            return
        self._path, self._last_s = message.path, now_s
        took_ms = max(0.0, now_s - mark.at_s) * 1000
        for latencies in (self._all, self._of.setdefault(message.severity.name.lower(), Latencies())):
            latencies.add(took_ms)
        self.records += 1

    def report(self) -> dict[str, Any]:
        """All of it, as JSON has it. `last_s`: when the last record came, by the monotonic clock."""
        return {
            **self._all.to_json(), "last_s": self._last_s, "path": list(self._path),
            "severities": {severity: each.to_json() for severity, each in self._of.items()},
        }
