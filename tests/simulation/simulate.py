"""Tell stories from many seeds, and name those in which a promise was broken, with the command that tells one again.

Every story is a tree of relays in one process on virtual time, with trouble from its seed. While it goes on, checkers
look at every step: nothing above its clearance crosses a link or is on a disk, nothing is sent or delivered after its
time, nothing comes twice, everything that was acknowledged is held, delivered or reported. When the trouble is over,
whoever was to have something has it.

Exit codes: 0 every promise was kept, 1 one was broken, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from scripts.help_texts import parser_of
from tests.simulation.faults import FAULTS
from tests.simulation.trouble import Told, tell


def command_of(seed: int, relays: int, minutes: float, faults: tuple[str, ...]) -> str:
    chosen = "all" if faults == FAULTS else ",".join(faults)
    return f"scripts/simulate --seed {seed} --relays {relays} --minutes {minutes:g} --faults {chosen}"


def faults_in(text: str) -> tuple[str, ...]:
    """Names with commas between them, or `all`, in the order of the list: a story depends on it."""
    names = text.split(",")
    unknown = [name for name in names if name not in ("all", *FAULTS)]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(unknown)} (all, or {', '.join(FAULTS)})")
    return FAULTS if "all" in names else tuple(name for name in FAULTS if name in names)


def at_least(least: float, what: type[int] | type[float]) -> partial[float]:
    def read(least: float, text: str) -> float:
        value = what(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"at least {least:g}")
        return value

    return partial(read, least)


def main() -> int:
    parser = parser_of(
        "scripts/simulate", __doc__,
        ("--seeds 100", "a hundred stories with every fault"),
        ("--seed 58 --faults crash,partition", "one story again, with these faults only"),
        ("--seeds 100 --digests > before", "what every core decided, to compare two versions of the code"),
    )
    parser.add_argument("--seed", type=at_least(0, int), default=0, help="the first one (default 0)")
    parser.add_argument("--seeds", type=at_least(1, int), default=1, metavar="K", help="how many (default 1)")
    parser.add_argument("--relays", type=at_least(2, int), default=15, help="in each tree (default 15)")
    parser.add_argument("--minutes", type=at_least(0.1, float), default=1.0, help="of trouble (default 1)")
    parser.add_argument("--faults", type=faults_in, default=FAULTS, metavar="all|NAME,...",
                        help=f"each story has some of them: {', '.join(FAULTS)}")
    parser.add_argument("--jobs", type=at_least(1, int), default=os.cpu_count() or 1, help="processes (default: cores)")
    parser.add_argument("--digests", action="store_true",
                        help="a line a story: its seed, and the digest of everything that every core decided")
    parser.add_argument("--json", action="store_true", help="one object a broken story, and one at the end")
    chosen = parser.parse_args()
    began, bad, counts = time.monotonic(), 0, Counter[str]()
    seeds = range(chosen.seed, chosen.seed + chosen.seeds)
    story = partial(tell, relays=chosen.relays, minutes=chosen.minutes, faults=chosen.faults, traced=chosen.digests)
    with ProcessPoolExecutor(min(chosen.jobs, chosen.seeds)) as pool:
        for number, told in enumerate(pool.map(story, seeds, chunksize=1), 1):
            counts += told.counts
            if chosen.digests:
                print(json.dumps({"seed": told.seed, "digest": told.digest}) if chosen.json
                      else f"seed {told.seed}: {told.digest}", flush=True)
            if told.wrong:
                bad += 1
                _show(told, command_of(told.seed, chosen.relays, chosen.minutes, chosen.faults), chosen.json)
            if not chosen.json and sys.stderr.isatty():
                print(f"\r{number} of {chosen.seeds}, {bad} broken ", end="", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    if chosen.json:
        print(json.dumps({"seeds": chosen.seeds, "broken": bad, "seconds": round(seconds, 1), **counts}))
    else:
        print(f"{chosen.seeds - bad} of {chosen.seeds} stories kept every promise, in {seconds:.0f} s: "
              + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    return 1 if bad else 0


def _show(told: Told, command: str, as_json: bool) -> None:
    if as_json:
        story = {"seed": told.seed, "faults": told.faults, "wrong": told.wrong[:5], "again": command}
        print(json.dumps(story), flush=True)
        return
    print(f"broken: {told.wrong[0]}", *[f"        {more}" for more in told.wrong[1:5]], sep="\n")
    print(f"        with {', '.join(told.faults)}\n        again: {command}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
