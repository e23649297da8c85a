"""The files of an audit log: segments, each named by the number of its first entry, and what is beside them.

Guarantees: a segment begins with an entry that says of which log it is and what was before it, so that what is left of
a log can be checked when its oldest segments are gone. Reading changes nothing, and needs no running node.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fabric.files import peek, write_private
from fabric.protocol.audit.records import RECORD_BYTES_MAX, Record, Rest, last_record, read_records, rest_of
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.limits import CREDENTIAL_BYTES_MAX, HEAD_BYTES_MAX

# Of one segment, and of a log: then its oldest segment goes.
SEGMENT_BYTES = 8 * 2**20
LOG_BYTES_MAX = 256 * 2**20
# The last append goes beyond a segment's size; whatever is larger than this no node wrote.
READ_BYTES_MAX = 2 * SEGMENT_BYTES
_NAME = re.compile(r"(\d{16})\.log")
_SIGNED = "signed"
_SIGNED_BYTES_MAX = 4 * HEAD_BYTES_MAX + CREDENTIAL_BYTES_MAX


class Segment(NamedTuple):
    """One file of a log. `first`: the number of its first entry."""

    first: int
    path: Path

    def read(self) -> bytes:
        """All of it, as far as it goes now, and as a segment may go. Raises OSError."""
        return peek(self.path, READ_BYTES_MAX)

    def size(self) -> int:
        """As it is on disk. Raises OSError."""
        return self.path.lstat().st_size


class Signed(NamedTuple):
    """What was signed of a log last: its newest head, and the newest that a parent has counter-signed."""

    head: bytes = b""
    witnessed: bytes = b""
    witness: bytes = b""
    by: bytes = b""  # the parent's credential


def segment_path(folder: Path, first: int) -> Path:
    """Of the segment that begins with this entry."""
    return folder / f"{first:016d}.log"


def is_segment(folder: Path, first: int) -> bool:
    """Whether there is one that begins with this entry: asked before each append."""
    return os.path.exists(f"{folder}/{first:016d}.log")  # noqa: PTH110 - a path is made for each entry otherwise


def segments(folder: Path) -> list[Segment]:
    """Those that there are, the oldest first. Raises OSError."""
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted(Segment(int(match[1]), path) for match, path in found)


def is_log(folder: Path) -> bool:
    """Whether there is a log in this folder."""
    return folder.is_dir() and bool(segments(folder))


def records_from(folder: Path, number: int) -> Iterator[tuple[int, Record]]:
    """The records from this number on, as far as they can be read. Raises OSError."""
    found = segments(folder)
    later = [segment.first for segment in found[1:]]
    for at, segment in enumerate(found):
        if at < len(later) and later[at] <= number:
            continue
        for n, record in enumerate(read_records(segment.read()), segment.first):
            if n >= number:
                yield n, record


def rest_on_disk(data: bytes, ends: int) -> Rest:
    """What is after the last whole record of a file. Zeros at its end nobody wrote: after a power failure file systems
    give them in the place of what was not on the disk yet."""
    rest = rest_of(data, ends)
    if rest is not Rest.DAMAGED:
        return rest
    return Rest.DAMAGED if rest_of(data.rstrip(b"\0").ljust(ends, b"\0"), ends) is Rest.DAMAGED else Rest.TORN


def last_of(descriptor: int) -> Record | None:
    """The last record of an open segment, if it ends with a whole one. Raises OSError."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - RECORD_BYTES_MAX)
    return last_record(os.pread(descriptor, size - start, start))


def write_signed(folder: Path, signed: Signed) -> None:
    """Beside the log. It is written again with each head, and worth nothing by itself. Raises OSError."""
    write_private(folder / _SIGNED, pack(list(signed)), durable=False)


def read_signed(folder: Path) -> Signed:
    """Nothing where there is none, or none that can be read. Raises OSError where the disk fails."""
    try:
        raw = peek(folder / _SIGNED, _SIGNED_BYTES_MAX)
    except FileNotFoundError:
        return Signed()
    match unpack(raw, bytes_max=_SIGNED_BYTES_MAX, elements_max=16, depth_max=1):
        case [bytes(head), bytes(witnessed), bytes(witness), bytes(by), *_]:
            return Signed(head, witnessed, witness, by)
    return Signed()
