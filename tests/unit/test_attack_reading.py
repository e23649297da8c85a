"""Who sends without a pause, so that a listener never finds its socket empty, hides nobody and nobody's end."""

import os
from contextlib import suppress

import pytest
import zmq

from fabric.transport.keys import CurveKeys, random_keys
from fabric.transport.sockets import dress, endpoint
from tests.integration.zmtp import Wire
from tests.unit.test_transport import FRAME, Peer, Relay, connected, until


class Flood:
    """Connections of one key that always have something under way."""

    def __init__(self, relay, connections=4):
        self.context = zmq.Context()
        keys = random_keys(os.urandom(32))
        self.sockets = [self._dial(relay, keys) for _ in range(connections)]

    def _dial(self, relay, keys):
        socket = self.context.socket(zmq.DEALER)
        dress(socket, FRAME)
        CurveKeys(keys.public, keys.secret).dress(socket)
        socket.setsockopt(zmq.CURVE_SERVERKEY, relay.keys.public)
        socket.connect(endpoint(relay.address))
        return socket

    def go_on(self):
        for socket in self.sockets:
            with suppress(zmq.Again):
                for _ in range(100):
                    socket.send(b"flood", zmq.DONTWAIT)

    def close(self):
        self.context.destroy(linger=0)


@pytest.fixture
def relay(monkeypatch):
    monkeypatch.setattr("fabric.transport.listener._FRAMES_MAX", 8)  # of one turn; a flood has more under way
    made = Relay()
    yield made
    made.close()


@pytest.fixture
def flood(relay):
    made = Flood(relay)
    until(lambda: len(relay.got) > 500, made.go_on, relay.serve)
    yield made
    made.close()


def test_i_never_let_the_socket_be_empty_and_another_sends_a_message_that_never_ends(relay, flood):
    wire = Wire(relay.address, relay.keys.public, relay.serve)

    def go_on():
        flood.go_on()
        with suppress(OSError):
            wire.socket.sendall(wire.message(bytes(FRAME - 100), flags=1))

    until(lambda: relay.listener.counters["endless"], go_on, relay.serve, relay.listener.gone)
    wire.socket.close()


def test_i_never_let_the_socket_be_empty_and_nobody_is_told_who_has_gone(relay, flood):
    peer = Peer(relay.address, relay.keys.public)
    connected(relay, peer)
    for n in range(20):
        peer.dialler.send(bytes([n]))
    until(lambda: any(received.peer == peer.keys.public for received in relay.got), flood.go_on, relay.serve)
    peer.close()
    gone = []
    until(lambda: gone, flood.go_on, relay.serve, lambda: gone.extend(relay.listener.gone()))
    mine = [received for received in relay.got if received.peer == peer.keys.public]
    assert gone == [mine[0].link] and {received.link for received in mine} == {gone[0]}
