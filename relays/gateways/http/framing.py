"""Where a request ends: that it is said once, and in pieces that are worth their work.

Guarantees: a request of which somebody in front of the gateway could see another end is refused, and its connection
closed, whatever it asks for (RFC 9112, 6.1 and 11.2): what follows it there would be read as somebody else's. A body in
crumbs is refused as soon as it is seen to be one: each piece costs as much as a request's head.
"""

from __future__ import annotations

from typing import Any, Final

import h11

# Pieces that any body may have, and how large all of them are on average beyond that.
PIECES_FREE: Final = 256
PIECE_BYTES_MIN: Final = 64


class Framing(h11.Connection):
    """Of the connection of one peer, which may bring many requests."""

    def __init__(self, head_bytes_max: int) -> None:
        super().__init__(h11.SERVER, head_bytes_max)
        self._pieces = 0
        self._bytes = 0

    def next_event(self) -> Any:
        """As of h11. Raises RemoteProtocolError."""
        event = super().next_event()
        if type(event) is h11.Request:
            self._pieces = self._bytes = 0
            _check(event)
        elif type(event) is h11.Data:
            self._pieces += event.chunk_end
            self._bytes += len(event.data)
            if self._pieces > PIECES_FREE + self._bytes // PIECE_BYTES_MIN:
                raise h11.RemoteProtocolError("a body in crumbs")
        return event


def _check(request: h11.Request) -> None:
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
        raise h11.RemoteProtocolError("it says its end twice")
