"""A small file that somebody else puts in place, and that is taken up while this process runs."""

from __future__ import annotations

import stat
from pathlib import Path


class Watched:
    """`bytes_max`: more is not read; one byte beyond it says that there is. `every_ms`: how often it is looked at."""

    def __init__(self, path: Path, bytes_max: int, every_ms: int = 0) -> None:
        self.path = path
        self.problem = ""  # why it cannot be read, when it was looked at last
        self._bytes_max = bytes_max
        self._every_ms = every_ms
        self._stamp: tuple[int, int, int] | None = None
        self._look_at_ms = 0

    def changed(self, now_ms: int = 0) -> bytes | None:
        """Its bytes, when they may be others than at the last look. A look costs a `stat`.

        One that is gone, or that cannot be read, says nothing of what it said before.
        """
        if now_ms < self._look_at_ms:
            return None
        self._look_at_ms = now_ms + self._every_ms
        try:
            found = self.path.stat()
            if not stat.S_ISREG(found.st_mode):
                self.problem = "not a regular file"  # a FIFO would hold up whoever reads it
                return None
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp == self._stamp:
                self.problem = ""
                return None
            with self.path.open("rb") as file:
                raw = file.read(self._bytes_max + 1)
        except FileNotFoundError:
            self.problem = ""
            return None
        except OSError as error:
            self.problem = type(error).__name__
            return None
        self._stamp, self.problem = stamp, ""
        return raw
