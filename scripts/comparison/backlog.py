"""A relay whose parent is away: what it keeps meanwhile, and how fast it hands that on when the parent is back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from scripts.comparison.figures import Figure, Window
from scripts.comparison.measuring import house_with_ends
from scripts.comparison.processes import Cpu, Failed, Program
from scripts.comparison.records import ALL
from scripts.comparison.resident import peak_kb
from tests.integration.harness import House

DRAIN = Figure("drain", "records/s", "more", 100_000.0)
# Flat: ten times as much that waits takes hardly more.
MEMORY = Figure("memory", "times that of a tenth", "less", 1.5)
PEAK = Figure("peak", "MB", "less")
FIGURES = (DRAIN, MEMORY, PEAK)
# The publisher is that fast at least, on any machine.
_PER_S_MIN = 1_000
# How long nothing may be handed on.
_STALL_S = 60.0
_LOOK_S = 0.02
# Between two states that are compared: a relay writes one each second.
_APART_MS_MIN = 900
_TOPOLOGY = """
fabric = "bench"
organisation = "acme"
defaults = { label = "green" }

[relays]
hq    = { segment = "hq",    clearance = "red",   listen = "127.0.0.1:PORT-hq" }
plant = { segment = "plant", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }

[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"], keep = { bytes = "512MB", for = "1d", full = "wait" } }

[points]
sensor-p   = { relay = "plant", role = "sensor",  clearance = "amber" }
analyst-hq = { relay = "hq",    role = "analyst", clearance = "red" }
"""


class Held(NamedTuple):
    """What a relay held (envelopes), and when it said so."""

    at_ms: int
    held: int


class Backlog:
    """Records a second that leave the relay, and its memory at most."""

    does = (
        "the parent stands still while the records are published, and goes on then; they share envelopes, are on the "
        "relay's disk, and those that left are on the parent's; a reader there takes them meanwhile"
    )

    def __init__(self, house: House, records: int, publisher: Program, reader: Program) -> None:
        self._house, self._records, self._publisher, self._reader = house, records, publisher, reader
        self._pid = house.pid("plant")
        self._cpu = Cpu({"plant": self._pid, "hq": house.pid("hq"), "reader": reader.pid})

    def window(self, seconds: float) -> Window:
        """Once; that takes as long as it takes."""
        with self._house.frozen(self._house.pid("hq")):
            tenth = max(1, self._records // 10)
            published = self._publish(tenth)
            tenth_kb = peak_kb(self._pid)
            published += self._publish(self._records - tenth)
            full = Held(*self._state(self._house.fresh_state("plant")))
            self._cpu.begin()
        course = self._until_empty(full)
        all_kb = peak_kb(self._pid)
        cpu_us = self._cpu.per_record(published)
        taken = self._reader.ask("records", published, takes_s=published / _PER_S_MIN)["records"]
        values = {
            DRAIN.name: envelopes_per_s(course) * published / full.held, MEMORY.name: all_kb / tenth_kb,
            PEAK.name: all_kb / 1024,
        }
        return Window(values, cpu_us, published - taken)

    def _publish(self, count: int) -> int:
        return int(self._publisher.ask("bulk", count, takes_s=count / _PER_S_MIN)["published"]) if count else 0

    def _until_empty(self, full: Held) -> list[Held]:
        """What the relay held, from when it held all until it holds nothing."""
        if not full.held:
            raise Failed("nothing waits at plant although its parent is away")
        course = [full]
        changed_s = time.monotonic()
        while course[-1].held:
            if time.monotonic() - changed_s > _STALL_S:
                raise Failed(f"plant still holds {course[-1].held:,} envelopes, and hands none on")
            time.sleep(_LOOK_S)
            now = Held(*self._state(self._house.state("plant")))
            if now.at_ms > course[-1].at_ms:
                if now.held != course[-1].held:
                    changed_s = time.monotonic()
                course.append(now)
        return course

    @staticmethod
    def _state(state: dict[str, int]) -> tuple[int, int]:
        return state["at_ms"], state["held"]


def envelopes_per_s(course: Sequence[Held]) -> float:
    """How fast it became less. A relay says once a second what it holds, so it counts from the first of its words to
    the last that is of the midst, where there are two; else the second in which it began, and that in which it ended,
    count in full.
    """
    full = course[0].held
    midst = [each for each in course if 0 < each.held < full]
    if len(midst) > 1 and midst[-1].at_ms - midst[0].at_ms >= _APART_MS_MIN:
        first, last = midst[0], midst[-1]
    else:
        first = next(before for before, after in pairwise(course) if after.held < full)
        last = course[-1]
    return (first.held - last.held) / (last.at_ms - first.at_ms) * 1000


@contextmanager
def backlog(folder: Path, *, records: int) -> Iterator[Backlog]:
    with house_with_ends(
        folder, _TOPOLOGY, "scripts.comparison.fabric_ends", read=(ALL, "durable"), publish=("bulk",)
    ) as (house, reader, publisher):
        house.wait_routes("hq", 1)
        yield Backlog(house, records, publisher, reader)
