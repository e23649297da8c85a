"""What lies around a log: the files of a folder by name and inode, and which of them belong to other readers.

Guarantees: a folder that did not change is looked through once, however many logs in it are read; what is given is
never older than the folder's last change.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# A change right after a look can leave the folder's time as it was: one that changed so recently is looked at again.
_RACY_NS = 100_000_000
_FOLDERS_MAX = 1_024


class Found(NamedTuple):
    """One name in a folder."""

    name: str
    inode: int
    is_folder: bool = False


class Listing:
    """The names in a folder."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._found = sorted(found)
        self.folders = [each.name for each in self._found if each.is_folder]
        self._by_inode = {each.inode: each for each in self._found}

    def some(self, prefixes: Iterable[str], inodes: Iterable[int]) -> Iterator[Found]:
        """Those that begin like this, or have such an inode, each once."""
        given: set[Found] = set()
        for prefix in prefixes:
            at = bisect_left(self._found, Found(prefix, 0))
            while at < len(self._found) and self._found[at].name.startswith(prefix):
                given.add(self._found[at])
                at += 1
        given.update(self._by_inode[inode] for inode in inodes if inode in self._by_inode)
        yield from given


class Around:
    """Of one log that is read alone: every file that may have been it is its own."""

    def is_other(self, path: Path, id_: tuple[int, int]) -> bool:
        """Whether another reader has the file that this path stands for now."""
        return False

    def listing(self, folder: Path) -> Listing:
        """What is in the folder now; nothing where it cannot be looked into."""
        return _listed(folder)


class Listings:
    """Those of the folders of many logs. For one thread."""

    def __init__(self) -> None:
        self._by_folder: dict[str, tuple[int, Listing]] = {}

    def of(self, folder: Path) -> Listing:
        """What is in the folder now."""
        key = str(folder)
        try:
            changed_ns = folder.stat().st_mtime_ns
        except OSError:
            return Listing(())
        kept = self._by_folder.get(key)
        if kept is not None and kept[0] == changed_ns:
            return kept[1]
        now_ns = time.time_ns()
        listing = _listed(folder)
        self._by_folder.pop(key, None)
        if now_ns - changed_ns > _RACY_NS:
            while len(self._by_folder) >= _FOLDERS_MAX:
                del self._by_folder[next(iter(self._by_folder))]
            self._by_folder[key] = (changed_ns, listing)
        return listing


def _listed(folder: Path) -> Listing:
    try:
        with os.scandir(folder) as items:
            return Listing([Found(item.name, item.inode(), item.is_dir()) for item in items])
    except OSError:
        return Listing(())
