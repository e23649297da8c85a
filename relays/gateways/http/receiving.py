"""Reads the body of a request, while that is neither too large nor too slow nor too much at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.rates import Room

# What a body becomes in memory: its bytes, inflated bytes and what is read of them.
_TIMES: Final = 2
# There are no more requests at a time than may be under way.
_SMALL_BYTES: Final = 16_384


class SlowError(FabricError):
    """It was not here in time."""


@asynccontextmanager
async def received(
    request: Request, bytes_max: int, within_s: float, room: Room, who: str
) -> AsyncIterator[bytes]:
    """The body as it came; its room is taken until this is left, of the share of `who`. What is small needs none, so
    that large ones keep nobody waiting. Raises HTTP_SIZE, HTTP_BODY, HTTP_BUSY."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > bytes_max:
        raise _too_large(bytes_max)
    body, taken = bytearray(), 0
    try:
        try:
            async with asyncio.timeout(within_s):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > bytes_max:
                        raise _too_large(bytes_max)
                    body += chunk
                    if len(body) > _SMALL_BYTES:
                        more = _TIMES * len(body) - taken
                        room.take(more, who)
                        taken += more
        except TimeoutError:
            raise SlowError(Code.HTTP_BODY, f"it was not here whole within {within_s:g} s") from None
        except ClientDisconnect:
            raise FabricError(Code.HTTP_BODY, "its sender left before its end") from None
        yield bytes(body)
    finally:
        room.give(taken, who)


def _too_large(bytes_max: int) -> FabricError:
    return FabricError(Code.HTTP_SIZE, f"its body has more than {bytes_max:,} bytes")
