"""Records: how an audit log's entries are on disk (SPEC 9.10), one after the other.

    record = length: u32 || entry || hash: 32 || length: u32         big endian; the length is the entry's

Guarantees: the last record of a file is found from its end, and every other from the start; bytes that are no record
are told from the beginning of one that was not written to its end. Judges nothing of what an entry says.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from fabric.protocol.audit.chain import ENTRY_BYTES_MAX, HASH_BYTES

_LENGTH: Final = 4
AROUND_BYTES: Final = 2 * _LENGTH + HASH_BYTES
RECORD_BYTES_MAX: Final = ENTRY_BYTES_MAX + AROUND_BYTES


class Record(NamedTuple):
    """An entry as it is on disk, and the hash that is said to be its own. `ends`: where the next one begins."""

    entry: bytes
    hash: bytes
    ends: int


class Rest(Enum):
    """What the bytes after the last whole record are."""

    NONE = "nothing"
    TORN = "the beginning of an entry"
    DAMAGED = "no entry"


def write_record(entry: bytes, hash_: bytes) -> bytes:
    """As it is on disk."""
    assert len(entry) <= ENTRY_BYTES_MAX
    length = len(entry).to_bytes(_LENGTH, "big")
    return length + entry + hash_ + length


def read_records(data: bytes, start: int = 0) -> Iterator[Record]:
    """Those from here on, up to the first byte that is in none."""
    while (record := record_at(data, start)) is not None:
        yield record
        start = record.ends


def record_at(data: bytes, start: int) -> Record | None:
    """The record that begins here, if a whole one does."""
    length = int.from_bytes(data[start : start + _LENGTH], "big")
    ends = start + length + AROUND_BYTES
    if not 0 < length <= ENTRY_BYTES_MAX or ends > len(data):
        return None
    body = start + _LENGTH
    if data[ends - _LENGTH : ends] != data[start:body]:
        return None
    return Record(data[body : body + length], data[body + length : ends - _LENGTH], ends)


def last_record(data: bytes) -> Record | None:
    """The one at the end of these bytes, which may begin anywhere in a log."""
    length = int.from_bytes(data[-_LENGTH:], "big")
    start = len(data) - length - AROUND_BYTES
    if len(data) < AROUND_BYTES or start < 0:
        return None
    record = record_at(data, start)
    return record if record is not None and record.ends == len(data) else None


def rest_of(data: bytes, ends: int) -> Rest:
    """What is after the last whole record: the beginning of one, as a process that was killed leaves it, or not."""
    left = len(data) - ends
    if not left:
        return Rest.NONE
    if left < _LENGTH:
        return Rest.TORN
    length = int.from_bytes(data[ends : ends + _LENGTH], "big")
    is_begun = 0 < length <= ENTRY_BYTES_MAX and left < length + AROUND_BYTES
    return Rest.TORN if is_begun else Rest.DAMAGED
