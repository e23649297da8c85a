"""The thread that reads: sockets that listen, their connections, and UDP.

Guarantees: who may not send is let go before a byte of it is read. While the batches are full nothing is read, so TCP
makes its senders wait and the kernel keeps UDP as long as it can. `stop` takes in what was read, and returns when the
last of it is in the batches.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.addresses import Address
from relays.gateways.syslog.batches import Batch, Batches
from relays.gateways.syslog.counts import Counts
from relays.gateways.syslog.datagrams import Datagrams
from relays.gateways.syslog.peers import Peers, host_of
from relays.gateways.syslog.settings import Settings
from relays.gateways.syslog.stream import Stream
from relays.gateways.syslog.tls import Contexts

_BACKLOG: Final = 512
_ACCEPTS_MAX: Final = 64  # in one go
_HANDSHAKE_S: Final = 10.0
# What is heard out at the end: so many turns of UDP, and connections until they are silent so long.
_TURNS_AT_END: Final = 16
_HEAR_OUT_S: Final = 1.0
_SILENCE_S: Final = 0.02
_AGAIN_S: Final = 0.5  # after the system had no room for another connection


class Listening:
    """`bound`: where it listens, with the ports that it got. Made and stopped by one thread, and read by its own."""

    def __init__(self, settings: Settings, counts: Counts) -> None:
        self.settings = settings
        self.counts = counts
        self.peers = Peers(settings.allow, settings.connections, settings.rate_bytes_per_s)
        self.batches = Batches(self._on_room)
        self.streams: set[Stream] = set()
        self.bound: list[Address] = []
        self._sockets: list[tuple[Address, socket.socket]] = []
        self._on_readable: dict[socket.socket, Callable[[], None]] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._contexts: Contexts | None = None
        self._full = False
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)
        self._begun: Future[None] = Future()

    def start(self) -> None:
        """Raises SYSLOG_LISTEN or SYSLOG_TLS, and nothing is open then."""
        try:
            for address in self.settings.listen:
                self._sockets.append((address, _listening(address, self.settings)))
        except FabricError:
            self._close_sockets()
            raise
        self.bound = [
            Address(address.transport, address.host, sock.getsockname()[1]) for address, sock in self._sockets
        ]
        self._thread.start()
        try:
            self._begun.result()
        except FabricError:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Read no more, and end the connections."""
        if self._loop is not None and self._stopping is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def runs(self) -> bool:
        return self._thread.is_alive()

    # -- its thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            if not self._begun.done():
                self._begun.set_exception(error)
        finally:
            self._close_sockets()
            self.batches.end()

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        loop.set_exception_handler(self._fault)
        if self.settings.tls is not None:
            self._contexts = Contexts(self.settings.tls, loop.time())
        for address, sock in self._sockets:
            if address.transport == "udp":
                self._on_readable[sock] = self._datagrams(Datagrams(sock, self.peers, self.counts, loop.time))
            else:
                self._on_readable[sock] = self._accepting(address, sock)
        self._read(True)
        self._begun.set_result(None)
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), max(0.25, self.settings.idle_s / 4))
            except TimeoutError:
                self._close_idle(loop.time())
        self._read(False)
        await self._hear_out(loop)
        for task in list(self._opening):
            task.cancel()
        for stream in list(self.streams):
            stream.close()
        while self.streams or self._opening:
            await asyncio.sleep(0)

    async def _hear_out(self, loop: asyncio.AbstractEventLoop) -> None:
        """What the kernel has already nobody would send again: it is read, for as long as there is room and something
        comes at once."""
        for address, sock in self._sockets:
            for _ in range(_TURNS_AT_END if address.transport == "udp" and not self._full else 0):
                self._on_readable[sock]()
        end_s = loop.time() + _HEAR_OUT_S
        while self.streams and not self._full and loop.time() < end_s:
            heard_s = max(stream.heard_s for stream in self.streams)
            await asyncio.sleep(_SILENCE_S)
            if max((stream.heard_s for stream in self.streams), default=heard_s) == heard_s:
                break

    def deliver(self, batch: Batch) -> None:
        if not self.batches.put(batch) and not self._full:
            self._full = True
            self._read(False)
            for stream in self.streams:
                stream.hold("full")

    def _on_room(self) -> None:
        """From the thread that takes."""
        with suppress(RuntimeError):  # it has ended meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._go_on)

    def _go_on(self) -> None:
        self._full = False
        if self._stopping is not None and not self._stopping.is_set():
            self._read(True)
            for stream in list(self.streams):
                stream.release("full")

    def _read(self, on: bool) -> None:
        """Whether sockets that listen are looked at."""
        assert self._loop is not None
        for sock, reader in self._on_readable.items():
            if on:
                self._loop.add_reader(sock, reader)
            else:
                self._loop.remove_reader(sock)

    def _datagrams(self, datagrams: Datagrams) -> Callable[[], None]:
        def read() -> None:
            for batch in datagrams.read():
                self.deliver(batch)

        return read

    def _accepting(self, address: Address, sock: socket.socket) -> Callable[[], None]:
        def accept() -> None:
            assert self._loop is not None
            for _ in range(_ACCEPTS_MAX):
                try:
                    peer, where = sock.accept()
                except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                    return
                except OSError as error:  # no more files, or no more memory
                    self._loop.remove_reader(sock)
                    self._loop.call_later(_AGAIN_S, self._look_again, sock)
                    self.counts.refused(str(address), (error.strerror or type(error).__name__).lower())
                    return
                self._enter(address, peer, *host_of(where))

        return accept

    def _look_again(self, sock: socket.socket) -> None:
        assert self._loop is not None and self._stopping is not None
        if not self._full and not self._stopping.is_set():
            self._loop.add_reader(sock, self._on_readable[sock])

    def _enter(self, address: Address, sock: socket.socket, host: str, port: int) -> None:
        assert self._loop is not None
        why = self.peers.enter(host, self._loop.time())
        if why:
            self.counts.refused(host, why)
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream = Stream(self, self._loop, address.transport, host, port)
        if self._full:
            stream.hold("full")
        task = self._loop.create_task(self._open(address, sock, host, stream))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, address: Address, sock: socket.socket, host: str, stream: Stream) -> None:
        loop = self._loop
        assert loop is not None
        made = False
        try:
            if address.transport == "tls":
                assert self._contexts is not None
                await loop.connect_accepted_socket(
                    lambda: stream, sock, ssl=self._contexts.current(loop.time()), ssl_handshake_timeout=_HANDSHAKE_S
                )
            else:
                await loop.connect_accepted_socket(lambda: stream, sock)
            made = True
        except (OSError, ssl.SSLError, TimeoutError) as error:
            self.counts.refused(host, f"no TLS connection came about: {_why(error)}")
        finally:
            if not made and stream not in self.streams and not stream.ended:
                self.peers.leave(host, loop.time())

    def _close_idle(self, now_s: float) -> None:
        for stream in list(self.streams):
            if now_s - stream.heard_s >= self.settings.idle_s:
                stream.close()

    def _fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio would print."""
        error = context.get("exception")
        self.counts.refused("a connection", _why(error) if isinstance(error, Exception) else "it broke")

    def _close_sockets(self) -> None:
        for _, sock in self._sockets:
            sock.close()


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the handshake failed").lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "it took too long"
    return (getattr(error, "strerror", None) or type(error).__name__).lower()


def _listening(address: Address, settings: Settings) -> socket.socket:
    """Raises SYSLOG_LISTEN."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    udp = address.transport == "udp"
    sock = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:  # it has IPv4 too, unless that has been named
            others = any(":" not in each.host and each.port == address.port for each in settings.listen)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(others))
        if udp:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.udp_buffer_bytes)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((address.host, address.port))
        if not udp:
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise FabricError(
            Code.SYSLOG_LISTEN, f"{address}: {(error.strerror or type(error).__name__).lower()}"
        ) from None
    return sock
