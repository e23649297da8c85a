"""The publisher of a run: as fast as it is let, or at a rate, with severities in turn, for a time that is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import cycle
from typing import Any, Final

from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import Code, FabricError
from relays.benching.marks import PROBE, Records

# How often somebody is told how far it is, and how long it sleeps at most while it keeps to a rate.
TELL_S: Final = 0.1
# Between two records that only ask whether anything arrives.
_PROBE_S: Final = 0.2
# Of what was published, until the relay holds it.
_FLUSH_S: Final = 30.0
# A record that finds no room for so long is a reason to look at the time.
_ROOM_S: Final = 0.5


class Publisher:
    """`published`, `held`, `refused`: how many records so far; `first_error`: why the first was refused; `held_up`:
    what kept records from their relay at times. `took_s`: from the first record until the relay held the last; `cpu_s`:
    processor time of this process meanwhile."""

    def __init__(self, point: ControlPoint, topic: str, records: Records, options: dict[str, Any]) -> None:
        """`options`: those of `ControlPoint.publish` that each record has."""
        self._point, self._topic, self._records, self._options = point, topic, records, options
        self._lock = threading.Lock()
        self.published = self.held = self.refused = 0
        self.first_error: FabricError | None = None
        self.held_up: dict[Code, None] = {}  # in the order in which they came
        self.began_s = self.took_s = self.cpu_s = 0.0

    def probe(self, severity: str, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Publish one now and then, until somebody says that it arrived. Raises why a relay refuses it."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            with suppress(TimeoutError):
                content = self._records.make(PROBE, time.monotonic())
                left_s = max(0.0, until_s - time.monotonic())
                self._point.publish_later(self._topic, content, severity=severity, **self._options).result(left_s)
            asked_s = time.monotonic()
            while time.monotonic() - asked_s < _PROBE_S:
                if reached():
                    return True
                time.sleep(_PROBE_S / 20)
        return reached()

    def run(
        self, seconds: float, rate_per_s: float | None, severities: Sequence[str], tell: Callable[[], None]
    ) -> None:
        """Publish for so long, then wait until the relay holds all. `tell` is called a few times a second. Ctrl-C ends
        it as the time does, and is raised when what was published is known."""
        cpu_s = time.process_time()
        self.began_s = time.monotonic()
        try:
            try:
                self._publish(self.began_s + seconds, rate_per_s, severities, tell)
            finally:
                self._flush()
        finally:  # a second Ctrl-C ends the waiting, too
            self.took_s = time.monotonic() - self.began_s
            self.cpu_s = time.process_time() - cpu_s

    def _flush(self) -> None:
        """How many are not held after a while is in the numbers."""
        until_s = time.monotonic() + _FLUSH_S
        while time.monotonic() < until_s:
            self._look()
            with suppress(FabricError):
                self._point.flush(_ROOM_S)
                return

    def _look(self) -> None:
        if (why := self._point.held_up) is not None:
            self.held_up[why.code] = None

    def _publish(
        self, until_s: float, rate_per_s: float | None, severities: Sequence[str], tell: Callable[[], None]
    ) -> None:
        told_s = self.began_s
        for severity in cycle(severities):
            now_s = time.monotonic()
            if now_s - told_s >= TELL_S:
                told_s = now_s
                self._look()
                tell()
            if rate_per_s is not None:
                due_s = self.began_s + self.published / rate_per_s
                while now_s < min(due_s, until_s):
                    time.sleep(min(due_s - now_s, TELL_S))
                    now_s = time.monotonic()
                    tell()
            if now_s >= until_s:
                return
            content = self._records.make(self.published, now_s)
            try:
                future = self._point.publish_later(
                    self._topic, content, severity=severity, wait_s=_ROOM_S, **self._options
                )
            except FabricError as error:
                if error.code is not Code.BUSY:
                    raise
                continue  # it was not taken, and the time may be over
            self.published += 1
            future.add_done_callback(self._settled)

    def _settled(self, future: Future[str]) -> None:
        """On the connection's thread."""
        error = future.exception()
        with self._lock:
            if error is None:
                self.held += 1
                return
            self.refused += 1
            if self.first_error is None and isinstance(error, FabricError):
                self.first_error = error
