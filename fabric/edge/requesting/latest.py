"""The newest value that one thread has for another, where each value replaces those before it, or is joined to them.

Guarantees: at most one waits, however slow the reader is; the last one is always read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from fabric.edge.locks import Condition

T = TypeVar("T")


class Latest(Generic[T]):
    """`wake` is called, on the writer's thread, when there is one where there was none. `join` makes one of one that
    waits and the next."""

    def __init__(
        self, wake: Callable[[], None] = lambda: None, join: Callable[[T, T], T] = lambda _, next_: next_
    ) -> None:
        self._wake = wake
        self._join = join
        self._waiting: list[T] = []  # one, or none
        self._changed = Condition()

    def put(self, value: T) -> None:
        with self._changed:
            first = not self._waiting
            self._waiting = [value if first else self._join(self._waiting[0], value)]
            self._changed.notify()
        if first:
            self._wake()

    def take(self) -> T | None:
        """The newest, if it was not taken yet."""
        with self._changed:
            return self._waiting.pop() if self._waiting else None

    def get(self) -> T:
        """The newest; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting))
            return self._waiting.pop()
