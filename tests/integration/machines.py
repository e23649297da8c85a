"""A machine of its own for one relay of a house: another home, and whatever else is different there (clock, disk)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.harness import FABRIC, ROOT, Done, House, Running


class Machine:
    """`home`: where its state lives. `environment`: what its processes have besides. Nobody restarts its relay."""

    def __init__(self, house: House, relay: str, home: Path, environment: Mapping[str, str]) -> None:
        self._house, self._relay, self._home = house, relay, home
        self._environment = {**os.environ, **environment, "COLUMNS": "200"}
        self._run = home / house.fabric / "run"
        self._run.mkdir(parents=True, mode=0o700)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        folder = self._house.folder / "ids" / self._relay
        with (self._run / f"{self._relay}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "relays.run", str(folder), "--home", str(self._home)], cwd=ROOT,
                # By this home the house finds, and ends, what is left of it.
                env={**self._environment, "FABRIC_HOME": str(self._house.home)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        (self._run / f"{self._relay}.json").unlink()

    def state(self) -> dict[str, Any]:
        """What the relay wrote last; empty before it wrote anything."""
        try:
            return dict(json.loads((self._run / f"{self._relay}.json").read_text()))
        except (OSError, ValueError):
            return {}

    def fabric(self, *args: str) -> Done:
        """A command on this machine."""
        process = subprocess.Popen(
            [*FABRIC, *args], cwd=ROOT, env={**self._environment, "FABRIC_HOME": str(self._home)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        return Running(process, args).wait()

    def log(self) -> str:
        return (self._run / f"{self._relay}.log").read_text()
