"""A steady clock, and how far the machine's has moved from it.

Guarantees: `now_ms` never jumps and never goes back, whatever is done to the machine's clock, not even over restarts of
the process while the machine runs, where a file is kept: ages, deadlines and retries are measured with it. Over a start
of the machine itself it goes on as far from the machine's clock as it was. What that says besides, right or wrong, is
`wall_ahead_ms`. Milliseconds since 1970, as the machine's clock had it when the steady one began.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from fabric.documents import parse_json
from fabric.files import read_private, write_private
from fabric.protocol.base.errors import FabricError

_LOOK_MS = 1_000
# The machine's clock has to have moved by this much for the file to be written again: it is set, or it drifts for days.
_MOVED_MS = 1_000
# Three numbers and an id.
_KEPT_BYTES_MAX = 1_024
# Linux renews it at each start of the machine. Elsewhere a clock begins anew with each process.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@cache
def boot_id() -> str:
    """Which start of the machine this is; empty where nobody can tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def up_ns() -> int:
    """Time since the machine started, sleep included where that is known."""
    return time.clock_gettime_ns(_UP)  # several times in each turn


class Clock:
    """`kept`: the file that carries it over restarts, in a folder that is there. It is done without where it must."""

    def __init__(
        self,
        kept: Path | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        up_ns: Callable[[], int] = up_ns,
        boot: str | None = None,
    ) -> None:
        # A machine that lost its battery may think that it is 1969. Times are unsigned: it counts as the first moment
        # that there is, and is found to be wrong like any other clock that is.
        self._wall_ns: Callable[[], int] = lambda: max(0, wall_ns())
        self._up_ns = up_ns
        self._base_ms = self._wall_ns() // 1_000_000 - up_ns() // 1_000_000
        self._looked_ms: int | None = None
        self._wall_ahead_ms = 0
        self._boot = boot_id() if boot is None else boot
        self._kept = kept if self._boot else None
        self._kept_ahead_ms = 0  # as the file has it
        if self._kept is not None:
            self._go_on(self._kept)

    def _go_on(self, kept: Path) -> None:
        # A clock that another user put there would make messages as old or young as that user likes: it is ignored.
        with suppress(OSError, FabricError, ValueError, KeyError, TypeError):
            state = parse_json(read_private(kept, _KEPT_BYTES_MAX))
            ahead_ms = int(state["wall_ahead_ms"])
            if state["boot"] == self._boot:
                self._base_ms, self._kept_ahead_ms = int(state["base_ms"]), ahead_ms
                return
            self._base_ms -= ahead_ms
            self._kept_ahead_ms = ahead_ms
        self._keep(kept)

    def _keep(self, kept: Path) -> None:
        with suppress(OSError):
            state = {"boot": self._boot, "base_ms": self._base_ms, "wall_ahead_ms": self._kept_ahead_ms}
            # Not durable: a loop would wait for the disk, and one that is lost costs no more than a first start does.
            write_private(kept, json.dumps(state).encode(), durable=False)

    def now_ms(self) -> int:
        return self._base_ms + self._up_ns() // 1_000_000

    def wall_ahead_ms(self) -> int:
        """How far the machine's clock is ahead of this one; looked at once a second."""
        now_ms = self.now_ms()
        if self._looked_ms is None or now_ms - self._looked_ms >= _LOOK_MS:
            self._looked_ms = now_ms
            self._wall_ahead_ms = self._wall_ns() // 1_000_000 - now_ms
            if self._kept is not None and abs(self._wall_ahead_ms - self._kept_ahead_ms) >= _MOVED_MS:
                self._kept_ahead_ms = self._wall_ahead_ms
                self._keep(self._kept)
        return self._wall_ahead_ms
