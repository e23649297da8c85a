"""What was read and is to be taken: from the thread that reads sockets to the one that publishes.

Guarantees: it is bounded in bytes and messages. When there is more than `HIGH_BYTES` or `HIGH_MESSAGES`, whoever reads
is to stop; when there is less than a quarter of both again, it is told. So what the outbox does not take stays with its
senders, or in the kernel; and what was read when the source is to stop has room among the dead letters.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from relays.gateways.syslog.framing import Frame

HIGH_BYTES: Final = 4 << 20
# Below half of what the dead letters of a source hold: what one turn of each socket reads comes on top.
HIGH_MESSAGES: Final = 4_096
_LOW: Final = 4
# What a message takes besides its bytes.
FRAME_BYTES: Final = 128


class Batch(NamedTuple):
    """Messages of one peer. `name`: as its certificate has it, empty without one."""

    transport: str
    host: str
    port: int
    name: str
    frames: Sequence[Frame]

    @property
    def size(self) -> int:
        return sum(len(frame.raw) for frame in self.frames) + FRAME_BYTES * len(self.frames)


class Batches:
    """`on_room`: called by the thread that takes, when whoever reads may go on."""

    def __init__(self, on_room: Callable[[], None]) -> None:
        self._waiting: deque[Batch] = deque()
        self._ready = threading.Condition()
        self._on_room = on_room
        self._full = False
        self._bytes = self._messages = 0
        self._ended = False

    def put(self, batch: Batch) -> bool:
        """Whether there is room for more."""
        with self._ready:
            self._waiting.append(batch)
            self._bytes += batch.size
            self._messages += len(batch.frames)
            self._full = self._full or self._bytes > HIGH_BYTES or self._messages > HIGH_MESSAGES
            self._ready.notify()
            return not self._full

    def end(self) -> None:
        """Nothing more comes."""
        with self._ready:
            self._ended = True
            self._ready.notify()

    def get(self, timeout_s: float) -> list[Batch] | None:
        """What there is, perhaps nothing after a while; None when there will be nothing any more."""
        with self._ready:
            if not self._waiting and not self._ended:
                self._ready.wait(timeout_s)
            found = list(self._waiting)
            self._waiting.clear()
            if not found and self._ended:
                return None
            return found

    def taken(self, batch: Batch) -> None:
        """This one is out of the way."""
        with self._ready:
            self._bytes -= batch.size
            self._messages -= len(batch.frames)
            room = self._full and self._bytes * _LOW < HIGH_BYTES and self._messages * _LOW < HIGH_MESSAGES
            if room:
                self._full = False
        if room:
            self._on_room()
