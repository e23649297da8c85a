"""How long this program takes to begin: to say what commands there are, and a relay until it serves."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.comparison.figures import Figure, Window
from scripts.comparison.processes import Failed
from tests.integration.harness import ROOT, House, house_in

HELP, RELAY = Figure("help", "s", "less", 0.25), Figure("relay", "s", "less", 0.5)
# Of each window the median of so many.
_TIMES = 3
_WAIT_S = 60.0
# What a relay says when it has seen that it lets no stranger in: from then on it serves.
_SERVES = "door test passed"
_TOPOLOGY = """
fabric = "bench"
organisation = "acme"
[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }
"""


class Starting:
    """Seconds of whole processes, Python's own start included."""

    does = "each is a process of its own, started anew; a relay serves when its own test of its door is passed"

    def __init__(self, house: House) -> None:
        self._environment = {**os.environ, "FABRIC_HOME": str(house.home)}
        self._relay = [sys.executable, "-m", "relays.run", str(house.folder / "ids" / "hq"), "--home", str(house.home)]

    def window(self, seconds: float) -> Window:
        """That takes as long as it takes."""
        return Window({
            HELP.name: statistics.median(self._help() for _ in range(_TIMES)),
            RELAY.name: statistics.median(self._serving() for _ in range(_TIMES)),
        })

    def _help(self) -> float:
        began_s = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "relays.cli", "--help"], cwd=ROOT, env=self._environment, capture_output=True,
            timeout=_WAIT_S, check=False,
        )
        if done.returncode:
            raise Failed(f"fabric --help ended with {done.returncode}")
        return time.perf_counter() - began_s

    def _serving(self) -> float:
        began_s = time.perf_counter()
        with subprocess.Popen(
            self._relay, cwd=ROOT, env=self._environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as relay:
            try:
                assert relay.stdout is not None
                for line in relay.stdout:
                    if _SERVES in line:
                        return time.perf_counter() - began_s
            finally:
                relay.terminate()
                relay.communicate()
        raise Failed("the relay ended before it served")


@contextmanager
def starting(folder: Path) -> Iterator[Starting]:
    """Whoever is to begin has its identity already."""
    folder.mkdir()
    with house_in(folder, _TOPOLOGY, anew=True) as house:
        house.up()
        house.down()
        yield Starting(house)
