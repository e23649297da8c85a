"""A file that comes a piece at a time (SPEC 9.9): `dump.pcap.1f83c0d2a4b6.part`, until it is whole and takes its name.

Guarantees: it has the beginning of the artifact and nothing else, so whoever opens it next, after whatever ended the
program, goes on where it ends; one process writes to it; it takes its name when its digest is right, and never that of
a file that is there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from fabric.edge.artifacts.artifact import Artifact
from fabric.files import append_private, empty_private, make_private, open_regular, take_name
from fabric.protocol.base.errors import Code, FabricError

# In the name: of another artifact with the same name nothing is gone on with.
_DIGITS = 12
_READ_BYTES = 1 << 20


class Part:
    """`path`: what it is to be called. Raises FILE_THERE, ALREADY_RUNNING, NOT_PRIVATE, and OSError as the disk does.
    """

    def __init__(self, artifact: Artifact, path: Path) -> None:
        self._artifact = artifact
        self.path = path
        self.part = _part_of(artifact, path)
        if not path.parent.exists():
            make_private(path.parent)
        if os.path.lexists(path):
            raise FabricError(Code.FILE_THERE, str(path))
        self._check_room()
        self._file = append_private(self.part)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise FabricError(
                Code.ALREADY_RUNNING, f"another process fetches {path.name}", "wait for it, or name another folder"
            ) from None
        self.size = os.fstat(self._file.fileno()).st_size
        if self.size > artifact.bytes:
            self.begin_anew()

    def _check_room(self) -> None:
        """Its target says how large it is: what the disk cannot hold is not begun, and does not fill it."""
        there = self.part.lstat().st_size if os.path.lexists(self.part) else 0
        if self._artifact.bytes - there > shutil.disk_usage(self.path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._file.close()
        if not self.size:
            self.part.unlink(missing_ok=True)  # nothing to go on with

    def append(self, piece: bytes) -> None:
        """At its end, and out of this process: what ends that does not end it."""
        self._file.write(piece)
        self._file.flush()
        self.size += len(piece)

    def begin_anew(self) -> None:
        """Nothing of it is any good."""
        empty_private(self.part)
        self.size = 0

    def is_right(self) -> bool:
        """Whether it is the artifact."""
        os.fsync(self._file.fileno())
        return _digest_of(self.part) == self._artifact.sha256

    def take_its_name(self) -> None:
        """It is whole."""
        try:
            take_name(self.part, self.path)
        except FileExistsError:
            raise FabricError(Code.FILE_THERE, str(self.path)) from None


def is_there(artifact: Artifact, path: Path) -> bool:
    """Whether this file is the artifact: fetched before, and named."""
    try:
        same = path.stat().st_size == artifact.bytes and _digest_of(path) == artifact.sha256
    except OSError:
        return False
    if same:
        _part_of(artifact, path).unlink(missing_ok=True)  # what ended the program may have come just behind its name
    return same


def _part_of(artifact: Artifact, path: Path) -> Path:
    return path.with_name(f"{path.name}.{artifact.sha256[:_DIGITS]}.part")


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
