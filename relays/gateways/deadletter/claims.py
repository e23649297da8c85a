"""Which dead letters of a source are being replayed: a file of its own, so that a crash neither loses one nor sends it
twice.

Letters are written into the claim, and then taken out of the store. The outbox of the replay keeps, together with each
message, which letter of the claim it is of. So after a crash: up to there they are published, or were rejected again
and are in the store; after it they are in the claim.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from fabric.files import read_private, write_private
from relays.gateways.deadletter.letter import Letter, decode, encode
from relays.gateways.deadletter.store import LETTERS_BYTES_MAX, LETTERS_MAX, Store

_NAME = "replaying"
_KEY_BYTES = 16
_BYTES_MAX = 2 * LETTERS_BYTES_MAX + 256 * LETTERS_MAX


class Claim(NamedTuple):
    """`key`: of this claim, so that no position is taken for one of another."""

    key: str
    letters: tuple[Letter, ...]

    def position(self, index: int) -> str:
        """Of a letter of it, counted from 1."""
        return f"{self.key} {index}"

    def passed(self, position: str | None) -> int:
        """How many of its letters a position says are done."""
        key, _, index = (position or "").partition(" ")
        return int(index) if key == self.key and index.isascii() and index.isdigit() and len(index) < 9 else 0


def claim(store: Store, letters: Sequence[Letter]) -> Claim:
    """Take these out of the store, into a claim. There is none open."""
    made = Claim(secrets.token_hex(_KEY_BYTES // 2), tuple(letters))
    write_private(store.folder / _NAME, made.key.encode() + b"".join(map(encode, letters)))
    store.remove([letter.number for letter in letters])
    return made


def open_claim(store: Store) -> Claim | None:
    """The one that a replay left when it was interrupted."""
    try:
        data = read_private(store.folder / _NAME, _BYTES_MAX)
    except FileNotFoundError:
        return None
    return Claim(data[:_KEY_BYTES].decode(errors="replace"), tuple(each for _, each in decode(data[_KEY_BYTES:])))


def end_claim(store: Store) -> None:
    """Every letter of it is published, or in the store."""
    with suppress(FileNotFoundError):
        (store.folder / _NAME).unlink()
