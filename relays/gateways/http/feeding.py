"""The thread that has the gateway's own subscription for those who read, begun again when it fails.

Guarantees: what is posted goes on whatever becomes of it, and those who read are told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from fabric.edge.logging.faults import place_of
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.streams import Streams
from relays.gateways.kinds import Feed, Intake

_FIRST_S: Final = 1.0
_MOST_S: Final = 60.0
_END_S: Final = 5.0


class Feeding:
    """`topics`: patterns, of all that may read. It begins at once."""

    def __init__(self, intake: Intake, topics: Sequence[str], streams: Streams) -> None:
        self._intake = intake
        self._topics = topics
        self._streams = streams
        self._stop = threading.Event()
        intake.read_by(0, streams.away)
        self._feed: Feed | None = None
        self._thread = threading.Thread(target=self._run, name="http stream", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Once."""
        self._stop.set()
        feed = self._feed
        if feed is not None:
            feed.stop()
        self._thread.join(_END_S)
        self._intake.read_by(0, None)

    def _run(self) -> None:
        delay_s = _FIRST_S
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                feed = self._feed = self._intake.feed(self._topics, self._tell)
                if not self._stop.is_set():  # else nobody else ends it
                    feed.run(self._streams.take)
                failure = FabricError(Code.CLOSED)
            except FabricError as error:
                failure = error
            except Exception as fault:  # noqa: BLE001 - those who read are told, and it is begun again
                words = " ".join(f"{name}={value}" for name, value in place_of(fault).items())
                failure = FabricError(Code.SOURCE_FAILED, words)
            if self._stop.is_set():
                return
            self._tell(failure)
            if time.monotonic() - began_s > _MOST_S:
                delay_s = _FIRST_S
            self._stop.wait(delay_s)
            delay_s = min(_MOST_S, 2 * delay_s)

    def _tell(self, why: FabricError | None) -> None:
        if self._stop.is_set():
            return
        if why is None:
            self._intake.note("stream: its relay has the subscription")
        else:
            self._intake.note(f"stream: {why.code.label} {why.code.cause}: {why.detail}")
        self._streams.tell(why)
