"""Messages over a link (SPEC 3.5, 7.3-7.5): items in, answers out; rows out, answers in.

Guarantees: nothing is sent but what `release` lets go; credit is kept; a temporary refusal keeps its row, every other
ends it. What a message means is for the node to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from fabric.protocol.audit.telling import refused
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    FORGED_MAX,
    FRAME_ELEMENTS_MAX,
    HOPS_MAX,
    ID_BYTES,
    ITEMS_MAX,
)
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.ready import Ready
from fabric.protocol.core.standing import Standing
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.ending import PART_ROWS
from fabric.protocol.custody.outbox import Outbox, Row, visit_of
from fabric.protocol.custody.waiting import reader_of
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import decode_envelope as _decode_envelope
from fabric.protocol.envelope.layout import leaf_of
from fabric.protocol.envelope.verify import Verified, is_forged
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import UPLINK, Links
from fabric.protocol.links.list_exchange import ListExchange
from fabric.protocol.links.release import Release, target_bytes
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import (
    Data,
    Direction,
    Intro,
    Item,
    Role,
)

# Frames gather items up to this: enough to spread their cost, little enough for an urgent one to slip in between.
_FRAME_TARGET_BYTES = 65_536
_FRAME_TARGET_ELEMENTS = FRAME_ELEMENTS_MAX // 2
_ITEM_ELEMENTS = 6
# The sender tries these again by itself; every other refusal ends the row.
TEMPORARY = frozenset({Code.BUSY, Code.UNKNOWN_SIGNER, Code.RATE_EXCEEDED})
_TEMPORARY_WAIT_MS = 200


class Handler(Protocol):
    """What a relay and a control point do with messages and rows, each in its way."""

    def takes_in(self, lane: Lane) -> bool:
        """Whether more of this lane is welcome."""
        ...

    def on_message(
        self, link: Link, item: Item, message: Verified, lane: Lane, now_ms: int, ready: Ready
    ) -> None:
        """A peer hands over a message: it is to be acknowledged or refused."""

    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        """A row has ended: None by an acknowledgement."""

    def on_put_off(self, row: Row, reason: Reject) -> None:
        """The peer does not take it now; it is tried again by itself."""

    def make_routes(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Send what is due of our routes."""

class Transfer:
    """What is due on which link. `me`: the id of this node; a relay adds it to the hops of what it sends."""

    def __init__(
        self, me: str, links: Links, outboxes: Mapping[str, Outbox], release: Release, trust: TrustStore,
        time: Timekeeper, counters: Counters, handler: Handler, *, is_relay: bool,
    ) -> None:
        self._me = me
        self._links = links
        self._outboxes = outboxes
        self._release = release
        self._trust = trust
        self._time = time
        self._standing = Standing(trust, time)
        self._counters = counters
        self._handler = handler
        self._is_relay = is_relay
        self._due: dict[str, None] = {}  # destinations for which something waits
        self._answering: dict[int, None] = {}  # links on which answers or credit may be due

    # -- what is due ------------------------------------------------------------------------------------

    def mark_due(self, destination: str) -> None:
        """Something waits for this destination."""
        self._due[destination] = None

    def answer_later(self, link: Link) -> None:
        """An answer, or credit, may be due at the end of this turn."""
        self._answering[link.number] = None

    @property
    def anything_due(self) -> bool:
        """Whether something came to wait after its link was served."""
        return bool(self._due)

    def turn(self, now_ms: int, ready: Ready) -> None:
        """Send what is due, and answer."""
        links = self._links
        due, self._due = self._due, {}
        for destination in due:
            link = links.by_destination.get(destination)
            if link is not None and link.is_open:
                links.contained(self._serve, link, now_ms, ready)
        answering, self._answering = self._answering, {}
        for number in answering:
            link = links.by_number.get(number)
            if link is not None and link.is_open:
                links.contained(self._answer, link, now_ms, ready)

    def _serve(self, link: Link, now_ms: int, ready: Ready) -> None:
        link.stirs()
        # Who is where goes first: it says where to the answers to what follows are sent.
        self._handler.make_routes(link, now_ms, ready)
        self._pump(link, self._outboxes[link.destination], now_ms, ready)

    # -- in ---------------------------------------------------------------------------------------------

    def data(self, link: Link, data: Data, opened: Sequence[Verified | Reject], now_ms: int, ready: Ready) -> None:
        """The peer hands over messages; `opened`: their envelopes, verified."""
        self._answering[link.number] = None
        if link.leaving_at_ms is not None:
            link.leaving_at_ms = now_ms  # it still had something for us: it is left when nothing comes any more
        transit_ms = link.transit.observe(data.clock_ms, now_ms)
        trust = self._trust
        if trust.revocations.version < link.lists.theirs:
            self._put_off(link, link.lists, data, now_ms)
            return
        if trust.policies.version < link.policies.theirs:
            self._put_off(link, link.policies, data, now_ms)
            return
        for item, message in zip(data.items, opened, strict=False):  # fewer were opened where too many are forged
            if isinstance(message, Reject):
                link.credit.consume(data.lane, len(item.envelope))
                if message.code in (Code.MALFORMED, Code.TOO_LARGE, Code.TOO_DEEP):
                    self._links.refuse(link, message, now_ms, ready)
                    return
                self.nack(link, visit_of(_id_of(item.envelope), item.moved, item.targets), message)
                ready.audit += refused(_peer(link), message, _id_of(item.envelope), _peer(link))
                continue
            problem = self._standing.check_for_now(message.credential, now_ms)
            if problem is None and len(item.hops) >= HOPS_MAX:
                problem = Reject(Code.UNROUTABLE, "too many hops")
            if problem is not None:
                link.credit.consume(data.lane, len(item.envelope))
                self.nack(link, visit_of(message.id, item.moved, item.targets), problem)
                header = message.header
                ready.audit += refused(header.origin, problem, message.id, _peer(link), header.kind.word)
                continue
            if transit_ms:
                item = item._replace(age_ms=item.age_ms + transit_ms)
            self._handler.on_message(link, item, message, data.lane, now_ms, ready)
            if link.state is not State.OPEN:
                return
        if sum(map(is_forged, opened)) >= FORGED_MAX:
            self._links.refuse(link, Reject(Code.BAD_SIGNATURE, "too many in one frame"), now_ms, ready)

    def _put_off(self, link: Link, newer: ListExchange, data: Data, now_ms: int) -> None:
        """The peer has a newer list or newer policies, and its frame was lost: nothing is believed before it came.

        It is said again when the link opens anew, so a link on which it does not come is not kept for long.
        """
        newer.awaited(now_ms)
        for item in data.items:
            link.credit.consume(data.lane, len(item.envelope))
            visit = visit_of(_id_of(item.envelope), item.moved, item.targets)
            self.nack(link, visit, Reject(Code.BUSY, "a newer list of the authority is to come first"))

    # -- answers ----------------------------------------------------------------------------------------

    def ack(self, link: Link, id_: bytes) -> None:
        """This node has it."""
        link.answers.ack(id_)
        self._answering[link.number] = None

    def nack(self, link: Link, id_: bytes, reason: Reject) -> None:
        """This node does not take it."""
        self._counters.count("refused", reason.code.reason)
        link.answers.nack(id_, reason)
        self._answering[link.number] = None

    def acknowledged(self, link: Link, ids: Sequence[bytes], now_ms: int, ready: Ready) -> None:
        """The peer has these."""
        for id_ in ids:
            row = self._outboxes[link.destination].settle(id_, now_ms)
            if row is not None:
                self._due[link.destination] = None
                self._handler.on_settled(row, None, now_ms, ready)

    def refused(self, link: Link, id_: bytes, reason: Reject, now_ms: int, ready: Ready) -> None:
        """The peer does not take it, or not now."""
        if not self._links.is_current(link):
            return  # one that was left says nothing of what the next is asked
        outbox = self._outboxes[link.destination]
        row = outbox.settle(id_, now_ms)
        if row is None:
            return
        self._due[link.destination] = None
        if reason.code not in TEMPORARY:
            self._handler.on_settled(row, reason, now_ms, ready)
            return
        # Whoever has a message acknowledges it: this copy was not taken. A later one, sent meanwhile, may yet be.
        row.tries = max(0, row.tries - 1)
        if reason.code is Code.UNKNOWN_SIGNER:
            link.introductions.forgotten(row.held.message.envelope.signer)
        self._counters.count("waited", reason.code.reason)
        self._handler.on_put_off(row, reason)
        again_at_ms = now_ms + _TEMPORARY_WAIT_MS
        # A relay's word only: a control point that is busy is so with everything.
        reader = reader_of(reason.detail) if reason.code is Code.BUSY and link.peer_role != Role.POINT else ""
        if reader:
            outbox.hold_back(row, reader, now_ms, again_at_ms)
        else:
            outbox.again(row, again_at_ms)

    def _answer(self, link: Link, now_ms: int, ready: Ready) -> None:
        del now_ms
        link.stirs()
        send = self._links.send
        for frame in link.answers.frames():
            send(link, frame, ready)
        credit = link.credit.grant(self._handler.takes_in)
        if credit is not None:
            send(link, credit, ready)

    # -- credit -----------------------------------------------------------------------------------------

    def allowed(self, link: Link, allowed_bytes: Sequence[int]) -> None:
        """The peer gives credit."""
        link.credit.allow(allowed_bytes)
        self._due[link.destination] = None

    def repeat_credit(self, link: Link, ready: Ready) -> None:
        """What the peer has of us, said again: a CREDIT may have been lost."""
        credit = link.credit.grant(self._handler.takes_in, always=True)
        assert credit is not None
        if link.credit.stinted:
            link.stirs()
        self._links.send(link, credit, ready)

    # -- out --------------------------------------------------------------------------------------------

    def _pump(self, link: Link, outbox: Outbox, now_ms: int, ready: Ready) -> None:
        """Send what credit allows, urgent first; items of one lane share a frame."""
        gathered = _Gathered()
        ended = 0
        while ended < PART_ROWS and (row := outbox.take(now_ms, link.credit.allowance())) is not None:
            held = row.held
            message = self._release.fit(row, link, now_ms)
            if isinstance(message, Reject):
                outbox.end(row)
                self._handler.on_settled(row, message, now_ms, ready)
                ended += 1
                continue
            self._introduce(message, link, ready)
            item = self._item(row, message, now_ms)
            early = self._promises_nothing(message)
            # Of what may be under way the peer has half to work on while the other half travels.
            frame_bytes = min(_FRAME_TARGET_BYTES, outbox.paces[held.lane].window_bytes // 2)
            if not gathered.add(item, held.lane, frame_bytes, early=early):
                self._send_gathered(link, gathered, now_ms, ready)
                gathered = _Gathered()
                gathered.add(item, held.lane, frame_bytes, early=early)
            bytes_ = len(item.envelope)
            outbox.sent(row, now_ms, bytes_)
            link.credit.sent(held.lane, bytes_)
            self._counters["sent"] += 1
        if gathered.items:
            self._send_gathered(link, gathered, now_ms, ready)
        if ended == PART_ROWS:
            self._due[link.destination] = None  # whoever comes back after long finds thousands that are too late

    def _send_gathered(self, link: Link, gathered: _Gathered, now_ms: int, ready: Ready) -> None:
        send = self._links.send_early if gathered.early else self._links.send
        send(link, Data(gathered.lane, now_ms, gathered.items), ready)

    def _promises_nothing(self, message: Verified) -> bool:
        """Whether it may be passed on before it is on disk here: whoever sent it holds it until we acknowledge it.

        If this node forgets it, it comes again, and who had it knows it by its id. An action must not be handed out
        by a relay that forgets to whom, and what this node says itself nobody else holds.
        """
        header = message.header
        return header.kind in (Kind.EVENT, Kind.INTEL) and header.origin != self._me

    def _introduce(self, message: Verified, link: Link, ready: Ready) -> None:
        if link.introductions.due(message.envelope.signer):
            self._links.send_early(link, Intro([message.credential.raw]), ready)

    def _item(self, row: Row, message: Verified, now_ms: int) -> Item:
        held = row.held
        direction = Direction.UP if row.destination == UPLINK else Direction.DOWN
        hops = list(held.hops)
        if self._is_relay:
            # What comes by again has made a detour: it says how it got here, not how it wandered.
            hops = [*hops[: hops.index(self._me)], self._me] if self._me in hops else [*hops, self._me]
        return Item(direction, held.age_at(now_ms), hops, list(row.targets), message.raw, row.said_moved)


def _peer(link: Link) -> str:
    return link.peer.id if link.peer is not None else ""


class _Gathered:
    """Items of one lane that share a frame."""

    __slots__ = ("_bytes", "_elements", "early", "items", "lane")

    def __init__(self) -> None:
        self.lane = Lane.URGENT  # that of the first item, as soon as there is one
        self.items: list[Item] = []
        self.early = True
        self._bytes = self._elements = 0

    def add(self, item: Item, lane: Lane, bytes_max: int, *, early: bool) -> bool:
        """False, and it is not added, where there is no room for it; for the first there is."""
        bytes_, elements = self._bytes + _bytes_of(item), self._elements + _elements_of(item)
        if self.items:
            fits = bytes_ <= bytes_max and elements <= _FRAME_TARGET_ELEMENTS and len(self.items) < ITEMS_MAX
            if not fits or lane != self.lane:
                return False
        self.lane, self._bytes, self._elements = lane, bytes_, elements
        self.items.append(item)
        self.early = self.early and early
        return True


def _bytes_of(item: Item) -> int:
    return len(item.envelope) + (sum(map(target_bytes, item.targets)) if item.targets else 0)


def _elements_of(item: Item) -> int:
    return _ITEM_ELEMENTS + len(item.hops) + len(item.targets)


def _id_of(raw: bytes) -> bytes:
    """The id of an envelope that could not be trusted, to refuse it by."""
    envelope = _decode_envelope(raw)
    return bytes(ID_BYTES) if isinstance(envelope, Reject) else leaf_of(envelope.header)[:ID_BYTES]
