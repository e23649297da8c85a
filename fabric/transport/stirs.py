"""On which connections something came in, as the kernel tells it once for each (Linux; elsewhere nobody knows).

Of thousands of connections only those are looked at that have something to look at. Guarantee: whatever comes on one
that is watched is in the next `take`, also where somebody else reads it before. Reads nothing, and closes nothing.
"""

from __future__ import annotations

import select
from contextlib import suppress

_AT_ONCE = 256


class Stirs:
    """Connections by descriptor. They belong to libzmq, which may have closed one before that is known here."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None

    def watch(self, descriptor: int) -> None:
        """What came before counts as having come now."""
        if self._epoll is not None:
            with suppress(OSError):  # it ended, or is watched already
                self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def forget(self, descriptor: int) -> None:
        """It is gone: the kernel has mostly forgotten it by itself."""
        if self._epoll is not None:
            with suppress(OSError):
                self._epoll.unregister(descriptor)

    def take(self) -> set[int] | None:
        """Those on which something came in since the last call; None where nobody knows."""
        if self._epoll is None:
            return None
        found: set[int] = set()
        while more := {descriptor for descriptor, _ in self._epoll.poll(0, _AT_ONCE)} - found:
            found |= more
        return found

    def close(self) -> None:
        if self._epoll is not None:
            self._epoll.close()
