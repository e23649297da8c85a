"""Bytes of a file into lines, bounded, as UTF-8 whatever the file is written in.

Guarantees: what is kept of an unfinished line never exceeds LINE_BYTES_MAX, and the sizes of the pieces add up to the
bytes that were fed. A byte order mark says how the file is written (UTF-8, UTF-16, UTF-32); without one it is UTF-8.
Refuses, as a piece with a fault: a line that is too long, and one that is not what the mark says.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

from fabric.protocol.base.errors import Code, FabricError

# A body has at most 2 MB (BODY_BYTES_MAX); as JSON, with blanks and escapes, about twice that. No longer line fits into
# a message, so nothing is lost by not keeping it.
LINE_BYTES_MAX = 4_194_304
_BOM_BYTES = 4


class Coding(NamedTuple):
    """How a file is written: its byte order mark, Python's name of it, and how a line ends in it."""

    bom: bytes
    codec: str
    width: int  # bytes of a line's end, and what it is aligned to
    newline: bytes

    @property
    def name(self) -> str:
        return self.codec.removesuffix("-le").removesuffix("-be").upper()


_UTF_8 = Coding(b"", "utf-8", 1, b"\n")
# UTF-32's mark begins like UTF-16's.
_CODINGS = (
    Coding(codecs.BOM_UTF8, "utf-8", 1, b"\n"),
    Coding(codecs.BOM_UTF32_LE, "utf-32-le", 4, b"\n\0\0\0"),
    Coding(codecs.BOM_UTF32_BE, "utf-32-be", 4, b"\0\0\0\n"),
    Coding(codecs.BOM_UTF16_LE, "utf-16-le", 2, b"\n\0"),
    Coding(codecs.BOM_UTF16_BE, "utf-16-be", 2, b"\0\n"),
)


def coding_of(head: bytes) -> Coding:
    """By a file's first four bytes."""
    return next((coding for coding in _CODINGS if head.startswith(coding.bom)), _UTF_8)


def undecided(head: bytes) -> bool:
    """Whether more bytes could still make it a byte order mark that it is not yet."""
    return len(head) < _BOM_BYTES and any(coding.bom.startswith(head) for coding in _CODINGS)


class Piece(NamedTuple):
    """A line without its end; `size`: its bytes in the file, with its end."""

    data: bytes
    size: int
    fault: FabricError | None = None


class Splitter:
    """`head`: the file's first bytes, where reading does not begin at its beginning."""

    def __init__(self, head: bytes = b"") -> None:
        self._coding = coding_of(head) if head else None
        self._kept = b""
        self._odd = b""  # a part of a character
        self._size = 0
        self._is_first = not head

    @property
    def pending(self) -> int:
        """Bytes of a line that has no end yet."""
        return self._size + len(self._odd)

    def feed(self, data: bytes) -> Iterator[Piece]:
        if self._coding is None:
            head = self._kept + data
            if undecided(head):
                self._kept, self._size = head, len(head)
                return
            self._coding, self._kept, self._size, data = coding_of(head), b"", 0, head
        pieces = data.split(b"\n") if self._coding.width == 1 else self._split_wide(data)
        for piece in pieces[:-1]:
            self._add(piece)
            self._size += self._coding.width
            yield self._take()
        self._add(pieces[-1])

    def rest(self) -> Piece | None:
        """The last line, which nothing ended. Nothing more may be fed then."""
        if not self.pending:
            return None
        self._coding = self._coding or coding_of(self._kept)
        odd, self._odd = self._odd, b""
        self._add(odd)
        return self._take()

    def peek(self) -> bytes:
        """What there is of the last line, as UTF-8 as far as it can be read; empty when it is too long to be kept."""
        if self._size > LINE_BYTES_MAX:
            return b""
        coding = self._coding or coding_of(self._kept)
        kept = self._kept.removeprefix(coding.bom) if self._is_first else self._kept
        return kept if coding.width == 1 else kept.decode(coding.codec, "ignore").encode()

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        if not self._kept:
            # A writer that goes on at its old place in a file that was cut short leaves a hole before it.
            data = data.lstrip(b"\0") if self._coding is None or self._coding.width == 1 else data
        # One byte more than allowed tells that it is too long; the rest is counted only.
        self._kept += data[: max(0, LINE_BYTES_MAX + 1 - len(self._kept))]

    def _split_wide(self, data: bytes) -> list[bytes]:
        """A newline is one only where a character begins: whole characters are looked at, the rest waits."""
        assert self._coding is not None
        width, newline = self._coding.width, self._coding.newline
        data = self._odd + data
        whole = len(data) - len(data) % width
        data, self._odd = data[:whole], data[whole:]
        pieces, begin, at = [], 0, -1
        while (at := data.find(newline, at + 1)) >= 0:
            if at % width == 0:
                pieces.append(data[begin:at])
                begin = at + width
        return [*pieces, data[begin:]]

    def _take(self) -> Piece:
        assert self._coding is not None
        data, size, coding = self._kept, self._size, self._coding
        is_first, self._is_first = self._is_first, False
        self._kept, self._size = b"", 0
        if len(data) > LINE_BYTES_MAX:
            return Piece(b"", size, too_long(size))
        if is_first:
            data = data.removeprefix(coding.bom)
        if coding.width > 1:
            try:
                data = data.decode(coding.codec).encode()
            except UnicodeError:
                return Piece(b"", size, FabricError(Code.BAD_INPUT, f"it is not {coding.name}"))
        return Piece(data, size)


def too_long(size: int) -> FabricError:
    """The error for a line of this many bytes."""
    return FabricError(Code.LINE_TOO_LONG, f"{size:,} bytes, where {LINE_BYTES_MAX:,} are allowed")
