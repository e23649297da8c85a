"""Standard input, output and error, in whatever state this program was started with them.

Guarantees: descriptors 0 to 2 are open, so no file or connection of ours takes their place and is written into; output
that cannot be written is one numbered error, told once; whoever read our output and left ends it without a word; what
goes to standard error is lost where that cannot be written, because there is nowhere left to say so. An output that was
closed is like /dev/null, which is what whoever closes it means; an input that was closed is an error where it is read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TextIO, cast

from fabric.files import nowhere, open_nowhere
from fabric.protocol.base.errors import Code, FabricError

# Of what is typed or piped in as one line: a join token, a passphrase.
LINE_BYTES_MAX = 65_536


class ReaderGoneError(Exception):
    """Whoever read our standard output has had enough: nobody is to be told anything."""


class Output:
    """A stream that says in our words why it cannot be written. `lossy`: it says nothing, and goes on."""

    def __init__(self, stream: TextIO, name: str, *, lossy: bool) -> None:
        self._stream = stream
        self._name = name
        self._lossy = lossy

    def write(self, text: str) -> int:
        if text == "":  # libraries try a stream so, and would take the error for an answer
            return 0
        with self._told():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._let_go()
            if self._lossy:
                return
            if isinstance(error, BrokenPipeError):
                raise ReaderGoneError from None
            raise FabricError(Code.OUTPUT_FAILED, f"{self._name}: {error.strerror}") from None

    def _let_go(self) -> None:
        """What it still holds would fail again, at the very end and in Python's words."""
        lost = open_nowhere()
        try:
            os.dup2(lost, self._stream.fileno())
        finally:
            os.close(lost)


def open_streams() -> None:
    """At the start of a program, before it opens anything."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (descriptor := open_nowhere()) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
    if not isinstance(sys.stdout, Output):
        sys.stdout = cast(TextIO, Output(sys.stdout or nowhere(), "standard output", lossy=False))
    if not isinstance(sys.stderr, Output):
        sys.stderr = cast(TextIO, Output(sys.stderr or nowhere(), "standard error", lossy=True))


@contextmanager
def lossy() -> Iterator[None]:
    """Within it what cannot be written is lost: it only tells what was done, and that stays done."""
    with suppress(OSError, ReaderGoneError):
        try:
            yield
        except FabricError as error:
            if error.code is not Code.OUTPUT_FAILED:
                raise


def standard_input(what: str) -> BinaryIO:
    """What is piped in. Raises BAD_INPUT where it was closed; `what` is missing then."""
    if sys.stdin is None:
        raise FabricError(Code.BAD_INPUT, f"standard input is closed, and {what} was to come from it", "pipe it in")
    return sys.stdin.buffer


def input_line(what: str) -> str:
    """The first line that is piped in, without its end. Raises BAD_INPUT where it is no text, or no end comes."""
    line = standard_input(what).readline(LINE_BYTES_MAX + 1)
    if len(line) > LINE_BYTES_MAX:
        raise FabricError(Code.BAD_INPUT, f"{what}: more than {LINE_BYTES_MAX} bytes in one line")
    try:
        return line.decode().strip("\r\n")
    except UnicodeDecodeError:
        raise FabricError(Code.BAD_INPUT, f"{what} is not text in UTF-8") from None
