"""Programs at the ends of a chain, each a process of its own, told and heard line by line; and what processes cost.

A program that ends early, or says nothing in time, fails in words with what it said last.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.comparison.saying import APART
from tests.integration.harness import ROOT

_WAIT_S = 120.0
_END_S = 20.0
# A program says a line for each thing that it is asked, no more.
_LINES_MAX = 100
_SAID_CHARS = 300


class Failed(Exception):  # noqa: N818 - it is a row that failed, and the text says of what
    """A row that cannot be measured: the text says why, for a person."""


class Program:
    """A Python module that runs with these arguments and answers with lines of JSON.

    `apart`: it stands for another machine, and gives way to everybody else on this one. `log`: where its standard error
    goes. For one thread.
    """

    def __init__(self, log: Path, module: str, *args: str, apart: bool = False) -> None:
        self._name, self._log = log.stem, log
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", module, *args, *([APART] if apart else [])], cwd=ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=apart,
            )
        self._lines: queue.Queue[str | None] = queue.Queue(_LINES_MAX)
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _listen(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def ask(self, *words: object, takes_s: float = 0.0) -> dict[str, Any]:
        """Tell it something, and wait for its answer. `takes_s`: how long that takes anyway."""
        self.tell(*words)
        return self.hear(takes_s + _WAIT_S)

    def tell(self, *words: object) -> None:
        assert self._popen.stdin is not None
        try:
            print(*words, file=self._popen.stdin, flush=True)
        except OSError:
            raise Failed(self._ended()) from None

    def hear(self, timeout_s: float = _WAIT_S) -> dict[str, Any]:
        """What it says next."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise Failed(f"{self._name} said nothing within {timeout_s:.0f} s. {self._said()}") from None
        if line is None:
            raise Failed(self._ended())
        return dict(json.loads(line))

    def _ended(self) -> str:
        return f"{self._name} ended early. {self._said()}"

    def _said(self) -> str:
        """The last line of what it wrote: of a traceback that is what went wrong."""
        *_, last = self._log.read_text(errors="replace").strip().splitlines() or [""]
        return last[:_SAID_CHARS]

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.close()  # it ends when there is nothing more to be told
            self._popen.wait(_END_S)
        except (subprocess.TimeoutExpired, OSError):
            self._popen.kill()
            self._popen.wait()


class Cpu:
    """Processor time of processes since `begin`, in their threads and in the kernel for them.

    `pids`: one process by each name, or several that are counted together.
    """

    def __init__(self, pids: Mapping[str, int | Sequence[int]]) -> None:
        self._pids = {name: [of] if isinstance(of, int) else list(of) for name, of in pids.items()}
        self._before_us = self._now_us()

    def begin(self) -> None:
        self._before_us = self._now_us()

    def per_record(self, records: int) -> dict[str, float]:
        """Microseconds a record, by process."""
        now_us = self._now_us()
        return {name: (now_us[name] - before_us) / max(1, records) for name, before_us in self._before_us.items()}

    def _now_us(self) -> dict[str, float]:
        return {
            name: sum(cpu_us(Path(f"/proc/{pid}/stat").read_text()) for pid in pids)
            for name, pids in self._pids.items()
        }


def cpu_us(stat: str, ticks_per_s: int = os.sysconf("SC_CLK_TCK")) -> float:
    """Microseconds in user and kernel mode, from a line of /proc/PID/stat (proc(5): fields 14 and 15)."""
    fields: Sequence[str] = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) * 1_000_000 / ticks_per_s
