"""A process beside this one, seen from outside: what it says is a JSON value a line, what it is told a word a line.

Guarantees: it is gone when its `with` ends. A Ctrl-C does not reach it: that is its starter's to hear.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, Self

from tests.integration.harness import ROOT


class Process:
    """`module` is run with these arguments. `ready` is set by the first thing that it says, unless `take` says else."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.ready = threading.Event()
        self._popen = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            if not line.endswith("\n"):  # it was killed in the midst of saying it
                return
            if self.take(json.loads(line)):
                self.ready.set()

    def take(self, said: Any) -> bool:
        """Keep what it said; whether it is ready by now. Runs on the thread that listens."""
        del said
        return True

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def say(self, word: str) -> None:
        assert self._popen.stdin is not None
        with suppress(OSError):
            self._popen.stdin.write(word + "\n")
            self._popen.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.kill()
        self._popen.wait()
        self._listener.join()
        for stream in (self._popen.stdin, self._popen.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
