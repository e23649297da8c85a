"""Sessions of control points at their relay (SPEC 7.5): who comes, who may read, and who does not come back.

Guarantees: a session that is away is kept for its time; a node has no more sessions, and no more that read, than it
may; of a session that ends its link, its route, what is kept of it and what sleeps for it end together.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SESSIONS_READING_MAX
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.kept_credentials import KeptCredentials
from fabric.protocol.core.ready import EndAsleep, KeepGap, KeepSession, Ready
from fabric.protocol.custody.sessions import Sessions, child_relay, is_point, node_of, session_of
from fabric.protocol.custody.sleeping import Sleeping
from fabric.protocol.custody.waiting import Waiting
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import Links, destination_of
from fabric.protocol.relay.below.facts import ChildRevoked, Hear, SessionEnded
from fabric.protocol.relay.below.route_exchange import RouteExchange
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Role


class SessionKeeper:
    """`sessions` says which there are; whoever hears of an end ends what waits for it."""

    def __init__(
        self, sessions: Sessions, sleeping: Sleeping, waiting: Waiting, routes: RouteTable, exchange: RouteExchange,
        links: Links, trust: TrustStore, kept: KeptCredentials, counters: Counters, hear: Hear,
    ) -> None:
        self._sessions = sessions
        self._sleeping = sleeping
        self._waiting = waiting
        self._routes = routes
        self._exchange = exchange
        self._links = links
        self._trust = trust
        self._kept = kept
        self._count = counters.count
        self._hear = hear

    # -- links ------------------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        if link.peer_role == Role.POINT:
            self._sessions.came(link.destination)
            self._sleeping.stays(link.destination)

    def lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Its link is no more; it may come back."""
        if link.peer_role == Role.POINT:
            self._sessions.left(link.destination, now_ms)
            self._end_surplus(link.destination, now_ms, ready)

    def took_leave(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Its peer said BYE."""
        if link.peer_role == Role.POINT and not self._sessions.is_durable(link.destination):
            # What it had not read by then is wanted by nobody: no loss, and no reader that was too slow.
            self.forget(link.destination, now_ms, ready, Code.NO_INTEREST)

    def attached(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> None:
        """The statement is kept: whoever moves while this relay is down would be missed after it."""
        link.leaving_at_ms = None
        self._kept.keep(attachment.credential, ready)
        ready.persist.append(KeepSession(link.destination, attachment.raw))
        if link.peer_role == Role.POINT:
            self._attached(link.destination, attachment)
            self._end_surplus(link.destination, now_ms, ready)

    def _attached(self, destination: str, attachment: Attachment) -> None:
        keep, reads = attachment.credential.grants.kept, bool(attachment.subscriptions)
        self._sessions.attached(destination, attachment.keep_ms, keep, reads=reads)

    def restored(self, destination: str, attachment: Attachment, now_ms: int) -> None:
        """It was here before this relay started."""
        self._attached(destination, attachment)
        self._sessions.left(destination, now_ms, restored=True)

    # -- how many there may be --------------------------------------------------------------------------

    def check_room(self, link: Link) -> Reject | None:
        """Whether the peer of this link may have one more."""
        destination = destination_of(link)
        if link.peer_role == Role.POINT and not self._sessions.takes(destination):
            return Reject(Code.TOO_MANY_SESSIONS, node_of(destination))
        return None

    def check_reader(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> Reject | None:
        """Whether the peer of this link may subscribe to what it says; else its link is ended."""
        if link.peer_role != Role.POINT or not attachment.subscriptions or self._sessions.may_read(link.destination):
            return None
        too_many = Reject(Code.TOO_MANY_SESSIONS, f"{attachment.node} has {SESSIONS_READING_MAX} that subscribe")
        destination = link.destination
        self._links.refuse(link, too_many, now_ms, ready)
        if not self._sessions.is_durable(destination):  # else it is away again, and what waits for it waits
            self.forget(destination, now_ms, ready)
        return too_many

    def surplus(self, attachment: Attachment, now_ms: int, ready: Ready) -> None:
        """One session too many of its node, here or further below."""
        way = self._routes.via(attachment)
        if not is_point(way):
            self._exchange.forget(attachment, now_ms, ready)
            return
        link = self._links.by_destination.get(way)
        if link is not None:
            self._links.refuse(link, Reject(Code.TOO_MANY_SESSIONS, attachment.node), now_ms, ready)
        self.forget(way, now_ms, ready)

    def _end_surplus(self, destination: str, now_ms: int, ready: Ready) -> None:
        for surplus in self._sessions.surplus(node_of(destination)):
            self.forget(surplus, now_ms, ready)

    # -- how they end -----------------------------------------------------------------------------------

    def tick(self, now_ms: int, ready: Ready) -> None:
        """Forget who did not come back in time."""
        self._sleeping.look_around()
        for destination in self._sessions.overdue(now_ms):
            self.forget(destination, now_ms, ready)

    def forget(self, destination: str, now_ms: int, ready: Ready, code: Code = Code.SUBSCRIBER_GONE) -> None:
        """A control point left, or did not come back in time: its link ends if there is one, its rows, its routes."""
        link = self._links.by_destination.get(destination)
        if link is not None:
            self._links.part(link, now_ms, ready)  # it has no outbox from here on
        self._sessions.forget(destination)
        self._waiting.forget(destination)
        known = self._routes.get(session_of(destination))
        if known is not None and self._routes.via(known) == destination:
            self._routes.forget(known)
            self._exchange.withdraw(known.key, known.epoch, known.node)
        ready.persist += [KeepSession(destination, b""), KeepGap(destination, 0)]
        self._hear(SessionEnded(destination, code), now_ms, ready)
        asleep = self._sleeping.forget(destination)
        if asleep:
            self._count("ended", code.reason, asleep)
            ready.persist.append(EndAsleep(destination))

    def list_changed(self, now_ms: int, ready: Ready) -> None:
        """Whoever is on the revocation list is no longer below, and nothing is kept for it."""
        for attachment in list(self._routes.all()):
            if self._trust.revocations.check(attachment.credential) is None:
                continue
            if self._routes.newest(attachment) is not attachment:
                continue  # it went with another
            way = self._routes.via(attachment)
            if is_point(way):
                self.forget(way, now_ms, ready)
                continue
            below = [a for a in self._routes.below_relay(attachment.node) if not a.is_relay]
            self._routes.forget(attachment)
            if way == child_relay(attachment.node):
                ready.persist.append(KeepSession(way, b""))
                self._hear(ChildRevoked(way, below), now_ms, ready)
