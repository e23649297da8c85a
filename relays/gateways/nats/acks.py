"""Acknowledgements of a stream, each for the message that it belongs to.

The library's own way to publish many at a time never ends for one that the stream refuses (nats-py 2.16: an error is
raised where an answer is read, and nobody who waits is told), so this reads the answers itself.
"""

from __future__ import annotations

import asyncio
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from fabric.documents import parse_object
from relays.gateways.nats.answers import NO_ANSWER, AnswerError

_NO_RESPONDERS: Final = "503"


class Acks:
    """Of one connection, and one stream."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._inbox = client.new_inbox()
        self._expected: dict[str, asyncio.Future[None]] = {}
        self._count = 0

    async def open(self) -> None:
        """Listen for them."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._heard)

    def expect(self) -> tuple[str, asyncio.Future[None]]:
        """Where the next one is to be sent, and what is done when it came, or failed with AnswerError."""
        self._count += 1
        reply = f"{self._inbox}.{self._count}"
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected[reply] = future
        future.add_done_callback(lambda _: self._expected.pop(reply, None))
        return reply, future

    async def _heard(self, message: Msg) -> None:
        future = self._expected.get(message.subject)
        if future is None or future.done():
            return
        number = error_in((message.headers or {}).get("Status", ""), message.data, self._stream)
        if number is None:
            future.set_result(None)
        else:
            future.set_exception(AnswerError(number))


def error_in(status: str, data: bytes, stream: str) -> int | None:
    """What an answer says: None where the message is stored in this stream, else the number for an AnswerError."""
    if status == _NO_RESPONDERS:
        return 0
    try:
        answer = parse_object(data)
        error = answer.get("error")
        if error is None:
            is_stored = answer["stream"] == stream and type(answer["seq"]) is int and answer["seq"] > 0
            return None if is_stored else NO_ANSWER
        return max(1, int(error.get("err_code") or error["code"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return NO_ANSWER
