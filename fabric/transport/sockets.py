"""The options of all our sockets, why they are set, and what sending can result in."""

from __future__ import annotations

from enum import Enum

import zmq

# A turn has 8 ms for handling what came; reading it is the cheaper part.
RECEIVE_NS_MAX = 4_000_000
# And what a look within the turn may take of it.
LOOK_NS_MAX = 250_000
# A CURVE handshake takes milliseconds; a connection that does not begin one holds a descriptor for this long.
HANDSHAKE_MS = 3_000
# A host that is gone without a word is noticed by TCP itself when a connection is idle: within 15 s. Where something is
# said on it, by our own PINGs and the silence that follows.
_KEEPALIVE_IDLE_S, _KEEPALIVE_EVERY_S, _KEEPALIVE_PROBES = 6, 3, 3
# As numbers: arithmetic with enums of flags costs more than what it is asked for, many times in every turn.
_READABLE, _AT_ONCE, _MORE = int(zmq.POLLIN), int(zmq.DONTWAIT), int(zmq.DONTWAIT | zmq.SNDMORE)
# Above this, libzmq takes the bytes as they are; below, a copy is cheaper than to watch over them.
_COPY_BYTES_MAX = 65_536


class Sent(Enum):
    """What became of sending one frame."""

    SENT = "sent"  # given to the I/O thread; only an acknowledgement says more
    BUSY = "busy"  # the pipe is full
    GONE = "gone"  # there is no such connection


class LinkNumbers:
    """Numbers for the links of one process: never used again, so nothing is ever keyed on a routing id."""

    def __init__(self) -> None:
        self._next = 0

    def take(self) -> int:
        self._next += 1
        return self._next


def dress(socket: zmq.Socket[bytes], frame_bytes_max: int) -> None:
    """The options that listeners and diallers share."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, frame_bytes_max)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    # No ZMTP heartbeats: their timer asserts on a connection that failed while its input was stopped, and a peer can
    # bring that about (`filters`).
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_EVERY_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _KEEPALIVE_PROBES)
    socket.setsockopt(zmq.IPV6, 1)


def endpoint(address: str) -> str:
    """The address as ZeroMQ wants it: TCP where no transport is named."""
    return address if "://" in address else f"tcp://{address}"


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message waits: a quarter of what it costs to find none by receiving."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _READABLE)


def send_single(socket: zmq.Socket[bytes], payload: bytes, routing_id: bytes = b"") -> None:
    """One message of one frame, behind its address where the socket routes. Raises zmq.Again when the pipe is full."""
    if routing_id:
        socket.send(routing_id, _MORE)
    socket.send(payload, _AT_ONCE, copy=len(payload) < _COPY_BYTES_MAX)


def receive_single(socket: zmq.Socket[bytes], frames: int) -> list[zmq.Frame] | None:
    """One message of exactly `frames` frames, or None when it has another number. Raises zmq.Again when none waits.

    Parts are taken one by one and let go: what an endless one would fill in libzmq is bounded by `unread`.
    """
    parts: list[zmq.Frame] = []
    count = 0
    more = True
    while more:
        part = socket.recv(_AT_ONCE, copy=False)
        count += 1
        if count <= frames:
            parts.append(part)
        more = bool(part.more)
    return parts if count == frames else None
