"""Runs a command for an action: it is done when it exits; its output is read meanwhile, and bounded.

Guarantees: the command gets its input and ends by itself, at its time limit, or when it is told to stop; whatever it
started and left behind with its output open delays nothing, and output beyond the bounds is read and discarded, so it
is never blocked and takes no memory. When its time is over, or it is stopped, its whole process group is killed. Each
call waits on its own thread; none is left behind.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import IO, NamedTuple

# What of standard output is kept: a result that can be sent is smaller.
OUTPUT_BYTES_MAX = 1_000_000
# What of standard error is kept, its end: for the log.
ERRORS_BYTES_MAX = 4_096
# Where a command says how far it is: a file, by this name in its environment; and how long a line may be there.
PROGRESS = "FABRIC_PROGRESS"
# Where it leaves files for the requester: a folder.
ARTIFACTS = "FABRIC_ARTIFACTS"
LINE_BYTES_MAX = 4_096
# What a pipe may hold after the exit of who wrote into it; beyond that somebody else is writing.
_PIPE_BYTES_MAX = 1_048_576
_CHUNK_BYTES = 65_536
# Where the machine cannot tell of an exit by itself, it is looked at so often.
_LOOK_MS = 20
# A process that does not go when it is killed waits for a device. Nobody can do more.
_KILLED_MS = 2_000


class Ran(NamedTuple):
    """`code` is None where it did not exit by itself: `killed` says why. `out_bytes`: all that it printed."""

    code: int | None
    killed: str
    out: bytes
    out_bytes: int
    errors: bytes


class Halt:
    """Told once, every command of it that runs is killed, by the thread that waits for it; later ones do not begin.

    `word`: what became of them then.
    """

    def __init__(self, word: str = "stopped") -> None:
        self._reader, writer = os.pipe()
        self._writers = [writer]  # whoever takes it from here closes it: two may want to
        self.word = word

    @property
    def told(self) -> bool:
        return not self._writers

    def tell(self) -> None:
        """From any thread, and from a handler of signals."""
        with suppress(IndexError):
            os.close(self._writers.pop())  # whoever polls the other end sees it, now and later

    def fileno(self) -> int:
        return self._reader

    def close(self) -> None:
        """Nothing of it runs any more, and nobody will tell it anything."""
        self.tell()
        os.close(self._reader)


def run(
    argv: Sequence[str], given: bytes, timeout_s: float, halts: Sequence[Halt],
    hear: Callable[[bytes], None] = lambda _: None, folder: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> Ran:
    """Raises OSError where the command cannot be started.

    `hear` gets each line that it writes to the file that its environment names as FABRIC_PROGRESS; `folder`: what it
    is to find there as FABRIC_ARTIFACTS; `more`: what else is there.
    """
    told = next((halt for halt in halts if halt.told), None)
    if told is not None:
        return Ran(None, told.word, b"", 0, b"")
    progress, theirs = os.pipe()
    environment = {**os.environ, **(more or {}), PROGRESS: f"/dev/fd/{theirs}"}
    environment.pop(ARTIFACTS, None)  # of an action by which this process was begun itself
    if folder is not None:
        environment[ARTIFACTS] = str(folder)
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            bufsize=0, pass_fds=(theirs,), env=environment,
        )
    except BaseException:
        os.close(progress)
        raise
    finally:
        os.close(theirs)
    exit_ = _exit_of(process)
    with FileIO(progress) as said:
        return _converse(process, given, timeout_s, halts, exit_, _Lines(said, hear))


def _converse(
    process: subprocess.Popen[bytes], given: bytes, timeout_s: float, halts: Sequence[Halt], exit_: int | None,
    progress: _Lines,
) -> Ran:
    try:
        return _Conversation(process, given, timeout_s, halts, exit_, progress).run()
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        if exit_ is not None:
            os.close(exit_)


def _exit_of(process: subprocess.Popen[bytes]) -> int | None:
    """What can be read when the process has ended, where there is such a thing."""
    try:
        return os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return None


class _Lines:
    """What a command says of its progress. Of a line that is too long its beginning is heard, one byte more than a line
    may have."""

    def __init__(self, stream: IO[bytes], hear: Callable[[bytes], None]) -> None:
        self.stream = stream
        self.number = stream.fileno()
        self._hear = hear
        self._line = bytearray()

    def take(self, read: bytes) -> None:
        for piece in read.splitlines(keepends=True):
            self._line += piece[: LINE_BYTES_MAX + 1 - len(self._line)]
            if piece.endswith(b"\n"):
                self.end()

    def end(self) -> None:
        """The line is over, or nothing more comes of it."""
        if self._line:
            self._hear(bytes(self._line))
            self._line.clear()


class _Conversation:
    """One command, from its start to its exit."""

    def __init__(
        self, process: subprocess.Popen[bytes], given: bytes, timeout_s: float, halts: Sequence[Halt],
        exit_: int | None, progress: _Lines,
    ) -> None:
        self._process = process
        self._given = memoryview(given)
        self._deadline_s = time.monotonic() + timeout_s
        self._halts = halts
        self._progress = progress
        self._exit = exit_
        self._poll = select.poll()
        self._open: dict[int, IO[bytes]] = {}
        self._input = self._output = -1
        self._out = bytearray()
        self._out_bytes = 0
        self._errors = bytearray()

    def run(self) -> Ran:
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        for stream, events in (
            (self._process.stdin, select.POLLOUT), (self._process.stdout, select.POLLIN),
            (self._process.stderr, select.POLLIN), (self._progress.stream, select.POLLIN),
        ):
            os.set_blocking(stream.fileno(), False)
            self._open[stream.fileno()] = stream
            self._poll.register(stream, events)
        for halt in self._halts:
            self._poll.register(halt, select.POLLIN)
        if self._exit is not None:
            self._poll.register(self._exit, select.POLLIN)
        try:
            killed = self._converse()
        except BaseException:
            self._kill()  # nobody waits for it any more
            raise
        if killed:
            self._kill()
        # What it printed before it ended is there by now.
        for number in self._open:
            if number != self._input:
                self._drain(number)
        if not killed:  # who is killed in the midst of a line said nothing wrong
            self._progress.end()
        code = None if killed else self._process.returncode
        return Ran(code, killed, bytes(self._out), self._out_bytes, bytes(self._errors))

    def _converse(self) -> str:
        """Until its exit, or why it is killed."""
        while self._process.poll() is None:
            left_ms = (self._deadline_s - time.monotonic()) * 1000
            if left_ms <= 0:
                return "timed out"
            if told := next((halt for halt in self._halts if halt.told), None):
                return told.word
            for number, _ in self._poll.poll(left_ms if self._exit is not None else min(left_ms, _LOOK_MS)):
                if number in self._open:
                    self._serve(number)
        return ""

    def _serve(self, number: int) -> None:
        if number == self._input:
            self._write(number)
        elif not self._read(number):
            self._close(number)

    def _write(self, number: int) -> None:
        try:
            # Not buffered: as much as the pipe has room for, or None where it has none.
            self._given = self._given[self._open[number].write(self._given[:_CHUNK_BYTES]) or 0 :]
        except OSError:  # it does not want to read it
            self._given = self._given[:0]
        if not self._given:
            self._close(number)

    def _read(self, number: int) -> int | None:
        """How many bytes; 0 at the end, None where there are none at the moment."""
        try:
            read = os.read(number, _CHUNK_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if number == self._output:
            self._out_bytes += len(read)
            self._out += read[: OUTPUT_BYTES_MAX - len(self._out)]
        elif number == self._progress.number:
            self._progress.take(read)
        else:
            self._errors += read
            del self._errors[:-ERRORS_BYTES_MAX]
        return len(read)

    def _drain(self, number: int) -> None:
        """What is in the pipe; who still writes into it has no say in how this ends."""
        left = _PIPE_BYTES_MAX
        while left > 0 and (read := self._read(number)):
            left -= read

    def _close(self, number: int) -> None:
        self._poll.unregister(number)
        self._open.pop(number).close()

    def _kill(self) -> None:
        """The whole group, while the process that it is named after is not reaped: its number is nobody else's."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILLED_MS / 1000)
