"""Whether a file that somebody names may be an outbox. Asked before anything is made, written or opened by SQLite.

Guarantees: what is not ours stays as it is, byte for byte, and nothing is left beside it. An outbox is ours by the
number in its header; an older one by its tables. Refuses a file that is in use, and one too damaged to tell whose it
is: whoever knows can move it away.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from fabric.files import open_private, peek, tables_of
from fabric.protocol.base.errors import Code, FabricError
from fabric.spool.file import APPLICATION_ID, beside

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_APPLICATION_AT = 68
_TABLES = frozenset({"messages", "seen", "kept", "quarantine"})
_KINDS = (
    (stat.S_ISDIR, "is a folder"), (stat.S_ISFIFO, "is a named pipe"), (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"), (stat.S_ISBLK, "is a disk"),
)


def check_outbox(path: Path) -> None:
    """Raises NOT_AN_OUTBOX, OUTBOX_IN_USE, or SPOOL_FAILED where it cannot be looked at. What is not there is fine."""
    try:
        problem = _problem_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return  # whoever makes it says what is wrong with its folder
    except OSError as error:
        raise FabricError(Code.SPOOL_FAILED, f"{path}: {error.strerror}") from error
    if problem:
        raise FabricError(Code.NOT_AN_OUTBOX, f"{path} {problem}")


def _problem_of(path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "is a symbolic link" if path.exists() else "is a symbolic link to nothing"
    for is_kind, words in _KINDS:
        if is_kind(mode):
            return words
    _check_lock(path)
    header = peek(path, _HEADER_BYTES)
    if not header:
        return ""
    if not header.startswith(_MAGIC):
        return "is a file with something else in it"
    if header[_APPLICATION_AT : _APPLICATION_AT + 4] == APPLICATION_ID.to_bytes(4, "big"):
        return ""
    tables = tables_of(path)
    if tables >= _TABLES or (not tables and not _has_log(path)):
        return ""
    return "is a database of another program"


def _has_log(path: Path) -> bool:
    """What a program that was killed left is in there, and is not ours: with ours the header has the number."""
    with suppress(OSError):
        return Path(f"{path}-wal").stat().st_size > 0
    return False


def _check_lock(path: Path) -> None:
    """What is open, also in this process, must not even be looked at: to close it would give up SQLite's locks."""
    lock = beside(path, "lock")
    if not lock.exists():
        return
    descriptor = open_private(lock)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise in_use(path) from None
    finally:
        os.close(descriptor)


def in_use(path: Path) -> FabricError:
    """The error for an outbox that another process has open."""
    return FabricError(Code.OUTBOX_IN_USE, str(path))
