"""Who goes (SPEC 7.5, 7.7): peers that move away, and the relay itself when it drains.

Guarantees: a node that moves away is handed what is held for it while its link lasts; a relay that drains serves on
until everybody who has another parent has gone.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import ADMISSIONS_BURST
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outboxes import Outboxes
from fabric.protocol.links.announce import settled
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK, Links
from fabric.protocol.links.opening import Opening
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.wire.frames import Bye, Role


class Departures:
    """It keeps whom it has told to go."""

    def __init__(
        self, links: Links, uplink: Uplink, opening: Opening, custody: Custody, outboxes: Outboxes
    ) -> None:
        self._links = links
        self._uplink = uplink
        self._opening = opening
        self._custody = custody
        self._outboxes = outboxes
        self._told_to_go: dict[int, None] = {}  # links whose peers know that this relay drains

    def lost(self, link: Link) -> None:
        self._told_to_go.pop(link.number, None)

    def drain(self, ready: Ready) -> None:
        """From now on nobody is taken in, and everybody is to move."""
        self._opening.drain()
        self._send_away(ready)

    @property
    def drained(self) -> bool:
        """Whether nobody is here any more, and what climbed has been taken above."""
        uplink = self._links.by_destination.get(UPLINK)
        below = any(link.is_open and link.peer_role != Role.PARENT for link in self._links.by_number.values())
        climbing = not self._outboxes.of(UPLINK).empty or (uplink is not None and not settled(uplink))
        return self._opening.draining and not below and not climbing

    def tick(self, now_ms: int, ready: Ready) -> None:
        """Part from whom all was handed to, and tell more to go."""
        for link in list(self._links.by_number.values()):
            if link.leaving_at_ms is not None and link.peer_role != Role.PARENT:
                self._links.contained(self._part_when_handed_over, link, now_ms, ready)
        if self._opening.draining:
            self._send_away(ready)

    def _part_when_handed_over(self, link: Link, now_ms: int, ready: Ready) -> None:
        if self._is_handed_over(link):
            self._links.part(link, now_ms, ready)

    def _is_handed_over(self, link: Link) -> bool:
        """Whether all that was held for a peer that moves is with it, and nobody above sends more."""
        uplink = self._links.by_destination.get(UPLINK)
        asleep = self._custody.readers_asleep.rows_of(link.destination)
        empty = self._outboxes.by_destination[link.destination].empty
        return empty and not asleep and (uplink is None or settled(uplink))

    def _send_away(self, ready: Ready) -> None:
        """Tell children and control points to move, a few at a time: all of them at once are a herd."""
        redirect = self._uplink.current
        staying = [
            link for link in self._links.by_number.values()
            if link.is_open and link.peer_role != Role.PARENT and link.number not in self._told_to_go
        ]
        for link in staying[:ADMISSIONS_BURST]:
            self._told_to_go[link.number] = None
            self._links.send(link, Bye(Code.DRAINING, redirect), ready)
