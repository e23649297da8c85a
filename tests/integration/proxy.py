"""A bad network between two processes: bytes come late, connections end in the middle, or say nothing any more.

Listens on loopback and forwards to one address, in a thread. What happens follows from a seed: each connection gets its
delay when it begins, and, in a storm, its end. Guarantees: bytes that are forwarded come in order and as they were;
what is under way when a connection is cut is lost, as on a network.
"""

from __future__ import annotations

import heapq
import random
import selectors
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

_CHUNK_BYTES = 65_536
# Beyond this a side is not read from until the other has taken some: as a kernel's buffers do.
_BUFFERED_BYTES_MAX = 1 << 20
_TURN_S = 0.02


@dataclass(frozen=True)
class Weather:
    """What may happen to a connection. Seconds, each from (least, most)."""

    delay_s: tuple[float, float] = (0.0, 0.0)  # on the way, both ways
    lasts_s: tuple[float, float] = (0.0, 0.0)  # how long in a storm, until it is cut
    cuts: int = 0  # a storm is over after so many: who is cut again and again waits longer and longer to dial


@dataclass(eq=False)
class _Side:
    socket: socket.socket
    late: deque[tuple[float, bytes]] = field(default_factory=deque)  # (when it is there, what) to this side
    late_bytes: int = 0


@dataclass(eq=False)
class _Pair:
    near: _Side
    far: _Side
    delay_s: float
    is_doomed: bool = False

    def other(self, side: _Side) -> _Side:
        return self.far if side is self.near else self.near


class Proxy:
    """`port` of the proxy, `to` of whom it leads to; both on 127.0.0.1."""

    def __init__(self, port: int, to: int, seed: int, weather: Weather) -> None:
        self.cuts = 0
        self.connections = 0
        self._to, self._weather, self._chosen = to, weather, random.Random(seed)
        self._hangs = threading.Event()
        self._storms = threading.Event()
        self._over = threading.Event()
        self._door = socket.create_server(("127.0.0.1", port))
        self._door.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._door, selectors.EVENT_READ)
        self._pairs: dict[_Side, _Pair] = {}
        self._doomed = 0
        self._ends: list[tuple[float, int, _Pair]] = []
        self._thread = threading.Thread(target=self._run, name=f"proxy to {to}", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        for pair in dict.fromkeys(self._pairs.values()):
            self._end(pair, abruptly=True)
        self._selector.close()
        self._door.close()

    def hang(self, hangs: bool) -> None:
        """Forward nothing, and end nothing: neither end learns anything."""
        (self._hangs.set if hangs else self._hangs.clear)()

    def storm(self) -> None:
        """From now on connections are cut, those that there are and those that begin."""
        self._storms.set()

    # -- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over.is_set():
            if self._hangs.is_set():
                self._over.wait(_TURN_S)
                continue
            for key, _ in self._selector.select(_TURN_S):
                if key.fileobj is self._door:
                    self._accept()
                else:
                    self._read(key.data)
            now_s = time.monotonic()
            for side in list(self._pairs):
                self._write(side, now_s)
            if self._storms.is_set():
                self._foresee(now_s)
            while self._ends and self._ends[0][0] <= now_s:
                pair = heapq.heappop(self._ends)[2]
                if pair.near in self._pairs:
                    self.cuts += 1
                    self._end(pair, abruptly=self._chosen.random() < 0.5)

    def _accept(self) -> None:
        near, _ = self._door.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._to), timeout=1)
        except OSError:
            near.close()
            return
        self.connections += 1
        pair = _Pair(_Side(near), _Side(far), self._chosen.uniform(*self._weather.delay_s))
        for side in (pair.near, pair.far):
            side.socket.setblocking(False)
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[side] = pair
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _foresee(self, now_s: float) -> None:
        """Say of each connection that has no end yet when it is cut, while there are cuts left."""
        for pair in dict.fromkeys(self._pairs.values()):
            if not pair.is_doomed and self._doomed < self._weather.cuts:
                pair.is_doomed = True
                self._doomed += 1
                heapq.heappush(self._ends, (now_s + self._chosen.uniform(*self._weather.lasts_s), self._doomed, pair))

    def _read(self, side: _Side) -> None:
        pair = self._pairs.get(side)
        if pair is None or pair.other(side).late_bytes > _BUFFERED_BYTES_MAX:
            return
        try:
            received = side.socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._end(pair, abruptly=False)
            return
        other = pair.other(side)
        other.late.append((time.monotonic() + pair.delay_s, received))
        other.late_bytes += len(received)

    def _write(self, side: _Side, now_s: float) -> None:
        while side in self._pairs and side.late and side.late[0][0] <= now_s:
            there_s, waiting = side.late[0]
            try:
                sent = side.socket.send(waiting)
            except BlockingIOError:
                return
            except OSError:
                self._end(self._pairs[side], abruptly=False)
                return
            side.late_bytes -= sent
            if sent < len(waiting):
                side.late[0] = (there_s, waiting[sent:])
            else:
                side.late.popleft()

    def _end(self, pair: _Pair, *, abruptly: bool) -> None:
        for side in (pair.near, pair.far):
            self._pairs.pop(side, None)
            with suppress(KeyError, ValueError):
                self._selector.unregister(side.socket)
            if abruptly:  # a reset instead of an orderly end
                with suppress(OSError):
                    side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.socket.close()
