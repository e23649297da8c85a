"""Where reading stopped: marks in the last files that were read, by which each is known again whatever it is called.

A mark says which file (its inode, and what its first bytes come to), how far it is read, and what the bytes before that
come to. Both are needed: an inode is given again to another file, a name too, and a file that was cut short may have
grown past the old place by now. Several files are remembered, because a writer can stay on a rotated file for a while,
and because a file that was read must be known as such when it comes back compressed.
"""

from __future__ import annotations

import json
import zlib
from functools import lru_cache
from typing import NamedTuple

# What a file begins with tells it from others. A log's first line has a time in it.
HEAD_BYTES = 1_024
# What precedes the place: enough for a time or a number that differs, small enough to look at with every read.
TAIL_BYTES = 256
# Files that are remembered: a day of hourly ones, for an archive that is packed at night has new times.
MARKS_MAX = 24
# Instead of an offset: a compressed file that is read, or was there before reading began. It cannot grow.
WHOLE = -1
_VERSION = 2


class Mark(NamedTuple):
    """One file as it was known: how far it is read, and the sums of its first bytes and of those before that place."""

    inode: int
    offset: int
    head_bytes: int
    head_sum: int
    tail_bytes: int
    tail_sum: int
    path: str


class Place(NamedTuple):
    """After a line. `marks`: oldest file first, the last is the one that was being read.

    `since_ns`: when that one was last written to, as seen then; rotated files from before it were read or are not
    wanted. None: not known. `size`: how large it was seen to be.
    """

    line: int
    since_ns: int | None
    size: int
    marks: tuple[Mark, ...]

    def text(self) -> str:
        marks = ",".join(map(_mark_text, self.marks))
        return f"[{_VERSION},{self.line},{'null' if self.since_ns is None else self.since_ns},{self.size},[{marks}]]"


@lru_cache(maxsize=2 * MARKS_MAX)
def _mark_text(mark: Mark) -> str:
    # As `json.dumps` has it: there is one for each line, and most of it are numbers.
    *numbers, path = mark
    return f"[{', '.join(map(str, numbers))}, {_path_text(path)}]"


@lru_cache(maxsize=2 * MARKS_MAX)
def _path_text(path: str) -> str:
    return json.dumps(path)


def _mark_of(
    inode: int, offset: int, head_bytes: int, head_sum: int, tail_bytes: int, tail_sum: int, path: str
) -> Mark:
    return Mark(int(inode), int(offset), int(head_bytes), int(head_sum), int(tail_bytes), int(tail_sum), str(path))


def sum_of(data: bytes | memoryview) -> int:
    """CRC-32, which tells files from one another and proves nothing."""
    return zlib.crc32(data)


def place_of(text: str | None) -> Place | None:
    """A kept position, also one of before there were marks; None when there is none that can be read."""
    try:
        if not text:
            return None
        if not text.startswith("["):
            inode, offset, line, head_bytes, head_sum = map(int, text.split())
            return Place(line, None, offset, (Mark(inode, offset, head_bytes, head_sum, 0, sum_of(b""), ""),))
        version, line, since_ns, size, marks = json.loads(text)
        if version != _VERSION or not marks:
            return None
        return Place(
            int(line), None if since_ns is None else int(since_ns), int(size),
            tuple(_mark_of(*mark) for mark in marks),
        )
    except (TypeError, ValueError, IndexError, RecursionError):
        return None
