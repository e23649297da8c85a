"""Run inputs from seeds against everything that reads what somebody else wrote, and name those that fail.

Each target gets its share of the time. An input that fails is made smaller, named by its seed with the command that
runs it again, and kept as a file where --save says. Besides errors, a failure is: a broken rule
(tests/fuzz/invariants.py), a container without a bound (tests/fuzz/bounds.py), an input that takes too long or too much
memory.

Exit codes: 0 nothing failed, 1 something did, 2 usage.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from scripts.help_texts import parser_of
from tests.fuzz.engine import Failure, Figures, Meter, is_real, least, resident_bytes, run_raw, run_seed
from tests.fuzz.targets import TARGETS
from tests.simulation.simulate import at_least

# What a process gets no more than: a fault is to end as an error of one input, not with the machine.
_ADDRESS_SPACE_BYTES = 4 << 30
_FAILURES_MAX = 8  # of one target that are made smaller; the rest are counted


def main() -> int:
    parser = parser_of(
        "scripts/fuzz", __doc__,
        ("", "every target, one minute in all"),
        ("--minutes 30 --jobs 2 --save /tmp/found", "longer, by two processes, and keep what fails"),
        ("--target relay-child --seed 58 --replay", "one input again, with its traceback"),
        ("--target relay-child --input found.bin", "one that was kept"),
    )
    parser.add_argument("--minutes", type=at_least(0, float), default=1.0, help="of all targets together (default 1)")
    parser.add_argument("--inputs", type=at_least(0, int), default=0, help="of a target at most (0: by time only)")
    parser.add_argument("--target", action="append", choices=list(TARGETS), metavar="NAME", help="again for more")
    parser.add_argument("--seed", type=at_least(0, int), default=0, help="of the first input (default 0)")
    parser.add_argument("--replay", action="store_true", help="only the input with this seed, and its traceback")
    parser.add_argument("--input", type=Path, metavar="FILE", help="only this input, which was kept before")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="where inputs that fail are kept")
    parser.add_argument("--jobs", type=at_least(1, int), default=1, help="processes (default 1)")
    parser.add_argument("--list", action="store_true", help="names of targets, and no more")
    parser.add_argument("--json", action="store_true", help="one object a line")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(TARGETS))
        return 0
    names = asked.target or list(TARGETS)
    if (asked.replay or asked.input) and len(names) != 1:
        parser.error("--replay and --input want one --target")
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    if asked.input:
        return _again(names[0], asked.input.read_bytes())
    if asked.replay:
        return _replay(names[0], asked.seed, asked.save)
    seconds = asked.minutes * 60 * asked.jobs / len(names)
    run = partial(run_target, first=asked.seed, seconds=seconds, inputs_max=asked.inputs, save=asked.save)
    all_figures = []
    with ProcessPoolExecutor(asked.jobs) if asked.jobs > 1 else contextlib.nullcontext() as pool:
        for figures in pool.map(run, names) if pool else map(run, names):
            all_figures.append(figures)
            _tell(figures, asked.json)
    _tell_all(all_figures, asked.json)
    return 1 if any(figures.failures for figures in all_figures) else 0


def run_target(
    name: str, first: int = 0, seconds: float = 1.0, inputs_max: int = 0, save: Path | None = None
) -> Figures:
    """Inputs from `first` on, until the time is over or there were so many."""
    target, figures = TARGETS[name], Figures(name)
    meter, found = Meter(target.ms_max, target.bytes_max), dict[str, int]()
    run_seed(target, first, Meter(target.ms_max, target.bytes_max), traced=False)  # what is made once is made now
    gc.collect()
    gc.freeze()
    began, resident, seed = time.monotonic(), 0, first
    while True:
        failure = run_seed(target, seed, meter)
        if failure is not None and failure.where not in found and is_real(target, failure):
            small = replace(least(target, failure), what=failure.what)
            figures.failures.append(small)
            if save is not None:
                keep(small, save)
        if failure is not None:
            found[failure.where] = found.get(failure.where, 0) + 1
        seed += 1
        took = time.monotonic() - began
        if not resident and took > seconds / 10:
            resident = resident_bytes()
        if took >= seconds or (inputs_max and meter.inputs >= inputs_max) or len(found) >= _FAILURES_MAX:
            break
    gc.unfreeze()
    figures.inputs, figures.seconds = meter.inputs, round(took, 2)
    figures.worst_ms, figures.worst_ms_seed = round(meter.worst_ms, 1), meter.worst_seed_ms
    figures.worst_bytes, figures.worst_bytes_seed = meter.worst_bytes, meter.worst_seed_bytes
    figures.grown_bytes = max(0, resident_bytes() - resident) if resident else 0
    return figures


def keep(failure: Failure, folder: Path) -> Path:
    """The input as a file, named by what it is."""
    folder = folder / failure.target
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(failure.raw).hexdigest()[:12]
    path.write_bytes(failure.raw)
    return path


def _replay(name: str, seed: int, save: Path | None) -> int:
    target = TARGETS[name]
    for traced in (False, True):
        failure = run_seed(target, seed, Meter(target.ms_max, target.bytes_max), traced=traced)
        if failure is not None:
            small = least(target, failure)
            print(small.trace or failure.trace)
            print(f"{failure.what}\nseed {seed}, {len(failure.raw)} bytes, as small as it gets {len(small.raw)}")
            print(_shown(name, small.raw))
            if save is not None:
                print(f"kept as {keep(small, save)}")
            return 1
    print(f"{name}: seed {seed} does not fail")
    return 0


def _again(name: str, raw: bytes) -> int:
    for traced in (False, True):
        failure = run_raw(TARGETS[name], raw, traced=traced)
        if failure is not None:
            print(f"{failure.trace}\n{failure.what}")
            return 1
    print(f"{name}: it does not fail")
    return 0


def _shown(name: str, raw: bytes) -> str:
    """A small input in words: a conversation act by act, else its bytes."""
    from tests.fuzz.stories import Story  # noqa: PLC0415

    target = TARGETS[name]
    return "\n".join(target.words(raw)) if isinstance(target, Story) else repr(raw[:400])


def _tell(figures: Figures, as_json: bool) -> None:
    if as_json:
        told = asdict(figures)
        told["failures"] = [
            {"seed": f.seed, "what": f.what, "where": f.where, "bytes": len(f.raw), "command": f.command}
            for f in figures.failures
        ]
        print(json.dumps(told), flush=True)
        return
    rate = figures.inputs / figures.seconds if figures.seconds else 0
    print(
        f"{figures.target:16} {figures.inputs:>10,} inputs {rate:>8,.0f}/s  worst {figures.worst_ms:>6.1f} ms "
        f"(seed {figures.worst_ms_seed}) {figures.worst_bytes / 2**20:>6.1f} MB (seed {figures.worst_bytes_seed})  "
        f"grown {figures.grown_bytes / 2**20:.1f} MB", flush=True,
    )
    for failure in figures.failures:
        print(f"    {failure.what}\n    {failure.command}   ({len(failure.raw)} bytes)", flush=True)


def _tell_all(all_figures: list[Figures], as_json: bool) -> None:
    if as_json:
        return
    inputs, failures = sum(f.inputs for f in all_figures), sum(len(f.failures) for f in all_figures)
    print(f"{inputs:,} inputs over {len(all_figures)} targets, {failures} kinds of failure", flush=True)


if __name__ == "__main__":
    # A traceback's hash order must not decide what is found.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.fuzz.run", *sys.argv[1:]])  # noqa: S606
    sys.exit(main())
