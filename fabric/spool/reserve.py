"""Room on a spool's disk: when intake stops, and a ballast file to delete as the last reserve.

Guarantees: intake stops while there is still room to drain what is there; the ballast is spent only where nothing else
is left, and comes back when there is room for it.
"""

from __future__ import annotations

import os
from pathlib import Path

from fabric.files import open_private
from fabric.spool.database import Database
from fabric.spool.file import beside, free_bytes

# A commit at a time, of so many that the page cache holds them: what it does not hold goes to the log, in full.
_GIVE_BACK_PAGES = 256
_GIVE_BACK_COMMITS = 8


class Reserve:
    """`free_bytes_min`: how much of the disk stays free. `ballast_bytes`: of the ballast; 0 where there is none."""

    def __init__(self, path: Path, db: Database, free_bytes_min: int, ballast_bytes: int) -> None:
        self._folder = path.parent
        self._db = db
        self._ballast = beside(path, "ballast")
        self._free_bytes_min = free_bytes_min
        self._ballast_bytes = ballast_bytes
        if self._ballast.exists():
            os.close(open_private(self._ballast))
        self._inflate()

    def spend(self) -> bool:
        """Delete the ballast, so that its room can be used. False where it is gone."""
        if not self._ballast.exists():
            return False
        self._ballast.unlink()
        return True

    def intake_allowed(self) -> bool:
        """Whether there is room for more. Not while the ballast is gone: it comes back when there is room for it."""
        is_whole = self._ballast.exists()
        with self._db.or_broken():
            free = free_bytes(self._folder)
            if is_whole and free >= self._free_bytes_min:
                return True  # as nearly always
            if free < self._free_bytes_min + (0 if is_whole else self._ballast_bytes):
                self._give_back()
            self._inflate()
        return self._ballast.exists() and free_bytes(self._folder) >= self._free_bytes_min

    def _give_back(self) -> None:
        """Return pages that the queue does not use any more to a disk that is short of them."""
        if not self._db.has_unused_pages or self._shrink():
            return
        # What was written last is in the log only, and copying it from there may make the file longer first: where
        # nothing is free, that takes the reserve. It comes back when there is room for it.
        if self.spend():
            self._shrink()

    def _shrink(self) -> bool:
        return self._db.shrink(_GIVE_BACK_PAGES, _GIVE_BACK_COMMITS)

    def _inflate(self) -> None:
        if not self._ballast_bytes or self._ballast.exists():
            return
        if free_bytes(self._folder) < self._free_bytes_min + self._ballast_bytes:
            return
        descriptor = open_private(self._ballast)
        try:
            os.posix_fallocate(descriptor, 0, self._ballast_bytes)
        finally:
            os.close(descriptor)
