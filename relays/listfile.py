"""The authority's revocation list on this machine, as `fabric revoke` writes it and relays take it up."""

from __future__ import annotations

from pathlib import Path

# How soon a new list goes out. A stat costs nothing.
_LOOK_MS = 200


class ListFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""  # why it cannot be read, when it was looked at last
        self._stamp: tuple[int, int] | None = None
        self._look_at_ms = 0

    def newer(self, now_ms: int) -> bytes | None:
        """Its bytes, when they may be others than at the last look."""
        if now_ms < self._look_at_ms:
            return None
        self._look_at_ms = now_ms + _LOOK_MS
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp == self._stamp:
                return None
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problem = type(error).__name__
            return None
        self._stamp, self.problem = stamp, ""
        return raw
