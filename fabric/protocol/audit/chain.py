"""The chain of an audit log (SPEC 9.10): entries as bytes, and the hash that each adds to those before it.

Guarantees: an entry has one encoding; the hash of an entry says all entries before it; from the digests of entries, and
nothing else of them, follows that a log has grown from one hash to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from fabric.protocol.audit.kinds import NAMES_MAX, Value
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.signing import TYPE_AUDIT, TYPE_TARGETS, digest, pae

HASH_BYTES: Final = 32
# Before the first entry.
NOTHING: Final = bytes(HASH_BYTES)
# A credential, and what is said of it.
ENTRY_BYTES_MAX: Final = 16_384
_ENTRY_ELEMENTS_MAX: Final = 256
_NUMBER_MAX: Final = 2**53
_KIND_CHARS_MAX: Final = 32


class Entry(NamedTuple):
    """One line of a log. `at_ms`: by the fabric's time, as far as the node knew it."""

    number: int
    at_ms: int
    kind: str
    fields: Mapping[str, Value]


def encode_entry(entry: Entry) -> bytes:
    """[number, at, kind, {name: value}], names in order. Raises FabricError for what is no such value."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in sorted(entry.fields.items())}
    return pack([entry.number, entry.at_ms, entry.kind, fields])


def decode_entry(raw: bytes) -> Entry | Reject:
    """An entry, of whatever kind: what a later version appends to it is ignored."""
    found = unpack(raw, bytes_max=ENTRY_BYTES_MAX, elements_max=_ENTRY_ELEMENTS_MAX, depth_max=4)
    match found:
        case [int(number), int(at_ms), str(kind), dict(fields), *_] if (
            type(number) is int and type(at_ms) is int and 0 < number <= _NUMBER_MAX and 0 <= at_ms <= _NUMBER_MAX
            and 0 < len(kind) <= _KIND_CHARS_MAX and all(type(name) is str for name in fields)
        ):
            return Entry(number, at_ms, kind, {name: _value(value) for name, value in fields.items()})
    return Reject(Code.MALFORMED, "entry")


def _value(value: object) -> Value:
    """A value of a later version, which this one knows no form for, is its type's name."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    return value if isinstance(value, int | str | bytes) else type(value).__name__


def follow(before: bytes, entry: bytes) -> bytes:
    """The hash of this entry after the hash of the one before."""
    return follow_digest(before, digest(entry))


def follow_digest(before: bytes, entry_digest: bytes) -> bytes:
    """The same from the entry's digest alone."""
    return digest(pae(TYPE_AUDIT, before + entry_digest))


def grow(before: bytes, digests: Iterable[bytes]) -> bytes:
    """The hash after entries with these digests."""
    for each in digests:
        before = follow_digest(before, each)
    return before


def named(targets: Sequence[str]) -> dict[str, Value]:
    """Fields that say who: the names, or of many their number and the digest of all of them, in order."""
    ordered = tuple(sorted(dict.fromkeys(targets)))
    if len(ordered) <= NAMES_MAX:
        return {"targets": ordered}
    return {"target_count": len(ordered), "targets_digest": digest(pae(TYPE_TARGETS, pack(list(ordered))))}
