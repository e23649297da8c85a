"""Numbered records from sensors all over a tree to durable readers at its root, and what became of each of them.

A record is acknowledged when its sensor was told that it is held: by the relay, or by the sensor's own outbox. What was
acknowledged must reach every reader, once. Guarantees of the account: a record is lost or doubled as soon as one reader
says so; what was never acknowledged is no loss, whether it arrived or not; the run ends in bounded time.
"""

from __future__ import annotations

import re
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import matches
from relays.topology.model import Topology
from tests.integration.faults import Fault, Faults
from tests.integration.harness import House

READERS_MAX = 2
SENSORS_MAX = 8
# What a sensor publishes at a time: a few records share an envelope, as a file's lines do.
_BURST = 5
_ADDRESS = re.compile(r'(listen\s*=\s*")127\.0\.0\.1:(\d+)"')
_POLL_S = 0.1


def on_free_ports(text: str) -> str:
    """A topology whose relays all listen on loopback, as `House` takes it: on ports that are free."""
    return _ADDRESS.sub(r'\g<1>127.0.0.1:PORT-p\g<2>"', text)


@dataclass(frozen=True)
class Cast:
    sensors: tuple[tuple[str, str], ...]  # (control point, topic); every other one has an outbox
    readers: tuple[tuple[str, str], ...]  # (control point at the root, pattern)


def cast_of(topology: Topology) -> Cast:
    """Who publishes what, and who reads all of it."""
    sensors = []
    for point in topology.points.values():
        grants = [g for g in topology.role_of(point.id).publish if not g.pattern.startswith("intel.")]
        if grants and point.relay not in (None, topology.root.id) and point.clearance >= Label.GREEN:
            sensors.append((point.id, grants[0].pattern.replace(">", "chaos").replace("*", "chaos")))
    sensors = sensors[:SENSORS_MAX]
    readers = [
        (point.id, pattern)
        for point in topology.points_of(topology.root.id) if point.clearance >= Label.GREEN
        for pattern in topology.role_of(point.id).subscribe if all(matches(pattern, topic) for _, topic in sensors)
    ]
    if not sensors or not readers:
        raise FabricError(
            Code.USAGE, "nobody publishes events below the root, or nobody at the root reads all of them",
            "name a topology with sensors below the root and an analyst there",
        )
    return Cast(tuple(sensors), tuple(dict(readers).items())[:READERS_MAX])


class Account:
    """What became of each number. Every number has one sensor; a reader's thread writes its own column only."""

    def __init__(self, records: int, readers: Sequence[str], sensors: int) -> None:
        self.records = records
        self.sent_at_s = array("d", bytes(8 * records))
        self.acked = bytearray(records)
        self.seen = {reader: bytearray(records) for reader in readers}
        self.different = Counter[str]()  # how many numbers a reader has seen
        self.doubled = Counter[str]()
        self.refused = Counter[str]()  # by code
        self.gaps = 0
        self.settled = 0  # records whose future ended, or that were not taken
        self.slowest_s = 0.0
        self.longest_silence_s = 0.0
        self._sensors = sensors
        self._last_s: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    def settle(self, number: int, future: Future[str]) -> None:
        error = future.exception()
        with self._lock:
            self.settled += 1
            if error is None:
                self.acked[number] = 1
            else:
                self.refused[error.code.label if isinstance(error, FabricError) else type(error).__name__] += 1

    def not_taken(self, number: int, error: FabricError) -> None:
        with self._lock:
            self.settled += 1
            self.refused[error.code.label] += 1

    def arrived(self, reader: str, number: int, now_s: float) -> None:
        seen = self.seen[reader]
        if seen[number]:
            self.doubled[reader] += 1
            return
        seen[number] = 1
        self.different[reader] += 1
        self.slowest_s = max(self.slowest_s, now_s - self.sent_at_s[number])
        whose = reader, number % self._sensors
        self.longest_silence_s = max(self.longest_silence_s, now_s - self._last_s.get(whose, now_s))
        self._last_s[whose] = now_s

    def delivered(self) -> int:
        """Records that every reader has."""
        return sum(all(column) for column in zip(*self.seen.values(), strict=True))

    def lost(self) -> list[int]:
        """Acknowledged, and missing at one reader at least."""
        rows = zip(self.acked, *self.seen.values(), strict=True)
        return [number for number, (acked, *seen) in enumerate(rows) if acked and not all(seen)]


@dataclass(frozen=True)
class Result:
    account: Account
    kills: int
    stops: int
    left_out: int  # faults whose relay did not run when its turn came
    took_s: float
    complete: bool  # all was published and answered, and no relay holds anything any more

    @property
    def is_sound(self) -> bool:
        return not self.account.lost() and not self.account.doubled and not self.account.gaps

    def figures(self) -> dict[str, int | float | bool]:
        account = self.account
        return {
            "records": account.records, "acked": sum(account.acked), "delivered": account.delivered(),
            "lost": len(account.lost()), "twice": sum(account.doubled.values()), "gaps": account.gaps,
            "not_acked": account.records - sum(account.acked), "kills": self.kills, "stops": self.stops,
            "left_out": self.left_out, "slowest_s": round(account.slowest_s, 2),
            "longest_silence_s": round(account.longest_silence_s, 2), "took_s": round(self.took_s, 1),
            "complete": self.complete,
        }


def run(
    house: House, cast: Cast, records: int, planned: Sequence[Fault], duration_s: float, settle_s: float,
    tell: Callable[[Account, Faults], None] = lambda account, faults: None,
) -> Result:
    """`house` is up. Publish over `duration_s` while `planned` happens; then wait, at most `settle_s`, for the rest."""
    account = Account(records, [reader for reader, _ in cast.readers], len(cast.sensors))
    over = threading.Event()
    with ExitStack() as stack:
        stack.callback(over.set)
        for reader, pattern in cast.readers:
            point = stack.enter_context(house.point(reader, house.work / f"{reader}.outbox"))
            messages = point.subscribe(pattern, durable=True)
            _thread(partial(_read, account, reader, messages))
        sensors = [
            (stack.enter_context(house.point(sensor, house.work / f"{sensor}.outbox" if n % 2 else None)), topic)
            for n, (sensor, topic) in enumerate(cast.sensors)
        ]
        began_s = time.monotonic()
        threads = []
        for n, (point, topic) in enumerate(sensors):
            numbers = range(n, records, len(sensors))
            pace_s = duration_s / max(1, len(numbers))
            threads.append(_thread(
                partial(_publish, account, point, topic, numbers, began_s, pace_s, settle_s, over)
            ))
        with Faults(house, planned, began_s) as faults:
            end_s = began_s + duration_s + settle_s

            def until(condition: Callable[[], bool]) -> bool:
                while not condition():
                    if time.monotonic() > end_s:
                        return False
                    tell(account, faults)
                    over.wait(_POLL_S)
                return True

            complete = (
                until(lambda: not any(thread.is_alive() for thread in threads) and account.settled == records)
                and until(lambda: faults.wait_done(0))
                and until(lambda: _is_empty(house) and not any(point.waiting for point, _ in sensors))
            )
        took_s = time.monotonic() - began_s
    return Result(account, faults.kills, faults.stops, len(faults.left_out), took_s, complete)


def _thread(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def _publish(
    account: Account, point: ControlPoint, topic: str, numbers: Sequence[int], began_s: float, pace_s: float,
    wait_s: float, over: threading.Event,
) -> None:
    for place, number in enumerate(numbers):
        if place % _BURST == 0:
            over.wait(max(0.0, began_s + place * pace_s - time.monotonic()))
        if over.is_set():
            return
        account.sent_at_s[number] = time.monotonic()
        try:
            future = point.publish_later(topic, {"n": number, "rule": "chaos"}, label="green", wait_s=wait_s)
        except FabricError as error:
            account.not_taken(number, error)
            continue
        future.add_done_callback(partial(account.settle, number))


def _read(account: Account, reader: str, messages: object) -> None:
    with suppress(FabricError):  # closed at the end, as a program's would be
        for message in messages:  # type: ignore[attr-defined]
            if message.kind == "gap":
                account.gaps += message.content["lost"]
            else:
                account.arrived(reader, message.content["n"], time.monotonic())


def _is_empty(house: House) -> bool:
    """Every relay runs, and none holds anything: what has not arrived by now never will, once or twice."""
    return house.is_whole() and not any(house.state(relay).get("held", 1) for relay in house.relays)


def house_text(path: Path) -> str:
    """The topology file's text for `House`. Raises FabricError when a relay listens elsewhere than on loopback."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        raise FabricError(Code.TOPOLOGY_UNREADABLE, str(path), "name a topology file") from None
    freed = on_free_ports(text)
    elsewhere = re.search(r'listen\s*=\s*"(?!127\.0\.0\.1:PORT-)([^"]*)"', freed)
    if elsewhere is not None:
        raise FabricError(
            Code.USAGE, f"a relay listens on {elsewhere[1]}", "name a topology that listens on 127.0.0.1"
        )
    return freed
