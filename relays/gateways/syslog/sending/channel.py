"""A socket to a receiver of syslog, and what of it the other machine has.

Syslog has no acknowledgements. Guarantees: what is sent over TCP or TLS is in the other machine's kernel when `send`
returns (Linux says how much of it is not), and a receiver that has closed is noticed before anything is sent to it.
What its kernel or program had, and lost when it ended, nobody can know.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from relays.gateways.addresses import Address
from relays.gateways.handing.trying import NotNowError
from relays.handlers.posting import words_of
from relays.handlers.resolving import resolved

_LOOK_FIRST_MS, _LOOK_MOST_MS = 1, 50
# Who lets in and then turns away does it by then: a proxy without a receiver behind it, and TLS 1.3, which looks at our
# certificate only after it let us speak. It says something when it has.
_SETTLE_MS: Final = {"tcp": 100, "tls": 1_000}
# A receiver says nothing in syslog; what it says is read, so that it does not fill up, and dropped.
_HEARD_BYTES: Final = 65_536
_HEARD_AT_ONCE: Final = 16
_SILENT_S: Final = 30
# A receiver has the time of `timeout` for each so much: one that is slow gets a large group, and one that takes a byte
# now and then holds nothing up.
_PIECE_BYTES: Final = 262_144


class Channel:
    """One at a time; `send` opens it where it is not."""

    def __init__(self, to: Address, tls: Callable[[], ssl.SSLContext], timeout_s: float) -> None:
        self._to = to
        self._tls = tls
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was when it was last looked at."""
        return self._socket is not None

    def look(self) -> None:
        """Raises NotNowError, and it is closed, where the other side has closed, or UDP says that nobody is there."""
        if self._socket is not None:
            try:
                self._hear(self._socket)
            except OSError as error:
                self.close()
                raise NotNowError(f"{self._to}: {_words(error)}") from None

    def open(self) -> None:
        """Raises NotNowError; SOURCE_UNFIT for certificates that cannot be used."""
        kind = socket.SOCK_DGRAM if self._to.transport == "udp" else socket.SOCK_STREAM
        try:
            made = self._socket = self._connected(kind)
            if kind == socket.SOCK_STREAM:
                poll = select.poll()
                poll.register(made, select.POLLIN)
                poll.poll(_SETTLE_MS[self._to.transport])
                self._hear(made)
        except OSError as error:
            self.close()
            untrusted = isinstance(error, ssl.SSLCertVerificationError)
            next_step = "look at the receiver's certificate, and at ca" if untrusted else ""
            raise NotNowError(f"{self._to}: {_words(error)}", next_step) from None

    def send(self, messages: Sequence[bytes]) -> None:
        """All of them, in order. Raises NotNowError, and then it is closed: it is not known what came."""
        made = self._socket
        assert made is not None, "it is open"
        try:
            if self._to.transport == "udp":
                made.settimeout(self._timeout_s)
                for message in messages:
                    made.send(message)
                return
            data = memoryview(b"".join(b"%d %b" % (len(message), message) for message in messages))
            for at in range(0, len(data), _PIECE_BYTES):
                _send_all(made, data[at : at + _PIECE_BYTES], time.monotonic() + self._timeout_s)
            self._wait_until_there(made)
        except OSError as error:
            self.close()
            raise NotNowError(f"{self._to}: {_words(error)}") from None

    def close(self) -> None:
        """Once, or again."""
        made, self._socket = self._socket, None
        if made is not None:
            with suppress(OSError):
                made.close()

    def _connected(self, kind: socket.SocketKind) -> socket.socket:
        failed: OSError = OSError("its name is not known")
        until_s = time.monotonic() + self._timeout_s
        for family, address in resolved(self._to.host, self._to.port, kind, self._timeout_s):
            made = socket.socket(family, kind)
            try:
                made.settimeout(_left_s(until_s))
                made.connect(address)
                if kind == socket.SOCK_DGRAM:
                    return made
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_S)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENT_S // 3)
                if self._to.transport == "tcp":
                    return made
                return self._tls().wrap_socket(made, server_hostname=self._to.host)
            except OSError as error:
                made.close()
                failed = error
            except BaseException:
                made.close()
                raise
        raise failed

    def _hear(self, made: socket.socket) -> None:
        """What the other side said is dropped. Raises OSError where it has closed."""
        made.settimeout(0.0)
        if made.type == socket.SOCK_DGRAM:
            error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            for _ in range(_HEARD_AT_ONCE):  # who says more than is read waits with it, and not we
                if not made.recv(_HEARD_BYTES) and made.type != socket.SOCK_DGRAM:
                    raise ConnectionResetError("the other side closed the connection")

    def _wait_until_there(self, made: socket.socket) -> None:
        """Until the other kernel has acknowledged all of it."""
        until_s, look_ms = time.monotonic() + self._timeout_s, _LOOK_FIRST_MS
        poll = select.poll()
        poll.register(made, select.POLLIN)
        while _unacknowledged(made):
            if time.monotonic() > until_s:
                raise TimeoutError("the other machine does not take it")
            if poll.poll(look_ms):
                self._hear(made)
            look_ms = min(2 * look_ms, _LOOK_MOST_MS)


def _left_s(until_s: float) -> float:
    """Raises TimeoutError where nothing is left."""
    left_s = until_s - time.monotonic()
    if left_s <= 0.0:
        raise TimeoutError
    return left_s


def _send_all(made: socket.socket, piece: memoryview, until_s: float) -> None:
    """All of it in this time. `sendall` bounds a whole group alike, however large, or over TLS each 16 KB of it."""
    while piece:
        made.settimeout(_left_s(until_s))
        piece = piece[made.send(piece) :]


def _unacknowledged(made: socket.socket) -> int:
    """Bytes, as tcp(7) has SIOCOUTQ; 0 where a system does not say."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(made.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])
    except (OSError, AttributeError):
        return 0


def _words(error: OSError) -> str:
    return "no connection, or nothing is taken, in time" if isinstance(error, TimeoutError) else words_of(error)
