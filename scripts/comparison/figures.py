"""The arithmetic of a comparison: windows of both sides become rows.

A window is one measurement of one side. Rounds alternate, so window n of one side was measured right beside window n of
the other: their ratio means something on a machine that is noisy, and the figures alone mean less. Where there is no
peer, a figure may have a target instead.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """What a row measures. `better`: "more" or "less" of it. `target`: the least, or the most, that it is to be; None
    where nothing is said, as beside a peer."""

    name: str
    unit: str
    better: str
    target: float | None = None

    def is_met(self, value: float) -> bool | None:
        """Whether this value is as good as the target; None without one."""
        if self.target is None:
            return None
        return value >= self.target if self.better == "more" else value <= self.target


RATE = Figure("records", "records/s", "more")
BYTES_RATE = Figure("bytes", "MB/s", "more")
LATENCIES = (Figure("p50", "ms", "less"), Figure("p99", "ms", "less"), Figure("max", "ms", "less"))
FLOODED = (*LATENCIES, Figure("flood", "records/s", "more"))


@dataclass(frozen=True)
class Window:
    """One measurement of one side.

    `values`: by figure's name. `cpu_us`: microseconds of processor time per record, by process. `lost`: records that
    were published and never came.
    """

    values: dict[str, float]
    cpu_us: dict[str, float] = field(default_factory=dict)
    lost: int = 0


@dataclass(frozen=True)
class Row:
    """One figure of both sides: medians over the rounds, the median of the rounds' ratios, and its lowest and highest.

    `ratio` is ours to the peer's, whatever is better. Without a peer there is none, and `spread` is the lowest and the
    highest of ours. `cpu_us`: by side, then by process.
    """

    name: str
    figure: Figure
    ours: float
    peer: float | None
    ratio: float | None
    spread: tuple[float, float]
    cpu_us: dict[str, dict[str, float]]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "row": self.name, "figure": self.figure.name, "ours": rounded(self.ours), "peer": rounded(self.peer),
            "ratio": rounded(self.ratio), "spread": [rounded(each) for each in self.spread],
            "unit": self.figure.unit, "better": self.figure.better, "target": self.figure.target,
            "met": self.figure.is_met(self.ours),
            "cpu_us_per_record": {
                side: {process: rounded(us) for process, us in processes.items()}
                for side, processes in self.cpu_us.items()
            },
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class NotRun:
    """A row that is named although there is nothing to say of it. `next_step`: what lets it run, if anything is known.
    """

    name: str
    why: str
    next_step: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"row": self.name, "not_run": self.why, "next": self.next_step}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed (nearest rank). There is one value at least.
    """
    return sorted(values)[max(0, math.ceil(round(len(values) * share, 6)) - 1)]


def latencies(values_ms: Sequence[float]) -> dict[str, float]:
    """The figures of `LATENCIES`."""
    return {"p50": percentile(values_ms, 0.5), "p99": percentile(values_ms, 0.99), "max": max(values_ms)}


def ratios(ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Of each round. A peer that moved nothing makes no ratio: infinity stands for it."""
    return [a / b if b else float("inf") for a, b in zip(ours, peer, strict=True)]


def rows_of(
    name: str, figures: Sequence[Figure], ours: Sequence[Window], peer: Sequence[Window], notes: Sequence[str] = (),
) -> list[Row]:
    """A row for each figure. Both sides have as many windows, in the order of the rounds, one at least."""
    cpu_us = {"ours": median_cpu(ours), "peer": median_cpu(peer)}
    said = (*notes, *lost_notes("ours", ours), *lost_notes("the peer", peer))
    rows = []
    for figure in figures:
        mine, theirs = ([window.values[figure.name] for window in side] for side in (ours, peer))
        of_rounds = ratios(mine, theirs)
        rows.append(Row(
            name, figure, statistics.median(mine), statistics.median(theirs), statistics.median(of_rounds),
            (min(of_rounds), max(of_rounds)), cpu_us, said,
        ))
    return rows


def rows_alone(name: str, figures: Sequence[Figure], ours: Sequence[Window], notes: Sequence[str] = ()) -> list[Row]:
    """The same of what has no peer."""
    said = (*notes, *lost_notes("ours", ours))
    rows = []
    for figure in figures:
        mine = [window.values[figure.name] for window in ours]
        spread = (min(mine), max(mine))
        rows.append(Row(name, figure, statistics.median(mine), None, None, spread, {"ours": median_cpu(ours)}, said))
    return rows


def median_cpu(windows: Sequence[Window]) -> dict[str, float]:
    """Of each process, the median over the windows."""
    return {
        process: statistics.median(window.cpu_us[process] for window in windows) for process in windows[0].cpu_us
    }


def lost_notes(side: str, windows: Sequence[Window]) -> list[str]:
    lost = sum(window.lost for window in windows)
    return [f"{side} lost {lost} records"] if lost else []


def rounded(value: float | None) -> float | None:
    """Three digits after the point are more than any of this is good for; what JSON has no word for is null."""
    return None if value is None or value == float("inf") else round(value, 3)
