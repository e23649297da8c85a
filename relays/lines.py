"""Lines of a file, followed over rotations, each with the place up to which the file is read then.

Guarantees: every line once and in order, also when reading stops and begins again at a position that was kept: a file
that was rotated meanwhile is found by what it begins with, read to its end, and then those that came after it. Refuses
to guess: when the place is gone (compressed, deleted, cut short), `Lines.lost` says so and the file is read anew; a
file in between that was compressed is named in `Lines.unread`.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# What a file begins with tells it from others, whatever it is called by now. A log's first line has a time in it.
_HEAD_BYTES = 1_024
_POLL_S = 0.2
_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst"})


class Place(NamedTuple):
    """A place in a file: its inode, the bytes and lines before it, and what its first bytes come to."""

    inode: int
    offset: int
    line: int
    head_bytes: int
    head_sum: int

    def text(self) -> str:
        return " ".join(map(str, self))


class Line(NamedTuple):
    number: int
    data: bytes
    place: Place | None  # None: nothing came, the file was only looked at


def place_of(text: str | None) -> Place | None:
    """A kept position; None when there is none that can be read."""
    try:
        return Place(*map(int, text.split())) if text else None
    except (TypeError, ValueError):
        return None


class Lines:
    """`after`: where reading stopped. Without `follow` it ends with the file, a last line without an end included."""

    def __init__(self, file: Path, follow: bool, after: Place | None = None) -> None:
        self._file = file
        self._follow = follow
        self._number = after.line if after else 0
        files = _since(file, after) if after else [(file, 0)]
        self.unread = [path.name for path, _ in files if path.suffix in _COMPRESSED]
        self._files = [(path, offset) for path, offset in files if path.suffix not in _COMPRESSED]
        self.lost = not self._files
        if self.lost:
            self._files, self._number = [(file, 0)], 0

    def count(self) -> int:
        """How many lines there are by now, empty ones left out."""
        total = 0
        for path, offset in self._files:
            with path.open("rb") as source:
                source.seek(offset)
                total += sum(1 for line in source if line.strip())
        return total

    def __iter__(self) -> Iterator[Line]:
        for path, offset in self._files[:-1]:
            yield from self._read(path, offset, follow=False)
        path, offset = self._files[-1]
        while True:
            yield from self._read(path, offset, self._follow)
            if not self._follow:
                return
            offset = 0

    def _read(self, path: Path, offset: int, follow: bool) -> Iterator[Line]:
        with path.open("rb") as source:
            inode = os.fstat(source.fileno()).st_ino
            head = source.read(min(_HEAD_BYTES, offset))
            source.seek(offset)
            rest = b""
            while True:
                line = source.readline()
                rest += line
                if rest.endswith(b"\n") or (rest and not follow):
                    head += rest[: _HEAD_BYTES - len(head)]
                    offset += len(rest)
                    self._number += 1
                    yield Line(self._number, rest, Place(inode, offset, self._number, len(head), zlib.crc32(head)))
                    rest = b""
                elif not follow:
                    return
                elif not line:
                    if _replaced(path, source):
                        return
                    yield Line(self._number, b"", None)
                    time.sleep(_POLL_S)


def _since(file: Path, after: Place) -> list[tuple[Path, int]]:
    """The files that hold what comes after a place, oldest first; none when the place is gone."""
    beside = [path for path in file.parent.glob(f"{file.name}*") if path.is_file() and path != file]
    found = [path for path in (file, *beside) if _holds(path, after)]
    if not found:
        return []
    first = min(found, key=lambda path: path.stat().st_ino != after.inode)  # a copy begins like its original
    if first == file:
        return [(file, after.offset)]
    since_ns = first.stat().st_mtime_ns
    later = sorted((path.stat().st_mtime_ns, str(path)) for path in beside if path.stat().st_mtime_ns > since_ns)
    return [(first, after.offset), *((Path(path), 0) for _, path in later), *([(file, 0)] if file.exists() else [])]


def _holds(path: Path, place: Place) -> bool:
    try:
        with path.open("rb") as source:
            head = source.read(place.head_bytes)
            size = os.fstat(source.fileno()).st_size
    except OSError:
        return False
    return size >= place.offset and zlib.crc32(head) == place.head_sum


def _replaced(file: Path, source: BinaryIO) -> bool:
    """Whether the name stands for another file by now, or the file was cut short. One that is missing may come back."""
    try:
        now = file.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(source.fileno())
    return (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino) or now.st_size < source.tell()
