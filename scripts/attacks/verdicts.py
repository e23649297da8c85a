"""What was measured while somebody attacked, and whether it is good enough.

Guarantees: what never came counts: a latency that nobody saw is at least as long as it was waited for. A row passes
only when every bound holds, and never when the attacker got nothing done. Pure: numbers in, words out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

MIB = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """What a relay promises to the honest while it is attacked."""

    rss_mb: float = 300.0
    rate_ratio: float = 0.8
    p99_ms: float = 250.0


@dataclass(frozen=True)
class Honest:
    """What the honest noticed in a window of time: events of a sensor at its reader, and actions."""

    rate_per_s: float  # events that came, whenever they were due
    p50_ms: float
    p99_ms: float
    asked: int  # actions
    completed: int
    ends: Mapping[str, int] = field(default_factory=dict)  # of the other actions, by end or error


@dataclass(frozen=True)
class Row:
    """One attack. `rss_mb`: the most of any honest relay; `cpu_s`: of the relay under attack, in the window."""

    who: str
    kind: str
    seconds: float
    frames: int
    bytes: int
    connections: int  # that it opened, or tried to
    entered: int  # links that the relay opened for the attacker
    cut: int  # connections that ended before the attack did
    survived: bool  # every honest relay is the process that it was
    whole: bool  # and has its parent again, soon after
    rss_mb: float
    cpu_s: float
    honest: Honest
    quiet_rate_per_s: float  # of the quiet run that it is held against
    remark: str = ""
    strong: bool = True  # the attacker did at least what makes its attack one

    @property
    def rate_ratio(self) -> float:
        return self.honest.rate_per_s / self.quiet_rate_per_s if self.quiet_rate_per_s else 0.0

    def faults(self, bounds: Bounds) -> list[str]:
        """Which bounds do not hold, in words."""
        found = []
        if not self.strong:
            found.append("too weak to show anything")
        if not self.survived:
            found.append("a relay ended")
        elif not self.whole:
            found.append("not whole again")
        if self.rss_mb >= bounds.rss_mb:
            found.append(f"{self.rss_mb:,.0f} MB")
        if self.rate_ratio < bounds.rate_ratio:
            found.append(f"{self.rate_ratio:.2f} of the rate")
        if self.honest.p99_ms >= bounds.p99_ms:
            found.append(f"p99 {self.honest.p99_ms:,.0f} ms")
        if self.honest.completed < self.honest.asked or not self.honest.asked:
            found.append(f"{self.honest.completed} of {self.honest.asked} actions")
        return found

    def as_json(self, bounds: Bounds) -> dict[str, Any]:
        """One object: names with units last; `faults` is empty where `verdict` is "pass"."""
        faults = self.faults(bounds)
        honest = asdict(self.honest)
        return {
            "attacker": self.who, "kind": self.kind, "seconds": round(self.seconds, 1), "frames": self.frames,
            "bytes": self.bytes, "connections": self.connections, "entered": self.entered, "cut": self.cut,
            "survived": self.survived, "whole": self.whole, "rss_mb": round(self.rss_mb, 1),
            "cpu_s": round(self.cpu_s, 2), "rate_per_s": round(self.honest.rate_per_s, 1),
            "rate_ratio": round(self.rate_ratio, 3),
            "p50_ms": round(self.honest.p50_ms, 1), "p99_ms": round(self.honest.p99_ms, 1),
            "actions": self.honest.asked, "completed": self.honest.completed, "ends": dict(honest["ends"]),
            "remark": self.remark, "verdict": "fail" if faults else "pass", "faults": faults,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def honest_of(
    arrivals: Mapping[int, float],
    began_s: float,
    per_s: float,
    window: tuple[float, float],
    looked_s: float,
    actions: Iterable[tuple[float, str]],
) -> Honest:
    """What the honest noticed between two moments.

    `arrivals`: when each number came first; number n was due at `began_s + n / per_s`, however late it was published.
    What is not there when it is looked, at `looked_s`, has waited until then at least. `actions`: when each was asked
    for, and how it ended.
    """
    begin_s, end_s = window
    first = max(0, math.ceil((begin_s - began_s) * per_s))
    last = max(first, math.ceil((end_s - began_s) * per_s))
    waited_ms = [(arrivals.get(n, looked_s) - (began_s + n / per_s)) * 1000 for n in range(first, last)]
    came = sum(begin_s <= at_s < end_s for at_s in arrivals.values())
    asked = [end for at_s, end in actions if begin_s <= at_s < end_s]
    others: dict[str, int] = {}
    for end in asked:
        if end != "completed":
            others[end] = others.get(end, 0) + 1
    return Honest(
        came / (end_s - begin_s), percentile(waited_ms, 0.5), percentile(waited_ms, 0.99), len(asked),
        asked.count("completed"), others,
    )


def table_of(rows: Iterable[Row], bounds: Bounds) -> Table:
    table = Table(
        "attack", "frames", "MB", "connections", "cut", "relay", "RSS, MB", "CPU, s", "rate", "p50, ms", "p99, ms",
        "actions", "verdict",
        caption=f"bounds: every relay survives, < {bounds.rss_mb:.0f} MB, >= {bounds.rate_ratio} of the quiet rate, "
                f"p99 < {bounds.p99_ms:.0f} ms, all actions completed",
    )
    for column in table.columns[1:5] + table.columns[6:11]:
        column.justify = "right"
    table.columns[0].no_wrap = True
    for row in rows:
        faults = row.faults(bounds)
        table.add_row(
            f"{row.who}/{row.kind}", f"{row.frames:,}", f"{row.bytes / MIB:,.1f}", f"{row.connections:,}",
            f"{row.cut:,}", "lives" if row.survived and row.whole else "lives, alone" if row.survived else "ended",
            f"{row.rss_mb:,.0f}", f"{row.cpu_s:.1f}", f"{row.rate_ratio:.2f}",
            f"{row.honest.p50_ms:,.1f}", f"{row.honest.p99_ms:,.0f}", f"{row.honest.completed}/{row.honest.asked}",
            ", ".join(faults) or "pass",
        )
    return table
