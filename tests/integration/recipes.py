"""Recipes of the README, run as they stand by a shell: only folders and ports are those of a house.

What the shell finds as `fabric` has the warm process begin the command, with the shell's own streams and environment,
hands signals on to it and ends as it ends: to read the modules for each would be most of what recipes cost.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.integration import warm
from tests.integration.harness import ROOT, House

# As light as a process can begin. It is given the descriptor on which the warm process takes commands, and arguments.
_FABRIC = """
import json, os, signal, socket, sys
told, theirs = socket.socketpair()
request = json.dumps(["", *sys.argv[2:], dict(os.environ)]).encode()
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [request], [0, 1, 2, theirs.fileno()])
theirs.close()
said = told.makefile("r")
pid = int(said.readline())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(pid, number))
code = int(said.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def blocks_of(heading: str) -> list[str]:
    """What a section of the README has for a shell, in order."""
    section = (ROOT / "README.md").read_text().split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


class Shell:
    """`instead`: what stands in the README, and what is meant here."""

    def __init__(self, house: House, work: Path, instead: Mapping[str, str]) -> None:
        bin_ = work / "bin"
        bin_.mkdir()
        begins = warm.channel()
        (bin_ / "fabric.py").write_text(_FABRIC)
        (bin_ / "fabric").write_text(f'#!/bin/sh\nexec {sys.executable} -ISB {bin_ / "fabric.py"} {begins} "$@"\n')
        (bin_ / "fabric").chmod(0o755)
        self._environment = {**os.environ, "FABRIC_HOME": str(house.home), "PYTHONPATH": str(ROOT),
                             "PATH": f"{bin_}:{os.environ['PATH']}"}
        self._instead = instead
        self._passed = [begins]

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        for there, here in self._instead.items():
            script = script.replace(there, here)
        command = ["bash", "-c", script]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, pass_fds=self._passed
        )


@contextmanager
def shell_of(house: House, work: Path, instead: Mapping[str, str]) -> Iterator[Shell]:
    """What the recipe began ends with it, in order."""
    yield Shell(house, work, instead)
    for running in house.processes():
        with suppress(ProcessLookupError):  # those of a supervisor end with it
            os.kill(running, signal.SIGTERM)
