"""Who is where below a relay (SPEC 7.6): what nodes say of themselves, who passes it on, and who has moved.

Guarantees: a node is where its own newest signed statement says; it is believed from the child that it leads to; a peer
that still believes an older one is told the newer. Refuses routes from the parent that are not about a node that moved
away. What follows from it for sessions and messages is told as facts.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CONFIRM_MS, FORGED_MAX, PING_MS, SKEW_MS, WITHDRAWALS_MAX
from fabric.protocol.base.shares import Shared
from fabric.protocol.base.signing import Signer
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.kept_credentials import KeptCredentials
from fabric.protocol.core.ready import KeepSession, Note, Ready
from fabric.protocol.core.standing import Standing
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.sessions import child_relay, is_point, node_of, point_session
from fabric.protocol.links.admission import Twins
from fabric.protocol.links.announce import announce_all, answered, next_frames, pass_on, withdraw
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK, Links
from fabric.protocol.relay.below.facts import Attached, Executes, ExecutesNoMore, Found, Gone, Hear, Moved, Surplus
from fabric.protocol.routes.attachments import EPOCH_MAX, Attachment, RouteKey, open_attachment, sign_attachment
from fabric.protocol.routes.routing import AttachmentReader, Change, RouteTable
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Role, Routed, Routes

# A node that moved away is remembered for one to two of these, so that an older statement of it is recognised.
_PRUNE_MS = 60_000


class RouteExchange:
    """`touch(destination)`: something waits for it. `may_read`: whether the peer of a link may subscribe to what it
    says; else its link is ended.
    """

    def __init__(
        self, me: Credential, signer: Signer, session: bytes, routes: RouteTable, links: Links, trust: TrustStore,
        time: Timekeeper, kept: KeptCredentials, twins: Twins, counters: Counters, touch: Callable[[str], None],
        may_read: Callable[[Attachment, Link, int, Ready], Reject | None], hear: Hear,
    ) -> None:
        self._me = me
        self._signer = signer
        self._session = session
        self._routes = routes
        self._links = links
        self._trust = trust
        self._time = time
        self._standing = Standing(trust, time)
        self._kept = kept
        self._twins = twins
        self._count = counters.count
        self._touch = touch
        self._may_read = may_read
        self._hear = hear
        self._epoch = 0  # of this relay's own newest statement
        # The last that ended, with their epochs, and whether they had been known: sessions that ended come and go with
        # every command that somebody runs, and parents change seldom.
        self._withdrawn: Shared[RouteKey, tuple[int, bool]] = Shared(WITHDRAWALS_MAX)
        self._prune_at_ms = 0

    # -- what is said upwards ---------------------------------------------------------------------------

    def parent_opened(self, link: Link, now_ms: int, ready: Ready) -> None:
        """A parent is there: where this relay is, who is below, and who is no more."""
        mine = self._place_myself(link, now_ms, ready)
        announce_all(link, self._routes)
        for key, (epoch, known), source in self._withdrawn.items():
            if self._routes.get(key) is None:
                withdraw(link, key, epoch, source, known=known)
        for other in self._links.parents:
            if other is not link:
                pass_on(other, mine, self._me.id)

    def renewed(self, me: Credential, now_ms: int, ready: Ready) -> None:
        """The same place, said under a newer credential."""
        self._me = me
        uplink = self._links.by_destination.get(UPLINK)
        if uplink is not None:
            pass_on(uplink, self._place_myself(uplink, now_ms, ready), self._me.id)
            self._touch(UPLINK)

    def _place_myself(self, link: Link, now_ms: int, ready: Ready) -> Attachment:
        """This relay's own statement: below this parent from now on."""
        assert link.peer is not None
        self._epoch = min(EPOCH_MAX, max(self._epoch + 1, self._time.now(now_ms)))
        raw = sign_attachment(
            self._me, self._signer, self._session, link.peer.id, self._epoch, executes=False, subscriptions=()
        )
        mine = open_attachment(raw, {self._me.digest: self._me})
        assert isinstance(mine, Attachment)
        self._routes.put(mine)
        self._kept.keep(self._me, ready)
        ready.persist.append(KeepSession(UPLINK, raw))
        return mine

    def _tell_parent(self, attachment: Attachment, said_by: str = "") -> None:
        """`said_by`: the child or control point that said it, where that is not the way to it."""
        uplink = self._links.by_destination.get(UPLINK)
        if uplink is not None:
            pass_on(uplink, attachment, node_of(self._routes.via(attachment)) or said_by)
            self._touch(UPLINK)

    def withdraw(self, key: RouteKey, epoch: int, source: str, *, known: bool = True) -> None:
        """Tell the parent, and the next one too: this one may not live to pass it on."""
        self._withdrawn.push(key, (epoch, known), source)
        uplink = self._links.by_destination.get(UPLINK)
        if uplink is not None:
            withdraw(uplink, key, epoch, source, known=known)
            self._touch(UPLINK)

    def say(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Send what is due of our routes."""
        for frame in next_frames(link, self._routes, now_ms):
            self._links.send(link, frame, ready)

    def confirmed(self, link: Link, frame: Routed, ready: Ready) -> None:
        """The peer has applied some of our routes, and says which it refused."""
        for (node, _), reason in answered(link, frame):
            ready.notes.append(
                Note("route refused", {"node": node, "code": reason.code.label, "detail": reason.detail})
            )
        self._touch(link.destination)

    # -- what is heard ----------------------------------------------------------------------------------

    def frame(self, link: Link, frame: Routes, now_ms: int, ready: Ready) -> None:
        """A peer says who is where."""
        from_parent = link.peer_role == Role.PARENT
        if from_parent and (frame.first or frame.withdrawals):
            self._links.refuse(link, Reject(Code.WRONG_ROLE, "routes come from below"), now_ms, ready)
            return
        if frame.sequence <= link.routes_in.sequence:
            self._links.send(link, Routed(frame.sequence, []), ready)
            return
        if frame.first:
            # What this child does not say again within a while, it does not have any more.
            link.routes_in.unconfirmed = {said.key: said.epoch for said in self._routes.below(link.destination)}
            link.routes_in.unconfirmed_at_ms = now_ms
        if link.peer_role == Role.POINT and any(key[:2] != self._key_of(link) for key in frame.withdrawals):
            self._links.refuse(link, Reject(Code.WRONG_PEER, "a control point withdraws itself only"), now_ms, ready)
            return
        refusals: list[tuple[int, Code, str]] = []
        reader = AttachmentReader(self._routes, self._trust.credentials)
        for index, raw in enumerate(frame.attachments):
            opened = reader.read(raw)
            if reader.forged >= FORGED_MAX:
                self._links.refuse(link, Reject(Code.BAD_SIGNATURE, "too many in one frame"), now_ms, ready)
                return
            if refusals and refusals[-1][1] is Code.UNKNOWN_SIGNER:
                opened = Reject(Code.UNKNOWN_SIGNER)  # what follows may only mean something after it
            problem = (
                opened if isinstance(opened, Reject) else self._standing.check_for_now(opened.credential, now_ms)
            )
            if isinstance(opened, Attachment) and problem is None:
                problem = (
                    self._told_from_above(opened, now_ms, ready) if from_parent
                    else self._told_from_below(opened, link, now_ms, ready)
                )
            if problem is not None:
                if problem.code is not Code.BUSY:
                    self._count("refused", problem.code.reason)
                refusals.append((index, problem.code, problem.detail))
            if not link.is_open:
                return
        for node, session, epoch in frame.withdrawals:
            known = self._routes.get((node, session))
            if known is None:  # those above may know more than was ever said here
                self.withdraw((node, session), epoch, node_of(link.destination), known=False)
            elif known.epoch <= epoch and self._routes.via(known) == link.destination:
                self.forget(known, now_ms, ready)
        if not any(code is Code.UNKNOWN_SIGNER for _, code, _ in refusals):
            link.routes_in.sequence = frame.sequence
        self._links.send(link, Routed(frame.sequence, refusals), ready)

    @staticmethod
    def _key_of(link: Link) -> RouteKey:
        return (link.peer.id if link.peer is not None else "", link.peer_session)

    def _told_from_below(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> Reject | None:
        if link.peer_role == Role.POINT and attachment.key != self._key_of(link):
            return Reject(Code.WRONG_PEER, "a control point attaches itself only")
        problem = self._may_read(attachment, link, now_ms, ready)
        if problem is not None:
            return problem
        link.routes_in.unconfirmed.pop(attachment.key, None)
        newest = self._routes.newest(attachment)
        if newest is not None and attachment.epoch < newest.epoch:
            if self._routes.via(newest) != link.destination:
                # It has moved on: whoever still believes the older statement is told.
                pass_on(link, newest, newest.node)
                self._touch(link.destination)
            return None
        way = self._routes.via(attachment)
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
            self._hear(Attached(attachment, link), now_ms, ready)
        return None

    def _make_room(self, attachment: Attachment, now_ms: int, ready: Ready) -> Reject | None:
        """For one more session of its node another goes, or it is the one that is too many."""
        surplus = self._routes.surplus(attachment)
        if surplus is attachment:
            return Reject(Code.TOO_MANY_SESSIONS, attachment.node)
        if not self._routes.has_room(attachment):
            self._count("routes", "no_room")
            return Reject(Code.BUSY, attachment.node)
        if surplus is not None:
            self._count("ended", Code.TOO_MANY_SESSIONS.reason)
            self._hear(Surplus(surplus), now_ms, ready)
        return None

    def _told_from_above(self, attachment: Attachment, now_ms: int, ready: Ready) -> Reject | None:
        """The parent knows that a node which was here is elsewhere."""
        if attachment.node == self._me.id:
            if attachment.session != self._session and attachment.epoch >= self._epoch:
                self._count("twins", "self")
                ready.notes.append(Note("another process runs with this identity", {
                    "code": Code.TWIN.label, "below": attachment.relay,
                }))
                self._outdo(attachment, now_ms, ready)
            return None
        newest = self._routes.newest(attachment)
        if newest is None or attachment.epoch <= newest.epoch:
            return None
        if self._routes.via(attachment):
            # It is with somebody who is below, or is believed to be: it says so itself, or it moved too.
            return Reject(Code.BUSY, attachment.node)
        self._place(attachment, now_ms, ready)
        return None

    def _outdo(self, attachment: Attachment, now_ms: int, ready: Ready) -> None:
        """What this relay said when it went by a time that was far ahead, and has forgotten with its disk, would be
        believed until that time comes: all that it says now would be older."""
        uplink = self._links.by_destination.get(UPLINK)
        if uplink is None or not self._time.now(now_ms) + SKEW_MS < attachment.epoch < EPOCH_MAX:
            return
        self._epoch = attachment.epoch
        pass_on(uplink, self._place_myself(uplink, now_ms, ready), self._me.id)
        self._touch(UPLINK)

    def tick(self, now_ms: int, ready: Ready) -> None:
        """Now and then: forget what was not said again, and who moved away long ago."""
        for link in list(self._links.by_number.values()):
            if link.routes_in.unconfirmed and now_ms - link.routes_in.unconfirmed_at_ms > CONFIRM_MS:
                self._links.contained(self._forget_unconfirmed, link, now_ms, ready)
        if now_ms >= self._prune_at_ms:
            self._prune_at_ms = now_ms + _PRUNE_MS
            self._routes.prune()

    def _forget_unconfirmed(self, link: Link, now_ms: int, ready: Ready) -> None:
        gone = [a for a in self._routes.below(link.destination) if link.routes_in.unconfirmed.get(a.key) == a.epoch]
        for attachment in gone:
            self.forget(attachment, now_ms, ready)
        link.routes_in.unconfirmed = {}

    # -- what follows from it ---------------------------------------------------------------------------

    def _place(self, attachment: Attachment, now_ms: int, ready: Ready, said_by: str = "") -> None:
        """A node says where it is: whoever it is news to is told, and what waits for it where it was follows it."""
        known = self._routes.newest(attachment)
        executed_at = self._executes_at(attachment.node)
        before = self._routes.via(known) if known is not None else ""
        moves = known is not None and known.relay != attachment.relay
        with_it = self._routes.below_relay(attachment.node) if moves and attachment.is_relay else []
        if self._routes.put(attachment) is not Change.NEW:
            return
        after = self._routes.via(attachment)
        self._look_where_it_executes(attachment.node, executed_at, now_ms, ready)
        self._tell_parent(attachment, said_by)
        if after and not before and attachment.is_relay:
            # Those above may have forgotten meanwhile who is below it.
            for known_below in self._routes.below_relay(attachment.node):
                self._tell_parent(known_below)
        if before and after != before:
            self._part_ways(attachment, with_it, before, now_ms, ready)
        if not after:
            return
        here = [attachment]
        if not before:
            self._hear(Found(attachment), now_ms, ready)
            here += self._routes.below_relay(attachment.node) if attachment.is_relay else []
        for each in here:
            if each.executes:
                self._hear(Executes(each), now_ms, ready)

    def _executes_at(self, node: str) -> str:
        executor = self._routes.executor(node)
        return self._routes.via(executor) if executor is not None else ""

    def _look_where_it_executes(self, node: str, before: str, now_ms: int, ready: Ready) -> None:
        if before and self._executes_at(node) != before:
            self._hear(ExecutesNoMore(node, before), now_ms, ready)

    def _part_ways(self, attachment: Attachment, with_it: list[Attachment], before: str, now_ms: int,
                   ready: Ready) -> None:
        """Somebody who was below is not, or is by another way; so is whoever is below a relay."""
        old = self._links.by_destination.get(before)
        if before not in (child_relay(attachment.node), point_session(*attachment.key)):
            if old is not None:
                pass_on(old, attachment, attachment.node)
                self._touch(before)
            self._hear(Moved(before, attachment, with_it), now_ms, ready)
            return
        if old is None:
            self._gone(before, now_ms, ready)
            return
        if attachment.session == old.peer_session and not self._comes_and_goes(before, now_ms):
            # It told us itself, or will be gone in a moment: what it has yet to get goes while its link lasts.
            old.leaving_at_ms = now_ms
            self._touch(before)
            return
        pass_on(old, attachment, attachment.node)
        self.say(old, now_ms, ready)  # it may have to outdo that
        # Not a connection that merely has yet to be found dead: the process at its end still speaks.
        if now_ms - old.heard_at_ms < 2 * PING_MS:
            self._count("twins", old.peer_role.name.lower())
        self._links.refuse(old, Reject(Code.TWIN, f"{attachment.node} is at {attachment.relay} too"), now_ms, ready)
        self._gone(before, now_ms, ready)

    def _is_at(self, destination: str) -> bool:
        """Whether the way to the child that this names is this, as far as is known."""
        return any(self._routes.via(known) == destination for known in self._routes.of_node(node_of(destination)))

    def _comes_and_goes(self, destination: str, now_ms: int) -> bool:
        """Whether the session is here and elsewhere by turns: two processes, and each takes it from the other."""
        return self._twins.is_twin(f"left {destination}", now_ms)

    def _gone(self, destination: str, now_ms: int, ready: Ready) -> None:
        """Somebody has another relay by now, and no link here: what was not handed over follows."""
        # A reader may come back for its session, and has its time for it. A child whose new parent has yet to say so is
        # believed to be here, and rows are made for it: known after a restart, too, they follow when it is said.
        if not is_point(destination) and not self._is_at(destination):
            ready.persist.append(KeepSession(destination, b""))
        self._hear(Gone(destination), now_ms, ready)

    # -- what ends, and comes back ----------------------------------------------------------------------

    def lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        """A link is no more: a peer that was moving away has gone."""
        if link.leaving_at_ms is not None and link.peer_role != Role.PARENT:
            self._gone(link.destination, now_ms, ready)

    def forget(self, attachment: Attachment, now_ms: int, ready: Ready) -> None:
        """It is not believed any more, wherever it was said."""
        executed_at, way = self._executes_at(attachment.node), self._routes.via(attachment)
        self._routes.forget(attachment)
        self.withdraw(attachment.key, attachment.epoch, node_of(way))
        self._look_where_it_executes(attachment.node, executed_at, now_ms, ready)

    def restored(self, op: KeepSession) -> Attachment | None:
        """A statement that was kept: this relay's own, or that of somebody below, which is returned when believed."""
        attachment = open_attachment(op.attachment, self._trust.credentials)
        if not isinstance(attachment, Attachment):
            return None
        if op.destination == UPLINK:
            self._epoch = attachment.epoch
            return None
        if not self._routes.has_room(attachment):
            self._count("routes", "no_room")
            return None
        self._routes.put(attachment)
        return attachment
