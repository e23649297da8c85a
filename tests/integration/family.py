"""A small tree with backups, and a stream of numbered messages through it while its relays come and go."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import FabricError
from relays.process.drain import Draining, drain_path, write_draining
from tests.integration.harness import House, wait_for

TOPOLOGY = """
fabric = "family"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq   = { segment = "hq",   clearance = "red",   listen = "127.0.0.1:PORT-hq" }
east = { segment = "east", clearance = "amber", listen = "127.0.0.1:PORT-east", parent = "hq" }
west = { segment = "west", clearance = "amber", listen = "127.0.0.1:PORT-west", parent = "hq" }
cell = { segment = "cell", clearance = "amber", listen = "127.0.0.1:PORT-cell", parent = "east", backups = ["west"] }
mine = { clearance = "amber", listen = "127.0.0.1:PORT-mine", parent = "east", dial = "child", backups = ["west"] }

[roles]
sensor   = { publish = ["detections.>"] }
analyst  = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }

[roles.soar]
request = [{ action = "deny ipv4_net", to = "role=firewall" }]

[points]
sensor-c = { relay = "cell", role = "sensor",   clearance = "amber" }
sensor-e = { relay = "east", role = "sensor",   clearance = "amber", backups = ["west"] }
fw-c     = { relay = "cell", role = "firewall", clearance = "amber" }
soar-e   = { relay = "east", role = "soar",     clearance = "amber", backups = ["west"] }
analyst  = { relay = "hq",   role = "analyst",  clearance = "red", kind = "operator" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""


def parent_of(house: House, relay: str) -> str:
    return str(house.state(relay).get("parent_now", ""))


def kill_for_good(house: House, relay: str) -> None:
    """kill -9, and nobody brings it back."""
    write_draining(drain_path(house.fabric, relay, house.home), Draining(gone=True))
    os.kill(house.pid(relay), signal.SIGKILL)


def bring_back(house: House, relay: str) -> None:
    house.cli("drain", relay, "--back", "--fabric", house.fabric).expect(0)


class Stream:
    """Numbers published by some control points, one after the other, and what a subscriber saw of them."""

    def __init__(self, house: House, *sensors: str, pause_s: float = 0.02) -> None:
        self.sent: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.ages_ms: list[int] = []
        self._house, self._sensors, self._pause_s = house, sensors, pause_s
        self._stop = threading.Event()

    def __enter__(self) -> Stream:
        self._analyst = self._house.point("analyst")
        self._analyst.__enter__()
        subscription = self._analyst.subscribe("detections.>")
        self._points = [self._house.point(name).__enter__() for name in self._sensors]
        self._threads = [threading.Thread(target=self._read, args=(subscription,), daemon=True)]
        self._threads += [threading.Thread(target=self._write, args=(point,), daemon=True) for point in self._points]
        for thread in self._threads:
            thread.start()
        return self

    def _write(self, point: ControlPoint) -> None:
        number, futures = 0, []
        while not self._stop.is_set():
            record = f"{point.identity.id} {number}"
            self.sent[record] += 1
            futures.append(point.publish_later("detections.app", {"n": record}))
            number += 1
            time.sleep(self._pause_s)
        for future in futures:
            future.result(30)

    def _read(self, subscription: Any) -> None:
        with suppress(FabricError):  # closed at the end, as a program's would be
            for message in subscription:
                self.seen[message.content["n"]] += 1
                self.ages_ms.append(message.age_ms)

    def worst_age_ms(self) -> int:
        """Of what arrived since this was asked last: how long the slowest was on its way."""
        seen, self.ages_ms = self.ages_ms, []
        return max(seen, default=0)

    def finish_soundly(self) -> bool:
        with suppress(AssertionError):
            self.finish()
            return True
        return False

    def finish(self) -> None:
        """All that was sent is held, and has arrived once."""
        self._stop.set()
        for thread in self._threads[1:]:
            thread.join(60)
            assert not thread.is_alive()
        wait_for(lambda: len(self.seen) == len(self.sent), "all that was published", 30)
        assert self.seen == self.sent

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for point in self._points:
            point.__exit__(None, None, None)
        self._analyst.__exit__(None, None, None)
