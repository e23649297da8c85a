"""Envelopes on their way to the relay, and how much may be on its way at a time.

Guarantees: an urgent record waits for no batch to fill; what a reader holds back takes no place of what can go. Belongs
to the connection's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fabric.edge.publishing.drafts import Draft
from fabric.protocol.base.limits import LANE_QUOTA_BYTES
from fabric.protocol.point.point import Point
from fabric.protocol.vocabulary.severity import Lane

# Envelopes on their way to the relay at a time. What is published meanwhile gathers into larger batches.
_ENVELOPES_MAX: Final = 16
# Records on their way, where their envelopes hold few: what does not gather is not to wait for it.
_RECORDS_MAX: Final = 256
# Urgent envelopes, and a program's requests, do not wait for others: as many may be on their way at a time.
URGENT_MAX: Final = 1_024


class InFlight:
    """`durable`: this node has an outbox, so what is signed waits for the relay there, and its space is the bound."""

    def __init__(self, core: Point) -> None:
        self.durable = False
        self._core = core
        self._groups: dict[bytes, Sequence[Draft]] = {}  # by the message that they are in

    def __len__(self) -> int:
        """How many envelopes."""
        return len(self._groups)

    def put(self, id_: bytes, group: Sequence[Draft]) -> None:
        """These are on their way in this message."""
        self._groups[id_] = group

    def pop(self, id_: bytes) -> Sequence[Draft]:
        """What was in it: it is on its way no more. Nothing, where that is known already."""
        return self._groups.pop(id_, ())

    def end(self) -> list[Sequence[Draft]]:
        """What is in each, which nobody waits for any more."""
        groups = list(self._groups.values())
        self._groups.clear()
        return groups

    def has_room(self, lane: Lane, size: int, records: int) -> bool:
        """Whether a record of this size may go, while so many records are under way."""
        if self.durable:
            return not self._core.custody.full(lane, size)
        # What is urgent does not wait for a batch to fill.
        held_back = self._core.held_back
        envelopes = len(self._groups) - held_back
        if lane is Lane.URGENT:
            return envelopes < URGENT_MAX
        return envelopes < _ENVELOPES_MAX or records - held_back < _RECORDS_MAX

    def has_room_alone(self, lane: Lane, size: int) -> bool:
        """Whether a message may go that waits for no others of its lane."""
        return not self._core.custody.full(lane, max(1, size)) if self.durable else len(self._groups) < URGENT_MAX

    @property
    def is_held_back(self) -> bool:
        """Whether something waits for a reader."""
        return bool(self._core.put_off_by)

    def holds_back(self, lane: Lane, topic: str) -> bool:
        """Whether enough of a topic waits for a reader; with an outbox that is half of what a lane may hold."""
        return self._core.held_back_bytes(lane, topic) > (LANE_QUOTA_BYTES // 2 if self.durable else 0)
