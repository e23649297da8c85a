"""A bare forwarder and its ends: pyzmq's `zmq.proxy` between a PUSH and a PULL socket, all over CURVE.

The keys come on standard input, as "PUBLIC SECRET" in hexadecimal digits.

    python -m scripts.comparison.curve_ends proxy PORT-IN PORT-OUT
    python -m scripts.comparison.curve_ends publish PORT-IN
    python -m scripts.comparison.curve_ends read PORT-OUT
"""

from __future__ import annotations

import os
import sys
import threading
import time

import zmq

from fabric.transport.keys import CurveKeys
from scripts.comparison.hop_ends import HOP_BYTES
from scripts.comparison.records import Taken
from scripts.comparison.saying import arguments, say

_POLL_MS = 20


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int, keys: CurveKeys) -> zmq.Socket[bytes]:
    made = context.socket(kind)
    made.setsockopt(zmq.LINGER, 0)
    keys.dress(made)
    return made


def _dialled(context: zmq.Context[zmq.Socket[bytes]], kind: int, keys: CurveKeys, port: str) -> zmq.Socket[bytes]:
    made = _socket(context, kind, keys)
    made.setsockopt(zmq.CURVE_SERVERKEY, keys.public)
    made.connect(f"tcp://127.0.0.1:{port}")
    return made


def proxy(keys: CurveKeys, port_in: str, port_out: str) -> None:
    """Until standard input ends."""
    context = zmq.Context()
    sockets = []
    for kind, port in ((zmq.PULL, port_in), (zmq.PUSH, port_out)):
        made = _socket(context, kind, keys)
        made.setsockopt(zmq.CURVE_SERVER, 1)
        made.bind(f"tcp://127.0.0.1:{port}")
        sockets.append(made)
    threading.Thread(target=_end_with_input, daemon=True).start()
    say(ready=True)
    zmq.proxy(*sockets)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


def publish(keys: CurveKeys, port: str) -> None:
    """As in `fabric_ends`. Nobody hears whether a message arrived."""
    with zmq.Context() as context, _dialled(context, zmq.PUSH, keys, port) as socket:
        payload = os.urandom(HOP_BYTES)
        say(ready=True)
        for line in sys.stdin:
            what, seconds = line.split()
            if what == "prepare":
                say(prepared=True)
                continue
            began_s = time.perf_counter()
            count, until_s = 0, began_s + float(seconds)
            while time.perf_counter() < until_s:
                socket.send(payload)
                count += 1
            say(published=count, began_s=began_s, held_s=time.perf_counter())


def read(keys: CurveKeys, port: str) -> None:
    taken, over = Taken(), threading.Event()
    with zmq.Context() as context, _dialled(context, zmq.PULL, keys, port) as socket:
        taken.answer_in_thread(over.set)
        say(ready=True)
        while not over.is_set():
            if socket.poll(_POLL_MS):
                socket.recv()
                taken.count(1)


if __name__ == "__main__":
    what, *rest = arguments()
    pair = CurveKeys(*map(bytes.fromhex, sys.stdin.readline().split()))
    {"proxy": proxy, "publish": publish, "read": read}[what](pair, *rest)  # type: ignore[operator]
