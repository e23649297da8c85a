"""The ends of one relay, by hand: envelopes that were signed before, and a reader that opens none.

So what is measured is the relay, and neither what a publisher spends on signing nor a reader on verifying.

    python -m scripts.comparison.hop_ends publish IDENTITY PROGRESS
    python -m scripts.comparison.hop_ends read IDENTITY PROGRESS
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import zmq

from fabric.edge.identity.identity import Identity, load_identity
from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import ID_BYTES, PING_MS
from fabric.protocol.envelope.header import Header, PartEntry
from fabric.protocol.envelope.layout import decode_envelope, leaf_of, seal
from fabric.protocol.links.credit import LinkCredit
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Credit,
    Data,
    Direction,
    Frame,
    Intro,
    Item,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Welcome,
)
from fabric.transport.keys import CurveKeys
from scripts.attacks.peer import hello, now_ms
from scripts.comparison.records import ALL, STREAM_TOPIC, Progress, Taken
from scripts.comparison.saying import arguments, say
from tests.integration.intruder import header_of

HOP_BYTES = 20_000
# As many as the connections of Message Fabric put into a frame, and one signature for them, as where many wait.
_TOGETHER = 3
# More than a relay forwards; what is left of them is dropped.
_PREPARED_PER_S = 6_000
_TTL_MS = 3_600_000
_LANE = Lane.LOW
# A relay takes in more than it hands to one reader, and drops what waits too long for that one: so the publisher waits
# while so many are under way. They are less than a connection of the forwarder beside it may queue.
UNDER_WAY_MAX = 300
_CREDIT = 1 << 50
_POLL_MS = 20
_WAIT_S = 60.0


class Connection:
    """One to the relay of an identity, which says HELLO, answers what must be answered, and hands on the rest."""

    def __init__(self, identity: Identity) -> None:
        assert identity.relay is not None
        self.identity, self.relay, self.session = identity, identity.relay.id, os.urandom(16)
        self._pinged_at_ms = now_ms()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        CurveKeys(identity.credential.curve_key, identity.curve_secret).dress(self._socket)
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, identity.relay.curve_key)
        self._socket.connect(f"tcp://{identity.relay.address}")

    def open(self) -> None:
        self.send(hello(self.identity.credential, Role.POINT, self.session))
        deadline_s = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline_s:
            if any(isinstance(frame, Welcome) for frame in self.frames()):
                return
        raise SystemExit(f"{self.relay} did not answer within {_WAIT_S:.0f} s")

    def send(self, frame: Frame) -> None:
        self._socket.send(encode_frame(frame))

    def frames(self, wait_ms: int = _POLL_MS) -> Iterator[Frame]:
        """What came, after so long at most. To be called often: a relay leaves a child that it hears nothing of."""
        if now_ms() - self._pinged_at_ms > PING_MS:
            self._pinged_at_ms = now_ms()
            self.send(Ping(self._pinged_at_ms))
        if not self._socket.poll(wait_ms):
            return
        while self._socket.poll(0):
            frame = decode_frame(self._socket.recv())
            match frame:
                case Ping(asked_ms):
                    self.send(Pong(asked_ms, now_ms()))
                case Routes(sequence):
                    self.send(Routed(sequence, []))
                case Refused(code, detail):
                    raise SystemExit(f"{self.relay} refuses: {code.label} {detail}")
                case Reject():
                    raise SystemExit(f"{self.relay} sent what is no frame")
                case _:
                    yield frame

    def close(self) -> None:
        self._context.destroy(linger=0)


class Prepared:
    """Envelopes of this identity that differ in their number only: kept without the content that they have in common.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity, self._stream, self._sequence = identity, os.urandom(8), 0
        self._heads: list[bytes] = []
        self._manifest, self._parts = _content(identity)
        self._tail = pack(self._parts)

    def prepare(self, count: int, meanwhile: Callable[[], None]) -> None:
        """Sign so many, and call `meanwhile` often; what is left of earlier ones goes."""
        self._heads = []
        while len(self._heads) < count:
            meanwhile()
            messages = [self._message() for _ in range(_TOGETHER)]
            for raw in seal(messages, self._identity.credential.digest, self._identity.signer):
                assert raw.endswith(self._tail)
                self._heads.append(raw.removesuffix(self._tail))

    def envelopes(self) -> Iterator[bytes]:
        for head in self._heads:
            yield head + self._tail

    def _message(self) -> tuple[Header, list[bytes]]:
        header, _ = header_of(
            self._identity, {}, topic=STREAM_TOPIC, ttl_ms=_TTL_MS, stream=self._stream, sequence=self._sequence,
            manifest=self._manifest,
        )
        self._sequence += 1
        return header, self._parts


def _content(identity: Identity) -> tuple[tuple[PartEntry, ...], list[bytes]]:
    """The manifest and the parts of a record that takes `HOP_BYTES` when it is compressed."""
    header, parts = header_of(identity, {"text": b64encode(os.urandom(HOP_BYTES)).decode()})
    return header.manifest, parts


class Sender:
    """Hands over as much as credit allows and the reader keeps up with, and counts what is acknowledged."""

    def __init__(self, connection: Connection, progress: Progress) -> None:
        self._connection, self._credit, self._progress = connection, LinkCredit(), progress
        self.published = self.unacknowledged = 0

    def serve(self, wait_ms: int) -> None:
        """Take what the relay says."""
        for frame in self._connection.frames(wait_ms):
            match frame:
                case Ack(ids):
                    self.unacknowledged -= len(ids)
                case Credit(allowed_bytes):
                    self._credit.allow(allowed_bytes)
                case Nack(refusals):
                    _, code, detail = refusals[0]
                    raise SystemExit(f"{self._connection.relay} refused an envelope: {code.label} {detail}")

    def publish(self, envelopes: Iterator[bytes], until_s: float) -> int:
        """How many, all of them acknowledged."""
        before = self.published
        while time.perf_counter() < until_s and (together := list(islice(envelopes, _TOGETHER))):
            bytes_ = sum(map(len, together))
            self.serve(0)
            while self._credit.allowance()[_LANE] < bytes_:
                self.serve(_POLL_MS)
            while self.published - self._progress.count > UNDER_WAY_MAX:
                self.serve(1)
            items = [Item(Direction.UP, 0, [], [], raw) for raw in together]
            self._connection.send(Data(_LANE, now_ms(), items))
            self._credit.sent(_LANE, bytes_)
            self.unacknowledged += len(together)
            self.published += len(together)
        deadline_s = time.monotonic() + _WAIT_S
        while self.unacknowledged > 0 and time.monotonic() < deadline_s:
            self.serve(_POLL_MS)
        return self.published - before


def publish(identity: str, progress: str) -> None:
    """`prepare S`, then `publish S`, as in `fabric_ends`."""
    questions: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    connection = Connection(load_identity(Path(identity)))
    connection.open()
    connection.send(Intro([connection.identity.credential.raw]))
    sender, prepared = Sender(connection, Progress(Path(progress))), Prepared(connection.identity)
    say(ready=True)
    while True:
        sender.serve(_POLL_MS)
        if questions.empty():
            continue
        question = questions.get()
        if not question:
            break
        what, seconds = question.split()
        if what == "prepare":
            prepared.prepare(int(float(seconds) * _PREPARED_PER_S), lambda: sender.serve(0))
            say(prepared=True)
            continue
        began_s = time.perf_counter()
        count = sender.publish(prepared.envelopes(), began_s + float(seconds))
        say(published=count, began_s=began_s, held_s=time.perf_counter())
    connection.close()


def _listen(questions: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        questions.put(line)
    questions.put("")


def read(identity: str, progress: str) -> None:
    """Acknowledge what comes, and count it."""
    taken, over, told = Taken(), threading.Event(), Progress(Path(progress))
    connection = Connection(load_identity(Path(identity)))
    connection.open()
    me = connection.identity
    attachment = sign_attachment(
        me.credential, me.signer, connection.session, connection.relay, now_ms(), False, (ALL,)
    )
    connection.send(Credit([_CREDIT] * len(Lane)))
    connection.send(Routes(1, True, [attachment], []))
    taken.answer_in_thread(over.set)
    said_ready = False
    while not over.is_set():
        for frame in connection.frames():
            match frame:
                case Routed(_, refusals):
                    if refusals:
                        raise SystemExit(f"{connection.relay} refuses the subscription: {refusals[0][1].label}")
                    if not said_ready:
                        said_ready = True
                        say(ready=True)
                case Data(_, _, items):
                    connection.send(Ack([_id_of(item.envelope) for item in items]))
                    taken.count(len(items))
                    told.tell(taken.records)
    connection.close()


def _id_of(envelope: bytes) -> bytes:
    opened = decode_envelope(envelope)
    assert not isinstance(opened, Reject)
    return leaf_of(opened.header)[:ID_BYTES]


if __name__ == "__main__":
    what, *rest = arguments()
    publish(*rest) if what == "publish" else read(*rest)
