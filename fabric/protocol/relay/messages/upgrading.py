"""A message that came again by another path, with parts that the first copy lacked (SPEC 7.5).

Guarantees: what is held becomes the union of both copies, within the room that there is; nothing that this relay may
not have is in it; what sleeps on disk is united there.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.ready import Ready, Replace
from fabric.protocol.custody.custody import Custody
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.messages.intake import Intake
from fabric.protocol.relay.messages.readers import Readers
from fabric.protocol.wire.frames import Direction


class Upgrading:
    """`strip` leaves of a message what this relay is cleared for, or says why that is nothing."""

    def __init__(
        self, custody: Custody, readers: Readers, intake: Intake, strip: Callable[[Verified], Verified | Reject],
        counters: Counters,
    ) -> None:
        self._custody = custody
        self._readers = readers
        self._intake = intake
        self._strip = strip
        self._counters = counters

    def came_again(self, message: Verified, direction: Direction, now_ms: int, ready: Ready) -> None:
        """This is known by its id."""
        held = self._custody.get(message.id, direction)
        if held is None and not any(self._custody.asleep.rows):
            return
        fitted = self._strip(message)
        if isinstance(fitted, Reject):
            return
        if held is None:
            if self._intake.no_room(fitted) is None and self._custody.asleep.offer(fitted, direction):
                ready.persist.append(Replace(fitted.id, direction, fitted.raw))  # perhaps it sleeps
            return
        fuller = held.message.united_with(fitted)
        if fuller is held.message:
            return
        if self._readers.waits_to_grow(held, now_ms) or not self._custody.replace(held, fuller, ready):
            self._counters.count("refused", Code.BUSY.reason)
            return
        self._counters["upgraded"] += 1
        self._readers.shed(held, now_ms, ready)
