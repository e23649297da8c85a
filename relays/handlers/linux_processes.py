"""Processes of this Linux machine: what the kernel says of one, and signals that reach this one and no other.

Guarantees: a process is held by a descriptor before anything is read of it, and everything that was read is its own
where `is_there` says so afterwards: a number that is used again in between is noticed. A signal goes to the descriptor.
"""

from __future__ import annotations

import hashlib
import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

_PROC: Final = Path("/proc")
# Flag of a thread of the kernel (PF_KTHREAD), in /proc/<pid>/stat.
_KERNEL_THREAD: Final = 0x0020_0000
# As long as the kernel keeps a name, without the last byte.
_NAME_CHARS: Final = 15
_CHUNK_BYTES: Final = 1 << 20
_ANCESTORS_MAX: Final = 256
HASHES: Final = ("md5", "sha1", "sha256")


class Stat(NamedTuple):
    """`start`: when it began, in ticks since the machine did; with the number it names a process for ever."""

    pid: int
    name: str
    state: str
    parent: int
    kernel: bool
    start: int


def stat_of(pid: int) -> Stat | None:
    """None where there is none."""
    try:
        raw = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name may hold spaces and parentheses; nothing behind the last one does.
    head, _, rest = raw.rpartition(b")")
    fields = rest.split()
    name = head.partition(b"(")[2].decode(errors="replace")
    return Stat(pid, name, fields[0].decode(), int(fields[1]), bool(int(fields[6]) & _KERNEL_THREAD), int(fields[19]))


def ancestors() -> Iterator[int]:
    """This process and those that it descends from, the nearest first."""
    pid = os.getpid()
    for _ in range(_ANCESTORS_MAX):
        yield pid
        found = stat_of(pid)
        if found is None or found.parent <= 0:
            return
        pid = found.parent


class Held:
    """A process by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, number: signal.Signals) -> None:
        """Raises ProcessLookupError where it has ended, PermissionError."""
        signal.pidfd_send_signal(self._descriptor, number)

    def is_there(self) -> bool:
        """Whether it has not ended."""
        return not self.ends_in(0.0)

    def ends_in(self, seconds: float) -> bool:
        """Waits so long for its end: whether it came."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


@contextmanager
def held(pid: int) -> Iterator[Held | None]:
    """None where there is no process of this number, or it is a thread's."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, OverflowError):
        descriptor = -1
    if descriptor < 0:
        yield None
        return
    try:
        yield Held(descriptor)
    finally:
        os.close(descriptor)


def differs(pid: int, wanted: Mapping[str, Any], path: str = "process") -> str:
    """The first field of an OpenC2 process that this one has not; empty where it has all. Raises PermissionError where
    this user may not look, OSError where it has ended."""
    for name, value in wanted.items():
        match name:
            case "pid":
                same = value == pid
            case "name":
                same = value in _names(pid)
            case "cwd":
                same = value == str((_PROC / str(pid) / "cwd").readlink())
            case "command_line":
                words = (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
                same = value == words.decode(errors="replace")
            case "executable":
                if why := _differs_file(pid, value, f"{path}.executable"):
                    return why
                continue
            case "parent":
                stat = stat_of(pid)
                if stat is None:
                    raise ProcessLookupError
                if why := differs(stat.parent, value, f"{path}.parent"):
                    return why
                continue
            case _:
                same = False
        if not same:
            return f"{path}.{name}"
    return ""


def _names(pid: int) -> list[str]:
    """As the kernel calls it, and as its program is called where that is longer."""
    stat = stat_of(pid)
    if stat is None:
        raise ProcessLookupError
    program = Path(_program(pid)).name
    return [stat.name, *([program] if program.startswith(stat.name[:_NAME_CHARS]) else [])]


def _program(pid: int) -> str:
    return str((_PROC / str(pid) / "exe").readlink()).removesuffix(" (deleted)")


def _differs_file(pid: int, wanted: Mapping[str, Any], path: str) -> str:
    program = _program(pid)
    for name, value in wanted.items():
        if name == "hashes":
            found = _digests(_PROC / str(pid) / "exe", value)
            for kind, digest in value.items():
                if found.get(kind) != digest.lower():
                    return f"{path}.hashes.{kind}"
        elif value != (program if name == "path" else Path(program).name):
            return f"{path}.{name}"
    return ""


def _digests(path: Path, kinds: Mapping[str, Any]) -> dict[str, str]:
    made = {kind: hashlib.new(kind, usedforsecurity=False) for kind in HASHES if kind in kinds}
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            for digest in made.values():
                digest.update(piece)
    return {kind: digest.hexdigest() for kind, digest in made.items()}
