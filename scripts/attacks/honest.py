"""The honest: a sensor that publishes at a steady pace, its reader, and actions. Each is a process of its own.

The sensor keeps to its schedule: event n is due at a fixed time, and is late from then on, whether it waits in the
sensor, in a relay or in a reader. Each process ends by itself when its time is over or its starter is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from fabric.edge.blocking import ControlPoint
from fabric.protocol.base.errors import FabricError
from scripts.attacks.process import Process
from tests.integration.harness import House

EVENTS_PER_S = 500
# However long a row takes, the honest do not outlive it by more.
_LIFE_S = 900.0
_TELL_S = 0.1
_TTL = "10s"
_WAIT_MS = 12_000
# A sensor that its relay takes nothing from does not wait for ever with one event.
_TAKE_S = 5.0
_RECORD = {
    "uid": "CH98aB3s1JF2yCoZ3i", "id.orig_h": "192.168.4.76", "id.orig_p": 36844, "id.resp_h": "192.168.4.1",
    "proto": "udp", "service": "dns", "rule": "dns to a new resolver",
}


def _run(house: House, what: str, identities: tuple[str, ...]) -> list[str]:
    """The arguments of a process of this file."""
    return ["scripts.attacks.honest", what, *(str(house.folder / "ids" / id_) for id_ in identities)]


class Sensor(Process):
    """`began_s`: of `time.monotonic`, when event 0 was due."""

    began_s = 0.0

    def __init__(self, house: House, *identities: str) -> None:
        super().__init__(*_run(house, "sense", identities))

    def take(self, said: Any) -> bool:
        self.began_s = float(said)
        return True


class Reader(Process):
    """`arrivals`: by number, when it came first."""

    def __init__(self, house: House, *identities: str) -> None:
        self.arrivals: dict[int, float] = {}
        super().__init__(*_run(house, "read", identities))

    def take(self, said: Any) -> bool:
        for number, at_s in said:
            self.arrivals.setdefault(number, at_s)
        return True


class Actions(Process):
    """`ends`: of each action, when it was asked for and how it ended; "asked" while it has not."""

    def __init__(self, house: House, *identities: str) -> None:
        self.ends: dict[int, tuple[float, str]] = {}
        super().__init__(*_run(house, "act", identities))

    def take(self, said: Any) -> bool:
        if said:
            number, at_s, end = said
            self.ends[number] = (at_s, end)
        return True

    @property
    def pending(self) -> int:
        return Counter(end for _, end in list(self.ends.values()))["asked"]


# -- the processes --------------------------------------------------------------------------------------------


def _tell(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _sense(identity: Path) -> None:
    deadline_s = time.monotonic() + _LIFE_S
    with ControlPoint(identity) as point:
        began_s = time.monotonic()
        _tell(began_s)
        number = 0
        while (now_s := time.monotonic()) < deadline_s:
            due_s = began_s + number / EVENTS_PER_S
            if due_s > now_s:
                time.sleep(due_s - now_s)
            with suppress(FabricError):  # it never comes, and counts as that
                point.publish_later("detections.honest", {**_RECORD, "n": number}, label="green", wait_s=_TAKE_S)
            number += 1


def _read(identity: Path) -> None:
    came: list[tuple[int, float]] = []
    deadline_s = time.monotonic() + _LIFE_S
    with ControlPoint(identity) as point:
        point.on_message(
            "detections.honest", lambda message: came.append((message.content["n"], time.monotonic()))
        )
        _tell([])
        told = 0
        while time.monotonic() < deadline_s:
            time.sleep(_TELL_S)
            now = came[told:]
            told += len(now)
            _tell(now)


def _act(requester: Path, executor: Path) -> None:
    """An action a second, each waited for on a thread of its own, until "stop" is read."""
    stopped = threading.Event()
    lock = threading.Lock()

    def listen() -> None:
        sys.stdin.readline()
        stopped.set()

    def tell(*said: Any) -> None:
        with lock:
            _tell(said)

    threading.Thread(target=listen, daemon=True).start()
    with ControlPoint(executor) as wall, ControlPoint(requester) as soar:
        wall.on_action("deny", "ipv4_net")(lambda action: {"done": action.target.value})
        wall.wait_ready()

        def ask(number: int) -> None:
            at_s = time.monotonic()
            tell(number, at_s, "asked")
            tell(number, at_s, _end_of(soar, number))

        began_s, number = time.monotonic(), 0
        while not stopped.wait(max(0.0, began_s + number - time.monotonic())) and number < _LIFE_S:
            threading.Thread(target=ask, args=(number,), daemon=True).start()
            number += 1
        time.sleep(_WAIT_MS / 1000 + 5)


def _end_of(soar: ControlPoint, number: int) -> str:
    try:
        outcomes = list(soar.request(
            "deny", f"ipv4_net=203.0.113.{number % 250 + 1}", to="role=firewall and id=wall", ttl=_TTL, wait_ms=_WAIT_MS
        ))
    except FabricError as error:
        return error.code.label
    return " ".join(str(outcome.end) for outcome in outcomes) or "nothing"


def _end_with_starter() -> None:
    """Who waits for nothing else waits for the end of its standard input."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the starter's to hear
    what, *folders = sys.argv[1:]
    paths = [Path(folder) for folder in folders]
    if what != "act":
        threading.Thread(target=_end_with_starter, daemon=True).start()
    if what == "sense":
        _sense(*paths)
    elif what == "read":
        _read(*paths)
    else:
        _act(*paths)
