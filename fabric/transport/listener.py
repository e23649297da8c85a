"""The listening side: a ROUTER behind the gate.

Guarantees: a payload comes with the CURVE key that the gate put on its message, read every time; our link numbers
stand for a (connection, key) pair and are never used again; sending says when the peer is not there. Drops and counts
what has no key or not exactly one frame. Never shows a routing id to anybody: a peer that knew the next one could
claim it.
"""

from __future__ import annotations

import os
import socket as sockets_
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.protocol.errors import Code, FabricError
from fabric.transport.keys import CurveKeys
from fabric.transport.sockets import LinkNumbers, Sent, dress, endpoint, receive_single

_BACKLOG = 512
# Of one call, those that are dropped included: who sends nothing else must not keep the loop in here.
_FRAMES_MAX = 1_024
_NOT_YET = -1


class Received(NamedTuple):
    link: int
    peer: bytes
    payload: bytes


class _Connection(NamedTuple):
    routing_id: bytes
    peer: bytes
    descriptor: int
    address: object  # what getpeername said: a descriptor number alone may be another connection's by now


class Listener:
    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        keys: CurveKeys,
        domain: str,
        frame_bytes_max: int,
        numbers: LinkNumbers,
    ) -> None:
        assert domain, "with an empty domain libzmq asks nobody"
        self._numbers = numbers
        self._links: dict[int, _Connection] = {}
        self._by_route: dict[tuple[bytes, bytes], int] = {}
        self._by_descriptor: dict[int, int] = {}
        self._gone: list[int] = []
        self._silent: dict[int, tuple[int, object]] = {}  # descriptor -> (since, peer), until it says something
        self.counters: Counter[str] = Counter()
        self.socket = context.socket(zmq.ROUTER)
        dress(self.socket, frame_bytes_max)
        self.socket.setsockopt(zmq.CURVE_SERVER, 1)
        keys.dress(self.socket)
        self.socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
        self.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.BACKLOG, _BACKLOG)
        # A handshake that succeeded tells no descriptor; a connection that was accepted does.
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        try:
            self.socket.bind(endpoint(address))
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise FabricError(Code.PORT_IN_USE, address) from error
            raise FabricError(Code.UNREACHABLE, f"cannot listen on {address}: {error.strerror}",
                              "write an address of this machine") from error
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://")

    def receive(self) -> Iterator[Received]:
        """What waits, a frame at a time, peers in turn: whoever asks stops asking when its turn is over."""
        for _ in range(_FRAMES_MAX):
            try:
                parts = receive_single(self.socket, 2)
            except zmq.Again:
                return
            if parts is None:
                self.counters["multipart"] += 1
                continue
            key = _user_key(parts[1])
            if key is None:
                self.counters["no_key"] += 1
                continue
            yield Received(self._link(parts[0].bytes, key, parts[1]), key, parts[1].bytes)

    def _link(self, routing_id: bytes, peer: bytes, frame: zmq.Frame) -> int:
        number = self._by_route.get((routing_id, peer))
        if number is None:
            number = self._numbers.take()
            descriptor = _descriptor(frame)
            self._silent.pop(descriptor, None)
            self._by_route[(routing_id, peer)] = number
            self._links[number] = _Connection(routing_id, peer, descriptor, _peer_name(descriptor))
            self._by_descriptor[descriptor] = number
        return number

    def send(self, link: int, payload: bytes) -> Sent:
        connection = self._links.get(link)
        if connection is None:
            return Sent.GONE
        try:
            self.socket.send_multipart([connection.routing_id, payload], zmq.DONTWAIT, copy=len(payload) < 65_536)
        except zmq.Again:
            return Sent.BUSY
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                self._gone.append(link)
                self.forget(link)
                return Sent.GONE
            raise
        return Sent.SENT

    def gone(self) -> list[int]:
        """Links whose connection has ended since the last call."""
        while int(self.monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = parse_monitor_message(self.monitor.recv_multipart(zmq.DONTWAIT))
            descriptor = int(event["value"])
            link = self._by_descriptor.get(descriptor)
            if event["event"] == zmq.EVENT_ACCEPTED:
                if link is None:
                    self._silent[descriptor] = (_NOT_YET, _peer_name(descriptor))
                continue
            self._silent.pop(descriptor, None)
            if link is not None:
                self.forget(link)
                self._gone.append(link)
        gone, self._gone = self._gone, []
        return gone

    def forget(self, link: int) -> None:
        connection = self._links.pop(link, None)
        if connection is not None:
            self._by_route.pop((connection.routing_id, connection.peer), None)
            if self._by_descriptor.get(connection.descriptor) == link:
                del self._by_descriptor[connection.descriptor]

    def cut(self, link: int) -> None:
        """End the connection. It is shut down on a copy of the descriptor, and only if it is still the same peer's."""
        connection = self._links.get(link)
        self.forget(link)
        if connection is not None:
            _shut(connection.descriptor, connection.address)

    def cut_silent(self, now_ms: int, silence_ms: int) -> None:
        """End connections that came in and have not said a word since; ZeroMQ would keep them for ever."""
        for descriptor, (since_ms, peer) in list(self._silent.items()):
            if since_ms == _NOT_YET:
                self._silent[descriptor] = (now_ms, peer)
            elif now_ms - since_ms >= silence_ms:
                del self._silent[descriptor]
                self.counters["silent"] += 1
                _shut(descriptor, peer)

    def links_of(self, peer: bytes) -> list[int]:
        return [number for number, connection in self._links.items() if connection.peer == peer]

    def close(self) -> None:
        if hasattr(self, "monitor"):
            self.socket.disable_monitor()
            self.monitor.close(linger=0)
        self.socket.close(linger=0)


def _shut(descriptor: int, peer: object) -> None:
    if peer is None:
        return
    with suppress(OSError), sockets_.socket(fileno=os.dup(descriptor)) as copy:
        if copy.getpeername() == peer:
            copy.shutdown(sockets_.SHUT_RDWR)


def _user_key(frame: zmq.Frame) -> bytes | None:
    """The CURVE key that the gate vouched for. Every other property of a message is its sender's claim."""
    try:
        key = bytes.fromhex(str(frame.get("User-Id")))
    except (zmq.ZMQError, ValueError):
        return None
    return key if len(key) == 32 else None


def _descriptor(frame: zmq.Frame) -> int:
    try:
        return int(frame.get("__fd"))
    except (zmq.ZMQError, ValueError, TypeError):
        return -1


def _peer_name(descriptor: int) -> object:
    try:
        with sockets_.socket(fileno=os.dup(descriptor)) as copy:
            return copy.getpeername()
    except OSError:
        return None
