"""ZMTP 3.1 with CURVE (RFC 23, 25, 26) by hand: a dialler that sends what no libzmq would, and ends as it likes."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable

from nacl import bindings

_PING = b"\x04PING"
_COMMAND = 2
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Wire:
    """A connection whose handshake is done, with a random key. `serve`: the relay, where it is in this thread.
    `connected`: a socket that is connected there already."""

    def __init__(
        self, address: str, server_key: bytes, serve: Callable[[], None] | None = None,
        connected: socket.socket | None = None,
    ) -> None:
        self._serve = serve
        host, port = address.rsplit(":", 1)
        public, secret = bindings.crypto_box_keypair()
        self.socket = connected or socket.create_connection((host, int(port)), timeout=5)
        self.socket.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32))
        self._read(64)
        short_public, short_secret = bindings.crypto_box_keypair()
        box = bindings.crypto_box(bytes(64), b"CurveZMQHELLO---" + _counter(1), server_key, short_secret)
        self._command(b"\x05HELLO\x01\x00" + bytes(72) + short_public + _counter(1) + box)
        welcome = self._message()
        opened = bindings.crypto_box_open(welcome[24:], b"WELCOME-" + welcome[8:24], server_key, short_secret)
        peer, cookie = opened[:32], opened[32:]
        nonce = os.urandom(16)
        vouch = bindings.crypto_box(short_public + server_key, b"VOUCH---" + nonce, peer, secret)
        claims = public + nonce + vouch + _property(b"Socket-Type", b"DEALER") + _property(b"Identity", b"")
        box = bindings.crypto_box(claims, b"CurveZMQINITIATE" + _counter(2), peer, short_secret)
        self._command(b"\x08INITIATE" + cookie + _counter(2) + box)
        self._key, self._sent = bindings.crypto_box_beforenm(peer, short_secret), 2
        assert self._message().startswith(b"\x05READY")

    def message(self, body: bytes, flags: int = 0) -> bytes:
        """The bytes of one frame."""
        self._sent += 1
        box = bindings.crypto_box_afternm(bytes([flags]) + body, b"CurveZMQMESSAGEC" + _counter(self._sent), self._key)
        return _framed(b"\x07MESSAGE" + _counter(self._sent) + box, command=False)

    def ping(self) -> bytes:
        return self.message(_PING + bytes(2) + b"context", _COMMAND)

    def reset(self) -> None:
        """End it with a RST, whatever is still under way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            while self._serve is not None and not select.select([self.socket], [], [], 0.01)[0]:
                self._serve()
            more = self.socket.recv(count - len(found))
            if not more:
                raise ConnectionError("the relay hung up")
            found += more
        return found

    def _message(self) -> bytes:
        is_long = self._read(1)[0] & 2
        return self._read(struct.unpack(">Q", self._read(8))[0] if is_long else self._read(1)[0])

    def _command(self, body: bytes) -> None:
        self.socket.sendall(_framed(body, command=True))


def _counter(number: int) -> bytes:
    return struct.pack(">Q", number)


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def _framed(body: bytes, *, command: bool) -> bytes:
    flags = 4 if command else 0
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body
