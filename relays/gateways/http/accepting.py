"""Takes connections in: counted by address from the first packet on, also while they agree on TLS.

Guarantees: a handshake that does not end, and a peer that reads nothing of what it is sent, hold a place for a bounded
time. Where this process has no more files, what connects waits.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from relays.gateways.http.connections import Guarded, Peers

_HANDSHAKE_S: Final = 10.0
# Also what is awaited of a peer's last word in TLS.
_FAREWELL_S: Final = 5.0
# Until it is tried again where this process, or its machine, has no more of something.
_SHORT_S: Final = 1.0
_AT_ONCE: Final = 64
# What the kernel keeps for a peer that reads nothing: it doubles it.
_SEND_BYTES: Final = 131_072
# What a peer has not confirmed for so long, it will not: a machine that is gone says nothing else.
_UNCONFIRMED_MS: Final = 60_000


class Accepting:
    """As `asyncio.Server` for uvicorn. `make`: the protocol of one connection. For one thread."""

    def __init__(
        self, sock: socket.socket, peers: Peers, tls: ssl.SSLContext | None, make: Callable[[], Guarded],
    ) -> None:
        self._sock = sock
        self._peers = peers
        self._tls = tls
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        self._is_closed = False
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)  # accepted ones have what it has
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNCONFIRMED_MS)
        self._begin()

    def _begin(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._sock)
                self._later = self._loop.call_later(_SHORT_S, self._begin)
                return
            host = str(address[0])
            if not self._peers.come(host):
                connection.close()
                continue
            task = self._loop.create_task(self._open(connection, host))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket, host: str) -> None:
        is_tls = self._tls is not None
        protocol = self._make()
        protocol.on_lost(lambda: self._peers.gone(host))
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=_HANDSHAKE_S if is_tls else None,
                ssl_shutdown_timeout=_FAREWELL_S if is_tls else None,
            )
        except OSError:  # it left, or spoke something else than TLS
            pass
        finally:
            protocol.lost_unless_made()

    def close(self) -> None:
        """No more are taken in; those that have not begun are let go."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._sock)
        for task in self._opening:
            task.cancel()

    async def wait_closed(self) -> None:
        """Until those that had not begun are gone."""
        if self._opening:
            await asyncio.wait(self._opening)
