"""A control point's turn: what comes while it handles frames is seen in the same turn."""

from types import SimpleNamespace

from fabric.edge.connection.dialling import Dialling
from fabric.protocol.core.ready import Ready
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Data
from fabric.transport.inbox import Inbox
from fabric.transport.sockets import LOOK_NS_MAX, RECEIVE_NS_MAX
from fabric.transport.turns import Turn

MS = 1_000_000
LOW = [encode_frame(Data(Lane.LOW, n, [])) for n in range(4)]
URGENT = encode_frame(Data(Lane.URGENT, 9, []))


def test_what_comes_meanwhile_is_seen_within_the_turn(monkeypatch):
    elapsed = SimpleNamespace(ns=0)
    coming, asked, taken = [LOW, [URGENT], []], [], []

    def receive(waiting, most_ns):
        asked.append((waiting, most_ns))
        return iter([(1, payload) for payload in coming.pop(0)])

    def read(link, payload):
        elapsed.ns += 3 * MS // 10
        taken.append(payload)

    dialling = object.__new__(Dialling)  # a turn needs no socket
    dialling._inbox = Inbox()
    dialling._clock = SimpleNamespace(now_ms=lambda: 0)
    dialling._core = SimpleNamespace(read=read, step=lambda arrived, now_ms: Ready())
    dialling._diallers = SimpleNamespace(receive=receive)
    monkeypatch.setattr("fabric.edge.connection.dialling.Turn", lambda: Turn(lambda: elapsed.ns))
    dialling.read({"socket"}, 0, Ready())
    assert taken == [*LOW[:2], URGENT, *LOW[2:]]
    assert asked == [({"socket"}, RECEIVE_NS_MAX), (None, LOOK_NS_MAX), (None, LOOK_NS_MAX)]
