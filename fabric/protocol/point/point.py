"""A control point's side of the protocol (SPEC 7-9): one link, to its relay.

Guarantees: what is submitted stays until the relay holds it or refuses it, across any number of links; a delivery is
acknowledged after the application said that it is done, and never delivered twice; an action is delivered only when
it came down from the relay, its requester may command this node, and it is in time. Actions are acknowledged when
they are delivered: one that the node might have begun is never offered to it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fabric.protocol.access.declassifying import told_of
from fabric.protocol.access.permissions import DENIALS, check_delivery, check_origin, fetches
from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.audit.telling import refused
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import POINT_QUOTA_BYTES, RETRY_MS
from fabric.protocol.core.ready import (
    Answer,
    Ask,
    Asked,
    Attach,
    Attached,
    Connected,
    Delivery,
    Deny,
    Disconnected,
    Event,
    Handled,
    KeepSession,
    Leave,
    Op,
    Parents,
    Published,
    Ready,
    Repeated,
    SubscriptionRefused,
)
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.waiting import reader_of
from fabric.protocol.enrolment.questions import Questions
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.envelope.lifetime import check_lifetime, remaining_ms
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.announce import announce, announce_all, answered, next_frames, pass_on, settled
from fabric.protocol.links.facts import CredentialRenewed, Fact, LinkLost, LinkOpened, LinkRefused, ListTaken
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.node import Node
from fabric.protocol.point.action_room import ACTION_BYTES, ActionRoom
from fabric.protocol.point.judging import Judging
from fabric.protocol.routes.attachments import EPOCH_MAX, Attachment, open_attachment, sign_attachment
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.openc2 import split_topic
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import (
    Applied,
    Bye,
    Denied,
    Direction,
    Frame,
    Grown,
    Item,
    Join,
    Joined,
    Role,
    Routed,
    Routes,
)

# What trying again cannot mend until somebody acts: told at once, tried slowly.
_FINAL = frozenset({
    Code.UNKNOWN_VERSION, Code.WRONG_KEY, Code.BAD_CREDENTIAL, Code.CREDENTIAL_EXPIRED, Code.REVOKED, Code.WRONG_ROLE,
    Code.WRONG_FABRIC, Code.WRONG_PEER, Code.TWIN, Code.TOO_MANY_SESSIONS,
})


# What is counted of each delivery besides its envelope: what this program keeps of it until it is handled.
_HANDLING_BYTES = 1_024


class _Handling(NamedTuple):
    """Delivered and not handled: by which link it came, and until when it is known as a repeat afterwards."""

    link: int
    lane: Lane
    bytes: int
    until_ms: int
    header: Header

    @property
    def held_bytes(self) -> int:
        """With what this program keeps of it until it is handled."""
        return self.bytes + _HANDLING_BYTES


class Point(Node):
    """The core of a control point: one link at a time, what it submitted, and what its application has in hand."""

    def set_up(self) -> None:
        self.outboxes[UPLINK] = Outbox(UPLINK, RETRY_MS)
        self.custody = Custody(lambda destination: self.outboxes[destination])
        self.action_room = ActionRoom()
        self.judging = Judging(self.me, self.trust, self.time, self.roots, self.skew_ms)
        self.questions = Questions()
        self.wanted = Attach(0, False, ())  # what it takes; of an earlier run, until it says more
        self._announced_epoch = 0
        self._denied: Counter[Code] = Counter()  # since the relay was told last
        self.put_off: Code | None = None  # why the relay last said "not now", until it took something
        self.put_off_by = ""  # the reader that it named, as long as something waits for it
        self._attached_to = ""
        self._handling: dict[bytes, _Handling] = {}
        self._handling_bytes = 0

    @property
    def connected(self) -> bool:
        return UPLINK in self.by_destination

    def check_room(self, link: Link) -> Reject | None:
        return Reject(Code.WRONG_ROLE, "nobody is below a control point")

    def takes_in(self, lane: Lane) -> bool:
        return True  # what it has in hand has its own bound, see `_no_room`

    def on_frame(self, link: Link, frame: Frame, now_ms: int, ready: Ready) -> None:
        match frame:
            case Routes():
                self.on_routes(link, frame, now_ms, ready)
            case Routed():
                self.on_routed(link, frame, now_ms, ready)
            case Join():
                self.on_join(link, frame, now_ms, ready)
            case Joined():
                self.on_joined(link, frame, now_ms, ready)
            case Applied():
                wrong = Reject(Code.WRONG_ROLE, "relays below say which list they have")
                self.refuse(link, wrong, now_ms, ready)
            case Grown():
                self.refuse(link, Reject(Code.WRONG_DIRECTION, "heads climb"), now_ms, ready)
            case Denied():
                wrong = Reject(Code.WRONG_DIRECTION, "a relay is told by its control points")
                self.refuse(link, wrong, now_ms, ready)

    def hear(self, fact: Fact, now_ms: int, ready: Ready) -> None:
        match fact:
            case LinkOpened(link):
                self.on_open(link, now_ms, ready)
            case LinkLost(link):
                self.on_lost(link, now_ms, ready)
            case LinkRefused(link, reason):
                self.on_refused(link, reason, now_ms, ready)
            case CredentialRenewed():
                self.on_renewed(now_ms, ready)
            case ListTaken():
                self.ask_again()

    def on_open(self, link: Link, now_ms: int, ready: Ready) -> None:
        assert link.peer is not None
        if self._attached_to != link.peer.id:
            # Where this node is has changed, so what it says of itself is newer than what it said elsewhere.
            self.wanted = self.wanted._replace(epoch=max(self.wanted.epoch + 1, self.time.now(now_ms)))
            self._attached_to = link.peer.id
        self._tell_denied(link, ready)
        mine = self._attach(link, ready)
        announce_all(link, self.routes)
        for other in self.parent_links:
            if mine is not None and other is not link:
                pass_on(other, mine, self.me.id)
        ready.deliver.append(Connected(link.peer.id))

    def on_lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        ready.deliver.append(Disconnected(Reject(Code.CLOSED), final=False))

    def on_refused(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        relay = link.peer.id if link.peer is not None else link.expects
        ready.deliver.append(Disconnected(reason, reason.code in _FINAL, relay))

    def on_renewed(self, now_ms: int, ready: Ready) -> None:
        self.judging.renewed(self.me)
        self._want(self.wanted._replace(epoch=max(self.wanted.epoch + 1, self.time.now(now_ms))), ready)
        link = self.by_destination.get(UPLINK)
        if link is not None:
            self._attach(link, ready)

    def on_event(self, event: Event, now_ms: int, ready: Ready) -> None:
        link = self.by_destination.get(UPLINK)
        match event:
            case Attach():
                self._want(event, ready)
                if link is not None:
                    self._attach(link, ready)
            case Handled(id_, refused):
                self._handled(id_, refused, link, ready)
            case Ask():
                frame = self.questions.add(event, self.me.curve_key, now_ms)
                if link is not None:
                    self.send(link, frame, ready)
            case Answer(id_, refused, answer):
                if link is not None:
                    code, detail = (None, "") if refused is None else (refused.code, refused.detail)
                    self.send(link, Joined(id_, code, detail, answer), ready)
            case Parents(ids, at_once):
                # What one that was left still says of itself is to be believed.
                self.parents = tuple(dict.fromkeys([*ids, *self.parents]))
                if self.parents:
                    self.time.has_parent()
                self.uplink.rank(ids, now_ms, at_once=at_once)
                self.opening.choose(now_ms, ready)
            case Deny(code):
                self._deny(code, ready)
            case Leave():
                if link is not None:
                    self.send(link, Bye(Code.CLOSED, ""), ready)
            case _:
                raise AssertionError(f"{type(event).__name__} is no event of a control point")

    # -- what is asked of issuers -----------------------------------------------------------------------

    def on_join(self, link: Link, frame: Join, now_ms: int, ready: Ready) -> None:
        if self.me.kind is not NodeKind.ISSUER or link.peer_role != Role.PARENT:
            self.refuse(link, Reject(Code.WRONG_ROLE, "an issuer's relay asks an issuer"), now_ms, ready)
            return
        ready.deliver.append(Asked(frame.id, frame.key, frame.request))

    def on_joined(self, link: Link, frame: Joined, now_ms: int, ready: Ready) -> None:
        answered = self.questions.answered(frame)
        if answered is not None:
            ready.deliver.append(answered)

    # -- what this node takes ---------------------------------------------------------------------------

    def _want(self, wanted: Attach, ready: Ready) -> None:
        """A durable reader's next run must take from its first moment what this one took, or lose what comes then."""
        if wanted.keep_ms or self.wanted.keep_ms:
            self.keep(self.me, ready)
            ready.persist.append(KeepSession(UPLINK, self._signed(wanted, "") if wanted.keep_ms else b""))
        # A move may have made it newer than the program knows; what is said under one epoch never changes.
        self.wanted = wanted._replace(epoch=max(wanted.epoch, self.wanted.epoch + 1))

    def on_restore(self, op: Op, now_ms: int) -> None:
        if isinstance(op, KeepSession):
            kept = open_attachment(op.attachment, self.trust.credentials)
            if isinstance(kept, Attachment):
                self.wanted = Attach(kept.epoch, False, kept.subscriptions, kept.keep_ms)

    def _signed(self, wanted: Attach, relay: str) -> bytes:
        return sign_attachment(
            self.me, self.signer, self.session, relay, wanted.epoch, wanted.executes, wanted.subscriptions,
            wanted.keep_ms,
        )

    def _attach(self, link: Link, ready: Ready) -> Attachment | None:
        assert link.peer is not None
        attachment = open_attachment(self._signed(self.wanted, link.peer.id), {self.me.digest: self.me})
        if isinstance(attachment, Attachment):
            self.routes.put(attachment)
            announce(link, attachment.key, self.me.id)
            self.touch(UPLINK)
            return attachment
        self._deny(attachment.code, ready)
        ready.deliver.append(SubscriptionRefused(attachment))
        return None

    def _deny(self, code: Code, ready: Ready) -> None:
        """What is refused here never gets to the relay: there it is counted, for whoever watches over the fabric."""
        if code in DENIALS:
            self._denied[code] += 1
            link = self.by_destination.get(UPLINK)
            if link is not None:
                self._tell_denied(link, ready)

    def _tell_denied(self, link: Link, ready: Ready) -> None:
        if self._denied:
            self.send(link, Denied(list(self._denied.items())), ready)
            self._denied.clear()

    def make_routes(self, link: Link, now_ms: int, ready: Ready) -> None:
        for frame in next_frames(link, self.routes, now_ms):
            self._announced_epoch = self.wanted.epoch
            self.send(link, frame, ready)

    def on_routes(self, link: Link, frame: Routes, now_ms: int, ready: Ready) -> None:
        """The relay knows a newer statement of this very session, of a run that nobody here remembers: say it newer."""
        self.send(link, Routed(frame.sequence, []), ready)
        if link.peer_role != Role.PARENT or frame.sequence <= link.routes_in.sequence:
            return
        link.routes_in.sequence = frame.sequence
        for raw in frame.attachments:
            said = open_attachment(raw, {self.me.digest: self.me})
            mine = isinstance(said, Attachment) and said.key == (self.me.id, self.session)
            if isinstance(said, Attachment) and mine and self.wanted.epoch < said.epoch < EPOCH_MAX:
                self.wanted = self.wanted._replace(epoch=said.epoch + 1)
                self._attach(link, ready)

    def on_routed(self, link: Link, frame: Routed, now_ms: int, ready: Ready) -> None:
        epoch = self._announced_epoch if frame.sequence == link.routes_out.sequence else 0
        refusals = answered(link, frame)
        for _, reason in refusals:
            ready.deliver.append(SubscriptionRefused(reason))
        if epoch and not refusals:
            ready.deliver.append(Attached(epoch))
        self.touch(UPLINK)

    # -- out --------------------------------------------------------------------------------------------

    def submit(self, message: Verified, now_ms: int, ready: Ready) -> None:
        header, age_ms = message.header, self._age_of(message.header, now_ms)
        problem = self.why_not(message, now_ms)
        if problem is not None:
            self._deny(problem.code, ready)
            ready.deliver.append(Published(message.id, problem))
            return
        expires_at_ms = now_ms + remaining_ms(
            issued_at_ms=header.issued_at_ms, ttl_ms=header.ttl_ms, age_ms=age_ms, now_ms=self.time.now(now_ms),
            skew_ms=self.skew_ms, by_age_only=self.judging.by_age_only(header, now_ms),
        )
        if header.kind is Kind.ACTION:
            ready.audit.append(Audited(kinds.ACTION_REQUESTED, self.me.id, {
                "action": message.leaf, "class": self.trust.policies.class_of(split_topic(header.topic)[0]),
            }))
        ready.audit += told_of(message)
        self.keep(message.credential, ready)
        held = Held(message, Direction.UP, header.lane, age_ms, now_ms, expires_at_ms, ())
        self.custody.put(held, [(UPLINK, ())], ready)
        self.touch(UPLINK)

    def why_not(self, message: Verified, now_ms: int) -> Reject | None:
        """What the relay would refuse for good is said here, without a connection and by the right name."""
        header = message.header
        out_of_time = check_lifetime(
            header.kind.word, header.issued_at_ms, header.ttl_ms, self._age_of(header, now_ms), self.time.now(now_ms),
            self.skew_ms, self.judging.by_age_only(header, now_ms),
        )
        return out_of_time or check_origin(self.me, header) or self._check_recipients(header)

    def _check_recipients(self, header: Header) -> Reject | None:
        """RECIPIENT_REVOKED: whoever is on the list gets nothing more, and the program meant somebody else."""
        ids = self.trust.revocations.ids
        revoked = next((id_ for id_ in header.audience.recipients if id_ in ids), None) if ids else None
        # An answer has the audience of what it answers.
        is_own_choice = header.kind in (Kind.EVENT, Kind.INTEL)
        return Reject(Code.RECIPIENT_REVOKED, revoked) if revoked is not None and is_own_choice else None

    def _age_of(self, header: Header, now_ms: int) -> int:
        """What a program published may have waited to be signed, and an action may be sent again by another process of
        this node than signed it."""
        return max(0, self.time.to_sign(now_ms) - header.issued_at_ms)

    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        self.custody.end(row, ready)
        self.put_off_by = self._waits_for
        self.put_off = Code.BUSY if self.put_off_by else None
        message = row.held.message
        ready.deliver.append(Published(message.id, refused, message.header.records))

    @property
    def held_back(self) -> int:
        """Messages that wait for readers."""
        return sum(self.outboxes[UPLINK].waiting_for().values()) if self.put_off_by else 0

    def held_back_bytes(self, lane: Lane, topic: str) -> int:
        return self.outboxes[UPLINK].held_back(lane, self.me.id, topic)[1] if self.put_off_by else 0

    def on_put_off(self, row: Row, reason: Reject) -> None:
        self.put_off, self.put_off_by = reason.code, reader_of(reason.detail) or self._waits_for

    @property
    def _waits_for(self) -> str:
        """A reader for which something waits; empty: none."""
        return next(iter(self.outboxes[UPLINK].waiting_for()), "")

    def ticks(self) -> Sequence[Callable[[int, Ready], None]]:
        return (self._ask_on,)

    def quiet_until_ms(self, now_ms: int) -> int | None:
        """Until when no `Tick` is needed, if nothing comes: nothing is under way, and the relay was heard of late.

        None: it is needed as soon as a `Ready` says.
        """
        link = self.by_destination.get(UPLINK)
        is_quiet = (
            link is not None and len(self.links) == 1 and self.outboxes[UPLINK].empty and settled(link)
            and not link.credit.stinted and link.leaving_at_ms is None and not self.questions
        )
        if link is None or link.peer is None or not is_quiet or self.parents_wanted(now_ms) != [link.peer.id]:
            return None
        until_ms = self.liveness.due_ms(link)
        return until_ms if until_ms > now_ms else None

    def _ask_on(self, now_ms: int, ready: Ready) -> None:
        link = self.by_destination.get(UPLINK)
        if link is not None:
            for frame in self.questions.due(now_ms):
                self.send(link, frame, ready)
        ready.deliver += self.questions.over(now_ms)

    # -- in ---------------------------------------------------------------------------------------------

    def on_message(
        self, link: Link, item: Item, message: Verified, lane: Lane, now_ms: int, ready: Ready
    ) -> None:
        if message.id in self._handling:
            link.credit.consume(lane, len(item.envelope))
            return  # its acknowledgement comes when the application is done
        if self.custody.dedup.seen(message.id, item.direction, now_ms):
            link.credit.consume(lane, len(item.envelope))
            self.counters["repeats"] += 1
            self.ack(link, message.id)
            if message.header.kind is Kind.ACTION:
                ready.deliver.append(Repeated(message.id, link.number))
                if not fetches(message.header):
                    peer = link.peer.id if link.peer is not None else ""
                    fields: dict[str, kinds.Value] = {"action": message.leaf, "link": peer}
                    ready.audit.append(Audited(kinds.ACTION_REPEATED, message.header.origin, fields))
            return
        problem = self._examine(link, item, message, now_ms) or self._no_room(item, message)
        fitted = problem or self.strip(message, self.me)
        if isinstance(fitted, Reject):
            link.credit.consume(lane, len(item.envelope))
            self.nack(link, message.id, fitted)
            peer = link.peer.id if link.peer is not None else ""
            ready.audit += refused(message.header.origin, fitted, message.id, peer, message.header.kind.word)
            return
        header = message.header
        until_ms = seen_until_ms(header, now_ms, approved=fitted.envelope.approved is not None)
        if header.kind is Kind.ACTION:
            link.credit.consume(lane, len(item.envelope))
            if fetches(header):  # read twice it does no harm, so no disk remembers it
                self.custody.dedup.add(message.id, item.direction, until_ms)
            else:
                self.custody.saw(message.id, item.direction, until_ms, ready, header)
                self.action_room.add(header.origin, ACTION_BYTES + len(fitted.raw))
            self.ack(link, message.id)
        else:
            self.custody.dedup.add(message.id, item.direction, until_ms)
            handling = _Handling(link.number, lane, len(item.envelope), until_ms, header)
            self._handling[message.id] = handling
            self._handling_bytes += handling.held_bytes
        ready.deliver.append(Delivery(fitted, item.age_ms, tuple(item.hops)))

    def _examine(self, link: Link, item: Item, message: Verified, now_ms: int) -> Reject | None:
        header = message.header
        problem = check_delivery(header.kind, item.direction) or self.judging.check_time(message, item.age_ms, now_ms)
        # Its relay should have asked, and may not have. A marker or a report of the relay itself is a result of its.
        problem = problem or check_origin(message.credential, header)
        if problem is None and header.kind is Kind.ACTION:
            if link.peer_role != Role.PARENT:
                return Reject(Code.WRONG_DIRECTION, "actions come from the parent")
            if self.time.suspect:
                return Reject(Code.CLOCK_SUSPECT, self.me.id)
            return self.judging.check_target(message, now_ms)
        return problem

    def take_back(self, envelope: bytes, age_ms: int, hops: tuple[str, ...], now_ms: int) -> Delivery | Reject:
        """An action that an earlier run took in, verified and judged as if it came now. BUSY: not yet.

        Without its relay this node knows neither the time nor who was revoked meanwhile.
        """
        link = self.by_destination.get(UPLINK)
        if link is None or link.lists.theirs > self.trust.revocations.version:
            return Reject(Code.BUSY, "no relay has said yet what is in force")
        action = self.judging.open_again(envelope, age_ms, now_ms)
        fitted = action if isinstance(action, Reject) else self.strip(action, self.me)
        return fitted if isinstance(fitted, Reject) else Delivery(fitted, age_ms, hops)

    def _no_room(self, item: Item, message: Verified) -> Reject | None:
        """Whether this node takes no more now. A parent that keeps to the credit it is given never hears of it."""
        if message.header.kind is Kind.ACTION:
            requester, room = message.header.origin, self.action_room
            full = (
                not room.is_open or self.custody.dedup.full_of_actions(requester)
                or not room.fits(requester, ACTION_BYTES + len(item.envelope))
            )
        else:
            full = self._handling_bytes + len(item.envelope) + _HANDLING_BYTES > POINT_QUOTA_BYTES
        return Reject(Code.BUSY, self.me.id) if full else None

    def _handled(self, id_: bytes, refused: Reject | None, link: Link | None, ready: Ready) -> None:
        handling = self._handling.pop(id_, None)
        if handling is None:
            return
        self._handling_bytes -= handling.held_bytes
        # On disk before the relay hears of it: a reader that keeps a file drops repeats across its own restarts.
        self.custody.saw(id_, Direction.DOWN, handling.until_ms, ready, handling.header)
        # Whoever sent it waits for the answer, and may not be our relay any more.
        link = self.links.get(handling.link, link)
        if link is None or not link.is_open:
            return
        link.credit.consume(handling.lane, handling.bytes)
        if refused is None:
            self.ack(link, id_)
        else:
            self.nack(link, id_, refused)
