"""Relays that are killed and stopped while a tree runs: who and when follows from a seed, and a thread carries it out.

Guarantees: a signal reaches a process of the tree's own or nobody, since it goes through a handle that was checked;
whatever was stopped goes on again, also when the run is given up; as many faults of each relay as of any other.
"""

from __future__ import annotations

import heapq
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.integration.harness import House

# Below and above the silence after which a link is given up (8.5 s): both ways of coming back are met.
STOP_S = (0.5, 11.0)
# A relay that dies again and again is waited for by its supervisor; somebody else's turn comes first.
_RUNS_WITHIN_S = 5.0


@dataclass(frozen=True, order=True)
class Fault:
    at_s: float  # since the run began
    relay: str
    stop_s: float = 0.0  # SIGSTOP for so long; 0: kill -9


def plan(relays: Sequence[str], kills: int, stops: int, duration_s: float, seed: int) -> list[Fault]:
    """Spread over the run, each in a slot of its own, the kinds and the victims in a mixed order."""
    chosen = random.Random(seed)
    count = kills + stops
    kinds = [True] * kills + [False] * stops
    chosen.shuffle(kinds)
    victims: list[str] = []
    while len(victims) < count:
        victims += chosen.sample(relays, len(relays))
    slot_s = duration_s / max(1, count)
    return [
        Fault((n + chosen.random()) * slot_s, victims[n], 0.0 if kill else chosen.uniform(*STOP_S))
        for n, kill in enumerate(kinds)
    ]


def handle_of(house: House, relay: str) -> int | None:
    """A pidfd of the relay's process. None when it does not run, or has not come far enough to write its state."""
    try:
        pid = house.pid(relay)
        handle = os.pidfd_open(pid)
    except (KeyError, OSError):
        return None
    # The number may be somebody else's by now; the handle is of whoever has it, and stays so.
    with suppress(OSError):
        if f"FABRIC_HOME={house.home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return handle
    os.close(handle)
    return None


class Faults:
    """Carries out a plan. `began_s`: of `time.monotonic`, when its times count from."""

    def __init__(self, house: House, planned: Sequence[Fault], began_s: float) -> None:
        self.kills = 0
        self.stops = 0
        self.left_out: list[Fault] = []  # whose relay did not run in time
        self._house, self._planned, self._began_s = house, sorted(planned), began_s
        self._stopped: list[tuple[float, int]] = []  # (until, handle)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)

    def __enter__(self) -> Faults:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_RUNS_WITHIN_S + 5)

    def wait_done(self, timeout_s: float) -> bool:
        """Until all of it was carried out, and whoever was stopped goes on."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for fault in self._planned:
                self._wait_until(self._began_s + fault.at_s)
                if self._over.is_set():
                    return
                self._inflict(fault)
            while self._stopped and not self._over.is_set():
                self._wait_until(self._stopped[0][0])
        finally:
            for _, handle in self._stopped:
                _signal(handle, signal.SIGCONT)
                os.close(handle)

    def _wait_until(self, at_s: float) -> None:
        """Meanwhile, whoever was stopped for long enough goes on."""
        while not self._over.is_set():
            now_s = time.monotonic()
            while self._stopped and self._stopped[0][0] <= now_s:
                _, handle = heapq.heappop(self._stopped)
                _signal(handle, signal.SIGCONT)
                os.close(handle)
            next_s = min([at_s, *(until for until, _ in self._stopped)])
            if now_s >= at_s:
                return
            self._over.wait(max(0.0, next_s - now_s))

    def _inflict(self, fault: Fault) -> None:
        deadline_s = time.monotonic() + _RUNS_WITHIN_S
        while (handle := handle_of(self._house, fault.relay)) is None:
            if time.monotonic() > deadline_s or self._over.is_set():
                self.left_out.append(fault)
                return
            self._wait_until(time.monotonic() + 0.1)
        if fault.stop_s:
            _signal(handle, signal.SIGSTOP)
            self.stops += 1
            heapq.heappush(self._stopped, (time.monotonic() + fault.stop_s, handle))
        else:
            _signal(handle, signal.SIGKILL)
            self.kills += 1
            os.close(handle)


def _signal(handle: int, number: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)
