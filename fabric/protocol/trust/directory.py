"""The authority's list of a fabric's relays (SPEC 6.6): where each is dialled, and which addresses it serves.

Guarantees: a `RelayDirectory` from `verify_directory` is the authority's for this fabric, whole, and each id, address,
key and network in it is well formed. `supersedes` is the only way to replace one. Refuses: unsigned directories, those
of another fabric, and those no newer than the one held. It vouches for nobody: whoever answers at an address has to
show a credential like any relay.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import (
    ADDRESS_BYTES_MAX,
    DIRECTORY_ADDRESSES_MAX,
    DIRECTORY_BYTES_MAX,
    DIRECTORY_ELEMENTS_MAX,
    DIRECTORY_NETWORKS_MAX,
    DIRECTORY_RELAYS_MAX,
    KEY_BYTES,
)
from fabric.protocol.base.signed import open_document, seal_document
from fabric.protocol.trust.credentials import name_ok
from fabric.protocol.vocabulary.tlp import Label, label_from_wire

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WHAT = "directory"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One relay. `addresses`: where it is dialled, the preferred first; `serves`: whom it is the nearest for."""

    id: str
    addresses: tuple[str, ...]
    curve_key: bytes
    segment: str
    serves: tuple[Network, ...]
    clearance: Label
    not_before_ms: int
    not_after_ms: int

    def is_valid(self, now_ms: int, skew_ms: int) -> bool:
        """As its credential is; the skew is given to it at both ends (SPEC 5)."""
        return self.not_before_ms - skew_ms <= now_ms <= self.not_after_ms + skew_ms


@dataclass(frozen=True, slots=True)
class RelayDirectory:
    """`relays` in the authority's order. Version 0 is none at all."""

    version: int = 0
    issued_at_ms: int = 0
    not_after_ms: int = 0
    relays: tuple[Descriptor, ...] = ()
    raw: bytes = b""

    def supersedes(self, other: RelayDirectory) -> bool:
        return self.version > other.version


def issue_directory(
    fabric: str,
    version: int,
    issued_at_ms: int,
    not_after_ms: int,
    relays: Sequence[Descriptor],
    authority: signing.Signer,
) -> bytes:
    """Raises FabricError(TOO_LARGE) for one that would not fit into a frame."""
    body = pack([1, fabric, version, issued_at_ms, not_after_ms, [_relay_out(relay) for relay in relays]])
    raw = seal_document(signing.TYPE_DIRECTORY, body, authority)
    if len(raw) > DIRECTORY_BYTES_MAX:
        raise FabricError(Code.TOO_LARGE, f"a directory of {len(relays)} relays has {len(raw)} bytes")
    return raw


def verify_directory(raw: bytes, authority_key: bytes, fabric: str) -> RelayDirectory | Reject:
    """The directory, or STALE_DIRECTORY (the authority did not sign it), WRONG_FABRIC or MALFORMED."""
    opened = open_document(
        raw, signing.TYPE_DIRECTORY, authority_key, DIRECTORY_BYTES_MAX, what=_WHAT, unsigned=Code.STALE_DIRECTORY
    )
    if isinstance(opened, Reject):
        return opened
    body = unpack(opened, bytes_max=DIRECTORY_BYTES_MAX, elements_max=DIRECTORY_ELEMENTS_MAX, depth_max=5)
    match body:
        case [1, str(name), int(version), int(issued), int(until), list(entries), *_]:
            if name != fabric:
                return Reject(Code.WRONG_FABRIC, _WHAT)
            try:
                relays = tuple([_relay_in(entry) for entry in entries])
            except (TypeError, ValueError, LookupError):
                return Reject(Code.MALFORMED, _WHAT)
            if len(relays) <= DIRECTORY_RELAYS_MAX and len({relay.id for relay in relays}) == len(relays):
                return RelayDirectory(version, issued, until, relays, raw)
    return Reject(Code.MALFORMED, _WHAT)


def _relay_out(relay: Descriptor) -> list[object]:
    return [
        relay.id, list(relay.addresses), relay.curve_key, relay.segment, [str(network) for network in relay.serves],
        int(relay.clearance), relay.not_before_ms, relay.not_after_ms,
    ]


def _relay_in(entry: Any) -> Descriptor:
    if not isinstance(entry, list):
        raise TypeError
    id_, addresses, curve_key, segment, serves, clearance, not_before_ms, not_after_ms = entry[:8]
    texts_ok = all(isinstance(a, str) and 0 < len(a.encode()) <= ADDRESS_BYTES_MAX for a in addresses)
    right = (
        name_ok(id_), name_ok(segment), isinstance(curve_key, bytes) and len(curve_key) == KEY_BYTES,
        isinstance(addresses, list) and 1 <= len(addresses) <= DIRECTORY_ADDRESSES_MAX and texts_ok,
        isinstance(serves, list) and len(serves) <= DIRECTORY_NETWORKS_MAX and all(isinstance(n, str) for n in serves),
        type(not_before_ms) is int and type(not_after_ms) is int,
    )
    if not all(right):
        raise ValueError
    return Descriptor(
        id_, tuple(addresses), curve_key, segment, tuple([ipaddress.ip_network(network) for network in serves]),
        label_from_wire(clearance), not_before_ms, not_after_ms,
    )
