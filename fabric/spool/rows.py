"""One row of the spool: what is packed into it, and its checksum."""

from __future__ import annotations

import zlib
from collections.abc import Container
from typing import Any

import msgpack

from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ready import Put, Seen
from fabric.protocol.custody.asleep import queue_of
from fabric.protocol.custody.sessions import is_point
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import decode_envelope, encode_envelope, unite
from fabric.protocol.links.links import UPLINK
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction


def pack(value: list[Any]) -> bytes:
    """msgpack, as rows hold it."""
    packed: bytes = msgpack.packb(value)
    return packed


def checksum(meta: bytes, body: bytes) -> int:
    """CRC-32 over both: it finds damage, and proves nothing."""
    return zlib.crc32(body, zlib.crc32(meta))


def is_sound(meta: object, body: object, sum_: object) -> bool:
    """Whether a row that was read is as it was written; damage may reach the types of its columns."""
    return isinstance(meta, bytes) and isinstance(body, bytes) and sum_ == checksum(meta, body)


def row_of(meta: bytes, body: bytes) -> tuple[bytes, bytes, int]:
    """The columns of a message's row: meta, body, checksum."""
    return meta, body, checksum(meta, body)


def put_meta(put: Put) -> bytes:
    """What a row says of a held message, beside its envelope."""
    return pack([
        put.id, int(put.direction), int(put.lane), put.age_ms, put.received_at_ms, put.expires_at_ms,
        put.hops, put.destinations, *([put.moved] if put.moved else []),
    ])


def put_of(meta: bytes, envelope: bytes, done: set[str]) -> Put:
    """A held message from its row, for the destinations that are not `done`. The row's checksum was right."""
    id_, direction, lane, age_ms, received_at_ms, expires_at_ms, hops, destinations, *more = msgpack.unpackb(meta)
    left = tuple((name, tuple(targets)) for name, targets in destinations if name not in done)
    return Put(
        id_, Direction(direction), Lane(lane), envelope, age_ms, received_at_ms, expires_at_ms, tuple(hops), left,
        tuple((name, times) for name, times in more[0]) if more else (),
    )


# Where the packed envelope has its signer: after the head of a list, and that of sixteen bytes.
SIGNER_AT = 3
# And where its header begins, whose first two elements are short: a version, and the kind.
HEADER_AT = SIGNER_AT + ID_BYTES
BEGINS_BYTES = HEADER_AT + 10


def unite_bodies(body: bytes, copy: bytes) -> bytes:
    """The envelope in a row with the parts of another copy of it; the same where that has no more, or is another's."""
    known, other = decode_envelope(body), decode_envelope(copy)
    if isinstance(known, Reject) or isinstance(other, Reject) or known[:4] != other[:4]:
        return body
    united = unite(known, other)
    return body if united is known else encode_envelope(united)


# How the packed meta of a row for the uplink only begins and ends: eight elements, an id, "up", a lane; destinations.
_BEGINS = b"\x98\xc4" + bytes([ID_BYTES])
_LANE_AT = len(_BEGINS) + ID_BYTES + 1
_ENDS = pack([[UPLINK, []]])
_LANES = list(Lane)


def climbing_lane(meta: object, done: Container[str]) -> Lane | None:
    """The lane of a row that waits for the uplink and nothing else; None for all others. Cheap: a million are asked.

    `meta` may be damaged: then the answer may be wrong, and its checksum says so when the row is read.
    """
    if not isinstance(meta, bytes):
        return None
    if meta.startswith(_BEGINS) and meta.endswith(_ENDS) and meta[_LANE_AT - 1] == Direction.UP:
        return _LANES[meta[_LANE_AT]] if UPLINK not in done and meta[_LANE_AT] < len(_LANES) else None
    try:
        _, direction, lane, _, _, _, _, destinations, *moved = msgpack.unpackb(meta)
        left = [(name, targets) for name, targets in destinations if name not in done]
        alone = left == [(UPLINK, [])] and direction == Direction.UP and not moved
        return Lane(lane) if alone else None
    except (ValueError, TypeError, msgpack.UnpackException):
        return None


def reading_rows(meta: object, begins: bytes, done: Container[str]) -> tuple[int, tuple[str, ...]] | None:
    """The queue and the readers of a row that waits for readers only; None for all others.

    `begins`: of the packed envelope, where it says what kind it is. Either may be damaged, as in `climbing_lane`.
    """
    kind = _kind_of(begins)
    if kind is None or not isinstance(meta, bytes):
        return None
    try:
        _, _, lane, _, _, _, _, destinations, *_ = msgpack.unpackb(meta)
        readers = tuple(name for name, _ in destinations if name not in done)
        if readers and all(map(is_point, readers)):
            return queue_of(Lane(lane), kind), readers
    except (ValueError, TypeError, msgpack.UnpackException):
        pass
    return None


def waiting_points(meta: object, done: Container[str]) -> list[str]:
    """The control points for which a row waits; none where it cannot be read."""
    if not isinstance(meta, bytes):
        return []
    try:
        destinations = msgpack.unpackb(meta)[7]
        return [name for name, _ in destinations if is_point(name) and name not in done]
    except (ValueError, TypeError, IndexError, msgpack.UnpackException):
        return []


def _kind_of(begins: bytes) -> Kind | None:
    """Events and intel only."""
    if len(begins) < BEGINS_BYTES or begins[HEADER_AT] not in (0xC4, 0xC5):
        return None
    array_at = HEADER_AT + begins[HEADER_AT] - 0xC2  # after the head of a binary, of one or two bytes' length
    version_at = array_at + {0xDC: 3, 0xDD: 5}.get(begins[array_at], 1)
    return {int(Kind.EVENT): Kind.EVENT, int(Kind.INTEL): Kind.INTEL}.get(begins[version_at + 1])


def seen_of(meta: bytes) -> Seen | None:
    """That this row's message was seen; None when its meta cannot be read."""
    try:
        id_, direction, _, _, _, expires_at_ms, *_ = msgpack.unpackb(meta)
        return Seen(id_, Direction(direction), expires_at_ms)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
