"""Messages over a link (SPEC 3.5, 7.3-7.5): items in, answers out; rows out, answers in.

Guarantees: nothing leaves that its receiver may not hold, that has expired, or whose origin was revoked; credit is
kept; a temporary refusal keeps its row, every other ends it. A subclass says what a message means.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.access.permissions import labels_withheld
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    FORGED_MAX,
    FRAME_BYTES_MAX,
    FRAME_ELEMENTS_MAX,
    HOPS_MAX,
    ID_BYTES,
    ITEMS_MAX,
    TARGETS_MAX,
)
from fabric.protocol.core.ready import (
    Ready,
)
from fabric.protocol.custody.ending import Ending
from fabric.protocol.custody.outbox import Held, Outbox, Row, visit_of
from fabric.protocol.custody.waiting import reader_of
from fabric.protocol.envelope.layout import Kind, leaf_of, redact
from fabric.protocol.envelope.layout import decode_envelope as _decode_envelope
from fabric.protocol.envelope.lifetime import expired
from fabric.protocol.envelope.verify import Verified, is_forged
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.opening import Opening
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import (
    Ack,
    Data,
    Direction,
    Intro,
    Item,
    Nack,
    Role,
)

# Frames gather items up to this: enough to spread their cost, little enough for an urgent one to slip in between.
_FRAME_TARGET_BYTES = 65_536
_FRAME_TARGET_ELEMENTS = FRAME_ELEMENTS_MAX // 2
_ITEM_ELEMENTS = 6
# Hops, ages and the frame itself.
_FRAMING_BYTES = 4_096
# The sender tries these again by itself; every other refusal ends the row.
TEMPORARY = frozenset({Code.BUSY, Code.UNKNOWN_SIGNER, Code.RATE_EXCEEDED})
_TEMPORARY_WAIT_MS = 200


class Carrier(Opening):
    """What travels over links, whatever it means."""

    def set_up(self) -> None:
        super().set_up()
        self.ending = Ending(lambda row, reason, now_ms, ready: self.on_settled(row, reason, now_ms, ready))

    def on_message(self, link: Link, item: Item, message: Verified, lane: Lane, sent_ms: int, now_ms: int,
                   ready: Ready) -> None:
        raise AssertionError("a subclass takes messages")

    def on_put_off(self, row: Row, reason: Reject) -> None:
        """The peer does not take it now; it is tried again by itself."""

    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        raise AssertionError("a subclass ends rows")

    def takes_in(self, lane: Lane) -> bool:
        """Whether more of this lane is welcome."""
        return True

    # -- in ---------------------------------------------------------------------------------------------

    def _on_data(self, link: Link, data: Data, opened: Sequence[Verified | Reject], now_ms: int,
                 ready: Ready) -> None:
        self._answering[link.number] = None
        if link.leaving_at_ms is not None:
            link.leaving_at_ms = now_ms  # it still had something for us: it is left when nothing comes any more
        transit_ms = link.transit.observe(data.clock_ms, now_ms)
        if self.trust.revocations.version < link.lists_version:
            self._put_off(link, data, now_ms)
            return
        for item, message in zip(data.items, opened, strict=False):  # fewer were opened where too many are forged
            if isinstance(message, Reject):
                link.consumed_bytes[data.lane] += len(item.envelope)
                if message.code in (Code.MALFORMED, Code.TOO_LARGE, Code.TOO_DEEP):
                    self.refuse(link, message, now_ms, ready)
                    return
                self.nack(link, visit_of(_id_of(item.envelope), item.moved, item.targets), message)
                continue
            problem = self.time.for_now(self.trust.check(message.credential, self.time.clocks(now_ms)))
            if problem is None and len(item.hops) >= HOPS_MAX:
                problem = Reject(Code.UNROUTABLE, "too many hops")
            if problem is not None:
                link.consumed_bytes[data.lane] += len(item.envelope)
                self.nack(link, visit_of(message.id, item.moved, item.targets), problem)
                continue
            item = item._replace(age_ms=item.age_ms + transit_ms)
            self.on_message(link, item, message, data.lane, data.clock_ms, now_ms, ready)
            if link.state is not State.OPEN:
                return
        if sum(map(is_forged, opened)) >= FORGED_MAX:
            self.refuse(link, Reject(Code.BAD_SIGNATURE, "too many in one frame"), now_ms, ready)

    # -- answers ----------------------------------------------------------------------------------------

    def ack(self, link: Link, id_: bytes) -> None:
        link.acks.append(id_)
        self._answering[link.number] = None

    def nack(self, link: Link, id_: bytes, reason: Reject) -> None:
        self.count("refused", reason.code.reason)
        link.nacks.append((id_, reason.code, reason.detail))
        self._answering[link.number] = None

    def _on_ack(self, link: Link, id_: bytes, now_ms: int, ready: Ready) -> None:
        outbox = self.outboxes[link.destination]
        row = outbox.settle(id_, now_ms)
        if row is not None:
            self._dirty[link.destination] = None
            self.on_settled(row, None, now_ms, ready)

    def _on_nack(self, link: Link, id_: bytes, reason: Reject, now_ms: int, ready: Ready) -> None:
        if self.by_destination.get(link.destination) is not link:
            return  # one that was left says nothing of what the next is asked
        outbox = self.outboxes[link.destination]
        row = outbox.settle(id_, now_ms)
        if row is None:
            return
        self._dirty[link.destination] = None
        if reason.code not in TEMPORARY:
            self.on_settled(row, reason, now_ms, ready)
            return
        row.tries = 0  # whoever has a message acknowledges it: this one was never taken
        if reason.code is Code.UNKNOWN_SIGNER:
            link.introduced.pop(row.held.message.envelope.signer, None)
        self.count("waited", reason.code.reason)
        self.on_put_off(row, reason)
        again_at_ms = now_ms + _TEMPORARY_WAIT_MS
        # A relay's word only: a control point that is busy is so with everything.
        reader = reader_of(reason.detail) if reason.code is Code.BUSY and link.peer_role != Role.POINT else ""
        if reader:
            outbox.hold_back(row, reader, now_ms, again_at_ms)
        else:
            outbox.again(row, again_at_ms)

    def _answer(self, link: Link, now_ms: int, ready: Ready) -> None:
        del now_ms
        for i in range(0, len(link.acks), FRAME_ELEMENTS_MAX // 2):
            self.send(link, Ack(link.acks[i : i + FRAME_ELEMENTS_MAX // 2]), ready)
        for i in range(0, len(link.nacks), ITEMS_MAX):
            self.send(link, Nack(link.nacks[i : i + ITEMS_MAX]), ready)
        link.acks, link.nacks = [], []
        credit = link.grant(self.takes_in)
        if credit is not None:
            self.send(link, credit, ready)

    # -- out --------------------------------------------------------------------------------------------

    def _pump(self, link: Link, outbox: Outbox, now_ms: int, ready: Ready) -> None:
        """Send what credit allows, urgent first; items of one lane share a frame."""
        # Of what may be under way the peer has half to work on while the other half travels.
        frame_bytes = min(_FRAME_TARGET_BYTES, outbox.pace.window_bytes // 2)
        gathered = _Gathered()
        while (row := outbox.take(now_ms, link.allowance())) is not None:
            held = row.held
            message = self.fit(row, link, now_ms)
            if row.targets and not isinstance(message, Reject) and _too_large(row, message):
                message = Reject(Code.TOO_LARGE, "targets")  # the peer would end the link for it, again and again
            if isinstance(message, Reject):
                outbox.end(row)
                self.on_settled(row, message, now_ms, ready)
                continue
            self._introduce(message, link, ready)
            item = self._item(row, message, now_ms)
            if not gathered.takes(item, held.lane, frame_bytes):
                self._send_gathered(link, gathered, now_ms, ready)
                gathered = _Gathered()
            gathered.add(item, held.lane, early=self._promises_nothing(message))
            bytes_ = len(item.envelope)
            outbox.sent(row, now_ms, bytes_)
            link.sent_bytes[held.lane] += bytes_
            self.counters["sent"] += 1
        if gathered.items:
            self._send_gathered(link, gathered, now_ms, ready)

    def _send_gathered(self, link: Link, gathered: _Gathered, now_ms: int, ready: Ready) -> None:
        send = self.send_early if gathered.early else self.send
        send(link, Data(gathered.lane, now_ms, gathered.items), ready)

    def _promises_nothing(self, message: Verified) -> bool:
        """Whether it may be passed on before it is on disk here: whoever sent it holds it until we acknowledge it.

        If this node forgets it, it comes again, and who had it knows it by its id. An action must not be handed out
        by a relay that forgets to whom, and what this node says itself nobody else holds.
        """
        header = message.header
        return header.kind in (Kind.EVENT, Kind.INTEL) and header.origin != self.me.id

    def _introduce(self, message: Verified, link: Link, ready: Ready) -> None:
        if link.introduces(message.envelope.signer):
            self.send_early(link, Intro([message.credential.raw]), ready)

    def _item(self, row: Row, message: Verified, now_ms: int) -> Item:
        held = row.held
        direction = Direction.UP if row.destination == UPLINK else Direction.DOWN
        hops = list(held.hops)
        if self.accepts:
            # What comes by again has made a detour: it says how it got here, not how it wandered.
            hops = [*hops[: hops.index(self.me.id)], self.me.id] if self.me.id in hops else [*hops, self.me.id]
        return Item(direction, held.age_at(now_ms), hops, list(row.targets), message.raw, row.moved)

    def _put_off(self, link: Link, data: Data, now_ms: int) -> None:
        """The peer has a newer revocation list, and its LISTS was lost: nothing is believed before it came.

        It is said again when the link opens anew, so a link on which it does not come is not kept for long.
        """
        link.put_off_since_ms = link.put_off_since_ms or now_ms
        for item in data.items:
            link.consumed_bytes[data.lane] += len(item.envelope)
            visit = visit_of(_id_of(item.envelope), item.moved, item.targets)
            self.nack(link, visit, Reject(Code.BUSY, "a newer revocation list is to come first"))

    # -- what may leave ---------------------------------------------------------------------------------

    def fit(self, row: Row, link: Link, now_ms: int) -> Verified | Reject:
        """What of a held message may go to this peer, now (SPEC 3.5, 4, 5): the last look before it leaves."""
        assert link.peer is not None
        return self.why_over(row.held, now_ms) or self.strip(row.held.message, link.peer)

    def why_over(self, held: Held, now_ms: int) -> Reject | None:
        """Why a held message goes no further, if it does not: its origin was revoked, or its time is over."""
        revoked = self.trust.revocations.check(held.message.credential)
        if revoked is not None:
            return revoked
        is_over = self.is_expired(held.message, held.age_at(now_ms), now_ms)
        return Reject(Code.EXPIRED) if is_over else None

    def strip(self, message: Verified, holder: Credential) -> Verified | Reject:
        """The message as this holder may have it, or WITHHELD when it may not know of it or not use the rest."""
        header = message.header
        withheld = labels_withheld(holder, header)
        if isinstance(withheld, Reject):
            self.count("withheld", header.label.short)
            return withheld
        envelope = redact(message.envelope, header.manifest, lambda label: label not in withheld)
        fitted = message.with_parts_of(envelope)
        if fitted is not message:
            for entry, before, after in zip(
                header.manifest, message.envelope.parts, envelope.parts, strict=True
            ):
                if before is not None and after is None:
                    self.count("stripped", entry.label.short)
        if header.kind.atomic and fitted.withheld:
            return Reject(Code.WITHHELD, holder.id)
        return fitted

    def is_expired(self, message: Verified, age_ms: int, now_ms: int) -> bool:
        header = message.header
        return expired(
            issued_at_ms=header.issued_at_ms,
            ttl_ms=header.ttl_ms,
            age_ms=age_ms,
            now_ms=self.time.now(now_ms),
            skew_ms=self.skew_ms,
            by_age_only=self.time.by_age_only(now_ms),
        )


class _Gathered:
    """Items of one lane that share a frame."""

    __slots__ = ("_bytes", "_elements", "early", "items", "lane")

    def __init__(self) -> None:
        self.lane = Lane.URGENT  # that of the first item, as soon as there is one
        self.items: list[Item] = []
        self.early = True
        self._bytes = self._elements = 0

    def takes(self, item: Item, lane: Lane, bytes_max: int) -> bool:
        """Whether there is room for it; for the first there is."""
        if not self.items:
            return True
        bytes_, elements = self._bytes + _bytes_of(item), self._elements + _elements_of(item)
        fits = bytes_ <= bytes_max and elements <= _FRAME_TARGET_ELEMENTS and len(self.items) < ITEMS_MAX
        return fits and lane == self.lane

    def add(self, item: Item, lane: Lane, *, early: bool) -> None:
        self.lane = lane
        self.items.append(item)
        self.early = self.early and early
        self._bytes += _bytes_of(item)
        self._elements += _elements_of(item)


def _too_large(row: Row, message: Verified) -> bool:
    """Whether no frame takes it for all whom it is for: it followed more than fit beside it."""
    targets_bytes = sum(len(name.encode()) + 2 for name in row.targets)
    return len(message.raw) + targets_bytes > FRAME_BYTES_MAX - _FRAMING_BYTES or len(row.targets) > TARGETS_MAX


def _bytes_of(item: Item) -> int:
    return len(item.envelope) + sum(len(name) + 2 for name in item.targets)


def _elements_of(item: Item) -> int:
    return _ITEM_ELEMENTS + len(item.hops) + len(item.targets)


def _id_of(raw: bytes) -> bytes:
    """The id of an envelope that could not be trusted, to refuse it by."""
    envelope = _decode_envelope(raw)
    return bytes(ID_BYTES) if isinstance(envelope, Reject) else leaf_of(envelope.header)[:ID_BYTES]
