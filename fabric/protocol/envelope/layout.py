"""The envelope (SPEC 3): a signed header with salted digests of its parts, so that it still verifies without them.

Guarantees: what `decode_envelope` returns is well formed and within every bound; `redact` only ever removes parts;
forwarding keeps the header's bytes as they were signed, so fields from the future survive. Refuses, as a `Reject`:
anything malformed or oversized. Signatures, digests and what the header says are not looked at here: only
`verify.open_envelope` makes something trustworthy of an envelope.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.fields import binary, integer, text
from fabric.protocol.base.limits import (
    APPROVERS_MAX,
    DIGEST_BYTES,
    ENVELOPE_BYTES_MAX,
    HEADER_BYTES_MAX,
    ID_BYTES,
    NAME_BYTES_MAX,
    PART_BYTES_MAX,
    PARTS_MAX,
    PATH_MAX,
    SALT_BYTES,
    TARGETS_MAX,
)
from fabric.protocol.base.shapes import Digest, Id, Shape
from fabric.protocol.base.signing import SIGNATURE_BYTES, TYPE_ENVELOPE, TYPE_ROOT, Signs, pae
from fabric.protocol.envelope.header import Header, PartEntry, encode_header


class Approved(NamedTuple):
    """What an action that was held takes along (SPEC 9.7). Its origin did not sign it: each hop judges it anew.

    `at_ms`: when its quorum was complete, from when its time counts. `targets`: all that were fixed when it was held.
    `approvals`: of each the approver's credential and its envelope.
    """

    at_ms: int
    held_at_ms: int
    targets: tuple[str, ...]
    approvals: tuple[tuple[bytes, bytes], ...]


class Envelope(NamedTuple):
    """The fields on the wire; `parts[i]` is None where it was withheld. Only an action that was held is `approved`."""

    signer: bytes
    header: bytes
    signature: bytes
    path: tuple[bytes, ...]
    parts: tuple[bytes | None, ...]
    approved: Approved | None = None


def encode_envelope(e: Envelope) -> bytes:
    """The bytes that travel (SPEC 3.1)."""
    more = [] if e.approved is None else [list(e.approved)]
    return pack([e.signer, e.header, e.signature, list(e.path), list(e.parts), *more])


def unite(first: Envelope, second: Envelope) -> Envelope:
    """Of two copies of one message, the parts of both; the first itself where the second has no more."""
    pairs = zip(first.parts, second.parts, strict=True)
    parts = tuple([mine if mine is not None else theirs for mine, theirs in pairs])
    return first if parts == first.parts else first._replace(parts=parts)


# But for an action that was held, which has what released it too.
_PLAIN_ENVELOPE = Shape(tuple[
    Id,
    Annotated[bytes, Meta(max_length=HEADER_BYTES_MAX)],
    Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)],
    Annotated[tuple[Digest, ...], Meta(max_length=PATH_MAX)],
    Annotated[
        tuple[Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=PART_BYTES_MAX)] | None, ...],
        Meta(max_length=PARTS_MAX),
    ],
])


def decode_envelope(raw: bytes) -> Envelope | Reject:
    """The envelope in these bytes, or MALFORMED, TOO_LARGE or TOO_DEEP. No signature is looked at."""
    plain = _PLAIN_ENVELOPE.read(raw) if len(raw) <= ENVELOPE_BYTES_MAX else None
    return _any_envelope(raw) if plain is None else Envelope(*plain)


def _any_envelope(raw: bytes) -> Envelope | Reject:
    fields = unpack(raw, bytes_max=ENVELOPE_BYTES_MAX, elements_max=_ELEMENTS_MAX, depth_max=4)
    if isinstance(fields, Reject):
        return Reject(fields.code, "envelope")
    if type(fields) is not list or len(fields) not in (5, 6):
        return Reject(Code.MALFORMED, "envelope")
    signer, header, signature, path, parts, *more = fields
    well_formed = (
        type(signer) is bytes
        and len(signer) == ID_BYTES
        and type(header) is bytes
        and len(header) <= HEADER_BYTES_MAX
        and type(signature) is bytes
        and len(signature) == SIGNATURE_BYTES
        and type(path) is list
        and len(path) <= PATH_MAX
        and all(type(p) is bytes and len(p) == DIGEST_BYTES for p in path)
        and type(parts) is list
        and len(parts) <= PARTS_MAX
        and all(p is None or (type(p) is bytes and SALT_BYTES <= len(p) <= PART_BYTES_MAX) for p in parts)
    )
    if not well_formed:
        return Reject(Code.MALFORMED, "envelope")
    try:
        approved = _approved(more[0]) if more else None
    except (TypeError, ValueError):
        return Reject(Code.MALFORMED, "envelope")
    return Envelope(signer, header, signature, tuple(path), tuple(parts), approved)


_ELEMENTS_MAX = PARTS_MAX + PATH_MAX + TARGETS_MAX + 3 * APPROVERS_MAX + 16


def _approved(value: Any) -> Approved:
    if type(value) is not list:
        raise TypeError
    at_ms, held_at_ms, targets, approvals = value
    if type(targets) is not list or type(approvals) is not list:
        raise TypeError
    if not 0 < len(targets) <= TARGETS_MAX or not 0 < len(approvals) <= APPROVERS_MAX:
        raise ValueError
    return Approved(
        integer(at_ms), integer(held_at_ms), tuple([text(target, NAME_BYTES_MAX) for target in targets]),
        tuple([_approval(each) for each in approvals]),
    )


def _approval(value: Any) -> tuple[bytes, bytes]:
    if type(value) is not list:
        raise TypeError
    credential, envelope = value
    return binary(credential, ENVELOPE_BYTES_MAX), binary(envelope, ENVELOPE_BYTES_MAX)


def part_digest(part: bytes) -> bytes:
    """Over salt and body as sent. Without the salt, a withheld value could be guessed and compared."""
    return hashlib.sha256(b"\x00" + part).digest()


def leaf_of(header: bytes) -> bytes:
    """32 bytes that stand for the message; the first 16 are its id."""
    return hashlib.sha256(b"\x00" + pae(TYPE_ENVELOPE, header)).digest()


def climb(leaf: bytes, path: Sequence[bytes]) -> bytes:
    """From a leaf to its root. The smaller of two siblings is the left one, so a path needs no sides."""
    node = leaf
    for sibling in path:
        left, right = (node, sibling) if node < sibling else (sibling, node)
        node = hashlib.sha256(b"\x01" + left + right).digest()
    return node


def merkle(leaves: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root over 1..2**PATH_MAX leaves, and each leaf's path to it. An odd node is promoted as it is."""
    assert 1 <= len(leaves) <= 2**PATH_MAX
    paths: list[list[bytes]] = [[] for _ in leaves]
    level: list[tuple[bytes, list[int]]] = [(leaf, [i]) for i, leaf in enumerate(leaves)]
    while len(level) > 1:
        above: list[tuple[bytes, list[int]]] = []
        for i in range(0, len(level) - 1, 2):
            (a, below_a), (b, below_b) = level[i], level[i + 1]
            for leaf in below_a:
                paths[leaf].append(b)
            for leaf in below_b:
                paths[leaf].append(a)
            above.append((climb(a, (b,)), below_a + below_b))
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0][0], [tuple(path) for path in paths]


def seal(
    messages: Sequence[tuple[Header, Sequence[bytes]]], signer_digest: bytes, signer: Signs
) -> list[bytes]:
    """Sign a burst of messages with one signature: [(header, parts)] to envelopes, in the same order."""
    headers = [encode_header(header) for header, _ in messages]
    root, paths = merkle([leaf_of(header) for header in headers])
    signature = signer.sign(TYPE_ROOT, root)
    return [
        encode_envelope(Envelope(signer_digest, header, signature, path, tuple(parts)))
        for header, path, (_, parts) in zip(headers, paths, messages, strict=True)
    ]


def redact(envelope: Envelope, manifest: Sequence[PartEntry], may: Callable[[PartEntry], bool]) -> Envelope:
    """The same envelope without the parts that `may` refuses. The same object when nothing goes."""
    kept = tuple([
        part if part is None or may(entry) else None
        for part, entry in zip(envelope.parts, manifest, strict=True)
    ])
    return envelope if kept == envelope.parts else envelope._replace(parts=kept)
