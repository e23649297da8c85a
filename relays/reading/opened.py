"""An open file to read from any place in it, plain or compressed with gzip, bzip2 or xz, told by its first bytes.

Offsets are always of the content. Refuses, as `UnreadableError`: what is compressed otherwise, and a compressed file
that is damaged or not written to its end.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol, cast

_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
MAGIC_BYTES = 6
# What a name ends with when its file is compressed.
PACKED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst"})


class UnreadableError(Exception):
    """In words, why."""


class _Stream(Protocol):
    def read1(self, size: int = ..., /) -> bytes: ...
    def seek(self, offset: int, whence: int = ..., /) -> int: ...
    def close(self) -> None: ...


class Opened:
    """`packed`: it is compressed, and so will not grow. Raises OSError when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        try:
            found = os.fstat(self._file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FileNotFoundError(f"{path} is no file")
            self.id = (found.st_dev, found.st_ino)
            self._packed = unpacked(os.pread(self._file.fileno(), MAGIC_BYTES, 0), cast(BinaryIO, self._file))
        except BaseException:
            self._file.close()
            raise

    @property
    def packed(self) -> bool:
        return self._packed is not None

    def stat(self) -> os.stat_result:
        return os.fstat(self._file.fileno())

    def read(self, at: int, size: int) -> bytes:
        """What is there now, at most so much; empty at the end. Raises UnreadableError."""
        if self._packed is None:
            return os.pread(self._file.fileno(), size, at)
        try:
            self._packed.seek(at)
            # Not `read`: what comes before a damage counts.
            return self._packed.read1(size)
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise UnreadableError(f"damaged, or not written to its end ({type(error).__name__})") from None

    def read_all(self, at: int, size: int) -> bytes:
        """The same, and less only at the end."""
        data = b""
        while len(data) < size and (more := self.read(at + len(data), size - len(data))):
            data += more
        return data

    def is_gzip_of(self, size: int) -> bool:
        """Whether a gzip file says, at its end, that this is the size of its content. Quick; one way only."""
        found = self.stat().st_size
        trailer = os.pread(self._file.fileno(), 4, max(0, found - 4))
        is_gzip = os.pread(self._file.fileno(), 2, 0) == _GZIP
        return is_gzip and int.from_bytes(trailer, "little") == size % (1 << 32)

    def close(self) -> None:
        if self._packed is not None:
            self._packed.close()
        self._file.close()


def unpacked(magic: bytes, file: BinaryIO) -> _Stream | None:
    """The content of what is compressed; None when it is not. Raises UnreadableError when there is no way to."""
    if magic.startswith(_GZIP):
        return cast(_Stream, gzip.GzipFile(fileobj=file, mode="rb"))
    if magic.startswith(_BZIP2):
        return cast(_Stream, bz2.BZ2File(file))
    if magic.startswith(_XZ):
        return cast(_Stream, lzma.LZMAFile(file))
    if magic.startswith(_ZSTD):
        raise UnreadableError("compressed with zstd, which is not read here")
    return None
