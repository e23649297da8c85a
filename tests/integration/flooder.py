"""Somebody who floods a relay: `main` with the arguments FOLDER KIND CONNECTIONS SECONDS.

A process of its own, so that it takes nothing from whoever is honest but the relay's time. `FOLDER` is an identity's;
the kinds `idle` and `pings` use nothing of it but the relay's address and key. Prints "flooding" when it has begun.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import zmq

from fabric.edge.identity.identity import Identity, load_identity
from fabric.protocol.base.limits import FORGED_MAX, ROUTES_ENTRIES_MAX
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Ack, Data, Direction, Intro, Item, Ping, Routes
from tests.integration.intruder import Intruder, envelope, now_ms
from tests.integration.zmtp import Wire

_FRAMES_MAX = 200_000
# A port that its last owner left in a hurry may lead nowhere for a while: the next try has another one.
_PATIENCE_S = 2.0


def _frame(me: Identity, kind: str) -> bytes:
    forged = envelope(me)[:-1] + b"\0"
    return encode_frame({
        "intro": lambda: Intro([me.credential.raw[:-1] + os.urandom(1) for _ in range(FORGED_MAX - 1)]),
        "routes": lambda: Routes(1, True, [os.urandom(300) for _ in range(ROUTES_ENTRIES_MAX)], []),
        "ack": lambda: Ack([os.urandom(16) for _ in range(4_000)]),
        "data": lambda: Data(Lane.LOW, now_ms(), [Item(Direction.UP, 0, [], [], forged)] * (FORGED_MAX - 1)),
        "ping": lambda: Ping(now_ms()),
    }[kind]())


def _as_a_member(me: Identity, kind: str, connections: int, ends_s: float) -> None:
    frame = _frame(me, kind)
    mine: list[Intruder] = []
    begun = False
    for number in cycle(range(connections)):
        if time.monotonic() > ends_s:
            return
        with suppress(AssertionError, zmq.Again):
            if number >= len(mine) or mine[number]._monitor.poll(0):
                another = Intruder(me, patience_s=_PATIENCE_S)
                another.enter()
                mine[number:number + 1] = [another]
                if not begun:
                    begun = True
                    print("flooding", flush=True)
            while mine[number]._socket.poll(0):
                mine[number]._socket.recv()
            for _ in range(16):
                mine[number]._socket.send(frame, zmq.DONTWAIT)


def _idle(me: Identity, connections: int, ends_s: float) -> None:
    """Plain TCP: no key, and not a byte said. Who is cut comes again."""
    assert me.relay is not None
    host, port = me.relay.address.rsplit(":", 1)
    mine: list[socket.socket] = []
    for number in range(_FRAMES_MAX):
        if time.monotonic() > ends_s:
            return
        with suppress(OSError):
            mine.append(socket.create_connection((host, int(port)), timeout=1))
        if len(mine) > connections:
            mine.pop(0).close()
            time.sleep(0.001)
        elif number == connections - 1:
            print("flooding", flush=True)


def _pings(me: Identity, connections: int, ends_s: float) -> None:
    """Any key: tiny frames with PINGs between them, and then a reset, so that libzmq reads a PING of the dead."""
    assert me.relay is not None
    for number in range(connections):
        if time.monotonic() > ends_s:
            return
        with suppress(OSError, AssertionError):
            wire = Wire(me.relay.address, me.relay.curve_key)
            wire.socket.settimeout(0.5)
            said = b"".join(wire.message(b"x") + wire.ping() for _ in range(3_000))
            with suppress(OSError):
                wire.socket.sendall(said)
            wire.reset()
        if number == 0:
            print("flooding", flush=True)


def main(folder: str, kind: str, connections: str, seconds: str) -> None:
    me, ends_s = load_identity(Path(folder)), time.monotonic() + float(seconds)
    ways: dict[str, Callable[[Identity, int, float], None]] = {"idle": _idle, "pings": _pings}
    if kind in ways:
        ways[kind](me, int(connections), ends_s)
    else:
        _as_a_member(me, kind, int(connections), ends_s)
