"""A connection to NATS, on a thread of its own: the client needs a loop that always runs, and a sink blocks.

Guarantees: what `publish` returns for is stored in the stream, as its acknowledgements say. After any fault the
connection is made anew, to the next server, and the whole group is published again; the stream knows what it has by id.
To `tls://` nothing is said in the clear.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress
from typing import Any, Final, NamedTuple

from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NotFoundError

from fabric.protocol.base.errors import FabricError
from relays.gateways.handing.names import pattern_of
from relays.gateways.handing.tls import make_context
from relays.gateways.handing.trying import NotNowError
from relays.gateways.nats.acks import Acks
from relays.gateways.nats.answers import not_now, refusal_of
from relays.gateways.nats.keys import Key, key_of, read_credentials
from relays.gateways.nats.settings import Settings

_CLOSE_S: Final = 2.0
_LOOK_S: Final = 0.2
# What it logs of itself may hold what a server wrote.
logging.getLogger("nats").setLevel(logging.CRITICAL)


class Item(NamedTuple):
    """One message, as it is published."""

    subject: str
    headers: dict[str, str]
    data: bytes


class _Client(Client):
    """`key`: what signs, and `jwt` what says whose it is; the library takes them from a package of its own only.
    `tls`: nothing is said before TLS, whatever the server says first. The library would leave TLS out where that line,
    which nothing protects, does not ask for it (nats-py 2.16): a man between would have the secret and each message."""

    def __init__(self, key: Key | None, jwt: str, *, tls: bool) -> None:
        super().__init__()
        self._needs_tls = tls
        self._auth_configured = key is not None
        self._public_nkey = key.public if key is not None and not jwt else None

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if type(info.get("max_payload", 0)) is not int:
            raise ValueError("no INFO of NATS")
        if self._needs_tls and initial_connection:
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


class Link:
    """For one thread, which is not its own. `name`: what the server shows of it."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._turn = 0  # which server is next
        self._client: _Client | None = None
        self._acks: Acks | None = None
        self._failure: Exception | None = None  # what the library said last
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, _context: None)  # who waits for it is told
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()

    def publish(self, items: Sequence[Item]) -> list[FabricError | None]:
        """Of each: None, when it is stored, or why it never will be. Raises NotNowError; NO_SECRET, SOURCE_UNFIT."""
        future = asyncio.run_coroutine_threadsafe(self._publish(items), self._loop)
        try:
            return future.result(3 * self._settings.timeout_s + _CLOSE_S)
        except LateError:
            future.cancel()
            raise NotNowError(f"{self._where}: no answer in time") from None

    def close(self) -> None:
        """Once."""
        with suppress(LateError, Exception):
            asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result(_CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    # -- its thread -------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return self._settings.servers[self._turn % len(self._settings.servers)]

    async def _publish(self, items: Sequence[Item]) -> list[FabricError | None]:
        try:
            return await self._published(items)
        except NotNowError:
            await self._drop()
            self._turn += 1
            raise

    async def _published(self, items: Sequence[Item]) -> list[FabricError | None]:
        client, acks = await self._ready()
        ended: list[asyncio.Future[None] | Exception] = []
        for item in items:
            reply, future = acks.expect()
            ended.append(future)
            try:
                headers = {"Nats-Expected-Stream": self._settings.stream, **item.headers}
                await client.publish(item.subject, item.data, reply, headers)
            except (Error, OSError) as error:
                future.cancel()
                ended[-1] = error
        await self._wait([each for each in ended if isinstance(each, asyncio.Future)], client)
        return [self._outcome(item, each) for item, each in zip(items, ended, strict=True)]

    async def _wait(self, futures: list[asyncio.Future[None]], client: Client) -> None:
        """Until all are done, the connection is gone, or it takes too long: these are cancelled. The library does not
        say of every connection that it is gone."""
        until_s = self._loop.time() + self._settings.timeout_s
        left: set[asyncio.Future[None]] = {future for future in futures if not future.done()}
        try:
            while left and client.is_connected and self._loop.time() < until_s:
                _, left = await asyncio.wait(left, timeout=_LOOK_S)
        finally:
            for future in left:
                future.cancel()

    def _outcome(self, item: Item, ended: asyncio.Future[None] | Exception) -> FabricError | None:
        """Raises NotNowError."""
        if isinstance(ended, Exception):
            return refusal_of(ended, self._where, item.subject)
        if ended.cancelled():
            error = self._failure or TimeoutError()
            return refusal_of(error, self._where, item.subject)
        error_ = ended.exception()
        return None if error_ is None else refusal_of(error_, self._where, item.subject)

    async def _ready(self) -> tuple[Client, Acks]:
        if self._acks is None or self._client is None or not self._client.is_connected:
            await self._drop()
            try:
                await asyncio.wait_for(self._connect(), self._settings.timeout_s)
            except (Error, OSError, TimeoutError, ValueError, TypeError, AttributeError) as error:  # whatever it says
                why = self._failure if isinstance(error, Error) and self._failure else error
                raise not_now(why, self._where) from None
        assert self._client is not None and self._acks is not None
        return self._client, self._acks

    async def _connect(self) -> None:
        settings, self._failure = self._settings, None
        jwt, key = "", None
        if settings.credentials is not None:
            jwt, key = read_credentials(settings.credentials)
        elif settings.nkey is not None:
            key = key_of(settings.nkey.read(), settings.nkey.name)
        is_tls = self._where.startswith("tls:")
        client = self._client = _Client(key, jwt, tls=is_tls)
        more: dict[str, Any] = {}
        if is_tls:
            more["tls"] = make_context(settings.tls)
        if key is not None:
            more["signature_cb"] = key.sign
        if jwt:
            more["user_jwt_cb"] = lambda: bytearray(jwt.encode())
        if settings.password is not None:
            more |= {"user": settings.user, "password": settings.password.read()}
        if settings.token is not None:
            more["token"] = settings.token.read()
        await client.connect(
            [self._where], name=self._name, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
            connect_timeout=max(1, int(settings.timeout_s)), error_cb=self._fault, **more,
        )
        if settings.create:
            await self._make(client.jetstream(timeout=settings.timeout_s))
        acks = Acks(client, settings.stream)
        await acks.open()
        self._acks = acks

    async def _make(self, stream: JetStreamContext) -> None:
        """The stream, where it is not there. Raises NotNowError."""
        try:
            try:
                await stream.stream_info(self._settings.stream)
            except NotFoundError:
                await stream.add_stream(StreamConfig(
                    name=self._settings.stream, subjects=[pattern_of(self._settings.subject)],
                    storage=StorageType.FILE, duplicate_window=self._settings.window_s,
                ))
        except Error as error:
            refusal_of(error, self._where, self._settings.subject)

    async def _fault(self, error: Exception) -> None:
        self._failure = error

    async def _drop(self) -> None:
        client, self._client, self._acks = self._client, None, None
        if client is not None:
            with suppress(Error, OSError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(client.close(), _CLOSE_S)
