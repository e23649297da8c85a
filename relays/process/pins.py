"""Who may connect to a relay (SPEC 7.1): anybody, whose credential then decides, or pinned keys only.

    ids/<relay>/pins      a line per key: 64 hex digits, a space, and whose it is

Guarantees: with pins, a key that is not on the list does not get through the CURVE handshake, so a stranger cannot
even say HELLO. The file is read again when it changes. A line that cannot be read pins nobody. A file that is there and
cannot be read at the start lets nobody knock until it can be; later, it leaves what was known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fabric.edge.identity.home import write_private
from fabric.edge.identity.watched import Watched
from fabric.protocol.base.limits import KEY_BYTES

_NAME = "pins"
# A line has at most 129 bytes.
_BYTES_MAX = 16 << 20


class Pins:
    """Of the relay with this folder; without the file everybody may knock."""

    def __init__(self, folder: Path) -> None:
        self._file = Watched(folder / _NAME, _BYTES_MAX)
        self._keys: frozenset[bytes] | None = None
        self._content = ""  # what is wrong with what was read last
        if not self.look() and self.problem:
            self._keys = frozenset()

    @property
    def pinned(self) -> bool:
        return self._keys is not None

    @property
    def problem(self) -> str:
        """Why the file said nothing at the last look; empty when it did, or is not there."""
        return self._file.problem or self._content

    def look(self) -> bool:
        """Read the file if it changed; whether it did. One that is gone or unreadable leaves what was known."""
        raw = self._file.changed()
        if raw is None:
            return False
        self._content = ""
        if len(raw) > _BYTES_MAX:
            self._content = "too large"
            return False
        try:
            lines = raw.decode().splitlines()
        except UnicodeDecodeError:
            self._content = "not valid"
            return False
        self._keys = frozenset(key for key in map(_key, lines) if key)
        return True

    def admits(self, curve_key: bytes) -> bool:
        return len(curve_key) == KEY_BYTES and (self._keys is None or curve_key in self._keys)


def _key(line: str) -> bytes:
    try:
        key = bytes.fromhex(line.split(" ")[0])
    except ValueError:
        return b""
    return key if len(key) == KEY_BYTES else b""


def write_pins(folder: Path, pinned: Mapping[str, bytes] | None) -> None:
    """Pin these (id -> CURVE key), or nobody in particular. Nothing is written where it says so already."""
    path = folder / _NAME
    if pinned is None:
        path.unlink(missing_ok=True)
        return
    text = "".join(f"{key.hex()} {id_}\n" for id_, key in sorted(pinned.items())).encode()
    if not path.is_file() or path.read_bytes() != text:
        write_private(path, text)


def add_pin(folder: Path, id_: str, curve_key: bytes) -> None:
    """One more, beside those that are there."""
    path = folder / _NAME
    lines = path.read_text().splitlines() if path.is_file() else []
    kept = [line for line in lines if line.partition(" ")[2] != id_]
    write_private(path, "".join(f"{line}\n" for line in [*kept, f"{curve_key.hex()} {id_}"]).encode())
