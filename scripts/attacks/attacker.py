"""The process of an attacker: one attack, bounded in time.

Unless it is told otherwise it gives way to everybody else on this machine: its session has the lowest priority. It
says, a JSON value a line, when it is ready, and twice a second what it did so far; it begins at the first line of its
standard input, and ends with the time that it was given, or with whoever started it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.attacks.flood import Orders, Spoils, Tally
from scripts.attacks.known import named
from scripts.attacks.process import Process
from scripts.comparison.saying import give_way
from tests.integration.harness import House

# How long it may take to become ready, before its time begins to count.
PREPARES_S = 60.0
_TELL_S = 0.5
_DESCRIPTORS = 8_192


class Attacker(Process):
    """Such a process, seen from outside. `tally` is what it last said."""

    def __init__(self, house: House, name: str, seconds: float, *, equal: bool = False) -> None:
        self.tally = Tally()
        how = ["equal"] if equal else []
        super().__init__("scripts.attacks.attacker", str(house.folder), name, str(seconds), *how)

    def take(self, said: Any) -> bool:
        if said != "ready":
            self.tally = Tally(**said)
        return bool(said == "ready")

    def begin(self) -> None:
        self.say("begin")


def main(folder: str, name: str, seconds: str, equal: str = "") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the starter's to hear
    if not equal:
        give_way()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))
    tally, orders = Tally(), Orders(time.monotonic() + PREPARES_S)
    told = threading.Lock()

    def tell(value: object) -> None:
        with told:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()

    def listen() -> None:
        if sys.stdin.readline():
            orders.deadline_s = time.monotonic() + float(seconds)
            orders.begun = True
            sys.stdin.read()
        os._exit(0)

    def report() -> None:
        while True:
            time.sleep(_TELL_S)
            tell(asdict(tally))

    orders.ready = lambda: tell("ready")
    for thread in (listen, report):
        threading.Thread(target=thread, daemon=True).start()
    named(name).run(Spoils(Path(folder)), orders, tally)
    tell(asdict(tally))


if __name__ == "__main__":
    main(*sys.argv[1:])
