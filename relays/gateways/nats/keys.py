"""What a connection to NATS proves: an nkey signs what the server asks, and a file of credentials has a JWT, too.

An nkey's seed is base32 of two bytes that say of what kind it is, 32 of an Ed25519 seed, and a CRC-16.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Final, NamedTuple

import nacl.bindings

from fabric.protocol.base.errors import Code, FabricError

_SEED, _USER = 18 << 3, 20 << 3
_BYTES: Final = 2 + 32 + 2
_FILE_BYTES_MAX: Final = 65_536
_JWT, _KEY = "-----BEGIN NATS USER JWT-----", "-----BEGIN USER NKEY SEED-----"


class Key(NamedTuple):
    """`public`: as NATS writes it, "U..."."""

    public: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.public})"

    def sign(self, nonce: str) -> bytes:
        """The signature of what a server asked, in base64."""
        signed = nacl.bindings.crypto_sign(nonce.encode(), self.secret)
        return base64.b64encode(signed[: nacl.bindings.crypto_sign_BYTES])


def key_of(seed: str, where: str) -> Key:
    """From the seed of a user. Raises NO_SECRET, which never says what was read."""
    try:
        raw = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
    except (binascii.Error, ValueError):
        raw = b""
    kind = (raw[0] & 7) << 5 | raw[1] >> 3 if len(raw) == _BYTES else 0
    if len(raw) != _BYTES or raw[0] & 0xF8 != _SEED or kind != _USER or _crc(raw[:-2]) != raw[-2:]:
        raise FabricError(Code.NO_SECRET, f"{where}: it is no seed of a user's nkey", "write one that begins with SU")
    public, secret = nacl.bindings.crypto_sign_seed_keypair(raw[2:-2])
    named = bytes([_USER]) + public
    return Key(base64.b32encode(named + _crc(named)).decode().rstrip("="), secret)


def read_credentials(path: Path) -> tuple[str, Key]:
    """The JWT and the key of a file. Raises NO_SECRET."""
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else "it is no text"
        raise FabricError(Code.NO_SECRET, f"{path}: {why}", "write it there, readable by this user") from None
    return credentials_in(text, str(path))


def credentials_in(text: str, where: str) -> tuple[str, Key]:
    """The JWT and the key in it, each in the line behind its head. Raises NO_SECRET."""
    lines = text.splitlines()
    found = {line: following.strip() for line, following in zip(lines, lines[1:], strict=False)}
    if not found.get(_JWT) or not found.get(_KEY):
        raise FabricError(Code.NO_SECRET, f"{where}: it has no JWT and no seed", "write what `nsc generate creds` says")
    return found[_JWT], key_of(found[_KEY], where)


def _crc(data: bytes) -> bytes:
    """CRC-16 as XMODEM has it, its low byte first."""
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")
