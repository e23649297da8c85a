"""Programs that a warm command starts, as forks of it: a supervisor, what forks its relays, a relay. To start one anew
is to read modules that are here already, and costs more than all that most tests have it do.

A process is what it would be: a child of whoever starts it, with its own session, streams, descriptors, signals,
arguments, command line, and end. `test_supervisor` has them started anew, and so has whatever needs an environment that
is read at a process's very beginning.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from fabric.edge.identity.home import fabric_folder
from fabric.files import append_private, make_private
from relays import supervisor
from relays.cli.tree import running
from relays.demo import throwaway
from relays.starting import command_of_supervisor

PROGRAMS = ("relays.cli.tree.supervise", "relays.fork_server", "relays.run")
# What the dynamic linker reads before any of a program's own begins.
_READ_AT_BEGIN = "LD_PRELOAD"
_DESCRIPTORS = 65_536
# Of /proc/PID/stat after the name: where environment and command line are (proc_pid_stat(5), fields 48 to 51).
_ARG_START, _ARG_END, _ENV_START, _ENV_END = 45, 46, 47, 48
# So long a command line can be shown of what began with this as an argument.
ROOM = "." * 8_192
_anew, _detached_anew = os.posix_spawn, supervisor.detach


def show(environment: Mapping[str, str], command: Sequence[str] = ()) -> None:
    """What the system shows of this process: the house that it belongs to, by which the end of a test finds it; and a
    command line, as far as there is room."""
    fields = [int(field) for field in Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[1:]]
    arg_start, arg_end, env_start, env_end = (fields[n - 1] for n in (_ARG_START, _ARG_END, _ENV_START, _ENV_END))
    home = os.fsencode(f"FABRIC_HOME={environment.get('FABRIC_HOME', '')}") + b"\0"
    _write(home, env_start, env_end)
    if command:
        _write(b"".join(os.fsencode(each) + b"\0" for each in command), arg_start, arg_end)


def _write(shown: bytes, start: int, end: int) -> None:
    if len(shown) <= end - start:
        ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def spawn(
    path: str, command: Sequence[str], environment: Mapping[str, str], *, file_actions: Sequence[tuple[Any, ...]] = (),
    setsid: bool = False, setsigdef: Sequence[int] = (),
) -> int:
    """As `os.posix_spawn`, of which it takes what the product gives it."""
    if not _is_ours(command, environment):
        return _anew(path, list(command), environment, file_actions=file_actions, setsid=setsid, setsigdef=setsigdef)

    def streams() -> None:
        if setsid:
            os.setsid()
        for kind, *more in file_actions:
            if kind == os.POSIX_SPAWN_OPEN:
                stream, file, flags, mode = more
                opened = os.open(file, flags, mode)
                os.dup2(opened, stream)
                if opened != stream:
                    os.close(opened)
            else:
                assert kind == os.POSIX_SPAWN_DUP2, kind
                os.dup2(*more)

    kept = max((action[2 if action[0] == os.POSIX_SPAWN_DUP2 else 1] for action in file_actions), default=2)
    return _fork(command, environment, streams, kept)


class Detached:
    """A supervisor that `detach` started; what is used of `subprocess.Popen`, and no more."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() >= deadline_s:
                raise subprocess.TimeoutExpired([str(self.pid)], timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, signal_: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal_)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def detach(
    fabric: str, relays: Sequence[str], home: Path, folder: Path | None = None
) -> Detached | subprocess.Popen[bytes]:
    """As `relays.supervisor.detach`."""
    command = command_of_supervisor(fabric, relays)
    if not _is_ours(command, os.environ):
        return _detached_anew(fabric, relays, home, folder)
    environment = {**os.environ, "FABRIC_HOME": str(home)}
    with append_private(make_private(fabric_folder(fabric, home) / "run") / "_supervisor.log") as log:

        def streams() -> None:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            if folder is not None:
                os.chdir(folder)

        return Detached(_fork(command, environment, streams, 2))


def is_possible() -> bool:
    """A fork would keep the locks of other threads for ever."""
    return threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1


def _is_ours(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    return (
        command[0] == sys.executable and command[1] == "-m" and command[2] in PROGRAMS
        and _READ_AT_BEGIN not in environment and is_possible()
    )


def _fork(command: Sequence[str], environment: Mapping[str, str], streams: Callable[[], None], kept: int) -> int:
    """The process. `kept`: the highest descriptor that it has."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    environment = dict(environment)
    if pid := os.fork():
        return pid
    try:
        _become(command, environment, streams, kept)
    finally:
        os._exit(127)


def _become(command: Sequence[str], environment: dict[str, str], streams: Callable[[], None], kept: int) -> NoReturn:
    # What is garbage by now would close descriptors that are others' when it is found.
    gc.freeze()
    signal.set_wakeup_fd(-1)
    for signal_ in signal.valid_signals():
        if callable(signal.getsignal(signal_)):
            signal.signal(signal_, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    streams()
    os.closerange(kept + 1, _DESCRIPTORS)
    os.environ.clear()
    os.environ.update(environment)
    module = importlib.import_module(command[2])
    sys.argv[:] = [str(module.__file__), *command[3:]]
    show(environment, command)
    code: object = 1
    try:
        code = module.main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - as the interpreter ends a program with one
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


def instead_of_programs() -> None:
    """From here on, such programs that this process starts are forks of it."""
    for program in PROGRAMS:
        importlib.import_module(program)
    os.posix_spawn = spawn  # type: ignore[assignment]
    for module in (running, throwaway):
        assert vars(module)["detach"] is _detached_anew
        vars(module)["detach"] = detach
