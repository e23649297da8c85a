"""Serves the app on an address until it is told to stop, over TLS where there is a certificate."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Final

import uvicorn

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.accepting import Accepting
from relays.gateways.http.app import App
from relays.gateways.http.connections import HEAD_BYTES_MAX, Guarded, Peers
from relays.gateways.http.settings import Settings

_LOOK_S: Final = 0.2
# A certificate that was renewed is in use so soon.
_RENEWED_S: Final = 30.0
# So is a token's secret.
_SECRETS_S: Final = 2.0
_KEEP_ALIVE_S: Final = 60
_GRACE_S: Final = 5
# At the end those that do not read what they are sent are waited for so long.
_HURRY_S: Final = 1.0


class _Server(uvicorn.Server):
    """Uvicorn's server, which takes connections in by `Accepting`."""

    def __init__(self, config: uvicorn.Config, sock: socket.socket, peers: Peers, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._sock = sock
        self._peers = peers
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = [Accepting(self._sock, self._peers, self._tls, self._protocol)]  # type: ignore[list-item]
        self.started = True

    def _protocol(self) -> Guarded:
        return Guarded(config=self.config, server_state=self.server_state, app_state={})

    def look(self) -> None:
        """Now and then."""
        for connection in self._connections():
            connection.look()

    def hurry(self) -> None:
        """It is to end: nobody is waited for who does not read."""
        for connection in self._connections():
            connection.hurry()

    def _connections(self) -> list[Guarded]:
        return [each for each in self.server_state.connections if isinstance(each, Guarded)]


class Serving:
    """For the thread that calls `run`."""

    def __init__(self, settings: Settings, app: App, sock: socket.socket) -> None:
        self._settings = settings
        self._app = app
        self._sock = sock
        self._tls = self._context()
        self._written = self._times()
        # What it would log holds text of its peers, and goes to nobody's terminal.
        for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access"):
            logging.getLogger(name).disabled = True
        config = uvicorn.Config(
            app.asgi, http=Guarded, ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=_KEEP_ALIVE_S,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX, timeout_graceful_shutdown=_GRACE_S, loop="asyncio",
        )
        config.load()
        self._server = _Server(config, sock, Peers(settings.connections), self._tls)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set, and what is under way is answered."""
        asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        # asyncio would print what it is told, e.g. each time that there is no room for another connection.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        serving = asyncio.ensure_future(self._server.serve([self._sock]))
        renewed_s = secrets_s = time.monotonic()
        while not stop.is_set() and not serving.done():
            await asyncio.sleep(_LOOK_S)
            self._server.look()
            now_s = time.monotonic()
            if now_s - secrets_s >= _SECRETS_S:
                secrets_s = now_s
                self._app.look_at_secrets()
            if now_s - renewed_s >= _RENEWED_S:
                renewed_s = now_s
                self._renew()
        self._app.end_streams()
        self._server.should_exit = True
        await asyncio.wait([serving], timeout=_HURRY_S)
        self._server.hurry()
        await serving

    def _renew(self) -> None:
        if self._tls is None or self._times() == self._written:
            return
        with suppress(FabricError):  # half of it is written perhaps: it is looked at again
            self._context()
            self._load(self._tls)
            self._written = self._times()

    def _context(self) -> ssl.SSLContext | None:
        if self._settings.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        """Raises HTTP_LISTEN."""
        assert self._settings.certificate is not None
        try:  # a key with a password would ask for it at the terminal
            context.load_cert_chain(self._settings.certificate, self._settings.key, lambda: b"")
        except (OSError, ValueError) as error:
            why = type(error).__name__ if isinstance(error, ssl.SSLError | ValueError) else str(error.strerror).lower()
            raise FabricError(Code.HTTP_LISTEN, f"{self._settings.certificate}: {why}") from None

    def _times(self) -> list[int]:
        found = []
        for path in (self._settings.certificate, self._settings.key):
            try:
                found.append(path.stat().st_mtime_ns if path else 0)
            except OSError:
                found.append(0)
        return found
