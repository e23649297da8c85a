"""The readers of a run, as its publisher sees them: processes that say how far they are, and report in the end.

Guarantees: all of them have ended when the block is left, however it is left. Each error of a reader is raised as it
was there, with the reader's name.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from fabric.protocol.base.errors import Code, FabricError

# Until a reader is connected and subscribed: its own wait for a relay, and Python's start.
READY_S: Final = 30.0
# Beyond what is still on its way, and comes on.
_REPORT_S: Final = 300.0
_END_S: Final = 10.0
_CODES: Final = {code.number: code for code in Code}


class Reader:
    """One of them. What it said last can be read at any time."""

    def __init__(self, id_: str, identity: str, topic: str, run: str, publisher: str) -> None:
        self.id = id_
        self.records = 0
        self.reached = False
        self.withheld = ""
        self._report: dict[str, Any] | None = None
        self._error: FabricError | None = None
        self._ready = False
        self._said = threading.Condition()
        # In a session of its own: Ctrl-C is for who started it, and what it knows by then is still wanted.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "relays.benching.reader", identity, topic, run, publisher], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )
        threading.Thread(target=self._listen, name=f"fabric bench {id_}", daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self._take(json.loads(line))
                self._said.notify_all()
        with self._said:
            self._error = self._error or FabricError(Code.INTERNAL, f"the reader as {self.id} ended early")
            self._said.notify_all()

    def _take(self, said: dict[str, Any]) -> None:
        match said:
            case {"ready": True}:
                self._ready = True
            case {"records": int(records), "reached": bool(reached), "withheld": str(withheld)}:
                self.records, self.reached, self.withheld = records, reached, withheld
            case {"report": dict(report)}:
                self._report = report
            case {"error": {"code": int(number), "detail": str(detail), "next": str(next_step)}}:
                self._error = FabricError(_CODES[number], f"{self.id}: {detail}" if detail else self.id, next_step)

    def check(self) -> None:
        """Raises what ended it."""
        if self._error is not None:
            raise self._error

    def wait_ready(self, timeout_s: float) -> None:
        """Until its relay has its subscription. Raises FabricError."""
        with self._said:
            self._said.wait_for(lambda: self._ready or self._error is not None, timeout_s)
        self.check()
        if not self._ready:
            raise FabricError(Code.TIMED_OUT, f"{self.id} was not subscribed within {timeout_s:.0f} s")

    def end(self, count: int) -> None:
        """No more than so many will come: it is to report."""
        assert self._process.stdin is not None
        with suppress(OSError):  # what ended it is raised when its report is asked for
            self._process.stdin.write(f"end {count}\n")
            self._process.stdin.flush()

    def report(self) -> dict[str, Any]:
        """As `tally.Tally.report`, with `cpu_s`. Raises FabricError."""
        with self._said:
            self._said.wait_for(lambda: self._report is not None or self._error is not None, _REPORT_S)
        if self._report is None:
            self.check()
            raise FabricError(Code.TIMED_OUT, f"{self.id} did not report within {_REPORT_S:.0f} s")
        return self._report

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def reading(identities: Sequence[tuple[str, str]], topic: str, run: str, publisher: str) -> Iterator[list[Reader]]:
    """As long as the block runs; each is subscribed. `identities`: of each its id, and how it is named here."""
    with ExitStack() as stack:
        readers = []
        for id_, identity in identities:
            readers.append(Reader(id_, identity, topic, run, publisher))
            stack.callback(readers[-1].close)
        until_s = time.monotonic() + READY_S
        for reader in readers:
            reader.wait_ready(max(0.0, until_s - time.monotonic()))
        yield readers
