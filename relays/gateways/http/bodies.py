"""The body of a request, inflated: never more of it in memory than a request may have."""

from __future__ import annotations

import zlib
from typing import Final

from fabric.protocol.base.errors import Code, FabricError

_GZIP: Final = 16 + zlib.MAX_WBITS
_CODINGS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
# What is one after the other in a body, e.g. files that were put together; each is some work, also where it is empty.
MEMBERS_MAX: Final = 10_000
# So much of it at a time: zlib copies what it was given and has not used, at the end of each member.
_STEP_BYTES: Final = 16_384


def inflated(body: bytes, coding: str, bytes_max: int) -> bytes:
    """`coding`: the header Content-Encoding. Raises HTTP_BODY, HTTP_SIZE."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _CODINGS:
        raise FabricError(Code.HTTP_BODY, "its Content-Encoding is not known here", "send it as it is, or with gzip")
    parts: list[bytes] = []
    left, at, members = bytes_max, 0, 0
    try:
        while at < len(body):  # gzip may have several members
            members += 1
            if members > MEMBERS_MAX:
                raise FabricError(Code.HTTP_SIZE, f"more than {MEMBERS_MAX:,} compressed members")
            at, left = _member(body, at, _CODINGS[coding], left, parts)
            if left < 0:
                raise FabricError(Code.HTTP_SIZE, f"more than {bytes_max:,} bytes when it is inflated")
            if at < len(body) and body[at] == 0 and not body[at:].strip(b"\0"):  # padding with zeros
                break
    except zlib.error:
        raise FabricError(Code.HTTP_BODY, f"it is not compressed with {coding}") from None
    return b"".join(parts)


def _member(body: bytes, at: int, window_bits: int, left: int, parts: list[bytes]) -> tuple[int, int]:
    """One, into `parts`: where the next begins, and how many bytes may still come, below 0 where that is too many."""
    stream = zlib.decompressobj(window_bits)
    while not stream.eof:
        step = body[at : at + _STEP_BYTES]
        if not step:
            raise FabricError(Code.HTTP_BODY, "what is compressed in it has no end")
        part = stream.decompress(step, left + 1)
        if part:
            parts.append(part)
        left -= len(part)
        if left < 0 or stream.unconsumed_tail:
            return at, -1
        at += len(step) - len(stream.unused_data)
    return at, left
