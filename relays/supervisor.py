"""A whole topology on one machine: start every relay as a process of its own, and restart what dies.

Guarantees: one supervisor for a fabric on a machine (a lock that dies with it); a relay that dies comes back after a
pause that doubles while it keeps dying, and one that was drained when it is called back; stopping stops all, asking
first. Relays do not die with the supervisor's terminal, and none is left behind by a supervisor that was asked to stop
or, on Linux, that was killed.

Its own files beside those of relays begin with "_", which no relay's name has.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric.documents import parse_object
from fabric.edge.identity.home import fabric_folder
from fabric.files import append_private, copy_private, empty_private, make_private, open_private, write_private
from fabric.protocol.base.errors import Code, FabricError
from relays.drain import DrainFile, drain_path, end_draining

_BACKOFF_S = 0.5
_BACKOFF_S_MAX = 30.0
# Who lived this long died of something new.
_STABLE_S = 10.0
_STOP_S = 10.0
_LOG_BYTES_MAX = 16 << 20


@dataclass
class _Child:
    relay: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restart_at: float = 0.0
    failures: int = 0


class Supervisor:
    """Runs these relays of a fabric; `home` is FABRIC_HOME where it is not given."""

    def __init__(self, fabric: str, relays: Sequence[str], home: Path | None = None) -> None:
        self.fabric = fabric
        self.relays = tuple(relays)
        self._home = home
        self._folder = fabric_folder(fabric, home)
        self._run = make_private(make_private(self._folder) / "run")
        self._children = [_Child(relay) for relay in relays]
        self._drains = {relay: DrainFile(drain_path(fabric, relay, home)) for relay in relays}
        self._stopping = False
        self._lock: int | None = None

    def run(self, every: Callable[[], None] = lambda: None, interval_s: float = 0.25) -> None:
        """Until SIGTERM or Ctrl-C; `every` is called about four times a second."""
        self._take_lock()
        previous = {s: signal.signal(s, self._stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            for relay in self.relays:
                (self._run / f"{relay}.json").unlink(missing_ok=True)
                end_draining(drain_path(self.fabric, relay, self._home))
                self._begin_log(relay)
            self._write_state()
            while not self._stopping:
                self._look_after()
                every()
                time.sleep(interval_s)
        finally:
            self._stop_all()
            (self._run / "_supervisor.json").unlink(missing_ok=True)
            for signal_, handler in previous.items():
                signal.signal(signal_, handler)
            self._release_lock()

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True

    def _take_lock(self) -> None:
        self._lock = open_private(self._run / "_lock")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise FabricError(Code.ALREADY_RUNNING, self.fabric, f"run `fabric down {self.fabric}` first") from None

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_state(self) -> None:
        state = {"pid": os.getpid(), "fabric": self.fabric, "relays": list(self.relays), "started": time.time()}
        write_private(self._run / "_supervisor.json", json.dumps(state).encode(), durable=False)

    def _begin_log(self, relay: str) -> None:
        """So that the last words of an earlier run are not taken for this one's."""
        line = json.dumps({"event": "supervisor starts the relay", "relay": relay, "level": "info"})
        with append_private(self._run / f"{relay}.log") as log:
            log.write(line.encode() + b"\n")

    def _look_after(self) -> None:
        now = time.monotonic()
        for child in self._children:
            _rotate(self._run / f"{child.relay}.log")
            if child.process is not None:
                if child.process.poll() is None:
                    continue
                child.failures = 0 if now - child.started > _STABLE_S else child.failures + 1
                pause = 0.0 if child.failures == 0 else min(_BACKOFF_S_MAX, _BACKOFF_S * 2 ** (child.failures - 1))
                child.process, child.restart_at = None, now + pause
            if now >= child.restart_at and not self._stopping and not self._is_drained(child.relay):
                self._start(child, now)

    def _is_drained(self, relay: str) -> bool:
        state = self._drains[relay].look()
        return state is not None and state.gone

    def _start(self, child: _Child, now: float) -> None:
        path = self._run / f"{child.relay}.log"
        folder = self._folder / "ids" / child.relay
        command = [sys.executable, "-m", "relays.run", str(folder), "--supervisor", str(os.getpid())]
        if self._home is not None:
            command += ["--home", str(self._home)]
        with append_private(path) as log:
            child.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        child.started = now

    def _stop_all(self) -> None:
        running = [c.process for c in self._children if c.process is not None and c.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _rotate(log: Path) -> None:
    """Relays append to it, so what is cut away under them is all that they notice. One older file is kept."""
    with suppress(OSError, FabricError):
        if log.stat().st_size > _LOG_BYTES_MAX:
            copy_private(log, log.with_suffix(".log.1"))
            empty_private(log)


def supervisor_state(fabric: str, home: Path | None = None) -> dict[str, Any] | None:
    """What runs here, or None. The lock decides, so a stale file of a supervisor that was killed means nothing."""
    run = fabric_folder(fabric, home) / "run"
    try:
        with (run / "_lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return parse_object((run / "_supervisor.json").read_bytes())
    except (OSError, ValueError):
        return None
    return None


def stop_supervisor(fabric: str, home: Path | None = None, timeout_s: float = 15.0) -> None:
    """Ask it to stop, and wait until its process has ended."""
    state = supervisor_state(fabric, home)
    if state is None:
        raise FabricError(Code.NOT_RUNNING, fabric)
    pid, deadline = int(state["pid"]), time.monotonic() + timeout_s
    with suppress(ProcessLookupError), _Process(pid) as process:
        os.kill(pid, signal.SIGTERM)
        while supervisor_state(fabric, home) is not None or not process.wait_ended(0.05):
            if time.monotonic() > deadline:
                raise FabricError(Code.TIMED_OUT, f"{fabric} did not stop", f"look at process {pid}")


class _Process:
    """Another process. Its lock is free a moment before it ends; where the system does not say when, that counts."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def wait_ended(self, timeout_s: float) -> bool:
        """Whether it has ended, within this time."""
        if self._descriptor is None:
            return True
        return bool(select.select([self._descriptor], [], [], timeout_s)[0])


def last_words(fabric: str, relay: str, home: Path | None = None) -> dict[str, Any] | None:
    """The last error that a relay logged, for a table or a message; None when its log ends in peace."""
    path = fabric_folder(fabric, home) / "run" / f"{relay}.log"
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            lines = log.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            entry = parse_object(line)
        except ValueError:
            continue
        return entry if entry.get("level") == "error" else None
    return None
