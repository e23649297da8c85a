"""A whole topology on one machine: start every relay as a process of its own (`starting`), and restart what dies.

Guarantees: one supervisor for a fabric on a machine (a lock that dies with it); a relay that dies comes back after a
pause that doubles while it keeps dying, and one that was drained when it is called back; stopping stops all, asking
first. Relays do not die with the supervisor's terminal, and none is left behind by a supervisor that was asked to stop
or, on Linux, that was killed. A relay that cannot be started is told of in its log, and tried again like one that died.

Its own files beside those of relays begin with "_", which no relay's name has.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric.documents import parse_object
from fabric.edge.identity.home import fabric_folder
from fabric.files import append_private, copy_private, empty_private, make_private, open_private, write_private
from fabric.protocol.base.errors import Code, FabricError
from relays.last_words import NOT_STARTED
from relays.process.drain import DrainFile, drain_path, end_draining
from relays.starting import STARTS_MAX, EachAnew, Starting, best, command_of_supervisor

if TYPE_CHECKING:
    import subprocess

_BACKOFF_S = 0.5
_BACKOFF_S_MAX = 30.0
# Who lived this long died of something new.
_STABLE_S = 10.0
_STOP_S = 10.0
_LOG_BYTES_MAX = 16 << 20


@dataclass
class _Child:
    relay: str
    process: int | None = None  # while it runs
    starts: bool = False  # it was to start, and we have yet to hear of its process
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
        self._starting: Starting = EachAnew(self._folder / "ids", home)
        self._stopping = False
        self._lock: int | None = None

    def run(self, every: Callable[[], None] = lambda: None, interval_s: float = 0.25) -> None:
        """Until SIGTERM or Ctrl-C; `every` is called about four times a second. It waits for all children there are."""
        self._take_lock()
        try:
            with self._waking() as woken:
                self._starting = best(self._folder / "ids", self.relays, self._home, self._run / "_supervisor.log")
                try:
                    self._run_all(woken, every, interval_s)
                finally:
                    self._stop_all(woken)
                    (self._run / "_supervisor.json").unlink(missing_ok=True)
        finally:
            self._release_lock()

    def _run_all(self, woken: socket.socket, every: Callable[[], None], interval_s: float) -> None:
        for relay in self.relays:
            (self._run / f"{relay}.json").unlink(missing_ok=True)
            end_draining(drain_path(self.fabric, relay, self._home))
            self._begin_log(relay)
        self._write_state()
        every_at = time.monotonic()
        while not self._stopping:
            self._look_after()
            if time.monotonic() >= every_at:
                every_at = time.monotonic() + interval_s
                for log in (*self.relays, "_supervisor"):
                    _rotate(self._run / f"{log}.log")
                every()
            self._wait(woken, every_at)

    @contextmanager
    def _waking(self) -> Iterator[socket.socket]:
        """What can be read from when a signal came: that of a child's end, or one that asks us to stop."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            ours.setblocking(False)
            previous_fd = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            previous = {s: signal.signal(s, self._stop) for s in (signal.SIGTERM, signal.SIGINT)}
            previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
            try:
                yield ours
            finally:
                for signal_, handler in previous.items():
                    signal.signal(signal_, handler)
                signal.set_wakeup_fd(previous_fd)

    def _wait(self, woken: socket.socket, until_s: float) -> None:
        """Until something happened, and no longer than until then."""
        waits_for = [woken.fileno(), *self._starting.waits_for()]
        select.select(waits_for, [], [], max(0.0, until_s - time.monotonic()))
        with suppress(BlockingIOError):
            woken.recv(4096)

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
        self._hear_of_starts(now)
        self._reap(now)
        starting = sum(child.starts for child in self._children)
        for child in self._children:
            if child.process is not None or child.starts or now < child.restart_at:
                continue
            if starting < STARTS_MAX and not self._stopping and not self._is_drained(child.relay):
                starting += 1
                self._start(child)

    def _hear_of_starts(self, now: float) -> None:
        children = {child.relay: child for child in self._children}
        for relay, fate in self._starting.fates():
            child = children[relay]
            child.starts = False
            if isinstance(fate, int):
                child.process, child.started = fate, now
            else:
                child.failures += 1
                self._pause(child, now)
                self._tell(relay, fate)

    def _reap(self, now: float) -> None:
        """Whatever has ended: a relay, the process that forks them, and what came between that and a relay."""
        children = {child.process: child for child in self._children if child.process is not None}
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._starting.reaped(pid)
                if (child := children.get(pid)) is not None:
                    child.failures = 0 if now - child.started > _STABLE_S else child.failures + 1
                    child.process = None
                    self._pause(child, now)

    def _pause(self, child: _Child, now: float) -> None:
        pause = 0.0 if child.failures == 0 else min(_BACKOFF_S_MAX, _BACKOFF_S * 2 ** min(child.failures - 1, 10))
        child.restart_at = now + pause

    def _tell(self, relay: str, error: OSError) -> None:
        """In its log: `fabric status` says so until the relay itself has something to say."""
        code = Code.MACHINE_REFUSED
        line = json.dumps({
            "event": NOT_STARTED, "relay": relay, "level": "error", "code": code.label,
            "cause": code.cause, "detail": error.strerror or type(error).__name__,
            "next": "it is tried again: see how many processes this user may have, and how much memory is left",
        })
        with append_private(self._run / f"{relay}.log") as log:
            log.write(line.encode() + b"\n")

    def _is_drained(self, relay: str) -> bool:
        state = self._drains[relay].look()
        return state is not None and state.gone

    def _start(self, child: _Child) -> None:
        with append_private(self._run / f"{child.relay}.log") as log:
            child.starts = True
            self._starting.start(child.relay, log)

    def _stop_all(self, woken: socket.socket) -> None:
        self._starting.close()
        for signal_, within_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, _STOP_S)):
            deadline = time.monotonic() + within_s
            self._reap(deadline)
            for child in self._children:
                if child.process is not None:
                    os.kill(child.process, signal_)  # ours until it is reaped
            while any(child.process is not None for child in self._children) and time.monotonic() < deadline:
                self._wait(woken, deadline)
                self._reap(deadline)


def _rotate(log: Path) -> None:
    """Relays append to it, so what is cut away under them is all that they notice. One older file is kept."""
    with suppress(OSError, FabricError):
        if log.stat().st_size > _LOG_BYTES_MAX:
            copy_private(log, log.with_suffix(".log.1"))
            empty_private(log)


def detach(fabric: str, relays: Sequence[str], home: Path, folder: Path | None = None) -> subprocess.Popen[bytes]:
    """A supervisor that goes on by itself, in a session of its own, with this FABRIC_HOME. What it says is in its log.

    `folder`: where it works; None: where this process does.
    """
    import subprocess  # noqa: PLC0415 - a supervisor, which runs for weeks, does without it

    run = make_private(fabric_folder(fabric, home) / "run")
    with append_private(run / "_supervisor.log") as log:
        return subprocess.Popen(
            command_of_supervisor(fabric, relays), cwd=folder, env={**os.environ, "FABRIC_HOME": str(home)},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )


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
