"""Whom a relay has below it (SPEC 7.5, 7.7): children, sessions of control points, and how it drains.

Guarantees: a node that moves away is handed what is held for it while its link lasts; a session that is away is kept
for its time; a relay that drains serves on until everybody who has another parent has gone. A subclass says what
becomes of messages.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ADMISSIONS_BURST, LANE_WINDOW_BYTES, RETRY_MS, SESSIONS_READING_MAX
from fabric.protocol.core.ready import Drain, EndAsleep, Event, KeepGap, KeepSession, Op, Ready
from fabric.protocol.custody.asleep import ReadersAsleep
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Outbox
from fabric.protocol.custody.sessions import Sessions, child_relay, is_point, node_of, point_session, session_of
from fabric.protocol.custody.sleeping import Sleeping
from fabric.protocol.custody.waiting import Waiting
from fabric.protocol.links.announce import settled
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.placing import Placing
from fabric.protocol.routes.attachments import Attachment, open_attachment
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Bye, Role

# A control point acknowledges after its handler returned, so its silence means work, not loss.
_POINT_RETRY_MS = 10_000


class Below(Placing):
    """A relay that has children and sessions of control points, and can be drained."""

    accepts = (Role.CHILD, Role.PARENT, Role.POINT)

    def set_up(self) -> None:
        super().set_up()
        self.custody = Custody(self._outbox)
        self.sessions = Sessions()
        self.sleeping = Sleeping(self.custody, self.outboxes.get, self.sessions.keeps_much, self.touch)
        self.waiting = Waiting()
        self._told_to_go: dict[int, None] = {}  # links whose peers know that this relay drains

    @property
    def is_root(self) -> bool:
        return not self.parents

    def on_session_end(self, destination: str, code: Code, now_ms: int, ready: Ready) -> None:
        """A control point took leave (NO_INTEREST), or did not come back in time: a subclass ends its rows."""

    # -- links ------------------------------------------------------------------------------------------

    def takes_in(self, lane: Lane) -> bool:
        """Whether there is room for another window of this lane."""
        return not self.custody.full(lane, LANE_WINDOW_BYTES)

    def destination_of(self, link: Link) -> str:
        assert link.peer is not None
        if link.peer_role == Role.PARENT:
            return UPLINK
        if link.peer_role == Role.CHILD:
            return child_relay(link.peer.id)
        return point_session(link.peer.id, link.peer_session)

    def _outbox(self, destination: str) -> Outbox:
        outbox = self.outboxes.get(destination)
        if outbox is None:
            retry_ms = _POINT_RETRY_MS if is_point(destination) else RETRY_MS
            outbox = self.outboxes[destination] = Outbox(destination, retry_ms)
        self.touch(destination)
        return outbox

    def on_open(self, link: Link, now_ms: int, ready: Ready) -> None:
        if link.peer_role == Role.POINT:
            self.sessions.came(link.destination)
            self.sleeping.stays(link.destination)
        if link.peer_role == Role.PARENT:
            self.announce_to(link, now_ms, ready)

    def on_lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        self._told_to_go.pop(link.number, None)
        if link.peer_role == Role.POINT:
            self.sessions.left(link.destination, now_ms)
            self._end_surplus(link.destination, now_ms, ready)
        if link.leaving_at_ms is not None and link.peer_role != Role.PARENT:
            self._gone(link.destination, now_ms, ready)

    def on_bye(self, link: Link, bye: Bye, now_ms: int, ready: Ready) -> None:
        if link.peer_role == Role.POINT and not self.sessions.is_durable(link.destination):
            # What it had not read by then is wanted by nobody: no loss, and no reader that was too slow.
            self.forget_session(link.destination, now_ms, ready, Code.NO_INTEREST)

    def on_attached(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> None:
        """The statement is kept: whoever moves while this relay is down would be missed after it."""
        link.leaving_at_ms = None
        self.keep(attachment.credential, ready)
        ready.persist.append(KeepSession(link.destination, attachment.raw))
        if link.peer_role == Role.POINT:
            self._session_attached(link.destination, attachment)
            self._end_surplus(link.destination, now_ms, ready)

    def _session_attached(self, destination: str, attachment: Attachment) -> None:
        keep, reads = attachment.credential.grants.kept, bool(attachment.subscriptions)
        self.sessions.attached(destination, attachment.keep_ms, keep, reads=reads)

    def _end_surplus(self, destination: str, now_ms: int, ready: Ready) -> None:
        for surplus in self.sessions.surplus(node_of(destination)):
            self.forget_session(surplus, now_ms, ready)

    def check_room(self, link: Link) -> Reject | None:
        destination = self.destination_of(link)
        if link.peer_role == Role.POINT and not self.sessions.takes(destination):
            return Reject(Code.TOO_MANY_SESSIONS, node_of(destination))
        return None

    def check_reader(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> Reject | None:
        if link.peer_role != Role.POINT or not attachment.subscriptions or self.sessions.may_read(link.destination):
            return None
        too_many = Reject(Code.TOO_MANY_SESSIONS, f"{attachment.node} has {SESSIONS_READING_MAX} that subscribe")
        destination = link.destination
        self.refuse(link, too_many, now_ms, ready)
        if not self.sessions.is_durable(destination):  # else it is away again, and what waits for it waits
            self.forget_session(destination, now_ms, ready)
        return too_many

    def on_surplus(self, attachment: Attachment, now_ms: int, ready: Ready) -> None:
        way = self.routes.via(attachment)
        link = self.by_destination.get(way)
        if is_point(way) and link is not None:
            self.refuse(link, Reject(Code.TOO_MANY_SESSIONS, attachment.node), now_ms, ready)
        if is_point(way):
            self.forget_session(way, now_ms, ready)
        else:
            super().on_surplus(attachment, now_ms, ready)

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        super().on_timers(now_ms, ready)
        self.sleeping.look_around()
        for destination in self.sessions.overdue(now_ms):
            self.forget_session(destination, now_ms, ready)
        for link in list(self.links.values()):
            if link.leaving_at_ms is not None and link.peer_role != Role.PARENT:
                self.contained(self._part_when_handed_over, link, now_ms, ready)
        if self.draining:
            self._send_away(ready)

    def _part_when_handed_over(self, link: Link, now_ms: int, ready: Ready) -> None:
        if self._is_handed_over(link):
            self.part(link, now_ms, ready)

    def _is_handed_over(self, link: Link) -> bool:
        """Whether all that was held for a peer that moves is with it, and nobody above sends more."""
        uplink = self.by_destination.get(UPLINK)
        asleep = self.custody.readers_asleep.rows_of(link.destination)
        return self.outboxes[link.destination].empty and not asleep and (uplink is None or settled(uplink))

    def forget_session(
        self, destination: str, now_ms: int, ready: Ready, code: Code = Code.SUBSCRIBER_GONE
    ) -> None:
        """A control point left, or did not come back in time: its link ends if there is one, its rows, its routes."""
        link = self.by_destination.get(destination)
        if link is not None:
            self.part(link, now_ms, ready)  # it has no outbox from here on
        self.sessions.forget(destination)
        self.waiting.forget(destination)
        known = self.routes.get(session_of(destination))
        if known is not None and self.routes.via(known) == destination:
            self.routes.forget(known)
            self._withdraw(known.key, known.epoch, known.node)
        ready.persist += [KeepSession(destination, b""), KeepGap(destination, 0)]
        self.on_session_end(destination, code, now_ms, ready)
        asleep = self.sleeping.forget(destination)
        if asleep:
            self.count("ended", code.reason, asleep)
            ready.persist.append(EndAsleep(destination))

    # -- who is revoked ---------------------------------------------------------------------------------

    def on_revoked(self, destination: str, below: list[Attachment], now_ms: int, ready: Ready) -> None:
        """A child, which these control points were below: a subclass says what becomes of what waits for it."""

    def forget_revoked(self, now_ms: int, ready: Ready) -> None:
        """Whoever is on the list is no longer below, and nothing is kept for it."""
        for attachment in list(self.routes.all()):
            if self.trust.revocations.check(attachment.credential) is None:
                continue
            if self.routes.newest(attachment) is not attachment:
                continue  # it went with another
            way = self.routes.via(attachment)
            if is_point(way):
                self.forget_session(way, now_ms, ready)
                continue
            below = [a for a in self.routes.below_relay(attachment.node) if not a.is_relay]
            self.routes.forget(attachment)
            if way == child_relay(attachment.node):
                ready.persist.append(KeepSession(way, b""))
                self.on_revoked(way, below, now_ms, ready)

    # -- a relay that stops -----------------------------------------------------------------------------

    def on_event(self, event: Event, now_ms: int, ready: Ready) -> None:
        match event:
            case Drain():
                self.draining = True
                self._send_away(ready)
            case _:
                super().on_event(event, now_ms, ready)

    def _send_away(self, ready: Ready) -> None:
        """Tell children and control points to move, a few at a time: all of them at once are a herd."""
        redirect = self.uplink.current
        staying = [
            link for link in self.links.values()
            if link.is_open and link.peer_role != Role.PARENT and link.number not in self._told_to_go
        ]
        for link in staying[:ADMISSIONS_BURST]:
            self._told_to_go[link.number] = None
            self.send(link, Bye(Code.DRAINING, redirect), ready)

    @property
    def drained(self) -> bool:
        """Whether nobody is here any more, and what climbed has been taken above."""
        uplink = self.by_destination.get(UPLINK)
        below = any(link.is_open and link.peer_role != Role.PARENT for link in self.links.values())
        climbing = not self._outbox(UPLINK).empty or (uplink is not None and not settled(uplink))
        return self.draining and not below and not climbing

    # -- after a restart --------------------------------------------------------------------------------

    def readers_sleep(self, asleep: ReadersAsleep, awake_rows: int, last_row: int, now_ms: int) -> None:
        """The driver lets sleep what waits for readers, beyond so many rows, and wakes what `sleeping` says.

        `asleep`: what of it slept when it began. `last_row`: the number of the last row that it had then.
        """
        self.custody.order = last_row
        self.custody.readers_asleep = asleep
        self.sleeping.awake_rows = awake_rows
        for destination in asleep:
            self.sessions.left(destination, now_ms, restored=True)
            self.sleeping.woke(destination)

    def on_restore(self, op: Op, now_ms: int) -> None:
        if not isinstance(op, KeepSession):
            return
        attachment = open_attachment(op.attachment, self.trust.credentials)
        if not isinstance(attachment, Attachment):
            return
        if op.destination == UPLINK:
            self._epoch = attachment.epoch
            return
        if not self.routes.has_room(attachment):
            self.count("routes", "no_room")
            return
        self.routes.put(attachment)
        self._outbox(op.destination)
        if is_point(op.destination):
            self._session_attached(op.destination, attachment)
            self.sessions.left(op.destination, now_ms, restored=True)
