"""To whom a file belongs whose name may be that of a rotation: to the log that it was, or to nobody else.

`worker-1.log` beside `worker.log` is a rotation of it, or what another program writes. Its content says so where the
log's reader knows it. Otherwise it is a file of its own when it grows, when it came while the log was not rotated, when
it is newer than the log, and when it was read as one before. What is left is from before reading began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from relays.gateways.files.finding import bases_of
from relays.reading.around import Around, Listing, Listings
from relays.reading.names import Entry, called
from relays.reading.opened import PACKED_SUFFIXES

# Times are kept in whole seconds on some disks.
_SLACK_NS = 2_000_000_000


class Reader(Protocol):
    """What it needs of a file's reader."""

    @property
    def since_ns(self) -> int | None:
        """When what it read last was written; None where it read nothing yet."""

    @property
    def inodes(self) -> list[int]:
        """Of the files that it read."""

    def recognises(self, entry: Entry) -> bool:
        """Whether it read this file, or reads it: by what is in it."""

    def passed(self, entry: Entry) -> bool:
        """Whether this file is from before it began."""


class Owners:
    """`reader_of`: of a path that is read, or was before; None for others."""

    def __init__(self, reader_of: Callable[[Path], Reader | None]) -> None:
        self._reader_of = reader_of
        self._bases: dict[Path, list[Path]] = {}
        self._seen: dict[Path, Entry] = {}  # at the look before
        self._reader_had: dict[int, Path] = {}  # by inode
        self._judged: dict[Path, tuple[Entry, bool]] = {}
        self.listings = Listings()
        self.left_out: set[Path] = set()

    def own(self, found: Mapping[Path, Entry]) -> list[Path]:
        """Of the files that are there now those that are to be read under their own names, the one that was
        written to longest ago first."""
        if not self._seen:
            for path in found:
                self._remember(path)
        own = [
            path for path, entry in found.items()
            if not self._is_renamed(entry) and (self._base(path, found) is None or self._is_own(entry, found))
        ]
        given = set(own)
        self.left_out = {path for path in self.left_out if path in found and path not in given}
        self.left_out |= {
            path for path, entry in found.items()
            if path not in given and path not in self._seen and self._is_passed(entry, found)
        }
        inodes = {entry.id[1] for entry in found.values()}
        self._reader_had = {inode: path for inode, path in self._reader_had.items() if inode in inodes}
        for path in own:
            self._reader_had.setdefault(found[path].id[1], path)
        self._seen = dict(found)
        self._judged = {path: judged for path, judged in self._judged.items() if path in found}
        self._bases = {path: bases for path, bases in self._bases.items() if path in found}
        return sorted(own, key=lambda path: (found[path].mtime_ns, path))

    def around(self, path: Path) -> Around:
        """What the reader of this path sees of the others."""
        return _Around(self, path)

    def is_other(self, mine: Path, path: Path, id_: tuple[int, int]) -> bool:
        """Whether the file under `path` is not for the reader of `mine`."""
        reader, entry = self._reader_of(mine), called(path)
        if reader is None or entry is None or entry.id != id_:
            return False
        if path == mine:
            return (self._is_renamed(entry) or self._is_read(entry)) and not reader.recognises(entry)
        bases = self._read_bases(path)
        is_taken = self._reader_of(path) is not None or self._is_renamed(entry) or self._grows(entry)
        return (is_taken or bases[:1] not in ([], [mine])) and not reader.recognises(entry)

    def _remember(self, path: Path) -> None:
        reader = self._reader_of(path)
        for inode in reader.inodes if reader is not None else ():
            self._reader_had.setdefault(inode, path)

    def _is_renamed(self, entry: Entry) -> bool:
        """Whether it was read under another name, and is read on from there."""
        former = self._reader_had.get(entry.id[1])
        reader = self._reader_of(former) if former is not None and former != entry.path else None
        return reader is not None and reader.recognises(entry)

    def _is_own(self, entry: Entry, found: Mapping[Path, Entry]) -> bool:
        path = entry.path
        if self._reader_of(path) is not None:
            return True
        if path.suffix in PACKED_SUFFIXES or not entry.size:
            return False  # it does not grow, or shows nothing yet
        judged = self._judged.get(path)
        if judged is not None and judged[0] == entry:
            return judged[1]
        is_own = not self._is_read(entry) and self._is_not_from_before(entry, found)
        self._judged[path] = (entry, is_own)
        return is_own

    def _is_read(self, entry: Entry) -> bool:
        readers = map(self._reader_of, self._read_bases(entry.path))
        return any(reader is not None and reader.recognises(entry) for reader in readers)

    def _is_passed(self, entry: Entry, found: Mapping[Path, Entry]) -> bool:
        base = self._base(entry.path, found)
        if base is None or base in self._seen:
            return False  # whoever reads the log reads on in it
        reader = self._reader_of(base)
        return reader is None or reader.passed(entry)

    def _is_not_from_before(self, entry: Entry, found: Mapping[Path, Entry]) -> bool:
        base = self._base(entry.path, found)
        if self._grows(entry) or base is None:
            return True
        log, former = found.get(base), self._seen.get(base)
        if former is not None and entry.id == former.id:
            return True  # it was the log, and nobody read it
        seen = self._seen.get(entry.path)
        if seen is not None and seen.id == entry.id and seen.size:
            return False
        if log is None:
            return False
        if former is not None:
            return former.id == log.id and former.size <= log.size  # the log was not rotated
        reader = self._reader_of(base)
        since_ns = reader.since_ns if reader is not None and reader.recognises(log) else None
        return entry.mtime_ns > (log.mtime_ns if since_ns is None else since_ns) + _SLACK_NS

    def _grows(self, entry: Entry) -> bool:
        seen = self._seen.get(entry.path)
        return seen is not None and seen.id == entry.id and 0 < seen.size < entry.size

    def _base(self, path: Path, found: Mapping[Path, Entry]) -> Path | None:
        """The log that it may have been."""
        bases = self._bases_of(path)
        return next((base for base in bases if base in found or self._reader_of(base) is not None), None)

    def _read_bases(self, path: Path) -> list[Path]:
        return [base for base in self._bases_of(path) if self._reader_of(base) is not None]

    def _bases_of(self, path: Path) -> list[Path]:
        bases = self._bases.get(path)
        if bases is None:
            bases = self._bases[path] = [path.with_name(name) for name in bases_of(path.name)]
        return bases


class _Around(Around):
    def __init__(self, owners: Owners, path: Path) -> None:
        self._owners = owners
        self._path = path

    def is_other(self, path: Path, id_: tuple[int, int]) -> bool:
        return self._owners.is_other(self._path, path, id_)

    def listing(self, folder: Path) -> Listing:
        return self._owners.listings.of(folder)
