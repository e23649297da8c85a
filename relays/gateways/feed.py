"""What comes on some topics from now on, for a source that hands it on: by a session of its own, which is not durable.

Guarantees: what is read is acknowledged at once, so nothing waits at the relay for whoever it is handed on to; `tell`
hears each time that the relay has the subscription (None), and each time that it is gone (why). What is published
between these may not come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import Identity
from fabric.edge.messages import Message
from fabric.protocol.base.errors import FabricError

_AT_ONCE = 512


class PointFeed:
    """`topics`: patterns; what several of them match comes once. `tell`: on any thread, it must not block."""

    def __init__(
        self, identity: Identity, topics: Sequence[str], tell: Callable[[FabricError | None], None]
    ) -> None:
        self._topics = tuple(topics)
        self._tell = tell
        self._point = ControlPoint(identity, connect_timeout_s=None, wait_for_relay=True)
        self._point.on_link(self._on_link)
        self._lock = threading.Lock()
        self._is_linked = False
        self._is_subscribed = False

    def run(self, take: Callable[[list[Message]], None]) -> None:
        """As `kinds.Feed` says."""
        first, *more = self._topics
        try:
            self._point.connect()
            with self._point.subscribe(first, also=more) as messages:
                if messages.in_force:
                    self._subscribed()
                while found := messages.group(_AT_ONCE):
                    take(found)
        finally:
            self.stop()

    def stop(self) -> None:
        """As `kinds.Feed` says."""
        with suppress(FabricError):
            self._point.close(0.0)

    def _on_link(self, why: FabricError | None) -> None:
        with self._lock:
            self._is_linked = why is None
            if self._is_subscribed:
                self._tell(why)

    def _subscribed(self) -> None:
        """A relay may be there before it has the subscription: that is told now."""
        with self._lock:
            self._is_subscribed = True
            if self._is_linked:
                self._tell(None)
