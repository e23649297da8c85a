"""What a target is, and how its inputs are run: made from a seed, measured, and made smaller when one fails.

An input is named by its target and one number, its seed: `play` makes it from the dice of that seed and runs it, and
whatever comes out of that but silence is a failure. What was run is recorded as bytes, which `run` takes again without
dice, so that an input that failed is kept whatever becomes of the code that made it.
"""

from __future__ import annotations

import gc
import os
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tests.fuzz.dice import Dice

_PAGE = os.sysconf("SC_PAGE_SIZE")
# Garbage collection, or a neighbour on the machine, may fall on any input: one that is slow is so each time.
_SLOW_TRIES = 3
# How many times an input is run to make it smaller.
_SMALLER_TRIES = 1_500
_SMALLER_S = 30


class TooSlowError(AssertionError):
    """One input took longer than its target allows."""


class TooLargeError(AssertionError):
    """One input took more memory than its target allows."""


class Meter:
    """Time and memory of the inputs of one target. Time is this thread's own, so that neighbours count less."""

    def __init__(self, ms_max: float, bytes_max: int) -> None:
        self.ms_max = ms_max
        self.bytes_max = bytes_max
        self.inputs = 0
        self.worst_ms = 0.0
        self.worst_bytes = 0
        self.worst_seed_ms = self.worst_seed_bytes = self.seed = 0

    @contextmanager
    def input(self) -> Iterator[None]:
        """Around the code that reads one input. Memory is looked at where somebody traces it.

        Garbage is not collected meanwhile: how long that takes is due to what else this process holds.
        """
        self.inputs += 1
        traced = tracemalloc.is_tracing()
        if traced:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
        collects = gc.isenabled()
        gc.disable()
        began = time.thread_time()
        try:
            yield
        finally:
            ms = (time.thread_time() - began) * 1000
            if collects:
                gc.enable()
        if traced:  # tracing is slow: the time says nothing
            peak = tracemalloc.get_traced_memory()[1] - before
            if peak > self.worst_bytes:
                self.worst_bytes, self.worst_seed_bytes = peak, self.seed
            if peak > self.bytes_max:
                raise TooLargeError(f"{peak:,} bytes of memory for one input, {self.bytes_max:,} are allowed")
            return
        if ms > self.worst_ms:
            self.worst_ms, self.worst_seed_ms = ms, self.seed
        if ms > self.ms_max:
            raise TooSlowError(f"{ms:.0f} ms for one input, {self.ms_max:.0f} are allowed")


@dataclass
class Played:
    """What was run, as bytes that `run` takes; filled in also when it failed."""

    raw: bytes = b""


class Target(Protocol):
    name: str
    ms_max: float
    bytes_max: int
    traced_every: int  # of how many inputs one is run with its memory traced

    def play(self, dice: Dice, played: Played, meter: Meter) -> None:
        """Make an input and run it."""

    def run(self, raw: bytes, meter: Meter) -> None:
        """Run one that was made before."""

    def pieces(self, raw: bytes) -> Sequence[Any]:
        """What could be left out of it."""

    def whole(self, raw: bytes, pieces: Sequence[Any]) -> bytes:
        """The input again, of these pieces."""


@dataclass(frozen=True)
class Bytes:
    """Bytes that one function reads. What it raises is a failure; refusals are values, or caught by `read`."""

    name: str
    make: Callable[[Dice], bytes]
    read: Callable[[bytes], object]
    ms_max: float = 250.0
    bytes_max: int = 32 << 20
    traced_every: int = 64

    def play(self, dice: Dice, played: Played, meter: Meter) -> None:
        played.raw = self.make(dice)
        self.run(played.raw, meter)

    def run(self, raw: bytes, meter: Meter) -> None:
        with meter.input():
            self.read(raw)

    def pieces(self, raw: bytes) -> Sequence[Any]:
        return raw

    def whole(self, raw: bytes, pieces: Sequence[Any]) -> bytes:
        return bytes(pieces)


@dataclass(frozen=True)
class Failure:
    target: str
    seed: int
    what: str  # the error in a line
    where: str  # what tells this failure from others: its kind and its place
    raw: bytes  # the least input that still fails so
    trace: str = field(repr=False, default="")

    @property
    def command(self) -> str:
        return f"scripts/fuzz --target {self.target} --seed {self.seed} --replay"


@dataclass
class Figures:
    target: str
    inputs: int = 0
    seconds: float = 0.0
    worst_ms: float = 0.0
    worst_ms_seed: int = 0
    worst_bytes: int = 0  # of those inputs whose memory was traced
    worst_bytes_seed: int = 0
    grown_bytes: int = 0  # the process, from the first hundredth of the run to its end
    failures: list[Failure] = field(default_factory=list)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def run_seed(target: Target, seed: int, meter: Meter, *, traced: bool | None = None) -> Failure | None:
    """One input. Memory is traced for one in so many, or as told."""
    meter.seed = seed
    if traced if traced is not None else seed % target.traced_every == 0:
        tracemalloc.start()
    played = Played()
    try:
        target.play(Dice(f"{target.name}/{seed}"), played, meter)
    except Exception as error:  # noqa: BLE001 - everything that comes out is what is looked for
        return _failure(target, seed, played.raw, error)
    finally:
        tracemalloc.stop()
    return None


def run_raw(target: Target, raw: bytes, *, traced: bool = False) -> Failure | None:
    """One recorded input again."""
    if traced:
        tracemalloc.start()
    try:
        target.run(raw, Meter(target.ms_max, target.bytes_max))
    except Exception as error:  # noqa: BLE001
        return _failure(target, -1, raw, error)
    finally:
        tracemalloc.stop()
    return None


def is_real(target: Target, failure: Failure) -> bool:
    """Whether it fails again. Slow once may have been the machine's doing."""
    if not failure.where.startswith(TooSlowError.__name__):
        return True
    return all((again := run_raw(target, failure.raw)) and again.where == failure.where for _ in range(_SLOW_TRIES))


def least(target: Target, failure: Failure) -> Failure:
    """The same failure from less input, as far as some tries find it: halves are left out first, single pieces last."""
    tries, until = _SMALLER_TRIES, time.monotonic() + _SMALLER_S
    traced = failure.where.startswith(TooLargeError.__name__)
    size = len(target.pieces(failure.raw)) // 2
    while size:
        pieces, at = target.pieces(failure.raw), 0
        while at < len(pieces):
            tries -= 1
            if tries < 0 or time.monotonic() > until:
                return failure
            fewer = [*pieces[:at], *pieces[at + size :]]
            again = run_raw(target, target.whole(failure.raw, fewer), traced=traced)
            if again is not None and again.where == failure.where:
                failure, pieces = replace(again, seed=failure.seed), fewer
            else:
                at += size
        size //= 2
    return failure


def _failure(target: Target, seed: int, raw: bytes, error: Exception) -> Failure:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/tests/fuzz/" not in f.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
    text = " ".join(str(error).split())
    kind = type(error).__name__
    # A broken rule is told apart by its words up to the figures; an error by its place.
    where = f"{kind} {place}" if place else f"{kind} {text.partition(':')[0]}"
    if isinstance(error, TooSlowError | TooLargeError):
        where = kind
    return Failure(target.name, seed, f"{kind}: {text[:300]}", where, raw, "".join(traceback.format_exception(error)))
