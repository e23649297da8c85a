"""A relay in somebody else's hands: its keys are the real ones, and it forgets and says what its holder likes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType

import zmq

from fabric.edge.identity.identity import Identity
from fabric.protocol.core.ready import KeepLists, LinkUp, Ready, Tick
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Ack, Data, Direction, Frame, Intro, Item, Nack
from fabric.transport.keys import CurveKeys
from tests.integration.intruder import now_ms


class HostileRelay:
    """Listens where the real one did, for one control point, and has no memory but its own of today."""

    def __init__(self, identity: Identity, address: str, point: Identity, lists: bytes) -> None:
        self.core = Relay(
            identity.credential, identity.signer, identity.authority_key, os.urandom(16), os.urandom, ()
        )
        self.core.restore([KeepLists(lists)], now_ms())
        self._point = point
        self._routes: dict[bytes, int] = {}
        self._answers: dict[bytes, object] = {}
        self.results: list[bytes] = []  # of results that it took: to which actions
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        CurveKeys(identity.credential.curve_key, identity.curve_secret).dress(self._socket)
        self._socket.bind(f"tcp://{address}")

    def __enter__(self) -> HostileRelay:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def serve_until(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, what
            if self._socket.poll(50):
                route, payload = self._socket.recv_multipart()
                self._hear(route, payload)
            self._send(self.core.step(Tick(), now_ms()))

    def _hear(self, route: bytes, payload: bytes) -> None:
        if route not in self._routes:
            self._routes[route] = len(self._routes) + 1
            self._send(self.core.step(LinkUp(self._routes[route], self._point.credential.curve_key, b""), now_ms()))
        frame = decode_frame(payload)
        if isinstance(frame, Ack):
            self._answers |= dict.fromkeys(frame.ids)
        elif isinstance(frame, Nack):
            self._answers |= {id_: code for id_, code, _ in frame.refusals}
        arrived = self.core.read(self._routes[route], payload)
        results = [each for each in arrived.opened if isinstance(each, Verified) and each.header.kind is Kind.RESULT]
        if results:  # its core would refuse them: the actions did not turn here
            self.results += [result.header.correlation for result in results]
            self._say(self._routes[route], encode_frame(Ack([result.id for result in results])))
            return
        self._send(self.core.step(arrived, now_ms()))

    def _send(self, ready: Ready) -> None:
        for link, payload in [*ready.early, *ready.send]:
            self._say(link, payload)

    def _say(self, link: int, payload: bytes) -> None:
        route = next(route for route, number in self._routes.items() if number == link)
        self._socket.send_multipart([route, payload])

    def wait_executor(self) -> None:
        id_ = self._point.id
        self.serve_until(lambda: self.core.routes.executor(id_) is not None, f"{id_} executes here")

    def command(self, action: bytes, id_: bytes, requester: Credential) -> object:
        """Hand it to the newest session as if it had come from above; what it answers, None for an ACK."""
        self._answers.pop(id_, None)
        link = max(self._routes.values())
        item = Item(Direction.DOWN, 0, [], [self._point.id], action)
        frames: list[Frame] = [Intro([requester.raw]), Data(Lane.HIGH, now_ms(), [item])]
        for frame in frames:
            self._say(link, encode_frame(frame))
        self.serve_until(lambda: id_ in self._answers, "an answer to the action")
        return self._answers[id_]
