"""Many control points at one relay: what they cost while nothing happens, and how long they take to come at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relays.process.descriptors import raise_limit
from scripts.comparison.crowd_ends import COME_S
from scripts.comparison.figures import Figure, Window
from scripts.comparison.processes import Cpu, Failed, Program
from scripts.comparison.resident import resident_kb
from tests.integration.harness import House, house_in, wait_for

MEMORY = Figure("memory", "KB each", "less", 50.0)
SHARE = Figure("processor", "% of a core", "less", 5.0)
STAYED = Figure("stayed", "% of them", "more", 100.0)
ATTACHED = Figure("attached", "s", "less", 2.0)
# A host may connect so often a second in the long run, and a little slower is let in without a wait (SPEC 7.7).
_PER_S = 150
# Of the ends, a socket and the pipe of its queue each; of those that are left, some for everything else.
_DESCRIPTORS_EACH, _DESCRIPTORS_SPARE = 2, 200
_TOPOLOGY = """
fabric = "bench"
organisation = "acme"
defaults = { label = "green" }

[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }

[roles]
analyst = { subscribe = ["detections.>"] }

[points]
analyst-1 = { relay = "hq", role = "analyst", clearance = "amber" }
"""
_ENDS = (
    "its control points are cores of the protocol with a socket each, all in one process, that subscribe, answer and "
    "ask as any control point does"
)


class Idle:
    """The relay's memory for each, and its processor time while nothing is said but that one is there."""

    def __init__(self, house: House, ends: Program, count: int, wanted: int) -> None:
        self.does = _ENDS + (
            "" if count == wanted else f"; {count:,} and not {wanted:,}, since a process here has no more descriptors"
        )
        pid = house.pid("hq")
        self._ends, self._count = ends, count
        before_kb = resident_kb(pid)
        self._attached = ends.ask("come", count, _PER_S, takes_s=count / _PER_S + COME_S)["attached"]
        if not self._attached:
            raise Failed("none of them was attached")
        if self._attached < count:
            self.does += f"; no more than {self._attached:,} were attached, and what the relay took is shared by these"
        self._each_kb = (resident_kb(pid) - before_kb) / self._attached
        self._cpu = Cpu({"hq": pid})

    def window(self, seconds: float) -> Window:
        self._cpu.begin()
        lost = self._ends.ask("stay", seconds, takes_s=seconds)["lost"]
        share = self._cpu.per_record(1)["hq"] / (seconds * 1e6) * 100
        stayed = max(0, self._attached - lost) / self._count * 100
        return Window({MEMORY.name: self._each_kb, SHARE.name: share, STAYED.name: stayed})


class Coming:
    """Seconds until all are attached, from when the first of them dials."""

    does = f"{_ENDS}; a relay lets 250 a second in, after the first 32 (SPEC 7.7)"

    def __init__(self, house: House, ends: Program, count: int) -> None:
        self._house, self._ends, self._count = house, ends, count
        self._cpu = Cpu({"hq": house.pid("hq"), "control points": ends.pid})

    def window(self, seconds: float) -> Window:
        """Of one time that all of them come; that takes as long as it takes."""
        self._cpu.begin()
        said = self._ends.ask("come", self._count, 0, takes_s=COME_S)
        if said["attached"] < self._count:
            raise Failed(f"{said['attached']} of {self._count} control points were attached within {COME_S:.0f} s")
        cpu_us = self._cpu.per_record(self._count)
        self._ends.ask("go")
        wait_for(lambda: not self._house.state("hq").get("routes"), "all of them gone again")
        return Window({ATTACHED.name: said["took_s"]}, cpu_us)


@contextmanager
def idle(folder: Path, *, points: int) -> Iterator[Idle]:
    count = max(1, min(points, (raise_limit() - _DESCRIPTORS_SPARE) // _DESCRIPTORS_EACH))
    with _relay(folder, count) as (house, ends):
        yield Idle(house, ends, count, points)


@contextmanager
def coming(folder: Path, *, points: int) -> Iterator[Coming]:
    with _relay(folder, points) as (house, ends):
        yield Coming(house, ends, points)


@contextmanager
def _relay(folder: Path, count: int) -> Iterator[tuple[House, Program]]:
    """One relay, and who is about to come to it: as many as will have an identity."""
    folder.mkdir()
    with house_in(folder, _TOPOLOGY, anew=True) as house:
        house.up()
        house.wait_whole()
        identity = str(house.folder / "ids" / "analyst-1")
        with Program(
            folder / "control points.log", "scripts.comparison.crowd_ends", str(house.home), identity, str(count)
        ) as ends:
            ends.hear()
            yield house, ends
        house.down()
