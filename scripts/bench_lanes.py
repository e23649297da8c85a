"""How long a critical event waits while its own plant sends more low ones than the fabric can take.

A sensor below `plant` publishes critical events to a reader at `hq`, three relays away; beside it another process
publishes low events as fast as it is let, to a reader of its own or to the same one. The figures are milliseconds from
`publish` to the reader's handler, without the flood and in it. What publishes a flood, and its own reader, stand for
other machines: they give way to everybody else here, and get what relays leave of the cores. With `--equal` they fight
for them.

Beside each figure stands what a message took meanwhile over a bare chain of three processes that forward and do nothing
else, and that carries nothing else: what waiting for a core comes to on this machine.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fabric.edge.blocking import ControlPoint
from scripts.bench_relays import LABELS, RECORD, TOPOLOGY, bare_chain
from scripts.comparison.figures import percentile
from scripts.comparison.saying import give_way
from scripts.comparison.singles import Singles
from scripts.help_texts import parser_of
from tests.integration.harness import ROOT, House, house_in, wait_for

POINTS = """
flood-p      = { relay = "plant", role = "sensor",  clearance = "amber" }
collector-hq = { relay = "hq",    role = "analyst", clearance = "red" }
"""
# What a flood's envelopes are: many records each, as of a file that is sent, or one each, as of many small sources.
FLOODS = ("batches", "singles")
_GAP_S = 0.02
# How to send so many messages over a bare chain, and how to receive one.
Chain = tuple[Callable[[int], None], Callable[[], None]]
Figures = dict[str, float]
_SETTLE_S = 3.0
# However long the figures take, a flood ends by itself.
_FLOOD_S = 120.0
_WAIT_S = 60.0


def flood(identity: str, kind: str) -> None:
    """Publish low events as fast as they are taken, until this process is told to stop."""
    deadline = time.monotonic() + _FLOOD_S
    with ControlPoint(Path(identity)) as point:
        singles = Singles(point, "detections.flood")
        n = 0
        while time.monotonic() < deadline:
            if kind == "singles":
                singles.publish(RECORD, severity="low")
            else:
                point.publish_later("detections.flood.all", {**RECORD, "n": n}, labels=LABELS, severity="low")
                n += 1


def read(identity: str, pattern: str) -> None:
    """Take events. Says "ready", how many low ones came so far, and of each critical one its number and when."""
    with ControlPoint(Path(identity)) as point:
        messages = point.subscribe(pattern, timeout_s=_FLOOD_S)
        print("ready", flush=True)
        low = 0
        for message in messages:
            if "probe" in message.content:
                print("critical", message.content["probe"], time.perf_counter(), flush=True)
            else:
                low += 1
                if low % 1_000 == 0:
                    print("low", low, flush=True)


class Process:
    """A process of this file and what it says. It ends as a program does that takes its leave.

    `apart`: it gives way to the others.
    """

    def __init__(self, house: House, what: str, id_: str, more: str, *, apart: bool = False) -> None:
        self.ready = False
        self.low = 0
        self.critical: dict[int, float] = {}
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "scripts.bench_lanes", what, str(house.folder / "ids" / id_), more]
            + (["apart"] if apart else []),
            cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=apart,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            word, *numbers = line.split()
            if word == "ready":
                self.ready = True
            elif word == "low":
                self.low = int(numbers[0])
            else:
                self.critical[int(numbers[0])] = float(numbers[1])

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._listener.join()


def probe(sensor: ControlPoint, reader: Process, numbers: range) -> list[float]:
    """Milliseconds of critical events, one published every 20 ms, whether or not the last has arrived."""
    began = {}
    for n in numbers:
        began[n] = time.perf_counter()
        sensor.publish_later("detections.alert.now", {**RECORD, "probe": n}, severity="critical")
        time.sleep(_GAP_S)
    wait_for(lambda: numbers[-1] in reader.critical and numbers[0] in reader.critical
             and all(n in reader.critical for n in numbers), "all critical events", _WAIT_S)
    return [(reader.critical[n] - began[n]) * 1000 for n in numbers]


def bare_probe(chain: Chain, count: int) -> list[float]:
    """Milliseconds of messages over the bare chain, as often as critical events are published."""
    send, receive = chain
    took = []
    for _ in range(count):
        began = time.perf_counter()
        send(1)
        receive()
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(max(0.0, _GAP_S - took[-1] / 1000))
    return took


def both(sensor: ControlPoint, reader: Process, chain: Chain, numbers: range) -> Figures:
    """p50 and p99 in ms of critical events, and of what went over the bare chain at the same time."""
    with ThreadPoolExecutor(1) as beside:
        bare = beside.submit(bare_probe, chain, len(numbers))
        took = probe(sensor, reader, numbers)
    return {
        "p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99),
        "bare_p50_ms": percentile(bare.result(), 0.5), "bare_p99_ms": percentile(bare.result(), 0.99),
    }


def measure(count: int, apart: bool, tell: Callable[[str], None]) -> dict[str, Figures]:
    """By situation: those of `both`, and records/s of the flood that arrived meanwhile."""
    figures: dict[str, Figures] = {}
    with (
        bare_chain() as chain,
        tempfile.TemporaryDirectory() as folder,
        house_in(Path(folder), TOPOLOGY + POINTS, anew=True) as house,
    ):
        house.up()
        house.wait_whole()
        tell("quiet")
        with _reading(house, "detections.alert.>") as reader, house.point("sensor-p") as sensor:
            probe(sensor, reader, range(20))
            figures["quiet"] = {**both(sensor, reader, chain, range(20, 20 + count)), "flood_per_s": 0.0}
        for kind in FLOODS:
            for whose, pattern in (("another reader", "detections.alert.>"), ("the same reader", "detections.>")):
                tell(f"{kind}, {whose}")
                figures[f"{kind}, {whose}"] = _in_flood(house, kind, pattern, chain, count, apart)
        house.down()
    return figures


@contextmanager
def _reading(house: House, pattern: str, id_: str = "analyst-hq", *, apart: bool = False) -> Iterator[Process]:
    with Process(house, "read", id_, pattern, apart=apart) as reader:
        wait_for(lambda: reader.ready, f"{id_} at hq", _WAIT_S)
        yield reader


def _in_flood(house: House, kind: str, pattern: str, chain: Chain, count: int, apart: bool) -> Figures:
    with (
        _reading(house, pattern) as reader,
        _reading(house, "detections.flood.>", "collector-hq", apart=apart) as collector,
        Process(house, "flood", "flood-p", kind, apart=apart),
        house.point("sensor-p") as sensor,
    ):
        wait_for(lambda: collector.low > 0, "the flood at hq", _WAIT_S)
        time.sleep(_SETTLE_S)
        before, began = collector.low, time.perf_counter()
        figures = both(sensor, reader, chain, range(count))
        return {**figures, "flood_per_s": (collector.low - before) / (time.perf_counter() - began)}


def main() -> None:
    parser = parser_of("scripts/bench lanes", __doc__.split("\n\n")[0], "", "--count 100 --equal")
    parser.add_argument("--count", type=int, default=500, help="critical events in each situation (default 500)")
    parser.add_argument("--equal", action="store_true", help="the flood's own processes do not give way to the others")
    parser.add_argument("--json", action="store_true", help="figures as one object")
    chosen = parser.parse_args()
    figures = measure(max(100, min(chosen.count, 5_000)), not chosen.equal, lambda text: print(text, file=sys.stderr))
    if chosen.json:
        print(json.dumps({name: {k: round(v, 2) for k, v in values.items()} for name, values in figures.items()}))
        return
    table = Table("a critical event, three hops", "p50, ms", "p99, ms", "times quiet", "bare p50", "bare p99",
                  "low records/s meanwhile")
    quiet = figures["quiet"]["p99_ms"]
    for name, values in figures.items():
        table.add_row(name, f"{values['p50_ms']:.1f}", f"{values['p99_ms']:.1f}", f"{values['p99_ms'] / quiet:.1f}",
                      f"{values['bare_p50_ms']:.1f}", f"{values['bare_p99_ms']:.1f}", f"{values['flood_per_s']:,.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sys.argv[-1] == "apart":
        give_way()
    if sys.argv[1:2] == ["flood"]:
        flood(*sys.argv[2:4])
    elif sys.argv[1:2] == ["read"]:
        read(*sys.argv[2:4])
    else:
        main()
