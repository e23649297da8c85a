"""Moves what arrives on a relay's sockets into its inbox, under the right identity, and knows whose a link is.

Guarantees: whatever waits on a socket is read soon, so nobody's frames wait in libzmq behind another's; what the inbox
has no room for is dropped there and counted. Parents' and children's sockets have a share of each turn of their own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fabric.protocol.links.link import Link
from fabric.transport.diallers import Diallers
from fabric.transport.inbox import STRANGERS, Entry, Inbox
from fabric.transport.listener import Listener
from fabric.transport.sockets import LOOK_NS_MAX, RECEIVE_NS_MAX, readable


class Arrivals:
    """`links` are the core's, by number."""

    def __init__(
        self,
        inbox: Inbox,
        listener: Listener,
        diallers: Diallers,
        links: dict[int, Link],
    ) -> None:
        self._inbox = inbox
        self._listener = listener
        self._diallers = diallers
        self._links = links
        self._dialled: dict[int, bytes] = {}  # link -> the key that was dialled
        self._accepted: set[int] = set()

    @property
    def more(self) -> bool:
        """Whether there is something to do though no socket says so."""
        return bool(self._inbox) or self._listener.more

    def up(self, link: int, peer: bytes) -> None:
        """A connection that this relay made: its peer has shown this key, so it is no stranger."""
        self._dialled[link] = peer

    def from_parents(self, waiting: Collection[Any] | None, most_ns: int = RECEIVE_NS_MAX) -> None:
        """What those sent whom this relay dials: its parents, and some children.

        `waiting`: sockets that have some; None: any may.
        """
        for link, payload in self._diallers.receive(waiting, most_ns):
            peer = self._dialled.get(link)
            if peer is not None:
                self._inbox.put(link, peer, peer, payload)

    def from_children(self, waiting: Collection[Any]) -> None:
        """What those sent who dial this relay: children, control points, and strangers."""
        self._from_listener(waits=self._listener.socket in waiting)

    def meanwhile(self) -> None:
        """What came since, from either; the rest is for the next turn."""
        self.from_parents(None, LOOK_NS_MAX)
        if readable(self._listener.socket):
            self._from_listener(waits=True, most_ns=LOOK_NS_MAX)

    def _from_listener(self, *, waits: bool, most_ns: int = RECEIVE_NS_MAX) -> None:
        for link, peer, payload in self._listener.receive(waits=waits, most_ns=most_ns):
            self._inbox.put(link, peer if self._is_open(link) else STRANGERS, peer, payload)

    def ended(self, link: int) -> bool:
        """A connection is over. True when the core can be told; else `next` says so after what it brought."""
        return self._inbox.end(link, self._dialled.get(link, STRANGERS))

    def forget(self, link: int) -> None:
        """The core was told of its end."""
        self._dialled.pop(link, None)
        self._accepted.discard(link)

    def next(self) -> Entry | None:
        return self._inbox.take()

    def handled(self, link: int, time_ns: int) -> None:
        """What an entry cost; whether the core knows its peer by now is seen here.

        Who waits for its turn to be admitted has shown its credential: it keeps its place among the connections.
        """
        self._inbox.spent(time_ns)
        if link in self._accepted or link in self._dialled:
            return
        known = self._links.get(link)
        if known is not None and (known.is_open or known.hello is not None):
            self._accepted.add(link)
            self._listener.accepted(link)

    def _is_open(self, link: int) -> bool:
        known = self._links.get(link)
        return known is not None and known.is_open
