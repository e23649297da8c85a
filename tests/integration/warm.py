"""Commands that begin at once: a process reads the program's modules one time, and each command is a fork of it.

A command spends most of its time reading modules, and tests run hundreds. What it is afterwards is the real thing: a
process of its own with its own arguments, environment, streams, session, signals and end. The first of a program's
moments are not its own, and it has the modules of all commands, so tests of how it starts start it anew
(`harness.FABRIC`). So may a program of a test begin that uses what commands use. What a command itself starts of the
product's programs is a fork of it (`forking`).

`python -m tests.integration.warm N ROOM` is that process: it takes commands from the socket N until that is closed.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from relays.cli import main
from tests.integration import forking

_ROOT = Path(__file__).parents[2]
_REQUEST_BYTES_MAX = 1 << 18
# Of what is sent with a request: a command's standard streams, and where its process id and its end are told.
_STREAMS = 3


class Command:
    """A command that runs; what tests use of `subprocess.Popen`, and no more."""

    def __init__(self, told: socket.socket, stdin: TextIO | None, stdout: TextIO, stderr: TextIO) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None
        self._told = told.makefile("r")
        self._socket = told
        self._lock = threading.Lock()
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0)
        with self._lock:
            if self.returncode is None:
                self.returncode = int(self._told.readline())
            return self.returncode

    def send_signal(self, signal_: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal_)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Warm:
    """The process that has read the modules. It ends with us: then its socket is closed."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.warm", str(theirs.fileno()), forking.ROOM], cwd=_ROOT,
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._lock = threading.Lock()

    def start(
        self, args: Sequence[str], environment: Mapping[str, str], with_stdin: bool, terminal: int | None, program: str
    ) -> Command:
        told, theirs = socket.socketpair()
        with ExitStack() as given:
            ours: list[TextIO] = []
            passed: list[int] = []
            stdin: TextIO | None = None
            if terminal is not None:
                passed += [os.dup(terminal) for _ in range(_STREAMS)]
                ours += [os.fdopen(os.open(os.devnull, os.O_RDONLY)) for _ in range(2)]
            elif with_stdin:
                read, write = os.pipe()
                passed.append(read)
                stdin = os.fdopen(write, "w")
            else:
                passed.append(os.open(os.devnull, os.O_RDONLY))
            for _ in range(_STREAMS - len(passed)):
                read, write = os.pipe()
                passed.append(write)
                ours.append(os.fdopen(read))
            for descriptor in passed:
                given.callback(os.close, descriptor)
            given.enter_context(theirs)
            request = json.dumps([program, *args, dict(environment)]).encode()
            with self._lock:
                socket.send_fds(self._socket, [request], [*passed, theirs.fileno()])
        return Command(told, stdin, *ours)

    @property
    def channel(self) -> int:
        """The descriptor on which it takes commands: `_serve` says what it is sent."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()
        self._process.wait(10)


_warm: list[Warm] = []
_warm_lock = threading.Lock()


def start(
    args: Sequence[str], environment: Mapping[str, str], *, with_stdin: bool = False, terminal: int | None = None,
    program: str = "",
) -> Command:
    """Like `subprocess.Popen` of the command with pipes, a session of its own, and no more than this environment.

    `terminal`: what its three streams are instead. `program`: the text of one, as after `python -c`, instead.
    """
    begin()
    return _warm[0].start(args, environment, with_stdin, terminal, program)


def channel() -> int:
    """The descriptor on which commands are taken, for a process that has it, too, and begins some by itself."""
    begin()
    return _warm[0].channel


def begin() -> None:
    """The process is there from here on, also for forks of this one."""
    with _warm_lock:
        if not _warm:
            _warm.append(Warm())


# -- the process itself ---------------------------------------------------------------------------------------


class _Begun(Exception):
    """In a fork, out of all that is the other process's: here a command begins."""

    def __init__(self, program: str, args: list[str], environment: dict[str, str], streams: list[int]) -> None:
        super().__init__(args)
        self.program, self.argv, self.environment, self.streams = program, args, environment, streams


def _serve(channel: socket.socket) -> NoReturn:
    """Forks for each command, and tells how each ends. Ends when the channel does."""
    with channel, selectors.DefaultSelector() as selector, ExitStack() as told:
        selector.register(channel, selectors.EVENT_READ)
        running: dict[int, tuple[int, socket.socket]] = {}
        while True:
            for key, _ in selector.select():
                if key.fd in running:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    pid, teller = running.pop(key.fd)
                    _, status = os.waitpid(pid, 0)
                    with teller, suppress(OSError):
                        teller.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
                    continue
                request, descriptors, _, _ = socket.recv_fds(channel, _REQUEST_BYTES_MAX, _STREAMS + 1)
                if not request:
                    sys.exit()
                teller = told.enter_context(socket.socket(fileno=descriptors.pop()))
                program, *args, environment = json.loads(request)
                if not (pid := os.fork()):
                    os.setsid()
                    try:
                        teller.sendall(b"%d\n" % os.getpid())
                    except OSError:  # who asked for it was interrupted meanwhile: nobody would end it
                        os._exit(1)
                    for watched in running:
                        os.close(watched)
                    raise _Begun(program, args, environment, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                watched = os.pidfd_open(pid)
                running[watched] = (pid, teller)
                selector.register(watched, selectors.EVENT_READ)


def read_modules() -> None:
    """Those of every command, and what the library for command lines reads when it first looks at one."""
    import typer

    import relays.cli.shared.exits  # noqa: F401
    from relays.cli.app import app

    groups: list[Any] = [typer.main.get_command(app)]
    for group in groups:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                groups.append(command)
            else:
                command.make_context(name, [], resilient_parsing=True)
    assert threading.active_count() == 1, "a fork would keep the locks of other threads for ever"


def _end(ended: SystemExit) -> None:
    """As the interpreter ends a program, but that it leaves the modules as they are: taking all of them apart makes a
    copy of nearly every page of this process's memory, which costs more than most commands do."""
    if not isinstance(ended.code, int):
        raise ended
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(ended.code & 0xFF)


def _main() -> None:
    read_modules()
    forking.instead_of_programs()
    gc.collect()
    gc.freeze()
    try:
        _serve(socket.socket(fileno=int(sys.argv[1])))
    except _Begun as command:
        begun = command
    # Nobody has read or written the standard streams yet: from here on they lead to the command's own.
    for stream, descriptor in enumerate(begun.streams):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    for written in (sys.stdout, sys.stderr):
        written.reconfigure(line_buffering=written.isatty() or written is sys.stderr)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(begun.environment)
    forking.show(begun.environment)
    sys.argv[:] = ["-c" if begun.program else "fabric", *begun.argv]
    try:
        if begun.program:
            exec(compile(begun.program, "<program>", "exec"), {"__name__": "__main__"})
            sys.exit(0)
        main()
    except SystemExit as ended:
        _end(ended)


if __name__ == "__main__":
    _main()
