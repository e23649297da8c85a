"""One sender's connection: its messages go to the batches; it is read no faster than these are taken.

Guarantees: what has come is in a batch before anything else is read. Whoever sends more than it may is read later, not
less: nothing of a stream is dropped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from relays.gateways.syslog.batches import Batch
from relays.gateways.syslog.framing import Frame, Frames
from relays.gateways.syslog.peers import Peers
from relays.gateways.syslog.tls import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Hub(Protocol):
    """What all connections of a source share."""

    peers: Peers
    streams: set[Stream]

    def deliver(self, batch: Batch) -> None:
        """Into the batches; when these are full, every stream is held."""


class Stream(asyncio.Protocol):
    """Of a peer that has entered; it leaves with the connection. `heard_s`: when it was heard, by the loop's clock."""

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop, transport: str, host: str, port: int) -> None:
        self._hub = hub
        self._loop = loop
        self._peer = (transport, host, port)
        self._name = ""
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._holds: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._cut = False
        self.ended = False
        self.heard_s = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._name = name_of(transport.get_extra_info("peercert"))
        self._hub.streams.add(self)
        if self._holds:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        now_s = self.heard_s = self._loop.time()
        self._deliver(self._frames.feed(data))
        wait_s = self._hub.peers.spend(self._peer[1], len(data), now_s)
        if wait_s and self._timer is None:
            self.hold("rate")
            self._timer = self._loop.call_later(wait_s, self._go_on)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._hub.streams.discard(self)
        self._hub.peers.leave(self._peer[1], self._loop.time())
        self._deliver(self._frames.end(cut=self._cut or error is not None))

    def hold(self, why: str) -> None:
        """Read nothing more until `release` of the same."""
        if not self._holds and self._transport is not None:
            self._transport.pause_reading()
        self._holds.add(why)

    def release(self, why: str) -> None:
        self.heard_s = self._loop.time()  # it could not be heard meanwhile
        self._holds.discard(why)
        if not self._holds and self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """The connection ends here; what is not whole is marked."""
        self._cut = True
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        self._timer = None
        self.release("rate")

    def _deliver(self, frames: Sequence[Frame]) -> None:
        if frames:
            transport, host, port = self._peer
            self._hub.deliver(Batch(transport, host, port, self._name, frames))
