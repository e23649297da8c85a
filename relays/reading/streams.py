"""Lines of what can be read once only: standard input, a FIFO, a shell's `<(...)`. There is no place to go on from.

Compressed streams are read like files. With `follow` a FIFO is read on while writers come and go.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path

from fabric.protocol.base.errors import Code, FabricError
from relays.reading.lines import Gap, Line
from relays.reading.opened import MAGIC_BYTES, UnreadableError, unpacked
from relays.reading.splitting import Piece, Splitter

_STANDARD_INPUT = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_CHUNK_BYTES = 262_144


def is_stream(file: Path) -> bool:
    """Raises FabricError(BAD_INPUT) for what has no lines at all: a folder, a disk."""
    if str(file) in _STANDARD_INPUT or str(file).startswith(("/dev/fd/", "/proc/self/fd/")):
        return True
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise FabricError(Code.BAD_INPUT, f"{file} is no file", "name a file of JSON lines, or -")
    return not stat.S_ISREG(mode)


def stream_lines(file: Path, follow: bool) -> Iterator[Line | Gap]:
    """Raises OSError, and FabricError(BAD_INPUT) where standard input is closed."""
    with _open(file, follow) as raw, io.BufferedReader(raw, _CHUNK_BYTES) as stream:
        splitter, number = Splitter(), 0
        try:
            packed = unpacked(stream.peek(MAGIC_BYTES)[:MAGIC_BYTES], stream)
            source = packed if packed is not None else stream
            while data := source.read1(_CHUNK_BYTES):
                for piece in splitter.feed(data):
                    number += 1
                    yield _line(number, piece)
        except UnreadableError as error:
            yield Gap(file.name, number, 0, 0, str(error))
        except (EOFError, zlib.error, LZMAError) as error:
            yield Gap(file.name, number, 0, 0, f"damaged, or not sent to its end ({type(error).__name__})")
        rest = splitter.rest()
        if rest is not None:
            yield _line(number + 1, rest)


def _line(number: int, piece: Piece) -> Line:
    return Line(number, piece.data, None, piece.fault)


def _open(file: Path, follow: bool) -> io.FileIO:
    if str(file) in _STANDARD_INPUT:
        if sys.stdin is None:
            raise FabricError(Code.BAD_INPUT, "standard input is closed", "give it a file, or pipe lines into it")
        return io.FileIO(sys.stdin.fileno(), closefd=False)
    # Open for writing too, a FIFO never ends: what a writer that comes later has is not lost in between.
    is_fifo = stat.S_ISFIFO(file.stat().st_mode)
    return io.FileIO(os.open(file, os.O_RDWR if follow and is_fifo else os.O_RDONLY))
