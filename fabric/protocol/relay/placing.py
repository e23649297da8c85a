"""Who is where below a relay (SPEC 7.6): what nodes say of themselves, who passes it on, and who has moved.

Guarantees: a node is where its own newest signed statement says; it is believed from the child that it leads to; a peer
that still believes an older one is told the newer. Refuses routes from the parent that are not about a node that moved
away. A subclass knows the sessions of control points, and what becomes of messages.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CONFIRM_MS, FORGED_MAX, PING_MS, WITHDRAWALS_MAX
from fabric.protocol.base.shares import Shared
from fabric.protocol.core.ready import KeepSession, Note, Ready
from fabric.protocol.custody.sessions import child_relay, is_point, node_of, point_session
from fabric.protocol.links.announce import announce_all, answered, next_frames, pass_on, withdraw
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.node import Node
from fabric.protocol.routes.attachments import Attachment, RouteKey, open_attachment, sign_attachment
from fabric.protocol.routes.routing import AttachmentReader, Change
from fabric.protocol.wire.frames import Role, Routed, Routes

# A node that moved away is remembered for one to two of these, so that an older statement of it is recognised.
_PRUNE_MS = 60_000


class Placing(Node):
    """A relay that knows who is below it and by which way, and tells its parent."""

    def set_up(self) -> None:
        self._epoch = 0  # of this relay's own newest statement
        # The last that ended, with their epochs, and whether they had been known: sessions that ended come and go with
        # every command that somebody runs, and parents change seldom.
        self._withdrawn: Shared[RouteKey, tuple[int, bool]] = Shared(WITHDRAWALS_MAX)
        self._prune_at_ms = 0

    # -- what a subclass says ---------------------------------------------------------------------------

    def on_attached(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> None:
        """The peer of this link says that it is here."""

    def check_reader(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> Reject | None:
        """Whether the peer of this link may subscribe to what it says; else its link is ended."""
        return None

    def on_moved(
        self, destination: str, moved: tuple[Attachment, list[Attachment]], now_ms: int, ready: Ready
    ) -> None:
        """Not to be reached by this destination any more: a control point, or a relay and all below it."""

    def on_found(self, attachment: Attachment, now_ms: int, ready: Ready) -> None:
        """The way is known to a node that was not below before, and to all that are below that node."""

    def on_surplus(self, attachment: Attachment, now_ms: int, ready: Ready) -> None:
        """One session too many of its node: it is not believed any more."""
        self.routes.forget(attachment)
        self._withdraw(attachment.key, attachment.epoch, node_of(self.routes.via(attachment)))

    def on_gone(self, destination: str, now_ms: int, ready: Ready) -> None:
        """Nobody is to be reached by this destination any more."""

    # -- what is said upwards ---------------------------------------------------------------------------

    def announce_to(self, link: Link, now_ms: int, ready: Ready) -> None:
        """A parent is there: where this relay is, who is below, and who is no more."""
        mine = self._place_myself(link, now_ms, ready)
        announce_all(link, self.routes)
        for key, (epoch, known), source in self._withdrawn.items():
            if self.routes.get(key) is None:
                withdraw(link, key, epoch, source, known=known)
        for other in self.parent_links:
            if other is not link:
                pass_on(other, mine, self.me.id)

    def place_anew(self, now_ms: int, ready: Ready) -> None:
        """The same place, said under a newer credential."""
        uplink = self.by_destination.get(UPLINK)
        if uplink is not None:
            pass_on(uplink, self._place_myself(uplink, now_ms, ready), self.me.id)
            self.touch(UPLINK)

    def _place_myself(self, link: Link, now_ms: int, ready: Ready) -> Attachment:
        """This relay's own statement: below this parent from now on."""
        assert link.peer is not None
        self._epoch = max(self._epoch + 1, self.time.now(now_ms))
        raw = sign_attachment(
            self.me, self.signer, self.session, link.peer.id, self._epoch, executes=False, subscriptions=()
        )
        mine = open_attachment(raw, {self.me.digest: self.me})
        assert isinstance(mine, Attachment)
        self.routes.put(mine)
        self.keep(self.me, ready)
        ready.persist.append(KeepSession(UPLINK, raw))
        return mine

    def _tell_parent(self, attachment: Attachment, said_by: str = "") -> None:
        """`said_by`: the child or control point that said it, where that is not the way to it."""
        uplink = self.by_destination.get(UPLINK)
        if uplink is not None:
            pass_on(uplink, attachment, node_of(self.routes.via(attachment)) or said_by)
            self.touch(UPLINK)

    def _withdraw(self, key: RouteKey, epoch: int, source: str, *, known: bool = True) -> None:
        """Tell the parent, and the next one too: this one may not live to pass it on."""
        self._withdrawn.push(key, (epoch, known), source)
        uplink = self.by_destination.get(UPLINK)
        if uplink is not None:
            withdraw(uplink, key, epoch, source, known=known)
            self.touch(UPLINK)

    def make_routes(self, link: Link, now_ms: int, ready: Ready) -> None:
        for frame in next_frames(link, self.routes, now_ms):
            self.send(link, frame, ready)

    def on_routed(self, link: Link, frame: Routed, now_ms: int, ready: Ready) -> None:
        for (node, _), reason in answered(link, frame):
            ready.notes.append(
                Note("route refused", {"node": node, "code": reason.code.label, "detail": reason.detail})
            )
        self.touch(link.destination)

    # -- what is heard ----------------------------------------------------------------------------------

    def on_routes(self, link: Link, frame: Routes, now_ms: int, ready: Ready) -> None:
        from_parent = link.peer_role == Role.PARENT
        if from_parent and (frame.first or frame.withdrawals):
            self.refuse(link, Reject(Code.WRONG_ROLE, "routes come from below"), now_ms, ready)
            return
        if frame.sequence <= link.routes_in:
            self.send(link, Routed(frame.sequence, []), ready)
            return
        if frame.first:
            # What this child does not say again within a while, it does not have any more.
            link.unconfirmed = {attachment.key: attachment.epoch for attachment in self.routes.below(link.destination)}
            link.unconfirmed_at_ms = now_ms
        if link.peer_role == Role.POINT and any(key[:2] != self._key_of(link) for key in frame.withdrawals):
            self.refuse(link, Reject(Code.WRONG_PEER, "a control point withdraws itself only"), now_ms, ready)
            return
        refusals: list[tuple[int, Code, str]] = []
        reader = AttachmentReader(self.routes, self.trust.credentials)
        for index, raw in enumerate(frame.attachments):
            opened = reader.read(raw)
            if reader.forged >= FORGED_MAX:
                self.refuse(link, Reject(Code.BAD_SIGNATURE, "too many in one frame"), now_ms, ready)
                return
            if refusals and refusals[-1][1] is Code.UNKNOWN_SIGNER:
                opened = Reject(Code.UNKNOWN_SIGNER)  # what follows may only mean something after it
            problem = opened if isinstance(opened, Reject) else self.time.for_now(
                self.trust.check(opened.credential, self.time.clocks(now_ms))
            )
            if isinstance(opened, Attachment) and problem is None:
                problem = (
                    self._told_from_above(opened, now_ms, ready) if from_parent
                    else self._told_from_below(opened, link, now_ms, ready)
                )
            if problem is not None:
                if problem.code is not Code.BUSY:
                    self.count("refused", problem.code.reason)
                refusals.append((index, problem.code, problem.detail))
            if not link.is_open:
                return
        for node, session, epoch in frame.withdrawals:
            known = self.routes.get((node, session))
            if known is None:  # those above may know more than was ever said here
                self._withdraw((node, session), epoch, node_of(link.destination), known=False)
            elif known.epoch <= epoch and self.routes.via(known) == link.destination:
                self.routes.forget(known)
                self._withdraw(known.key, known.epoch, node_of(link.destination))
        if not any(code is Code.UNKNOWN_SIGNER for _, code, _ in refusals):
            link.routes_in = frame.sequence
        self.send(link, Routed(frame.sequence, refusals), ready)

    @staticmethod
    def _key_of(link: Link) -> RouteKey:
        return (link.peer.id if link.peer is not None else "", link.peer_session)

    def _told_from_below(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> Reject | None:
        if link.peer_role == Role.POINT and attachment.key != self._key_of(link):
            return Reject(Code.WRONG_PEER, "a control point attaches itself only")
        problem = self.check_reader(attachment, link, now_ms, ready)
        if problem is not None:
            return problem
        link.unconfirmed.pop(attachment.key, None)
        newest = self.routes.newest(attachment)
        if newest is not None and attachment.epoch < newest.epoch:
            if self.routes.via(newest) != link.destination:
                # It has moved on: whoever still believes the older statement is told.
                pass_on(link, newest, newest.node)
                self.touch(link.destination)
            return None
        way = self.routes.via(attachment)
        if way not in ("", link.destination) and (newest is None or newest.raw != attachment.raw):
            # The child that leads there will say so itself, and knows whether it is still true.
            if link.peer is not None and attachment.node == link.peer.id:
                link.leaving_at_ms = now_ms
            return Reject(Code.BUSY, attachment.node)
        if newest is None or newest.raw != attachment.raw:
            problem = self._make_room(attachment, now_ms, ready)
            if problem is not None or not link.is_open:
                return problem
        self._place(attachment, now_ms, ready, node_of(link.destination))
        if way == link.destination and link.peer is not None and attachment.node == link.peer.id:
            self.on_attached(attachment, link, now_ms, ready)
        return None

    def _make_room(self, attachment: Attachment, now_ms: int, ready: Ready) -> Reject | None:
        """For one more session of its node another goes, or it is the one that is too many."""
        surplus = self.routes.surplus(attachment)
        if surplus is attachment:
            return Reject(Code.TOO_MANY_SESSIONS, attachment.node)
        if not self.routes.has_room(attachment):
            self.count("routes", "no_room")
            return Reject(Code.BUSY, attachment.node)
        if surplus is not None:
            self.count("ended", Code.TOO_MANY_SESSIONS.reason)
            self.on_surplus(surplus, now_ms, ready)
        return None

    def _told_from_above(self, attachment: Attachment, now_ms: int, ready: Ready) -> Reject | None:
        """The parent knows that a node which was here is elsewhere."""
        if attachment.node == self.me.id:
            if attachment.session != self.session and attachment.epoch >= self._epoch:
                self.count("twins", "self")
                ready.notes.append(Note("another process runs with this identity", {
                    "code": Code.TWIN.label, "below": attachment.relay,
                }))
            return None
        newest = self.routes.newest(attachment)
        if newest is None or attachment.epoch <= newest.epoch:
            return None
        if self.routes.via(attachment):
            # It is with somebody who is below, or is believed to be: it says so itself, or it moved too.
            return Reject(Code.BUSY, attachment.node)
        self._place(attachment, now_ms, ready)
        return None

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        for link in list(self.links.values()):
            if link.unconfirmed and now_ms - link.unconfirmed_at_ms > CONFIRM_MS:
                self.contained(self._forget_unconfirmed, link, now_ms, ready)
        if now_ms >= self._prune_at_ms:
            self._prune_at_ms = now_ms + _PRUNE_MS
            self.routes.prune()

    def _forget_unconfirmed(self, link: Link, now_ms: int, ready: Ready) -> None:
        del now_ms, ready
        gone = [a for a in self.routes.below(link.destination) if link.unconfirmed.get(a.key) == a.epoch]
        for attachment in gone:
            self.routes.forget(attachment)
            self._withdraw(attachment.key, attachment.epoch, node_of(link.destination))
        link.unconfirmed = {}

    # -- what follows from it ---------------------------------------------------------------------------

    def _place(self, attachment: Attachment, now_ms: int, ready: Ready, said_by: str = "") -> None:
        """A node says where it is: whoever it is news to is told, and what waits for it where it was follows it."""
        known = self.routes.newest(attachment)
        before = self.routes.via(known) if known is not None else ""
        moves = known is not None and known.relay != attachment.relay
        with_it = self.routes.below_relay(attachment.node) if moves and attachment.is_relay else []
        if self.routes.put(attachment) is not Change.NEW:
            return
        after = self.routes.via(attachment)
        self._tell_parent(attachment, said_by)
        if after and not before and attachment.is_relay:
            # Those above may have forgotten meanwhile who is below it.
            for known_below in self.routes.below_relay(attachment.node):
                self._tell_parent(known_below)
        if before and after != before:
            self._part_ways(attachment, with_it, before, now_ms, ready)
        if after and not before:
            self.on_found(attachment, now_ms, ready)

    def _part_ways(self, attachment: Attachment, with_it: list[Attachment], before: str, now_ms: int,
                   ready: Ready) -> None:
        """Somebody who was below is not, or is by another way; so is whoever is below a relay."""
        old = self.by_destination.get(before)
        if before not in (child_relay(attachment.node), point_session(*attachment.key)):
            if old is not None:
                pass_on(old, attachment, attachment.node)
                self.touch(before)
            self.on_moved(before, (attachment, with_it), now_ms, ready)
            return
        if old is None:
            self._gone(before, now_ms, ready)
            return
        if attachment.session == old.peer_session and not self._comes_and_goes(before, now_ms):
            # It told us itself, or will be gone in a moment: what it has yet to get goes while its link lasts.
            old.leaving_at_ms = now_ms
            self.touch(before)
            return
        # Not a connection that merely has yet to be found dead: the process at its end still speaks.
        if now_ms - old.heard_at_ms < 2 * PING_MS:
            self.count("twins", old.peer_role.name.lower())
        self.refuse(old, Reject(Code.TWIN, f"{attachment.node} is at {attachment.relay} too"), now_ms, ready)
        self._gone(before, now_ms, ready)

    def _is_at(self, destination: str) -> bool:
        """Whether the way to the child that this names is this, as far as is known."""
        return any(self.routes.via(known) == destination for known in self.routes.of_node(node_of(destination)))

    def _comes_and_goes(self, destination: str, now_ms: int) -> bool:
        """Whether the session is here and elsewhere by turns: two processes, and each takes it from the other."""
        return self._twins.is_twin(f"left {destination}", now_ms)

    def _gone(self, destination: str, now_ms: int, ready: Ready) -> None:
        """Somebody has another relay by now, and no link here: what was not handed over follows."""
        # A reader may come back for its session, and has its time for it. A child whose new parent has yet to say so is
        # believed to be here, and rows are made for it: known after a restart, too, they follow when it is said.
        if not is_point(destination) and not self._is_at(destination):
            ready.persist.append(KeepSession(destination, b""))
        self.on_gone(destination, now_ms, ready)
