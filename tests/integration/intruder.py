"""Somebody who speaks the protocol by hand, and says what no node of ours would."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any

import zmq

from fabric.edge.identity.identity import Identity
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.envelope.layout import seal
from fabric.protocol.envelope.parts import build_parts
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Ack, Data, Direction, Frame, Hello, Item, Nack, Refused, Welcome
from fabric.transport.keys import CurveKeys
from relays.demo.intruders import greeting

_ANSWER_S = 8.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def header_of(identity: Identity, record: dict[str, Any], **fields: Any) -> tuple[Header, list[bytes]]:
    manifest, parts = build_parts([record], FieldLabels({}, Label.GREEN), Label.GREEN, os.urandom)
    said: dict[str, Any] = {
        "kind": Kind.EVENT, "topic": "detections.intruder", "origin": identity.id, "stream": os.urandom(8),
        "sequence": 0, "issued_at_ms": now_ms(), "ttl_ms": 60_000, "severity": Severity.LOW, "phase": Phase.NONE,
        "label": Label.GREEN, "audience": Audience((identity.credential.organisation,)), "manifest": manifest,
    }
    return Header(**{**said, **fields}), parts


def envelope(identity: Identity, **fields: Any) -> bytes:
    """Honestly signed, whatever it says."""
    drafted = header_of(identity, {"secret": "intruder-content"}, **fields)
    return seal([drafted], identity.credential.digest, identity.signer)[0]


class Intruder:
    """One connection to the relay of an identity. What it answers is a code, None for an ACK, or "cut"."""

    def __init__(self, identity: Identity, keys: CurveKeys | None = None, patience_s: float = _ANSWER_S) -> None:
        assert identity.relay is not None
        self._patience_s = patience_s
        self.identity = identity
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, -1)
        (keys or CurveKeys(identity.credential.curve_key, identity.curve_secret)).dress(self._socket)
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, identity.relay.curve_key)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._socket.connect(f"tcp://{identity.relay.address}")

    def __enter__(self) -> Intruder:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def say(self, *frames: Frame | bytes) -> None:
        for frame in frames:
            self._socket.send(frame if isinstance(frame, bytes) else encode_frame(frame))

    def say_parts(self, *parts: bytes) -> None:
        self._socket.send_multipart(list(parts))

    def hello(self, **fields: Any) -> Hello:
        return greeting(self.identity, now_ms())._replace(**fields)

    def hear(self) -> Frame | str:
        """The next frame that answers something, or "cut" when the relay ended the connection."""
        deadline = time.monotonic() + self._patience_s
        poller = zmq.Poller()
        for socket in (self._socket, self._monitor):
            poller.register(socket, zmq.POLLIN)
        while time.monotonic() < deadline:
            ready = dict(poller.poll(200))
            if self._socket in ready:
                frame = decode_frame(self._socket.recv())
                assert not isinstance(frame, Reject), frame
                if isinstance(frame, (Welcome, Refused, Ack, Nack)):
                    return frame
            elif self._monitor in ready:
                return "cut"
        raise AssertionError("no answer")

    def answer(self) -> Code | str | None:
        match self.hear():
            case Refused(code, _, _) | Nack([(_, code, _)]):
                return code
            case Ack():
                return None
            case Welcome():
                return "welcome"
            case other:
                return str(other)

    def enter(self) -> None:
        self.say(self.hello())
        answer = self.answer()
        assert answer == "welcome", answer

    def offer(self, raw: bytes, direction: Direction = Direction.UP, age_ms: int = 0) -> Code | str | None:
        self.say(Data(Lane.LOW, now_ms(), [Item(direction, age_ms, [], [], raw)]))
        return self.answer()
