"""One connection by hand to the relay under attack: it says what it likes, and is as polite as it must be to stay.

Polite is: a PING is answered, what was handed over is acknowledged, routes are confirmed, and credit is given. A peer
that did not would be left soon, and its flood would end with it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

import zmq

from fabric.edge.identity.identity import Dial
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.envelope.layout import decode_envelope, leaf_of
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Credit,
    Data,
    Frame,
    Hello,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Welcome,
)
from fabric.transport.keys import CurveKeys

# What this end queues on a connection: the relay's own queues are what is under attack, not the attacker's memory.
_QUEUED_BYTES = 4_000_000
_QUEUED_FRAMES_MAX = 1_000
# ZMTP heartbeats, which a listener answers from its I/O thread whatever the relay does.
_HEARTBEAT_MS = 500
_HELLO_EVERY_S = 1.0
_WELCOME, _REFUSED, _DATA, _ROUTES, _PING = 2, 3, 5, 9, 11
_CREDIT = 1 << 50
_ENDS = (
    zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Peer:
    """`frame_bytes`: about what it will send. `watched`: whether it notices at once that it was cut. `ahead_ms`: how
    far ahead the time is that it tells when it is asked."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], dial: Dial, keys: CurveKeys, *, frame_bytes: int = 0,
        watched: bool = True, ahead_ms: int = 0,
    ) -> None:
        self._ahead_ms = ahead_ms
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.setsockopt(zmq.SNDHWM, max(4, min(_QUEUED_FRAMES_MAX, _QUEUED_BYTES // max(1, frame_bytes))))
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        keys.dress(self.socket)
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, dial.curve_key)
        self._monitor = self.socket.get_monitor_socket(_ENDS) if watched else None
        self.socket.connect(f"tcp://{dial.address}")
        self.session = os.urandom(16)
        self.welcome = False
        self._hello_at_s = 0.0
        self.said_hello = b""

    @property
    def cut(self) -> bool:
        """Whether the relay ended the connection. It stays so."""
        return self._monitor is not None and bool(self._monitor.poll(0))

    def send(self, payload: bytes) -> bool:
        """False when it does not fit into the queue."""
        try:
            self.socket.send(payload, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def greet(self, credential: Credential, role: Role) -> None:
        """HELLO, repeated until `hear` finds the WELCOME."""
        now_s = time.monotonic()
        if now_s - self._hello_at_s < _HELLO_EVERY_S:
            return
        self._hello_at_s = now_s
        self.said_hello = self.said_hello or encode_frame(hello(credential, role, self.session))
        self.send(self.said_hello)

    def hear(self, frames_max: int) -> int:
        """Take what came, politely; how many frames it was."""
        for count in range(frames_max):
            try:
                payload = self.socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return count
            # Only what needs an answer is looked into: an attacker has better uses for its time.
            if len(payload) > 1 and payload[1] in (_WELCOME, _REFUSED, _DATA, _ROUTES, _PING):
                self._answer(decode_frame(payload))
        return frames_max

    def _answer(self, frame: Frame | Reject) -> None:
        match frame:
            case Welcome():
                self.welcome = True
                self._say(Credit([_CREDIT] * len(Lane)))
            case Refused():
                self.welcome = False
            case Ping(asked_ms):
                self._say(Pong(asked_ms, now_ms() + self._ahead_ms))
            case Data(_, _, items):
                self._say(Ack([_id_of(item.envelope) for item in items]))
            case Routes(sequence):
                self._say(Routed(sequence, []))

    def _say(self, frame: Frame) -> None:
        self.send(encode_frame(frame))

    def close(self) -> None:
        with suppress(zmq.ZMQError):
            if self._monitor is not None:
                self.socket.disable_monitor()
                self._monitor.close(linger=0)
        self.socket.close(linger=0)


def hello(credential: Credential, role: Role, session: bytes) -> Hello:
    return Hello(1, 1, credential.fabric, role, credential.raw, session, os.urandom(16), now_ms(), 0, 0)


def _id_of(envelope: bytes) -> bytes:
    opened = decode_envelope(envelope)
    assert not isinstance(opened, Reject)
    return leaf_of(opened.header)[:ID_BYTES]
