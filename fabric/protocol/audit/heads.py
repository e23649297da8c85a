"""Heads (SPEC 9.10): how far a log goes, signed by the node that keeps it, and counter-signed by its parent.

Guarantees: a head that was opened is the node's own word, and a witness is its signer's word for exactly that head.
Refuses: what is of another fabric or node, and what is not signed by the key of the credential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from fabric.protocol.audit.chain import HASH_BYTES
from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import HEAD_BYTES_MAX, ID_BYTES
from fabric.protocol.trust.credentials import Credential

_NUMBER_MAX: Final = 2**53


class Signed(NamedTuple):
    """What was signed, for the fabric that it names."""

    fabric: str
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The log `log` of this node has `number` entries, the last with this hash. `signer`: digest of its credential."""

    signer: bytes
    node: str
    log: bytes
    number: int
    hash: bytes
    at_ms: int
    raw: bytes
    signed: Signed

    @property
    def digest(self) -> bytes:
        """What a witness names."""
        return signing.digest(self.raw)


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody saw the head with this digest then, and for what it could see the log had grown from its last one."""

    signer: bytes
    by: str
    head: bytes
    at_ms: int
    signed: Signed


def sign_head(
    me: Credential, signer: signing.Signs, log: bytes, number: int, hash_: bytes, at_ms: int
) -> bytes:
    """[digest of the credential, body, signature] over `fabric/head/1`."""
    body = pack([1, me.fabric, me.id, log, number, hash_, at_ms])
    return pack([me.digest, body, signer.sign(signing.TYPE_HEAD, body)])


def read_head(raw: bytes) -> Head | Reject:
    """What it says, unverified."""
    opened = _opened(raw)
    if opened is None:
        return Reject(Code.MALFORMED, "head")
    signer, body, signature = opened
    match unpack(body, bytes_max=HEAD_BYTES_MAX, elements_max=32, depth_max=1):
        case [1, str(fabric), str(node), bytes(log), int(number), bytes(hash_), int(at_ms), *_] if (
            (len(log), len(hash_)) == (ID_BYTES, HASH_BYTES)
            and 0 < number <= _NUMBER_MAX and 0 <= at_ms <= _NUMBER_MAX
        ):
            return Head(signer, node, log, number, hash_, at_ms, raw, Signed(fabric, body, signature))
    return Reject(Code.MALFORMED, "head")


def open_head(raw: bytes, by: Credential) -> Head | Reject:
    """Verified: by the node that this credential names, whatever newer or older one of its it was signed under."""
    head = read_head(raw)
    return head if isinstance(head, Reject) else check_head(head, by) or head


def check_head(head: Head, by: Credential) -> Reject | None:
    """Whether this head, which was read, is not by the node that this credential names."""
    return _check(head.signed, by, head.node, signing.TYPE_HEAD)


def sign_witness(me: Credential, signer: signing.Signs, head: Head, at_ms: int) -> bytes:
    """[digest of the credential, body, signature] over `fabric/witness/1`."""
    body = pack([1, me.fabric, me.id, head.digest, at_ms])
    return pack([me.digest, body, signer.sign(signing.TYPE_WITNESS, body)])


def read_witness(raw: bytes) -> Witness | Reject:
    """What it says, unverified."""
    opened = _opened(raw)
    if opened is None:
        return Reject(Code.MALFORMED, "witness")
    signer, body, signature = opened
    match unpack(body, bytes_max=HEAD_BYTES_MAX, elements_max=32, depth_max=1):
        case [1, str(fabric), str(by), bytes(head), int(at_ms), *_] if (
            len(head) == HASH_BYTES and 0 <= at_ms <= _NUMBER_MAX
        ):
            return Witness(signer, by, head, at_ms, Signed(fabric, body, signature))
    return Reject(Code.MALFORMED, "witness")


def open_witness(raw: bytes, by: Credential) -> Witness | Reject:
    """Verified: by the node that this credential names."""
    witness = read_witness(raw)
    return witness if isinstance(witness, Reject) else check_witness(witness, by) or witness


def check_witness(witness: Witness, by: Credential) -> Reject | None:
    """Whether this witness, which was read, is not by the node that this credential names."""
    return _check(witness.signed, by, witness.by, signing.TYPE_WITNESS)


def _opened(raw: bytes) -> tuple[bytes, bytes, bytes] | None:
    match unpack(raw, bytes_max=HEAD_BYTES_MAX, elements_max=8, depth_max=1):
        case [bytes(signer), bytes(body), bytes(signature), *_] if len(signer) == ID_BYTES:
            return signer, body, signature
    return None


def _check(signed: Signed, by: Credential, node: str, type_: bytes) -> Reject | None:
    if signed.fabric != by.fabric:
        return Reject(Code.WRONG_FABRIC, node)
    if node != by.id:
        return Reject(Code.WRONG_PEER, node)
    if not signing.verify(by.sign_key, type_, signed.body, signed.signature):
        return Reject(Code.BAD_SIGNATURE, node)
    return None
