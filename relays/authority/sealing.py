"""A signing key at rest: 32 bytes of seed under a passphrase, as JSON.

    {"version": 1, "public": hex, "protection": "argon2id", "salt": hex, "ops": n, "memory": bytes, "sealed": hex}
    {"version": 1, "public": hex, "protection": "none", "seed": hex}           throwaway authorities only

The key of the seal is Argon2id over the passphrase, the seal XSalsa20-Poly1305 (libsodium's secretbox). Guarantees:
a seed that comes out belongs to the public key beside it. Refuses a wrong passphrase and a damaged file as different
things, and says nothing of what was typed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nacl.exceptions
import nacl.pwhash
import nacl.secret
import nacl.utils

from fabric.documents import parse_object
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.signing import signing_public

# Half a second and 256 MB for each guess; whoever stole the file has to pay that too.
_OPS = nacl.pwhash.argon2id.OPSLIMIT_MODERATE
_MEMORY = nacl.pwhash.argon2id.MEMLIMIT_MODERATE
# What a file may ask of us.
_OPS_MAX, _MEMORY_MAX = 4 * _OPS, 4 * _MEMORY
PASSPHRASE_MIN = 12

Passphrase = Callable[[], str]


@dataclass(frozen=True)
class Cost:
    """How hard a guess is: Argon2id's passes and bytes."""

    ops: int = _OPS
    memory: int = _MEMORY


def seal_seed(seed: bytes, passphrase: str | None, cost: Cost | None = None) -> dict[str, Any]:
    """What goes into the file. Without a passphrase the seed lies open."""
    document: dict[str, Any] = {"version": 1, "public": signing_public(seed).hex()}
    if passphrase is None:
        return {**document, "protection": "none", "seed": seed.hex()}
    check_length(passphrase)
    cost = cost or Cost()
    salt = nacl.utils.random(nacl.pwhash.argon2id.SALTBYTES)
    sealed = nacl.secret.SecretBox(_key(passphrase, salt, cost)).encrypt(seed)
    return {
        **document, "protection": "argon2id", "salt": salt.hex(), "ops": cost.ops, "memory": cost.memory,
        "sealed": sealed.hex(),
    }


def check_length(passphrase: str) -> None:
    """Raises NO_PASSPHRASE for a new one that is too short."""
    if len(passphrase) < PASSPHRASE_MIN:
        raise FabricError(Code.NO_PASSPHRASE, f"it has less than {PASSPHRASE_MIN} characters", "choose a longer one")


def open_seed(document: Mapping[str, Any], passphrase: Passphrase) -> bytes:
    """The seed; `passphrase` is asked only where there is one. Raises WRONG_PASSPHRASE, or ValueError when damaged."""
    if document["protection"] == "none":
        seed = bytes.fromhex(document["seed"])
    else:
        salt, cost = bytes.fromhex(document["salt"]), Cost(int(document["ops"]), int(document["memory"]))
        if not (0 < cost.ops <= _OPS_MAX and 0 < cost.memory <= _MEMORY_MAX):
            raise ValueError("cost")
        sealed = bytes.fromhex(document["sealed"])
        if len(salt) != nacl.pwhash.argon2id.SALTBYTES:
            raise ValueError("salt")
        box = nacl.secret.SecretBox(_key(passphrase(), salt, cost))
        try:
            seed = box.decrypt(sealed)
        except nacl.exceptions.CryptoError:
            raise FabricError(Code.WRONG_PASSPHRASE) from None
    if len(seed) != 32 or signing_public(seed).hex() != document["public"]:
        raise ValueError("seed")
    return seed


def is_protected(document: Mapping[str, Any]) -> bool:
    """Whether the key is under a passphrase."""
    return document.get("protection") != "none"


def public_of(document: Mapping[str, Any]) -> bytes:
    """The public key, 32 bytes. Raises ValueError, KeyError or TypeError where this is no key file's content."""
    public = bytes.fromhex(document["public"])
    if document["version"] != 1 or len(public) != 32 or document["protection"] not in ("argon2id", "none"):
        raise ValueError("public")
    return public


def read_document(raw: bytes) -> dict[str, Any]:
    """A key file's content. Raises ValueError."""
    return parse_object(raw)


def _key(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    return nacl.pwhash.argon2id.kdf(
        nacl.secret.SecretBox.KEY_SIZE, passphrase.encode(), salt, opslimit=cost.ops, memlimit=cost.memory
    )
