"""Signatures over typed bytes (SPEC 2): the type is part of what is signed, so a signature is valid for one type only.

Guarantees: `verify` is true only for the exact type and bytes that were signed by the key. Refuses nothing else;
who the key belongs to is for `credentials`.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import nacl.bindings
import nacl.exceptions

TYPE_ENVELOPE = b"fabric/envelope/1"
TYPE_ROOT = b"fabric/root/1"
TYPE_CREDENTIAL = b"fabric/credential/1"
TYPE_REVOCATIONS = b"fabric/revocations/1"
TYPE_DIRECTORY = b"fabric/directory/1"
TYPE_POLICIES = b"fabric/policies/1"
TYPE_TARGETS = b"fabric/targets/1"
TYPE_ROUTE = b"fabric/route/1"
TYPE_JOIN = b"fabric/join/1"
TYPE_JOINED = b"fabric/joined/1"
TYPE_AUDIT = b"fabric/audit/1"
TYPE_HEAD = b"fabric/head/1"
TYPE_WITNESS = b"fabric/witness/1"

SIGNATURE_BYTES = 64


def pae(type_: bytes, body: bytes) -> bytes:
    """The pre-authentication encoding of DSSE (https://github.com/secure-systems-lab/dsse)."""
    return b"DSSEv1 %d %b %d %b" % (len(type_), type_, len(body), body)


def signing_public(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte Ed25519 seed."""
    public, _ = nacl.bindings.crypto_sign_seed_keypair(seed)
    return public


def sign(seed: bytes, type_: bytes, body: bytes) -> bytes:
    """64 bytes of Ed25519 over PAE(type, body). Deterministic, so this stays pure."""
    _, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
    return nacl.bindings.crypto_sign(pae(type_, body), secret)[:SIGNATURE_BYTES]


def verify(public: bytes, type_: bytes, body: bytes, signature: bytes) -> bool:
    """Whether `signature` is the Ed25519 signature of these typed bytes by this public key. A wrong length is false."""
    if len(signature) != SIGNATURE_BYTES or len(public) != 32:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + pae(type_, body), public)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def digest(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


class Signs(Protocol):
    """What signs with a node's key."""

    def sign(self, type_: bytes, body: bytes) -> bytes:
        """Detached, 64 bytes."""


class Signer:
    """A node's signing key with its secret expanded once: 22 us a signature instead of 45."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)

    def sign(self, type_: bytes, body: bytes) -> bytes:
        return nacl.bindings.crypto_sign(pae(type_, body), self._secret)[:SIGNATURE_BYTES]

    def x25519_secret(self) -> bytes:
        """The same key as one of X25519: what is sealed to its public half opens with it (SPEC 3.3)."""
        return nacl.bindings.crypto_sign_ed25519_sk_to_curve25519(self._secret)

    def __repr__(self) -> str:
        return f"Signer({self.public.hex()[:16]})"
