"""What the authority publishes: a body and its signature, and nothing else (SPEC 2).

Guarantees: a body that was opened is signed by the key under its own type. Nothing of an unsigned body is read.
"""

from __future__ import annotations

from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject


def seal_document(type_: bytes, body: bytes, authority: signing.Signer) -> bytes:
    """The document as it travels: [body, signature], signed by the authority under this type."""
    return pack([body, authority.sign(type_, body)])


def open_document(
    raw: bytes, type_: bytes, authority_key: bytes, bytes_max: int, *, what: str, unsigned: Code
) -> bytes | Reject:
    """The body. `what` it is, in a refusal; `unsigned`: the code for what the authority did not sign."""
    outer = unpack(raw, bytes_max=bytes_max, elements_max=4, depth_max=2)
    match outer:
        case [bytes(body), bytes(signature)]:
            if signing.verify(authority_key, type_, body, signature):
                return body
            return Reject(unsigned, "not signed by the authority")
    return Reject(Code.MALFORMED, what)
