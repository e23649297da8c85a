"""Names of files that somebody else chose: safe for a folder of this user's, and for a line of a terminal.

Guarantees: a name that comes out is that of a file in whatever folder it is joined to, on any file system: no path, no
dot or dash at its beginning, nothing that is not printable, none of Windows' devices; of two of one list none is the
other's, whatever the case, and however a letter with an accent is composed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Final

# Room for what is put behind it, in the 255 bytes of most file systems.
NAME_BYTES_MAX: Final = 128
_SUFFIX_BYTES_MAX: Final = 16
_NOBODY_TAKES: Final = frozenset('<>:"|?*')
# Windows has devices of these names in every folder, whatever follows the first dot.
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE
)
_UNNAMED: Final = "artifact"


def file_name(text: str) -> str:
    """The last part of what may be a path, with a `_` for what no file's name should have."""
    last = re.split(r"[/\\]", text)[-1]
    safe = "".join(char if char.isprintable() and char not in _NOBODY_TAKES else "_" for char in last)
    name = _shortened(safe.lstrip(" .-").rstrip(" ."), NAME_BYTES_MAX)
    return (_shortened(f"_{name}", NAME_BYTES_MAX) if _DEVICE.match(name) else name) or _UNNAMED


def distinct(name: str, taken: Collection[str]) -> str:
    """The name, or `dump-2.pcap`, `dump-3.pcap` where others have it."""
    known = {_same(other) for other in taken}
    stem, suffix = _split(name)
    number, tried = 1, name
    while _same(tried) in known:
        number += 1
        mark = f"-{number}{suffix}"
        tried = _cut(stem, NAME_BYTES_MAX - len(mark.encode())) + mark
    return tried


def _same(name: str) -> str:
    """Two names with the same are one on some file system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _shortened(name: str, bytes_max: int) -> str:
    if len(name.encode()) <= bytes_max:
        return name
    stem, suffix = _split(name)
    return _cut(stem, bytes_max - len(suffix.encode())) + suffix


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) >= _SUFFIX_BYTES_MAX:
        return name, ""
    return stem, dot + suffix


def _cut(text: str, bytes_max: int) -> str:
    return text.encode()[:bytes_max].decode(errors="ignore").rstrip(" .")
