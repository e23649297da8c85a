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
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from scripts.attacks.flood import Orders, Spoils, Tally
from scripts.attacks.known import named
from scripts.bench_lanes import give_way
from tests.integration.harness import ROOT, House

# How long it may take to become ready, before its time begins to count.
PREPARES_S = 60.0
_TELL_S = 0.5
_DESCRIPTORS = 8_192


class Attacker:
    """Such a process, seen from outside. `tally` is what it last said."""

    def __init__(self, house: House, name: str, seconds: float, *, equal: bool = False) -> None:
        self.tally = Tally()
        self.ready = threading.Event()
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "scripts.attacks.attacker", str(house.folder), name, str(seconds),
             *(["equal"] if equal else [])],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            said = json.loads(line)
            if said == "ready":
                self.ready.set()
            else:
                self.tally = Tally(**said)

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def begin(self) -> None:
        assert self._popen.stdin is not None
        with suppress(OSError):
            self._popen.stdin.write("begin\n")
            self._popen.stdin.flush()

    def __enter__(self) -> Attacker:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.kill()
        self._popen.wait()
        self._listener.join()
        for stream in (self._popen.stdin, self._popen.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]


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
