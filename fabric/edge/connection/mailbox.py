"""How other threads reach a connection's thread: functions that it runs in its next turn, and a pipe that wakes it.

Guarantees: functions run in the order of the calls; of what the program asks for no more than `WAITING_MAX` wait; after
the end none is accepted; whoever calls then, or still waited for a turn, is told what ended the connection.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Ready

Function = Callable[[int, Ready], None]
Lost = Callable[[FabricError], None]
# A turn takes all of them, several times a second. So many wait only while the disk does not answer.
WAITING_MAX = 65_536


class Mailbox:
    """The functions that wait for a connection's thread. `ended` is what ended the connection, or None."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Function, Lost]] = deque()
        self.ended: FabricError | None = None
        # One thread may be in here twice: what a garbage collection lets go may call, wherever it happens to run.
        self._lock = threading.RLock()
        self._reader, self._writer = _pipe()
        self._is_woken = False

    # -- from any thread --------------------------------------------------------------------------------

    def call(self, function: Function, lost: Lost = lambda error: None) -> None:
        """Run with the time and the turn's `Ready`. Raises what ended the connection, or BUSY where too many wait.

        `lost` is told, on the connection's thread, when it ends before the turn comes.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise FabricError(Code.BUSY, f"{WAITING_MAX} calls wait for the connection", "ask for less at a time")
        self.later(function, lost)

    def call_if_any(self, function: Function) -> None:
        """What has no meaning after the end. Each ends something that was taken, so there are no more of them."""
        with suppress(FabricError):
            self.later(function)

    def call_if_room(self, function: Function) -> None:
        """What may be left out."""
        with suppress(FabricError):
            self.call(function)

    def later(self, function: Function, lost: Lost = lambda error: None) -> None:
        """What the connection itself goes on with, once for something that came. Raises what ended it."""
        with self._lock:
            if self.ended is not None:
                raise self.ended
            self._waiting.append((function, lost))
        self.wake()

    def wake(self) -> None:
        """Whatever was left before this call is found in the turn that it brings about."""
        if self._is_woken:  # and has yet to forget it: what is there by then is run after that
            return
        try:
            self._is_woken = True
            self._writer.send(b"\0")
        except OSError:
            return  # a closed pipe has nobody to wake
        except BaseException:  # Ctrl-C in between: nobody was woken
            self._is_woken = False
            raise

    def forked(self, ended: FabricError | None) -> None:
        """This process is a fork: who held the lock may not be here, and the pipe is that of the other's thread."""
        self._lock = threading.RLock()
        self._reader, self._writer = _pipe()
        self._is_woken = False
        self.ended = ended

    # -- the connection's thread ------------------------------------------------------------------------

    def fileno(self) -> int:
        """Readable when somebody woke it."""
        return self._reader.fileno()

    def awake(self, waiting: Collection[Any]) -> None:
        """Forget who woke it; before looking at what there is to do. `waiting`: what can be read, as a poller says."""
        # Not by the mark alone: who wakes may be held up between making it and writing, and it is forgotten by then.
        if not (self._is_woken or self.fileno() in waiting):
            return
        with suppress(OSError):
            while len(self._reader.recv(4096)) == 4096:
                continue
        # Last: forgotten before the pipe is empty, whoever calls in between would be the last who wakes it.
        self._is_woken = False

    @property
    def waits(self) -> bool:
        """Whether something is to be run."""
        return bool(self._waiting)

    def run(self, now_ms: int, ready: Ready) -> None:
        """All that waits, and what that calls."""
        while self._waiting:
            function, _ = self._waiting.popleft()
            function(now_ms, ready)

    def end(self, error: FabricError) -> None:
        with self._lock:
            self.ended = error
            lost = [lost for _, lost in self._waiting]
            self._waiting.clear()
        for tell in lost:
            tell(error)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def _pipe() -> tuple[socket.socket, socket.socket]:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    return reader, writer


def fail(token: Any, error: FabricError) -> None:
    """End a future with this error, unless it ended already. What is no future is left alone."""
    # Its program may cancel it in this very moment.
    with suppress(InvalidStateError):
        if isinstance(token, Future) and not token.done():
            token.set_exception(error)
