"""The outboxes of a relay by destination: one is made when something is for a destination that has none."""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.base.limits import RETRY_MS
from fabric.protocol.custody.outbox import Outbox
from fabric.protocol.custody.sessions import is_point

# A control point acknowledges after its handler returned, so its silence means work, not loss.
_POINT_RETRY_MS = 10_000


class Outboxes:
    """`by_destination`: those that there are. `touch(destination)`: something waits for it."""

    def __init__(self, by_destination: dict[str, Outbox], touch: Callable[[str], None]) -> None:
        self.by_destination = by_destination
        self._touch = touch

    def of(self, destination: str) -> Outbox:
        outbox = self.by_destination.get(destination)
        if outbox is None:
            retry_ms = _POINT_RETRY_MS if is_point(destination) else RETRY_MS
            outbox = self.by_destination[destination] = Outbox(destination, retry_ms)
        self._touch(destination)
        return outbox
