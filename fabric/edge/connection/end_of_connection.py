"""The end of a connection: whoever listens is told once, on its thread; who comes later, at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from fabric.protocol.base.errors import FabricError


class EndOfConnection:
    """`call`: the program's own function, which is told what ended the connection."""

    def __init__(self) -> None:
        self._call: Callable[[FabricError], None] | None = None
        self._lock = threading.Lock()
        self._is_over = False
        self._listeners: list[Callable[[], None]] = []  # one for each thread or task that waits for the end

    def call(self, tell: Callable[[FabricError], None]) -> None:
        """This function of the program's, instead of the one before."""
        self._call = tell

    def when_over(self, tell: Callable[[], None]) -> None:
        """Call this when the connection has ended for good, on its thread; now, where it has."""
        with self._lock:
            if not self._is_over:
                self._listeners.append(tell)
                return
        tell()

    def not_when_over(self, tell: Callable[[], None]) -> None:
        """Nobody waits for that any more."""
        with self._lock, suppress(ValueError):
            self._listeners.remove(tell)

    def tell(self, error: FabricError) -> None:
        """It has ended: on the connection's thread, and when all else knows it."""
        with self._lock:
            self._is_over = True
            listeners, self._listeners = self._listeners, []
        for tell in listeners:
            tell()
        if self._call is not None:
            self._call(error)
