"""How a supervisor starts relays: as forks of one process that has read the modules, or each anew where that cannot
be.

Guarantees, both ways: a relay is a child of the supervisor, and begins only when the supervisor knows its process, so
that none runs twice or unseen. What the system refuses is told as the fate of that start, and nothing else ends.
A fork server that ends is started again when a relay is to start; relays that it forked do not notice.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from fabric.files import append_private

_PR_SET_CHILD_SUBREAPER = 36
# Each has a socket open until it begins.
STARTS_MAX = 8
# Between a request and its answer lies, at the first one, the reading of the modules on a busy machine.
_ANSWER_S_MAX = 60.0
_ANSWER_BYTES_MAX = 32
_CHANNEL = 3
# What Python ignores in itself is not to be ignored from the start in what it starts.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)

Fate = tuple[str, int | OSError]


class Starting(Protocol):
    """`start` begins a start, and `fates` says of each how it came out: the relay's process, or why there is none."""

    def start(self, relay: str, log: BinaryIO) -> None:
        """`log`: what its standard output and error go to."""

    def fates(self) -> list[Fate]:
        """Those that are known since the last time."""

    def waits_for(self) -> list[int]:
        """Descriptors: when one can be read, there are fates."""

    def reaped(self, pid: int) -> None:
        """This child has ended."""

    def close(self) -> None:
        """What has not begun never does."""


class EachAnew:
    """Each relay is started as a program."""

    def __init__(self, ids: Path, home: Path | None) -> None:
        self._ids, self._home = ids, home
        self._fates: list[Fate] = []

    def start(self, relay: str, log: BinaryIO) -> None:
        try:
            pid = _spawn(command_of(self._ids / relay, os.getpid(), self._home), log)
        except OSError as error:
            self._fates.append((relay, error))
        else:
            self._fates.append((relay, pid))

    def fates(self) -> list[Fate]:
        fates, self._fates = self._fates, []
        return fates

    def waits_for(self) -> list[int]:
        return []

    def reaped(self, pid: int) -> None:
        pass

    def close(self) -> None:
        pass


class Forked:
    """Each relay is a fork of `relays.fork_server`. `errors`: where that says why it cannot serve."""

    def __init__(self, ids: Path, relays: Sequence[str], home: Path | None, errors: Path) -> None:
        self._ids, self._relays, self._home, self._errors = ids, relays, home, errors
        self._server: tuple[int, socket.socket] | None = None
        self._asked: dict[str, socket.socket] = {}  # in the order of the answers; by it one is told to begin
        self._answer_by_s = 0.0
        self._fates: list[Fate] = []

    @property
    def server(self) -> int | None:
        """The process of the fork server, while there is one."""
        return self._server[0] if self._server else None

    def start(self, relay: str, log: BinaryIO) -> None:
        try:
            if self._server is None:
                self._server = self._start_server()
            go, theirs = socket.socketpair()
            with theirs:
                try:
                    given = [log.fileno(), theirs.fileno()]
                    socket.send_fds(self._server[1], [relay.encode()], given, socket.MSG_DONTWAIT)
                except OSError:
                    go.close()
                    raise
        except ConnectionError:
            self._give_up(relay)
        except OSError as error:
            self._fates.append((relay, error))
        else:
            if not self._asked:
                self._answer_by_s = time.monotonic() + _ANSWER_S_MAX
            self._asked[relay] = go

    def _start_server(self) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                command = command_of_server(self._ids, self._relays, os.getpid(), self._home)
                with append_private(self._errors) as errors:
                    return _spawn(command, errors, theirs), ours
            except BaseException:
                ours.close()
                raise

    def fates(self) -> list[Fate]:
        if self._server is not None:
            self._read_answers(*self._server)
        if self._asked and self._server is not None and time.monotonic() > self._answer_by_s:
            os.kill(self._server[0], signal.SIGKILL)  # once that is seen, nothing that it was asked for begins
        fates, self._fates = self._fates, []
        return fates

    def _read_answers(self, server: int, channel: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                try:
                    answer = channel.recv(_ANSWER_BYTES_MAX, socket.MSG_DONTWAIT)
                except ConnectionError:
                    answer = b""
                if not answer:
                    os.kill(server, signal.SIGKILL)  # ours until it is reaped
                    self._give_up()
                    return
                relay = next(iter(self._asked))
                self._fates.append((relay, self._begin(self._asked.pop(relay), int(answer))))
                self._answer_by_s = time.monotonic() + _ANSWER_S_MAX

    def _begin(self, go: socket.socket, pid: int) -> int | OSError:
        with go:
            if pid < 0:
                return OSError(-pid, os.strerror(-pid))
            with suppress(ChildProcessError, ConnectionError):
                ended, _ = os.waitpid(pid, os.WNOHANG)  # it may even be reaped by now
                if not ended:
                    go.send(b"!")
                    return pid
            return OSError(errno.ECHILD, "it ended before it began")

    def _give_up(self, *asking: str) -> None:
        """The server has ended, or is as good as that: so is every start that it was asked for."""
        if self._server is not None:
            self._server[1].close()
            self._server = None
        why = OSError(errno.ECHILD, f"the process that forks relays ended: see {self._errors}")
        self._fates += [(relay, why) for relay in (*self._asked, *asking)]
        for go in self._asked.values():
            go.close()
        self._asked.clear()

    def waits_for(self) -> list[int]:
        return [self._server[1].fileno()] if self._server is not None else []

    def reaped(self, pid: int) -> None:
        if pid == self.server:
            self._give_up()

    def close(self) -> None:
        if self._server is not None:
            os.kill(self._server[0], signal.SIGKILL)
        self._give_up()
        self._fates.clear()


def best(ids: Path, relays: Sequence[str], home: Path | None, errors: Path) -> Starting:
    """Forks, where this process can adopt them."""
    if sys.platform.startswith("linux") and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
        return Forked(ids, relays, home, errors)
    return EachAnew(ids, home)


def command_of(folder: Path, supervisor: int, home: Path | None) -> list[str]:
    """What starts this relay anew, and what a fork is shown as."""
    return [sys.executable, "-m", "relays.run", str(folder), *_options(supervisor, home)]


def command_of_supervisor(fabric: str, relays: Sequence[str]) -> list[str]:
    """What starts a supervisor that leaves its terminal."""
    return [sys.executable, "-m", "relays.cli.tree.supervise", fabric, *relays]


def command_of_server(ids: Path, relays: Sequence[str], supervisor: int, home: Path | None) -> list[str]:
    """What starts the fork server. It names the relays, so that there is room in it for the command line of each."""
    return [sys.executable, "-m", "relays.fork_server", str(_CHANNEL), str(ids), *relays, *_options(supervisor, home)]


def _options(supervisor: int, home: Path | None) -> list[str]:
    return ["--supervisor", str(supervisor), *(["--home", str(home)] if home is not None else [])]


def _spawn(command: Sequence[str], log: BinaryIO, channel: socket.socket | None = None) -> int:
    """A process in a session of its own, that reads nothing and writes into the log."""
    streams: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    streams += [(os.POSIX_SPAWN_DUP2, log.fileno(), stream) for stream in (1, 2)]
    if channel is not None:
        streams.append((os.POSIX_SPAWN_DUP2, channel.fileno(), _CHANNEL))
    return os.posix_spawn(
        command[0], list(command), os.environ, file_actions=streams, setsid=True, setsigdef=_DEFAULT_SIGNALS
    )
