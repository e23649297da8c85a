"""What a later version would sign and send: for tests of nodes that do not know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.signing import TYPE_ROOT
from fabric.protocol.envelope.header import encode_header
from fabric.protocol.envelope.layout import Envelope, encode_envelope, leaf_of
from tests.support import Member, draft

# Which element of a header is which (SPEC 3.2).
VERSION, KIND, SEVERITY, PHASE, LABEL, AUDIENCE, MANIFEST, TERMS = 0, 1, 8, 9, 10, 11, 15, 17

Change = Callable[[list[Any]], list[Any]]


def fields_of(raw: bytes) -> list[Any]:
    """The elements of what is an array on the wire."""
    fields = unpack(raw, bytes_max=262_144, elements_max=8_192, depth_max=8)
    assert isinstance(fields, list) and not isinstance(fields, Reject)
    return fields


def signed(member: Member, change: Change, **said: Any) -> bytes:
    """An envelope whose origin really signed this header, whatever a later version put into it."""
    header, parts = draft(member, **said)
    return sealed(member, pack(change(fields_of(encode_header(header)))), parts)


def sealed(member: Member, header: bytes, parts: list[bytes]) -> bytes:
    signature = member.signer.sign(TYPE_ROOT, leaf_of(header))
    return encode_envelope(Envelope(member.credential.digest, header, signature, (), tuple(parts)))


def instead(at: int, value: Any) -> Change:
    """Another value of this element."""
    return lambda fields: [*fields[:at], value, *fields[at + 1 :]]


def appended(*values: Any) -> Change:
    """What a version of the day after tomorrow says besides."""
    return lambda fields: [*fields, *values]
