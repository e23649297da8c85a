"""Moves others' files into a private folder and back, by descriptors: no name is followed twice, and no link at all.

Guarantees: a folder is entered from a root step by step, and a link on the way is an error, so that nothing outside of
the root is ever touched; what is moved is the file that was opened and looked at, or nothing; what comes back takes no
other file's place. A file that is moved has one name at each moment, here or there, or is for a moment in both places.
Across file systems it is copied, and is on disk before the original goes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from fabric.files import give_copy, keep_copy

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COMPARED_BYTES: Final = 1 << 20
# Of a file that is kept: its owner may look at it, and nobody may run it, by whatever other name it has.
_KEPT_MODE: Final = 0o400


class Replaced(Exception):  # noqa: N818 - not an error of ours: somebody was quicker
    """The name belongs to another file than the one that was looked at."""


class Taken(Exception):  # noqa: N818 - likewise
    """Another file has the name by now."""


class Avoided(Exception):  # noqa: N818 - likewise
    """The folder is one that is not to be entered."""


class Attributes(NamedTuple):
    """What a file has besides its content."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Attributes:
        return cls(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns)


@contextmanager
def folder_beneath(root: Path, parts: Sequence[str], avoided: Sequence[Path] = ()) -> Iterator[int]:
    """The descriptor of a folder. Raises OSError: NotADirectoryError for a link, FileNotFoundError; and Avoided."""
    never = {(found.st_dev, found.st_ino) for path in avoided if (found := _stat(path)) is not None}
    descriptor = os.open(root, _FOLDER)
    try:
        for part in ["", *parts]:
            if part:
                inner = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) in never:
                raise Avoided
        yield descriptor
    finally:
        os.close(descriptor)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


@contextmanager
def file_in(folder: int, name: str) -> Iterator[tuple[int, os.stat_result]]:
    """A regular file, opened for reading. Raises OSError; IsADirectoryError for what is anything else, a link too."""
    _check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))  # to open a device may do something
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:  # since a moment ago
            raise IsADirectoryError(errno.EISDIR, "a link") from None
        raise
    try:
        found = os.fstat(descriptor)
        _check_regular(found)
        yield descriptor, found
    finally:
        os.close(descriptor)


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a link" if stat.S_ISLNK(found.st_mode) else "no regular file")


def take(folder: int, name: str, opened: int, store: Path, kept: str) -> None:
    """The file that is open goes from its folder into the store, as `kept`. Raises Replaced, OSError: it did not."""
    with _opened(store) as inside:
        try:
            os.rename(name, kept, src_dir_fd=folder, dst_dir_fd=inside)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _take_copy(folder, name, opened, store / kept)
        else:
            if not _is(inside, kept, opened):
                _put_back(inside, kept, folder, name)
        # Of a file of somebody else's, this user may not be able to.
        with suppress(PermissionError):
            os.fchmod(opened, _KEPT_MODE)
        _sync(folder, inside)


def _take_copy(folder: int, name: str, opened: int, kept: Path) -> None:
    aside = aside_name(kept.name)
    os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
    if not _is(folder, aside, opened):
        _put_back(folder, aside, folder, name)
    try:
        keep_copy(opened, kept)
    except BaseException:
        with suppress(Replaced):
            _put_back(folder, aside, folder, name)
        raise
    os.unlink(aside, dir_fd=folder)


def aside_name(kept: str) -> str:
    """What a file is called in its folder while it is copied."""
    return f".{kept}.quarantined"


def finish(folder: int, kept: Path) -> None:
    """What a run that ended in the midst of a copy left in the folder. Raises OSError; FileNotFoundError: nothing."""
    aside = aside_name(kept.name)
    with file_in(folder, aside) as (opened, _):
        if not kept.exists():
            keep_copy(opened, kept)
    os.unlink(aside, dir_fd=folder)


def _put_back(from_: int, kept: str, to: int, name: str) -> NoReturn:
    """Another file that was caught. Where its name is taken again, it stays where it is. Raises Replaced."""
    with suppress(FileExistsError):
        os.link(kept, name, src_dir_fd=from_, dst_dir_fd=to, follow_symlinks=False)
        os.unlink(kept, dir_fd=from_)
    raise Replaced


def give_back(store: Path, kept: str, folder: int, name: str, attributes: Attributes) -> None:
    """The reverse. Raises Taken, OSError: then it is in the store."""
    with _opened(store) as inside, file_in(inside, kept) as (opened, found):
        # By a run that ended before it had taken it out of the store it is, or a copy of it.
        if not _is(folder, name, opened) and not _is_copy(folder, name, opened):
            try:
                _set(opened, attributes)
                os.link(kept, name, src_dir_fd=inside, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                with suppress(OSError):
                    _set(opened, Attributes.of(found))
                if error.errno == errno.EEXIST:
                    raise Taken from None
                if error.errno != errno.EXDEV:
                    raise
                _give_copy(opened, folder, name, attributes, aside_name(kept))
        _sync(folder)
        os.unlink(kept, dir_fd=inside)
        _sync(inside)


def _give_copy(source: int, folder: int, name: str, attributes: Attributes, aside: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(aside, dir_fd=folder)  # of a run that ended in the midst of it
    descriptor = os.open(aside, _NEW, 0o600, dir_fd=folder)
    try:
        give_copy(source, descriptor)
        _set(descriptor, attributes)
        os.utime(descriptor, ns=(attributes.mtime_ns, attributes.mtime_ns))
        os.link(aside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise Taken from None
    finally:
        os.close(descriptor)
        os.unlink(aside, dir_fd=folder)


def _set(descriptor: int, attributes: Attributes) -> None:
    """The owner first: a change of it takes away bits of the mode."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (attributes.uid, attributes.gid):
        os.fchown(descriptor, attributes.uid, attributes.gid)
    os.fchmod(descriptor, attributes.mode)


def _is(folder: int, name: str, opened: int) -> bool:
    """Whether this name is that of the file that is open."""
    try:
        there, ours = os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(opened)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _is_copy(folder: int, name: str, opened: int) -> bool:
    """Whether what has this name has the content of the file that is open."""
    try:
        with file_in(folder, name) as (there, found):
            if found.st_size != os.fstat(opened).st_size:
                return False
            return all(
                os.pread(there, _COMPARED_BYTES, at) == os.pread(opened, _COMPARED_BYTES, at)
                for at in range(0, found.st_size, _COMPARED_BYTES)
            )
    except OSError:
        return False


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync(*folders: int) -> None:
    for folder in folders:
        with suppress(OSError):  # some file systems do not know it
            os.fsync(folder)
