"""The answer to who reads: server-sent events until it leaves, or the gateway ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from relays.gateways.http.events import MEDIA_TYPE, alive, begin, event
from relays.gateways.http.readers import GoneError, Reader
from relays.gateways.http.streams import Streams, away

# Less than what is between a reader and the gateway takes for idle.
_ALIVE_S: Final = 15.0
# After which a reader is to come again.
_RETRY_MS: Final = 2_000
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class EventStream(StreamingResponse):
    """It has the reader's place, and gives it back however it ends."""

    def __init__(self, streams: Streams, reader: Reader) -> None:
        super().__init__(_events(streams, reader), headers=_HEADERS, media_type=MEDIA_TYPE)
        self._streams = streams
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._reader)


def head_of_stream() -> Response:
    """What HEAD is answered: nobody reads."""
    answer = Response(headers=_HEADERS, media_type=MEDIA_TYPE)
    del answer.headers["content-length"]
    return answer


async def _events(streams: Streams, reader: Reader) -> AsyncIterator[bytes]:
    yield begin(_RETRY_MS) + (away(streams.away) if streams.away is not None else b"")
    while not reader.is_revoked:
        try:
            part = reader.take()
        except GoneError:  # an event without its end is none; it comes again, and is told of the gap
            return
        if part:
            yield part
            continue
        if reader.is_behind:
            await asyncio.sleep(0)
            continue
        if streams.is_over:
            yield event("end", {"why": "the gateway ends"})
            return
        reader.woken.clear()  # whoever adds something sets it afterwards, on this thread
        try:
            async with asyncio.timeout(_ALIVE_S):
                await reader.woken.wait()
        except TimeoutError:
            yield alive(reader.passed())
