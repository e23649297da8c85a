"""What is published, the same on both sides, and what a reader knows of what it took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import Any

from scripts.comparison.saying import say

# About 200 bytes as JSON.
RECORD = {
    "ts": 1381967744.641998, "uid": "CDAenV3hevbeFhUnze", "id.orig_h": "10.235.149.240", "id.orig_p": 49226,
    "id.resp_h": "10.235.149.243", "id.resp_p": 502, "tid": 49738, "unit": 255, "func": "READ_COILS",
}
LABELS = {"id.orig_h": "amber", "id.resp_h": "amber"}
STREAM_TOPIC, ALERT_TOPIC = "detections.bench", "detections.alert.now"
ALERTS, ALL = "detections.alert.>", "detections.>"
# Records that cannot share an envelope: so many topics in turn, and no more records under way.
TOPICS = 512
# So many records are handed over at once where many are.
BULK = 500
# Between events that are measured: what a chain does with one is over by then.
GAP_S = 0.02
# A reader that got nothing for so long will get nothing more.
QUIET_S = 3.0
_LOOK_S = 0.002
_COUNT = Struct("=q")


def single_topic(n: int, of: str = STREAM_TOPIC) -> str:
    return f"{of}.{n % TOPICS}"


class Progress:
    """How many records a reader has, for its publisher, which is another process: in a file that both have in memory.
    """

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(_COUNT.size)
            self._shared = mmap(file.fileno(), _COUNT.size)

    def tell(self, count: int) -> None:
        _COUNT.pack_into(self._shared, 0, count)

    @property
    def count(self) -> int:
        return int(_COUNT.unpack_from(self._shared)[0])


class Taken:
    """Counts what comes, and measures what bears the time at which it was published.

    `take` is called on one thread; the questions of the program that runs the comparison are answered on another.
    """

    def __init__(self) -> None:
        self.records = 0
        self.latencies_ms: list[float] = []
        self.last_s = 0.0

    def take(self, content: Any) -> None:
        """Times are of the machine's monotonic clock, which all processes share."""
        now_s = time.perf_counter()
        sent_s = content.get("at")
        if sent_s is None:
            self.records += 1
        else:
            self.latencies_ms.append((now_s - sent_s) * 1000)
        self.last_s = now_s

    def count(self, records: int) -> None:
        """The same of records whose content nobody looks at."""
        self.records += records
        self.last_s = time.perf_counter()

    def answer_in_thread(self, over: Callable[[], object]) -> None:
        """`over` is called on that thread when no more questions will come."""
        threading.Thread(target=self._answer, args=(over,), daemon=True).start()

    def _answer(self, over: Callable[[], object]) -> None:
        """`records N` and `probes N`: say what came as soon as it is so much, or when no more comes."""
        for line in sys.stdin:
            what, count = line.split()
            self._wait(what == "records", int(count))
            probes, self.latencies_ms = self.latencies_ms, []
            say(records=self.records, last_s=self.last_s, latencies_ms=probes)
        over()

    def _wait(self, records: bool, count: int) -> None:
        last_s, changed_s = self.last_s, time.perf_counter()
        while (self.records if records else len(self.latencies_ms)) < count:
            if self.last_s != last_s:
                last_s, changed_s = self.last_s, time.perf_counter()
            elif time.perf_counter() - changed_s > QUIET_S:
                return
            time.sleep(_LOOK_S)
