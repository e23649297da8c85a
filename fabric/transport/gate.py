"""The gate: our own ZAP handler (RFC 27), served in the owner's loop.

libzmq lets everybody in when no handler answers, so the gate is bound before any listener, and a listener enforces
its domain. Guarantees: only CURVE with a key that `admit` accepts gets in; on every message from there on is a
`User-Id` that says its key, and when it was let in; no request, however malformed, and no failure of `admit` stops the
gate. Does no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import zmq

from fabric.protocol.base.limits import KEY_BYTES

ZAP_ADDRESS = "inproc://zeromq.zap.01"
_VERSION = b"1.0"


class User(NamedTuple):
    """Who was let in: its CURVE key, and how many connections had come in by then."""

    key: bytes
    entries: int


def read_user(frame: zmq.Frame) -> User | None:
    """What the gate vouched for. Every other property of a message is its sender's claim."""
    try:
        key, _, entries = str(frame.get("User-Id")).partition(" ")
        user = User(bytes.fromhex(key), int(entries))
    except (zmq.ZMQError, ValueError):
        return None
    return user if len(user.key) == KEY_BYTES else None


class Gate:
    """Answers libzmq's questions about who may connect; `admit` is asked about each 32-byte CURVE key.

    `entries`: how many connections have come in by now."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], domain: str, admit: Callable[[bytes], bool],
        entries: Callable[[], int],
    ) -> None:
        assert domain, "with an empty domain libzmq asks nobody"
        self._domain = domain.encode()
        self._admit = admit
        self._entries = entries
        self.counters: Counter[str] = Counter()
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(ZAP_ADDRESS)

    def serve(self, requests_max: int = 64) -> None:
        """Answer what waits, without blocking."""
        for _ in range(requests_max):
            try:
                request = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.ZMQError:
                return
            try:
                reply = self._judge(request)
            except Exception:  # noqa: BLE001 - whatever `admit` does wrong must not open or stop the gate
                self.counters["error"] += 1
                reply = _reply(request, b"500", b"the gate failed")
            with suppress(zmq.ZMQError):
                self.socket.send_multipart(reply)

    def _judge(self, request: Sequence[bytes]) -> list[bytes]:
        if len(request) < 6 or request[0] != _VERSION:
            self.counters["malformed"] += 1
            return _reply(request, b"500", b"not a ZAP 1.0 request")
        if request[2] != self._domain:
            self.counters["domain"] += 1
            return _reply(request, b"400", b"unknown domain")
        if request[5] != b"CURVE" or len(request) != 7 or len(request[6]) != KEY_BYTES:
            self.counters["mechanism"] += 1
            return _reply(request, b"400", b"CURVE only")
        if not self._admit(request[6]):
            self.counters["unknown_key"] += 1
            return _reply(request, b"400", b"unknown key")
        self.counters["admitted"] += 1
        return _reply(request, b"200", b"", b"%s %d" % (request[6].hex().encode(), self._entries()))

    def close(self) -> None:
        self.socket.close(linger=0)


def _reply(request: Sequence[bytes], status: bytes, text: bytes, user: bytes = b"") -> list[bytes]:
    request_id = request[1] if len(request) > 1 else b""
    return [_VERSION, request_id, status, text, user, b""]
