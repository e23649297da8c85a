"""A document of the authority that every node is to have, in a kind of frame (SPEC 6.4, 6.7): who is sent it, and when.

Guarantees: when a link opens, whoever has the newer version hands it over; a new one goes to every open link but its
source's; what was sent is sent again, ever more seldom, since nothing answers it and a frame may be lost. What a
document means, and whether it is one, is for others.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.core.ready import Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.list_exchange import ListExchange
from fabric.protocol.links.port import LinkPort
from fabric.protocol.wire.frames import Frame


class Handover:
    """`exchange`: of a link, for this kind of document; `held`: the version in force, and the frame that carries it."""

    def __init__(
        self, port: LinkPort, exchange: Callable[[Link], ListExchange], held: Callable[[], tuple[int, Frame]]
    ) -> None:
        self._port = port
        self._exchange = exchange
        self._held = held

    def link_opened(self, link: Link, theirs: int, ready: Ready) -> None:
        """`theirs`: the version that the peer has."""
        self._exchange(link).opened(theirs)
        if theirs < self._held()[0]:
            self.send(link, ready)

    def send(self, link: Link, ready: Ready) -> None:
        """It is news to this peer."""
        self._exchange(link).sent()
        self._port.send(link, self._held()[1], ready)

    def pass_on(self, source: Link | None, ready: Ready) -> None:
        """It is news to everybody but its source."""
        for link in self._port.links.values():
            if link.is_open and link is not source:
                self.send(link, ready)

    def repeat(self, link: Link, ready: Ready) -> None:
        """At a PING or PONG."""
        if self._exchange(link).is_due_again():
            self._port.send(link, self._held()[1], ready)

    def is_overdue(self, link: Link, now_ms: int, most_ms: int) -> bool:
        """Whether something waits for longer than this for the newer version that the peer says it has."""
        exchange = self._exchange(link)
        return exchange.is_awaited and exchange.is_overdue(self._held()[0], now_ms, most_ms)
