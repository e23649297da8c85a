"""One row of the spool: what is packed into it, and its checksum."""

from __future__ import annotations

import zlib
from typing import Any

import msgpack

from fabric.protocol.ready import Put
from fabric.protocol.severity import Lane
from fabric.protocol.wire import Direction


def pack(value: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def checksum(meta: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(meta))


def row_of(meta: bytes, body: bytes) -> tuple[bytes, bytes, int]:
    return meta, body, checksum(meta, body)


def put_meta(put: Put) -> bytes:
    return pack([
        put.id, int(put.direction), int(put.lane), put.age_ms, put.received_at_ms, put.expires_at_ms,
        put.hops, put.destinations, *([put.moved] if put.moved else []),
    ])


def put_of(meta: bytes, envelope: bytes, done: set[str]) -> Put:
    id_, direction, lane, age_ms, received_at_ms, expires_at_ms, hops, destinations, *more = msgpack.unpackb(meta)
    left = tuple((name, tuple(targets)) for name, targets in destinations if name not in done)
    return Put(
        id_, Direction(direction), Lane(lane), envelope, age_ms, received_at_ms, expires_at_ms, tuple(hops), left,
        tuple((name, times) for name, times in more[0]) if more else (),
    )
