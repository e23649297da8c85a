"""Message Fabric beside what users would take instead, in the same run: NATS, pyzmq and zenoh, encrypted.

Each row runs both sides in turn, after a warm-up: at least three rounds of five seconds count unless less is asked for.
Its figures are medians, and the ratio (ours to the peer's) is the median of the rounds' ratios, with its lowest and
highest. Rows without a peer have a target in its place. Processor time is of each process, per record. Machines differ
and are noisy: compare ratios, of runs on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.comparison.alone import Sizes, plans_alone
from scripts.comparison.figures import Figure, NotRun, Row
from scripts.comparison.plot import plot
from scripts.comparison.rows import PLANS, ROUNDS_MAX, SECONDS_MAX, SECONDS_MIN, run
from scripts.help_texts import parser_of

NAMES = tuple(plan.name for plan in (*PLANS, *plans_alone(Sizes())))
_WIDTH = 132


def table_of(rows: Sequence[Row | NotRun]) -> Table:
    """A line for each row; what is not run is named too."""
    table = Table("row", "figure", "ours", "peer", "ratio", "from - to", "target")
    for row in rows:
        if isinstance(row, NotRun):
            table.add_row(row.name, "not run", "", "", "", "", "")
            continue
        low, high = row.spread
        compared = ("", "", f"{shown(low)} - {shown(high)}")
        if row.peer is not None and row.ratio is not None:
            compared = (shown(row.peer), f"{row.ratio:.2f}", f"{low:.2f} - {high:.2f}")
        table.add_row(
            row.name, f"{row.figure.name}, {row.figure.unit}", shown(row.ours), *compared,
            target_of(row.figure, row.ours),
        )
    return table


def target_of(figure: Figure, value: float) -> str:
    """The target, and whether this is as good; empty without one."""
    if figure.target is None:
        return ""
    bound = "at least" if figure.better == "more" else "at most"
    return f"{bound} {figure.target:,.6g}: {'met' if figure.is_met(value) else 'missed'}"


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.2f}"


def remarks(rows: Sequence[Row | NotRun]) -> list[str]:
    """Below the table: what each side does, what it costs, and why a row was not run; once for each row."""
    said: dict[str, None] = {}
    for row in rows:
        if isinstance(row, NotRun):
            said[f"{row.name} was not run: {row.why}." + (f" Next: {row.next_step}" if row.next_step else "")] = None
            continue
        for note in row.notes:
            said[f"{row.name}: {note}"] = None
        for side, processes in row.cpu_us.items():
            if not processes:
                continue
            parts = ", ".join(f"{process} {us:.1f}" for process, us in processes.items())
            said[f"{row.name}: microseconds of processor time per record, {side}: {parts}"] = None
    return list(said)


_OTHERS = (
    "Four measurements are commands of their own, with a --help each: `scripts/bench relays` (three hops beside a bare "
    "forwarder), `lanes` (a critical event in a flood), `gateways` (a line of syslog), `streams` (readers over HTTP)."
)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = parser_of(
        "scripts/bench", f"{__doc__.splitlines()[0]}\n\n{_OTHERS}",
        "--only stream --rounds 1", "--scale 0.1", "lanes --help",
    )
    parser.add_argument("--only", action="append", choices=NAMES, metavar="ROW", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=3, help="that count, of each side (default 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each side in each round (default 5)")
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="SHARE",
        help="rows without a peer: so much of their control points and records, e.g. 0.1 (default 1: all)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the row growth into this file, too")
    parser.add_argument("--folder", type=Path, help="where to keep files (default: where temporary files are)")
    parser.add_argument("--json", action="store_true", help="an object for each row, on a line of its own")
    chosen = parser.parse_args(words)
    if chosen.folder is not None and not chosen.folder.is_dir():
        parser.error(f"--folder: there is no folder {chosen.folder}. Make it, or name another one.")
    if chosen.plot is not None and not chosen.plot.resolve().parent.is_dir():
        parser.error(f"--plot: there is no folder for {chosen.plot}. Make it, or name another file.")
    if not 0 < chosen.scale <= 1:
        parser.error(f"--scale: {chosen.scale} is no share. Give more than 0, and 1 at most.")
    return chosen


def tell(text: str) -> None:
    """Progress, beside what is printed for a program to read."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Ctrl-C and SIGTERM end what was begun, like the end of the last row."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        measure(parse())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def measure(chosen: argparse.Namespace) -> None:
    """Print the rows. The exit code is 1 when one was not run."""
    rounds = max(1, min(chosen.rounds, ROUNDS_MAX))
    seconds = max(SECONDS_MIN, min(chosen.seconds, SECONDS_MAX))
    began_s = time.monotonic()
    rows: list[Row | NotRun] = []
    for plan in (*PLANS, *plans_alone(Sizes().scaled(chosen.scale))):
        if chosen.only and plan.name not in chosen.only:
            continue
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            found = run(plan, Path(folder).resolve(), rounds, seconds, tell)
        rows += found
        if chosen.json:
            for row in found:
                print(json.dumps(row.as_json()), flush=True)
    if not chosen.json:
        Console(width=_WIDTH).print(table_of(rows))
        for remark in remarks(rows):
            print(remark)
    if chosen.plot is not None:
        chosen.plot.write_text(plot(rows))
        tell(f"growth is drawn in {chosen.plot}")
    tell(f"It took {time.monotonic() - began_s:.0f} s.")
    sys.exit(any(isinstance(row, NotRun) for row in rows))


if __name__ == "__main__":
    main()
