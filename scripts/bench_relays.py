"""What three hops cost: a sensor below `plant`, relays `plant`, `mid` and `hq`, a subscriber at `hq`.

Beside every figure of the fabric stands the same of a bare chain: three processes that forward the same number of bytes
over CURVE, and neither sign, verify, label, queue nor keep anything. Machines differ and are noisy; the ratio of two
figures of one run says more than either. Rounds alternate, and the best of each side counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq
from rich.console import Console
from rich.table import Table

from fabric.edge.blocking import ControlPoint
from fabric.transport.keys import random_keys
from scripts.comparison.figures import percentile
from scripts.comparison.resident import resident_kb
from scripts.comparison.singles import Singles
from scripts.help_texts import parser_of
from tests.integration.harness import House, house_in

TOPOLOGY = """
fabric = "bench"
organisation = "acme"
defaults = { label = "green" }

[relays]
hq    = { segment = "hq",    clearance = "red",   listen = "127.0.0.1:PORT-hq" }
mid   = { segment = "mid",   clearance = "green", listen = "127.0.0.1:PORT-mid",   parent = "hq" }
plant = { segment = "plant", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "mid" }

[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }

[points]
sensor-p   = { relay = "plant", role = "sensor",  clearance = "amber" }
analyst-hq = { relay = "hq",    role = "analyst", clearance = "red" }
"""
RECORD = {
    "ts": 1591367999.3, "uid": "CH98aB3s1JF2yCoZ3i", "id.orig_h": "192.168.4.76", "id.orig_p": 36844,
    "id.resp_h": "192.168.4.1", "id.resp_p": 53, "proto": "udp", "service": "dns", "duration": 0.0668,
    "orig_bytes": 62, "resp_bytes": 141, "conn_state": "SF", "history": "Dd", "rule": "dns to a new resolver",
}
LABELS = {"id.orig_h": "amber", "id.resp_h": "amber"}
# About what one envelope with one record of this kind takes.
BARE_BYTES = 560
_WAIT_S = 120.0


class Arrivals:
    """Counts what a subscriber gets, on a thread of its own, with the time of each."""

    def __init__(self, point: ControlPoint) -> None:
        self.times: dict[int, float] = {}
        self._grown = threading.Condition()
        self._messages = point.on_message("detections.>", self._take)

    def _take(self, message: Any) -> None:
        with self._grown:
            self.times[message.content["n"]] = time.perf_counter()
            self._grown.notify()

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + _WAIT_S
        with self._grown:
            while len(self.times) < count:
                if not self._grown.wait(max(0.0, deadline - time.monotonic())):
                    raise SystemExit(f"only {len(self.times)} of {count} records arrived")

    def clear(self) -> None:
        with self._grown:
            self.times.clear()


def one_at_a_time(sensor: ControlPoint, arrivals: Arrivals, count: int) -> list[float]:
    """Seconds from `publish` to the subscriber's handler; the next is published when the last has arrived."""
    began: dict[int, float] = {}
    for n in range(count):
        began[n] = time.perf_counter()
        sensor.publish("detections.bench", {**RECORD, "n": n}, labels=LABELS)
        arrivals.wait(n + 1)
    took = [arrivals.times[n] - began[n] for n in range(count)]
    arrivals.clear()
    return took


def single_events(sensor: ControlPoint, arrivals: Arrivals, count: int) -> float:
    """Records/s of messages that cannot share an envelope."""
    singles = Singles(sensor, "detections.bench")
    began = time.perf_counter()
    for _ in range(count):
        singles.publish(RECORD)
    arrivals.wait(count)
    took = time.perf_counter() - began
    arrivals.clear()
    return count / took


def batches(sensor: ControlPoint, arrivals: Arrivals, count: int) -> float:
    """Records/s of a stream of events of one kind, as `fabric send` publishes a file."""
    began = time.perf_counter()
    for n in range(count):
        sensor.publish_later("detections.bench", {**RECORD, "n": n}, labels=LABELS)
    arrivals.wait(count)
    took = time.perf_counter() - began
    arrivals.clear()
    return count / took


def send_command(house: House, folder: Path, arrivals: Arrivals, count: int, *more: str) -> float:
    """The same through the command, Python's start included: seconds until the last record arrived."""
    path = folder / "records.json"
    path.write_text("".join(json.dumps({**RECORD, "n": n}) + "\n" for n in range(count)))
    began = time.perf_counter()
    house.cli("send", str(path), "--as", "sensor-p", "--topic", "detections.bench", "--label", "green",
              "--field-label", "id.orig_h=amber", "--field-label", "id.resp_h=amber", *more,
              timeout_s=_WAIT_S).expect(0)
    arrivals.wait(count)
    took = time.perf_counter() - began
    arrivals.clear()
    return took


# -- the bare chain -------------------------------------------------------------------------------------------

_HOP = """
import sys, zmq
context = zmq.Context()
public, secret, listen, to = bytes.fromhex(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3], sys.argv[4]
inbound = context.socket(zmq.PULL)
inbound.curve_server = 1
inbound.curve_publickey, inbound.curve_secretkey = public, secret
inbound.bind(f"tcp://127.0.0.1:{listen}")
outbound = context.socket(zmq.PUSH)
outbound.curve_serverkey = public
outbound.curve_publickey, outbound.curve_secretkey = public, secret
outbound.connect(f"tcp://127.0.0.1:{to}")
while True:
    outbound.send(inbound.recv())
"""


@contextmanager
def bare_chain() -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """(send n messages, receive one) at the ends of three forwarding processes."""
    keys = random_keys(os.urandom(32))
    context = zmq.Context()
    last = context.socket(zmq.PULL)
    last.setsockopt(zmq.CURVE_SERVER, 1)
    keys.dress(last)
    ports = [str(last.bind_to_random_port("tcp://127.0.0.1"))]
    for _ in range(3):
        free = context.socket(zmq.PULL)
        ports.append(str(free.bind_to_random_port("tcp://127.0.0.1")))
        free.close(linger=0)
    hops = [
        subprocess.Popen([sys.executable, "-c", _HOP, keys.public.hex(), keys.secret.hex(), ports[i + 1], ports[i]])
        for i in range(3)
    ]
    first = context.socket(zmq.PUSH)
    keys.dress(first)
    first.setsockopt(zmq.CURVE_SERVERKEY, keys.public)
    first.connect(f"tcp://127.0.0.1:{ports[3]}")
    payload = bytes(BARE_BYTES)

    def send(count: int) -> None:
        for _ in range(count):
            first.send(payload)

    def receive() -> None:
        if not last.poll(int(_WAIT_S * 1000)):
            raise SystemExit("the bare chain lost a message")
        last.recv()

    try:
        send(1)
        receive()
        yield send, receive
    finally:
        for hop in hops:
            hop.kill()
            hop.wait()
        context.destroy(linger=0)


def bare_one_at_a_time(send: Callable[[int], None], receive: Callable[[], None], count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        send(1)
        receive()
        took.append(time.perf_counter() - began)
    return took


def bare_stream(send: Callable[[int], None], receive: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    sender = threading.Thread(target=send, args=(count,))
    sender.start()
    for _ in range(count):
        receive()
    sender.join()
    return count / (time.perf_counter() - began)


# -- memory ---------------------------------------------------------------------------------------------------


def bare_python_mb() -> float:
    """A Python that has imported what a relay cannot do without."""
    code = "import zmq, nacl.bindings, msgpack, structlog, sqlite3; context = zmq.Context(); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as python:
        assert python.stdin is not None and python.stdout is not None
        if not python.stdout.readline():
            raise SystemExit("a bare Python ended before it was measured")
        had_mb = resident_kb(python.pid) / 1024
        python.communicate(b"\n")
    return had_mb


def measure(count: int, rounds: int, tell: Callable[[str], None]) -> dict[str, float]:
    figures: dict[str, float] = {}

    def best(name: str, value: float, *, low: bool = False) -> None:
        known = figures.get(name)
        figures[name] = value if known is None else (min if low else max)(known, value)

    with tempfile.TemporaryDirectory() as folder, house_in(Path(folder), TOPOLOGY, anew=True) as house:
        house.up()
        house.wait_whole()
        idle = [resident_kb(house.pid(relay)) / 1024 for relay in house.relays]
        figures["idle relay, MB"] = sum(idle) / len(idle)
        figures["bare Python, MB"] = bare_python_mb()
        with house.point("analyst-hq") as analyst, bare_chain() as (send, receive):
            arrivals = Arrivals(analyst)
            for number in range(rounds):
                tell(f"round {number + 1} of {rounds}")
                with house.point("sensor-p") as sensor:
                    took = one_at_a_time(sensor, arrivals, min(count, 500))
                    best("one at a time p50, ms", percentile(took, 0.5) * 1000, low=True)
                    best("one at a time p99, ms", percentile(took, 0.99) * 1000, low=True)
                    bare = bare_one_at_a_time(send, receive, min(count, 500))
                    best("bare p50, ms", percentile(bare, 0.5) * 1000, low=True)
                    best("bare p99, ms", percentile(bare, 0.99) * 1000, low=True)
                    best("single events, records/s", single_events(sensor, arrivals, count))
                    best("batches, records/s", batches(sensor, arrivals, count))
                    best("bare, messages/s", bare_stream(send, receive, count))
                with house.point("sensor-p", outbox=Path(folder) / "bench.outbox") as sensor:
                    took = one_at_a_time(sensor, arrivals, min(count, 500))
                    best("outbox, one at a time p50, ms", percentile(took, 0.5) * 1000, low=True)
                    best("outbox, batches, records/s", batches(sensor, arrivals, count))
                took_s = send_command(house, Path(folder), arrivals, count)
                best("fabric send, records/s", count / took_s)
                took_s = send_command(
                    house, Path(folder), arrivals, count, "--outbox", f"{folder}/send-{number}.outbox"
                )
                best("outbox, fabric send, records/s", count / took_s)
        house.down()
    return figures


def main() -> None:
    parser = parser_of("scripts/bench relays", __doc__.split("\n\n")[0], "", "--count 1000 --rounds 1")
    parser.add_argument("--count", type=int, default=5_000, help="records in each stream (default 5000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; the best counts")
    parser.add_argument("--json", action="store_true", help="figures as one object")
    chosen = parser.parse_args()
    figures = measure(
        max(100, min(chosen.count, 100_000)), max(1, min(chosen.rounds, 20)), lambda text: print(text, file=sys.stderr)
    )
    if chosen.json:
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
        return
    table = Table("three hops", "fabric", "bare", "ratio")
    for name, ours, bare in (
        ("one at a time, p50", "one at a time p50, ms", "bare p50, ms"),
        ("one at a time, p99", "one at a time p99, ms", "bare p99, ms"),
        ("single events", "single events, records/s", "bare, messages/s"),
        ("batches", "batches, records/s", "bare, messages/s"),
        ("fabric send", "fabric send, records/s", "bare, messages/s"),
        ("outbox: one at a time, p50", "outbox, one at a time p50, ms", "bare p50, ms"),
        ("outbox: batches", "outbox, batches, records/s", "bare, messages/s"),
        ("outbox: fabric send", "outbox, fabric send, records/s", "bare, messages/s"),
        ("idle relay", "idle relay, MB", "bare Python, MB"),
    ):
        unit = ours.rpartition(", ")[2]
        ratio = figures[ours] / figures[bare]
        table.add_row(name, f"{figures[ours]:,.1f} {unit}", f"{figures[bare]:,.1f}", f"{ratio:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
