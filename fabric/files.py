"""Private files: what a node keeps on disk is its user's alone, and nobody else's files are written to.

Guarantees: a file that is made here has mode 0600 and a folder 0700, whatever the umask; a whole file takes its name
at once, or not at all; no symbolic link that somebody planted is followed, nothing is written into a file that has a
second name, and nothing waits at a FIFO. Refuses (NOT_PRIVATE) a folder, and a file that is opened in place, that
belongs to another user: whoever may write to a folder that we use can delete the file, but neither read nor forge it.

Reading of what a user names, and of an identity's folder, follows links: secrets are often mounted as such.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import secrets
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from fabric.protocol.base.errors import Code, FabricError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
PROGRAM_MODE = 0o700
_OTHERS = 0o077
# Nothing is inherited by a process that we start, no link is followed, and a FIFO without a reader does not hold us up.
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_COPIED_BYTES = 1 << 20
# What file systems say that give a file one name only.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# What SQLite makes beside a database, with the mode of the database.
_BESIDE_A_DATABASE = ("-journal", "-wal", "-shm")


def make_private(folder: Path) -> Path:
    """Create a folder that only its owner may enter, and its parents likewise. One that is there becomes so.

    A link to a folder counts when whoever made it is this user, or root: an operator may keep a spool on another disk.
    """
    for path in reversed(folder.parents):
        if not path.exists():
            path.mkdir(mode=FOLDER_MODE, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=FOLDER_MODE)
    _check_link(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise _not_private(folder, f"belongs to user {found.st_uid}")
        if stat.S_IMODE(found.st_mode) != FOLDER_MODE:
            os.fchmod(descriptor, FOLDER_MODE)
    finally:
        os.close(descriptor)
    return folder


def write_private(path: Path, content: bytes, *, mode: int = FILE_MODE, durable: bool = True) -> None:
    """Write a whole file, in place of what has its name. `durable`: on disk, and under its name, when this returns."""

    def fill(file: BinaryIO) -> None:
        file.write(content)

    _replace(path, fill, mode, durable)


def copy_private(source: Path, target: Path) -> None:
    """Copy a private file to a private file, in place of what has that name."""

    def fill(file: BinaryIO) -> None:
        with os.fdopen(open_private(source, os.O_RDONLY), "rb") as original:
            while piece := original.read(_COPIED_BYTES):
                file.write(piece)

    _replace(target, fill, FILE_MODE, durable=False)


def keep_copy(source: int, target: Path) -> None:
    """What is in a file that is open, whoever's it is, in a private file; on disk when this returns."""

    def fill(file: BinaryIO) -> None:
        at = 0
        while piece := os.pread(source, _COPIED_BYTES, at):
            file.write(piece)
            at += len(piece)

    _replace(target, fill, FILE_MODE, durable=True)


def pack_private(source: Path, target: Path, is_to_stop: Callable[[], bool]) -> bool:
    """What is in a private file, compressed with gzip, in another one; on disk when this returns. False, and nothing is
    there, where `is_to_stop` said so meanwhile."""
    stopped = False

    def fill(file: BinaryIO) -> None:
        nonlocal stopped
        with (
            os.fdopen(open_private(source, os.O_RDONLY), "rb") as original,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6) as packed,
        ):
            while piece := original.read(_COPIED_BYTES):
                if is_to_stop():
                    stopped = True
                    raise InterruptedError
                packed.write(piece)

    try:
        _replace(target, fill, FILE_MODE, durable=True)
    except InterruptedError:
        if not stopped:
            raise
    return not stopped


def sweep_private(folder: Path, name: str) -> None:
    """Remove what was being written under this name when its process was killed."""
    unfinished = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.new")
    for entry in os.scandir(folder):
        if unfinished.fullmatch(entry.name):
            Path(entry.path).unlink(missing_ok=True)


def cut_private(descriptor: int, size: int) -> None:
    """Cut a private file that is open to this size; on disk when this returns."""
    os.ftruncate(descriptor, size)
    os.fsync(descriptor)


def give_copy(source: int, target: int) -> None:
    """What is in a file that is open, into a new file that is open; on disk when this returns."""
    at = 0
    with os.fdopen(os.dup(target), "wb") as copy:
        while piece := os.pread(source, _COPIED_BYTES, at):
            copy.write(piece)
            at += len(piece)
    os.fsync(target)


def _replace(path: Path, fill: Callable[[BinaryIO], None], mode: int, durable: bool) -> None:
    # A name that nobody can guess: it cannot be taken, nor can two who write at once meet in it.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # the umask may have taken from it
            fill(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Without it, a power failure may bring back the file that had the name before."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems do not know it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_private(path: Path, flags: int = os.O_RDWR) -> int:
    """The descriptor of a file that only its owner may read, created unless it is opened for reading only.

    One that others may read becomes private. Raises NOT_PRIVATE for a link, for what is no regular file, for one that
    belongs to another user or has a second name, and OSError as `os.open` does.
    """
    create = 0 if flags & os.O_ACCMODE == os.O_RDONLY else os.O_CREAT
    # O_TRUNC would empty the file before it was looked at.
    assert not flags & os.O_TRUNC
    try:
        descriptor = os.open(path, flags | create | _SAFELY, FILE_MODE)
    except OSError as error:
        _check_kind(path)  # says it in words where it is this
        raise error
    try:
        found = os.fstat(descriptor)
        _check_file(path, found)
        if stat.S_IMODE(found.st_mode) & _OTHERS or (create and stat.S_IMODE(found.st_mode) != FILE_MODE):
            os.fchmod(descriptor, FILE_MODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def empty_private(path: Path) -> None:
    """Cut a private file to nothing under those who append to it."""
    descriptor = open_private(path)
    try:
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def read_private(path: Path, bytes_max: int) -> bytes:
    """What this user keeps in a private file, and no more than so many bytes. Raises as `open_private`."""
    with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
        return file.read(bytes_max)


def append_private(path: Path) -> BinaryIO:
    """A private file that is written to at its end, as logs are."""
    return os.fdopen(open_private(path, os.O_WRONLY | os.O_APPEND), "ab")


def take_name(path: Path, name: Path) -> None:
    """Give a private file another name in its folder, for good. Raises FileExistsError where that is taken."""
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # FAT, SMB and FUSE have no second names. The name is taken first, by a file that nobody else can have made.
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, FILE_MODE))
        try:
            path.replace(name)
        except BaseException:
            name.unlink(missing_ok=True)
            raise
    else:
        path.unlink()
    _sync_folder(name.parent)


def open_folder(path: Path) -> int:
    """The descriptor of a folder. Raises OSError for anything else, a link to one too."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFELY)


def open_regular(path: Path | str, folder: int | None = None) -> BinaryIO:
    """A regular file that may be anybody's, to be read. Raises OSError for anything else: a link, a FIFO, a device.
    `folder`: the descriptor of that which a name is of."""
    descriptor = os.open(path, os.O_RDONLY | _SAFELY, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def append_whole(descriptor: int, content: bytes, size: int) -> None:
    """Append to a private file that is open for that, and has this size: all of it, or nothing. Raises OSError."""
    try:
        left = memoryview(content)
        while left:
            left = left[os.writev(descriptor, [left]) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def open_database(path: Path, busy_s: float = 5.0, *, any_thread: bool = False) -> sqlite3.Connection:
    """An SQLite file that is private, and so is what SQLite keeps beside it. Each statement is a commit of its own.

    `busy_s`: how long to wait for another process; `any_thread`: not only the one that opens it. Raises as
    `open_private`. SQLite opens by name, so in a folder that others may write to, somebody quick enough can still make
    it lose the file; `check_database` says so when it is open.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY, FILE_MODE))
    check_database(path)
    return sqlite3.connect(path, busy_s, isolation_level=None, check_same_thread=not any_thread)


def open_nowhere() -> int:
    """A descriptor from which nothing comes and in which everything vanishes."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def nowhere() -> TextIO:
    """The same as a text stream."""
    return os.fdopen(open_nowhere(), "w", encoding="utf-8")


def peek(path: Path, bytes_max: int) -> bytes:
    """The first bytes of a file that may be anybody's. Nothing about it changes; it follows no link."""
    with os.fdopen(os.open(path, os.O_RDONLY | _SAFELY), "rb") as file:
        return file.read(bytes_max)


def tables_of(path: Path) -> frozenset[str]:
    """The tables of an SQLite file that may be anybody's, as far as its own log is copied into it; one without a name
    where that cannot be read. Nothing about it changes, and nothing is made beside it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            return frozenset(name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
    except sqlite3.Error:
        return frozenset({""})


def check_database(path: Path) -> None:
    """Raises NOT_PRIVATE where one of the files of a database is not this user's own.

    By name, and without opening any: to close one would give up the locks that SQLite has on it in this process.
    """
    for name in (path, *(Path(f"{path}{suffix}") for suffix in _BESIDE_A_DATABASE)):
        with suppress(FileNotFoundError):
            found = name.lstat()
            _check_file(name, found)
            if stat.S_IMODE(found.st_mode) != FILE_MODE:
                name.chmod(FILE_MODE)


def _check_file(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _not_private(path, "is a symbolic link")
    if stat.S_ISDIR(found.st_mode):  # a slip, not a trap
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise _not_private(path, "is not a regular file")
    if found.st_uid != os.geteuid():
        raise _not_private(path, f"belongs to user {found.st_uid}")
    # With none left it was removed since it was opened, and is nobody's any more.
    if found.st_nlink > 1:
        raise _not_private(path, "has another name, as a hard link")


def _check_kind(path: Path) -> None:
    with suppress(OSError):
        _check_file(path, path.lstat())


def _check_link(folder: Path) -> None:
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise _not_private(folder, f"is a symbolic link of user {found.st_uid}")


def _not_private(path: Path, why: str) -> FabricError:
    return FabricError(Code.NOT_PRIVATE, f"{path} {why}")
