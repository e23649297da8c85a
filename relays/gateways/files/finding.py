"""Which files a path stands for: one file, what a pattern matches, or all in a folder ("/var/log/app/").

Refuses, in words: a folder that is named without its slash, and what may not be read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from glob import glob, has_magic
from pathlib import Path

from fabric.protocol.base.errors import Code, FabricError
from relays.reading.names import Entry, called, rotated

_PACKED = re.compile(r"\.(?:gz|bz2|xz|zst)$")
_MORE = re.compile(r"(?:[-._@]\d[\dTZ:._+-]*|\.(?:old|prev))$")


class Files:
    """What a `path` of a declaration stands for."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_single = not (path.endswith("/") or has_magic(path))

    def found(self, is_known: Callable[[Path], bool]) -> dict[Path, Entry]:
        """Those that are there, each once. `is_known`: a file of this name was read before."""
        found: dict[Path, Entry] = {}
        names: dict[tuple[int, int], Path] = {}  # of a file with several one counts: known, or no link, or the first
        for path in sorted(map(Path, self._names()), key=lambda path: (not is_known(path), path.is_symlink(), path)):
            entry = called(path)
            if entry is not None and names.setdefault(entry.id, path) == path:
                found[path] = entry
        return found

    def _names(self) -> list[str]:
        if not self.path.endswith("/") or has_magic(self.path):
            literal = [self.path] if Path(self.path).is_file() else []  # brackets may be a part of a name
            return [*literal, *glob(self.path, recursive=True)]  # noqa: PTH207 - of a whole path, with its magic anywhere
        try:
            return [entry.path for entry in os.scandir(self.path) if not entry.name.startswith(".")]
        except OSError:
            return []

    def why_not(self) -> FabricError | None:
        """Why nothing can be read there now; None where something can, or need not be there yet."""
        if not self.is_single:
            folder = re.split(r"/[^/]*[*?\[]", self.path, maxsplit=1)[0] or "/"
            return why_not_folder(Path(folder))
        return why_not(Path(self.path))


def why_not(path: Path) -> FabricError | None:
    """Why this file cannot be read now."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return FabricError(Code.SOURCE_AWAY, f"{path}: there is no such file")
    except OSError as error:
        return FabricError(Code.SOURCE_AWAY, f"{path}: {(error.strerror or type(error).__name__).lower()}")
    if stat.S_ISDIR(mode):
        return FabricError(Code.SOURCE_AWAY, f"{path} is a folder", f"write path = \"{path}/\" to read all files in it")
    if not stat.S_ISREG(mode):
        return FabricError(Code.SOURCE_AWAY, f"{path} is no regular file", "name a file, a pattern, or a folder")
    if not os.access(path, os.R_OK):
        return FabricError(Code.SOURCE_AWAY, f"{path}: permission denied", "let this user read it: it is waited for")
    return None


def why_not_folder(path: Path) -> FabricError | None:
    """Why this folder cannot be looked into now."""
    try:
        os.scandir(path).close()
    except OSError as error:
        words = "there is no such folder" if isinstance(error, FileNotFoundError) else (error.strerror or "").lower()
        return FabricError(Code.SOURCE_AWAY, f"{path}: {words or type(error).__name__}")
    return None


def bases_of(name: str) -> list[str]:
    """The names that a file of this name may have had before it was rotated."""
    plain = _PACKED.sub("", name)
    behind, found = plain, [plain]
    while (cut := _MORE.sub("", behind)) not in (behind, ""):
        behind = cut
        found.append(behind)
    for each in list(found):
        stem, dot, suffix = each.rpartition(".")
        if suffix.isalpha() and (cut := _MORE.sub("", stem)) not in (stem, ""):
            found.append(cut + dot + suffix)
    return [each for each in dict.fromkeys(found) if each != name and rotated(each).fullmatch(name)]
