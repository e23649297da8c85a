"""What a log's files may be called after a rotation, and in which folders they may lie.

Names are compared, never used as patterns: brackets and stars in them mean nothing. What stands between or behind a
name's parts must be a stamp of digits, so that Zeek's `conn-summary.log` is no rotation of `conn.log`. These count:

    conn.log.1  conn.log.2.gz  conn.log-20261128  conn.log.2026-11-28_05  conn.log.old    logrotate, Python, log4j
    conn-26-11-28_05.00.00.log                                                            Zeek
    2026-11-28/conn.05:00:00-06:00:00.log.gz    beside the log's folder or in it          zeekctl's archive
    app-2026-11-28.log, when app.log or current is a symbolic link to app-2026-11-29.log
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from relays.reading.around import Around

_STAMP = r"\d[\dTZ:._+-]*"
_MORE = rf"(?:[-._@]{_STAMP}|\.(?:old|prev))"
_PACKED = r"(?:\.(?:gz|bz2|xz|zst))?"
_DIGITS = re.compile(r"(?<![A-Za-z0-9])\d(?:[\dTZ:._+-]*\d)?(?![A-Za-z0-9])")
_DATED = re.compile(r"\d{4}-?\d\d(?:-?\d\d)?")
# Folders that are looked into beside the log's own: more than a year of days, and no walk through a whole disk.
_FOLDERS_MAX = 400
# A scan that sees a folder change is done again: a file that is renamed meanwhile can be missed.
_SCANS_MAX = 5


class Entry(NamedTuple):
    """A file. `foreign`: in a folder that is not known to hold rotated files; it counts only when it is recognised."""

    path: Path
    id: tuple[int, int]  # device, inode
    size: int
    mtime_ns: int
    foreign: bool = False


def entry_of(path: Path) -> Entry | None:
    """The regular file that a name stands for now, under the name that no link leads to."""
    entry = called(path)
    return entry._replace(path=Path(os.path.realpath(path))) if entry is not None else None


def called(path: Path) -> Entry | None:
    """The regular file that a name stands for now, under this name."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Entry(path, (found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns)


def rotated(name: str) -> re.Pattern[str]:
    """Names of a file that had this name."""
    stem, dot, suffix = _parts(name)
    return re.compile(f"{re.escape(stem)}{_MORE}?{re.escape(dot + suffix)}{_MORE}*{_PACKED}")


def _parts(name: str) -> tuple[str, str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot, suffix) if stem and suffix.isalpha() else (name, "", "")


def stamped(name: str) -> re.Pattern[str]:
    """Names that differ from this one in their stamps only, rotated or not."""
    parts, at = [], 0
    for found in _DIGITS.finditer(name):
        parts += [re.escape(name[at : found.start()]), _STAMP]
        at = found.end()
    return re.compile("".join([*parts, re.escape(name[at:])]) + f"{_MORE}*{_PACKED}")


def entries(file: Path, inodes: Iterable[int], seen: Iterable[str], around: Around | None = None) -> list[Entry]:
    """Files that this log may have been before, by name or inode, the one that it is now left out, and those of others.

    `seen`: paths under which it was read.
    """
    around = around or Around()
    wanted = frozenset(inodes)
    before: dict[tuple[int, int], Entry] = {}
    for _ in range(_SCANS_MAX):
        now = {entry.id: entry for entry in _scan(file, wanted, [Path(path) for path in seen if path], around)}
        if now.keys() == before.keys():
            return list(now.values())
        before = now
    return list(before.values())


def _scan(file: Path, inodes: frozenset[int], seen: list[Path], around: Around) -> Iterator[Entry]:
    target = Path(os.path.realpath(file))
    patterns = [rotated(file.name), rotated(target.name)]
    prefixes = {_parts(name)[0] for name in (file.name, target.name)}
    if target.name != file.name or file.is_symlink():
        for path in (target, *seen):
            patterns.append(stamped(path.name))
            stamp = _DIGITS.search(path.name)
            prefixes.add(path.name[: stamp.start()] if stamp else path.name)
    current = entry_of(file)
    here = _different([file.parent, target.parent, *(path.parent for path in seen)])
    own = {str(file.absolute()), str(target)}
    for folder, foreign in _folders(here, around):
        names = [*patterns, re.compile(re.escape(file.name) + _PACKED)] if folder not in here else patterns
        found = []
        for item in around.listing(folder).some(prefixes, inodes):
            path = folder / item.name
            fits = any(pattern.fullmatch(item.name) for pattern in names) and str(path) not in own
            if not (fits or item.inode in inodes):
                continue
            entry = called(path)
            if entry is None or (current is not None and entry.id == current.id):
                continue
            if not around.is_other(path, entry.id):
                found.append(entry._replace(foreign=foreign))
        # Where one of ours was moved to, the others are too.
        if any(entry.id[1] in inodes for entry in found):
            found = [entry._replace(foreign=False) for entry in found]
        yield from found


def _different(folders: Iterable[Path]) -> list[Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        found.setdefault(os.path.realpath(folder), folder)
    return list(found.values())


def _folders(here: list[Path], around: Around) -> Iterator[tuple[Path, bool]]:
    """Each with whether files there count only when they are recognised."""
    yield from ((folder, False) for folder in here)
    dated: list[Path] = []
    other: list[Path] = []
    for folder in here:
        dated += [path for path in _below(folder.parent, around) if _DATED.fullmatch(path.name)]
        for path in _below(folder, around):
            (dated if _DATED.fullmatch(path.name) else other).append(path)
    known = {os.path.realpath(folder) for folder in here}
    newest = sorted(dated, key=lambda path: path.name, reverse=True)[:_FOLDERS_MAX]
    for folders, foreign in ((newest, False), (other[:_FOLDERS_MAX], True)):
        yield from ((path, foreign) for path in _different(folders) if os.path.realpath(path) not in known)


def _below(folder: Path, around: Around) -> list[Path]:
    return [folder / name for name in around.listing(folder).folders]
