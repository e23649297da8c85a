"""How many connections an address may have, how long one may take to say what it wants, and to read what it gets."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.answers import problem
from relays.gateways.http.framing import Framing

_HEADERS_S: Final = 10.0
HEAD_BYTES_MAX: Final = 32_768
# In which a peer has to read most of what waits for it, besides what is with the kernel.
_READ_S: Final = 30.0
# Over TLS asyncio would have eight times as much wait.
_UNREAD_BYTES: Final = 65_536
# Of all addresses together: the process has other files to open.
_CONNECTIONS_MAX: Final = 512
# Of an address of IPv6: whoever has a network has as many of them as it likes.
_HOST_BITS: Final = 64


class Peers:
    """Connections by where they come from: an address, of IPv6 its /64, which is one network. Each may have `each_max`
    and no more than are left: the more there are the fewer each may have, and the last places are for those who have
    none. For one thread."""

    def __init__(self, each_max: int, all_max: int = _CONNECTIONS_MAX) -> None:
        self._each_max = each_max
        self._all_max = all_max
        self._open: Counter[str] = Counter()
        self._total = 0

    def come(self, host: str) -> bool:
        """Whether it may have one more, which it has then."""
        origin = origin_of(host)
        own = self._open.get(origin, 0)
        if own >= min(self._each_max, self._all_max - self._total):
            return False
        self._open[origin] = own + 1
        self._total += 1
        return True

    def gone(self, host: str) -> None:
        """It has one less."""
        origin = origin_of(host)
        self._total -= 1
        self._open[origin] -= 1
        if not self._open[origin]:
            del self._open[origin]


def origin_of(host: str) -> str:
    """Of an address, as a socket says it: itself, of IPv6 its /64; IPv4 as itself where it comes through IPv6."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> _HOST_BITS << _HOST_BITS, 128 - _HOST_BITS)))


class Guarded(H11Protocol):
    """Uvicorn's protocol, which lets go of those that are too slow with the head of a request, or with reading."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.conn = Framing(self.config.h11_max_incomplete_event_size or HEAD_BYTES_MAX)
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._tell_lost: Callable[[], None] = lambda: None
        self._is_made = False

    def on_lost(self, tell: Callable[[], None]) -> None:
        """Called once, when it is over."""
        self._tell_lost = tell

    def lost_unless_made(self) -> None:
        """It will not come about, or has."""
        if not self._is_made:
            self._lost()

    def _lost(self) -> None:
        tell, self._tell_lost = self._tell_lost, lambda: None
        tell()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._is_made = True
        transport.set_write_buffer_limits(_UNREAD_BYTES)
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
        self._unwatch()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waits():
            self._watch()
        else:
            self._unwatch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.our_state is h11.DONE:
            self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_unread(_READ_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._is_read()

    def look(self) -> None:
        """Now and then: what it was sent before its end has to be read in time, too."""
        if self.transport is not None and self.transport.is_closing():
            self._is_unread(_READ_S)

    def hurry(self) -> None:
        """Everything ends: what waits for its peer to read waits no longer."""
        if self._unread is not None or self.transport.is_closing():
            self.transport.abort()

    def _is_unread(self, within_s: float) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(within_s, self.transport.abort)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def send_400_response(self, msg: str) -> None:
        answer = problem(FabricError(
            Code.HTTP_BODY, "it is no request of HTTP/1.1, says its end twice, or comes in crumbs",
            "send it as HTTP/1.1, with Content-Length or in larger chunks",
        ))
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [*answer.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=bytes(answer.body)), h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _waits(self) -> bool:
        """For the head of a request, or for the rest of one that was answered before it was here whole."""
        return self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE

    def _watch(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(_HEADERS_S, self._end)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> None:
        self._late = None
        if self._waits() and not self.transport.is_closing():
            self.transport.close()
