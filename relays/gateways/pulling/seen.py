"""What a source that pulls took already, on disk: a server gives much of it again, by design or after a fault.

    <identity>/gateways/<source>/seen.log      a frame for each page: its number, how many, and a digest of each record

Guarantees: the digests of a page are on disk before any of its records is given, in the order in which they are given.
How many of the newest page were taken is in the source's position, which is committed together with its records. So
after kill -9 it is known of each record whether it was taken, also when the server gives another page then. The oldest
are forgotten beyond `records_max`: those may come again. A damaged file ends where the damage begins, likewise.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from fabric.files import append_whole, make_private, open_private, read_private, write_private

_LOG: Final = "seen.log"
_DIGEST_BYTES: Final = 16
_HEAD: Final = struct.Struct(">QII")  # the page, digests, and the CRC of both and of the digests
# The file holds the records that are known twice at most, and frames of at least one each.
_FACTOR: Final = 2
# Of one frame; a page that has more is given in parts.
PAGE_RECORDS_MAX: Final = 65_536


class _Frame(NamedTuple):
    page: int
    digests: Sequence[bytes]


def digest_of(text: str) -> bytes:
    """Of what a record is known by."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


class Seen:
    """`page` and `taken`: as the position has them, 0 where there is none: then nothing was taken yet, whatever the
    file says. Raises OSError, NOT_PRIVATE."""

    def __init__(self, folder: Path, records_max: int, page: int, taken: int) -> None:
        self._records_max = records_max
        self._path = make_private(folder) / _LOG
        self._known: dict[bytes, None] = {}
        self.page = page
        self.forgot = False
        for frame in self._frames():
            if frame.page > page:
                break
            self._add(frame.digests if frame.page < page else frame.digests[:taken])
        self._descriptor = -1
        self._size = 0
        self._write_anew()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._known

    def begin(self, digests: Sequence[bytes]) -> int:
        """Records with these are given now, as a page of this number. All that was given before has ended. Raises
        OSError, and nothing is changed."""
        if self._descriptor < 0 or self._size > _FACTOR * self._records_max * _DIGEST_BYTES:
            self._write_anew()
        frame = encoded(self.page + 1, digests)
        append_whole(self._descriptor, frame, self._size)
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            self.close()  # it must not be found there: it is written anew
            self._write_anew()
            raise
        self._size += len(frame)
        self.page += 1
        return self.page

    def took(self, digests: Iterable[bytes]) -> None:
        """They are not to be taken again."""
        self._add(digests)

    def close(self) -> None:
        """Let go of the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _add(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._known.pop(digest, None)  # the newest are at the end
            self._known[digest] = None
        while len(self._known) > self._records_max:
            del self._known[next(iter(self._known))]
            self.forgot = True

    def _write_anew(self) -> None:
        """What is known, as a page that is before all others."""
        self.close()
        known = list(self._known)
        parts = [known[at : at + PAGE_RECORDS_MAX] for at in range(0, len(known), PAGE_RECORDS_MAX)]
        content = b"".join(encoded(0, part) for part in parts)
        write_private(self._path, content)
        self._size = len(content)
        self._descriptor = open_private(self._path, os.O_WRONLY | os.O_APPEND)

    def _frames(self) -> Iterator[_Frame]:
        most = 2 * _FACTOR * (self._records_max + PAGE_RECORDS_MAX) * (_DIGEST_BYTES + _HEAD.size)
        try:
            yield from frames_in(read_private(self._path, most))
        except FileNotFoundError:
            return


def encoded(page: int, digests: Sequence[bytes]) -> bytes:
    """One frame."""
    body = b"".join(digests)
    return _HEAD.pack(page, len(digests), _check(page, body)) + body


def _check(page: int, body: bytes) -> int:
    return zlib.crc32(body, page & 0xFFFF_FFFF)


def frames_in(raw: bytes) -> Iterator[_Frame]:
    """The frames up to the first that is damaged, or was not written whole."""
    at = 0
    while at + _HEAD.size <= len(raw):
        page, count, check = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        body = raw[at : at + count * _DIGEST_BYTES]
        if not count or len(body) != count * _DIGEST_BYTES or _check(page, body) != check:
            return
        yield _Frame(page, [body[n : n + _DIGEST_BYTES] for n in range(0, len(body), _DIGEST_BYTES)])
        at += len(body)
