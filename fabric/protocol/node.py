"""What a relay and a control point have in common (SPEC 7): links, introductions, custody, credit, liveness.

`step` takes one event and the time, and returns a `Ready`; frames that can wait for each other are made at `Tick`,
the end of a driver's turn. Guarantees: every frame but an accepted peer's is refused; a message is acknowledged in
the same `Ready` that persists it; everything that may be lost is repeated. A subclass says what messages mean.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from fabric.protocol.credentials import Credential
from fabric.protocol.envelope import decode_envelope as _decode_envelope
from fabric.protocol.envelope import leaf_of, redact
from fabric.protocol.errors import Code, Reject
from fabric.protocol.handshake import Trust, check_hello, check_welcome, negotiate
from fabric.protocol.lifetime import ClockOffset, expired
from fabric.protocol.limits import (
    CREDENTIALS_CACHED_MAX,
    FRAME_ELEMENTS_MAX,
    HELLO_RETRY_MS,
    HELLO_WAIT_MS,
    HOPS_MAX,
    ID_BYTES,
    ITEMS_MAX,
    LANE_WINDOW_BYTES,
    LINK_SILENCE_MS,
    PING_MS,
    RETRY_MS,
    SKEW_MS,
)
from fabric.protocol.link import Link, State
from fabric.protocol.outbox import Outbox, Row
from fabric.protocol.ready import (
    Arrived,
    Event,
    KeepLists,
    LinkDown,
    LinkUp,
    Note,
    Ready,
    Submit,
    Tick,
)
from fabric.protocol.revocations import verify_revocations
from fabric.protocol.severity import Lane
from fabric.protocol.signing import Signer
from fabric.protocol.tlp import may_hold
from fabric.protocol.verify import RootCache, Verified, open_envelope
from fabric.protocol.wire import (
    PROTOCOL_VERSIONS,
    Ack,
    Bye,
    Credit,
    Data,
    Direction,
    Frame,
    Hello,
    Intro,
    Item,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Welcome,
    decode_frame,
    encode_frame,
)

UPLINK = "^"
# Frames gather items up to this: enough to spread their cost, little enough for an urgent one to slip in between.
_FRAME_TARGET_BYTES = 65_536
_TIMERS_MS = 250
# The sender tries these again by itself; every other refusal ends the row.
TEMPORARY = frozenset({Code.BUSY, Code.UNKNOWN_SIGNER, Code.RATE_EXCEEDED})
_TEMPORARY_WAIT_MS = 200


class Node:
    """The state that a link needs on either side. `entropy(n)` gives n random bytes."""

    accepts: tuple[Role, ...] = ()
    parent = ""

    def __init__(
        self,
        credential: Credential,
        signer: Signer,
        authority_key: bytes,
        session: bytes,
        entropy: Callable[[int], bytes],
        skew_ms: int = SKEW_MS,
    ) -> None:
        self.me = credential
        self.signer = signer
        self.session = session
        self.entropy = entropy
        self.trust = Trust(authority_key, credential.fabric, skew_ms)
        self.skew_ms = skew_ms
        self.clock = ClockOffset()
        self.credentials: OrderedDict[bytes, Credential] = OrderedDict({credential.digest: credential})
        self.roots = RootCache()
        self.links: dict[int, Link] = {}
        self.by_destination: dict[str, Link] = {}
        self.outboxes: dict[str, Outbox] = {}
        self.counters: Counter[str] = Counter()
        self._dirty: dict[str, None] = {}
        self._answering: dict[int, None] = {}
        self._timers_at_ms = 0

    # -- the driver's side ------------------------------------------------------------------------------

    def read(self, link: int, payload: bytes) -> Arrived:
        """Decode a frame and open the envelopes in it. Reads state, changes none but the cache of roots."""
        known = self.links.get(link)
        frame = decode_frame(payload, known.frame_bytes_max if known else 0)
        opened: tuple[Verified | Reject, ...] = ()
        if isinstance(frame, Data) and known is not None and known.is_open:
            opened = tuple([open_envelope(item.envelope, self.credentials, self.roots) for item in frame.items])
        return Arrived(link, frame, opened, len(payload))

    def step(self, event: Event, now_ms: int) -> Ready:
        """Apply one event. Never raises for anything that a peer did."""
        ready = Ready()
        match event:
            case Arrived():
                self._arrived(event, now_ms, ready)
            case Tick():
                self._tick(now_ms, ready)
            case Submit(message):
                self.submit(message, now_ms, ready)
            case LinkUp():
                self._link_up(event, now_ms, ready)
            case LinkDown(number):
                link = self.links.get(number)
                if link is not None:
                    self._lost(link, now_ms, ready)
            case _:
                self.on_event(event, now_ms, ready)
        return ready

    def fabric_now(self, now_ms: int) -> int:
        """The root's time, by which credentials and issued_at are judged (SPEC 5)."""
        return now_ms + self.clock.offset_ms

    @property
    def clock_suspect(self) -> bool:
        return self.clock.suspect(self.skew_ms)

    # -- what a subclass says ---------------------------------------------------------------------------

    def on_event(self, event: Event, now_ms: int, ready: Ready) -> None:
        raise AssertionError(f"{type(event).__name__} is no event of this node")

    def submit(self, message: Verified, now_ms: int, ready: Ready) -> None:
        raise AssertionError("a subclass submits")

    def destination_of(self, link: Link) -> str:
        raise AssertionError("a subclass names destinations")

    def on_open(self, link: Link, now_ms: int, ready: Ready) -> None:
        """The link's handshake is done."""

    def on_lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        """An open link is gone."""

    def on_refused(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """The peer refused us, or we refused the peer that we dialled."""

    def on_bye(self, link: Link, bye: Bye, now_ms: int, ready: Ready) -> None:
        """The peer leaves on purpose."""

    def on_message(self, link: Link, item: Item, message: Verified, lane: Lane, sent_ms: int, now_ms: int,
                   ready: Ready) -> None:
        raise AssertionError("a subclass takes messages")

    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        raise AssertionError("a subclass ends rows")

    def on_routes(self, link: Link, frame: Routes, now_ms: int, ready: Ready) -> None:
        self.refuse(link, Reject(Code.WRONG_ROLE, "routes come from below"), now_ms, ready)

    def on_routed(self, link: Link, frame: Routed, now_ms: int, ready: Ready) -> None:
        """The peer has applied our routes."""

    def on_lists(self, now_ms: int, ready: Ready) -> None:
        """A newer revocation list is in force."""

    def make_routes(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Send what is due of our routes."""

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        """A few times a second."""

    # -- links ------------------------------------------------------------------------------------------

    def _link_up(self, event: LinkUp, now_ms: int, ready: Ready) -> None:
        link = Link(event.link, event.peer, event.nonce, now_ms, event.role, event.expects)
        self.links[event.link] = link
        if event.role is not None:
            link.state = State.GREETED
            self._greet(link, now_ms, ready)

    def _greet(self, link: Link, now_ms: int, ready: Ready) -> None:
        assert link.greet_as is not None
        link.greeted_at_ms = now_ms
        self.send(
            link,
            Hello(
                *PROTOCOL_VERSIONS, self.me.fabric, link.greet_as, self.me.raw, self.session, link.nonce, now_ms,
                self.trust.revocations.version, 0,
            ),
            ready,
        )

    def _on_hello(self, link: Link, hello: Hello, now_ms: int, ready: Ready) -> None:
        if link.greet_as is not None:
            return  # both sides dialled nothing of this kind; the dialler never takes a HELLO
        if link.state is State.OPEN:
            if hello.session == link.peer_session and hello.nonce == link.nonce:
                self._welcome(link, hello, now_ms, ready)  # ours was lost
            return
        checked = check_hello(hello, link, self.trust, self.parent, self.accepts, self.fabric_now(now_ms))
        if isinstance(checked, Reject):
            self.count("refused", checked.code.reason)
            ready.notes.append(Note("link refused", {"code": checked.code.label, "detail": checked.detail}))
            self.send(link, Refused(checked.code, checked.detail, hello.nonce), ready)
            self._close(link, checked.code, ready)
            return
        link.nonce = hello.nonce
        link.transit.observe(hello.clock_ms, now_ms)  # what a link usually takes is known before its first message
        self._open(link, checked, hello.role, hello.session, now_ms, ready,
                   before=lambda: self._welcome(link, hello, now_ms, ready))
        if hello.role != Role.PARENT and hello.revocations_version < self.trust.revocations.version:
            self.send(link, Lists(self.trust.revocations.raw), ready)

    def _welcome(self, link: Link, hello: Hello, now_ms: int, ready: Ready) -> None:
        version = negotiate(hello.version_min, hello.version_max)
        assert isinstance(version, int)
        self.send(
            link,
            Welcome(version, self.me.raw, self.session, hello.nonce, now_ms, self.fabric_now(now_ms),
                    self.trust.revocations.version, 0, LANE_WINDOW_BYTES),
            ready,
        )

    def _on_welcome(self, link: Link, welcome: Welcome, now_ms: int, ready: Ready) -> None:
        if link.state is not State.GREETED:
            return
        checked = check_welcome(welcome, link, self.trust, self.fabric_now(now_ms))
        if isinstance(checked, Reject):
            self.refuse(link, checked, now_ms, ready)
            return
        link.transit.observe(welcome.clock_ms, now_ms)
        role = Role.CHILD if link.greet_as == Role.PARENT else Role.PARENT
        if role == Role.PARENT:
            self.clock.observe(link.greeted_at_ms, welcome.fabric_clock_ms, now_ms)
        self._open(link, checked, role, welcome.session, now_ms, ready)
        if role == Role.CHILD and welcome.revocations_version < self.trust.revocations.version:
            self.send(link, Lists(self.trust.revocations.raw), ready)

    def _open(self, link: Link, peer: Credential, role: Role, session: bytes, now_ms: int, ready: Ready,
              before: Callable[[], None] = lambda: None) -> None:
        link.opened(peer, role, session, now_ms)
        link.destination = self.destination_of(link)
        older = self.by_destination.get(link.destination)
        if older is not None:
            # The same node came again: what it left behind on the old connection is moved to this one.
            self._lost(older, now_ms, ready)
            ready.close.append((older.number, Code.CLOSED))
        self.by_destination[link.destination] = link
        self.outboxes.setdefault(link.destination, Outbox(link.destination, RETRY_MS))
        self.learn(peer)
        before()
        ready.notes.append(Note("link open", {"peer": peer.id, "role": role.name.lower()}))
        self.on_open(link, now_ms, ready)
        self._dirty[link.destination] = None

    def _lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        was_open = link.state is State.OPEN
        link.state = State.CLOSED
        self.links.pop(link.number, None)
        self._answering.pop(link.number, None)
        if self.by_destination.get(link.destination) is link:
            del self.by_destination[link.destination]
            outbox = self.outboxes.get(link.destination)
            if outbox is not None:
                outbox.recall()
        if was_open:
            assert link.peer is not None
            ready.notes.append(Note("link lost", {"peer": link.peer.id}))
            self.on_lost(link, now_ms, ready)

    def _close(self, link: Link, code: Code, ready: Ready) -> None:
        """End a link that never opened, or after `_lost`."""
        link.state = State.CLOSED
        self.links.pop(link.number, None)
        ready.close.append((link.number, code))

    def refuse(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """The peer broke a rule: tell it which, and end the link."""
        self.count("refused", reason.code.reason)
        ready.notes.append(Note("link refused", {
            "code": reason.code.label, "detail": reason.detail, "peer": link.peer.id if link.peer else "",
        }))
        self.send(link, Refused(reason.code, reason.detail, link.nonce), ready)
        dialled = link.greet_as is not None
        self._lost(link, now_ms, ready)
        ready.close.append((link.number, reason.code))
        if dialled:
            self.on_refused(link, reason, now_ms, ready)

    def send(self, link: Link, frame: Frame, ready: Ready) -> None:
        ready.send.append((link.number, encode_frame(frame)))

    # -- frames -----------------------------------------------------------------------------------------

    def _arrived(self, event: Arrived, now_ms: int, ready: Ready) -> None:
        link = self.links.get(event.link)
        if link is None:
            return
        frame = event.frame
        if isinstance(frame, Reject):
            self.refuse(link, frame, now_ms, ready)
            return
        problem = link.check(frame)
        if problem is not None:
            if link.state is State.WAITING:
                self.refuse(link, problem, now_ms, ready)
            return
        link.heard_at_ms = now_ms
        match frame:
            case Data():
                self._on_data(link, frame, event.opened, now_ms, ready)
            case Ack(ids):
                for id_ in ids:
                    self._on_ack(link, id_, now_ms, ready)
            case Nack(refusals):
                for id_, code, detail in refusals:
                    self._on_nack(link, id_, Reject(code, detail), now_ms, ready)
            case Credit(allowed):
                link.allowed_bytes = [max(a, b) for a, b in zip(link.allowed_bytes, allowed, strict=True)]
                self._dirty[link.destination] = None
            case Intro(credentials):
                self._on_intro(link, credentials, now_ms)
            case Ping(clock_ms):
                link.transit.observe(clock_ms, now_ms)
                self.send(link, Pong(clock_ms, self.fabric_now(now_ms)), ready)
                credit = link.grant(always=True)
                assert credit is not None
                self.send(link, credit, ready)
            case Pong(clock_ms, fabric_clock_ms):
                if link.peer_role == Role.PARENT:
                    self.clock.observe(clock_ms, fabric_clock_ms, now_ms)
            case Routes():
                self.on_routes(link, frame, now_ms, ready)
            case Routed():
                self.on_routed(link, frame, now_ms, ready)
            case Lists(raw):
                self._on_lists(link, raw, now_ms, ready)
            case Hello():
                self._on_hello(link, frame, now_ms, ready)
            case Welcome():
                self._on_welcome(link, frame, now_ms, ready)
            case Refused(code, detail, _):
                self._lost(link, now_ms, ready)
                ready.close.append((link.number, code))
                if link.greet_as is not None:
                    self.on_refused(link, Reject(code, detail), now_ms, ready)
            case Bye():
                self.on_bye(link, frame, now_ms, ready)
                self._lost(link, now_ms, ready)
                ready.close.append((link.number, Code.CLOSED))

    def _on_data(self, link: Link, data: Data, opened: Sequence[Verified | Reject], now_ms: int,
                 ready: Ready) -> None:
        self._answering[link.number] = None
        transit_ms = link.transit.observe(data.clock_ms, now_ms)
        for item, message in zip(data.items, opened, strict=True):
            if isinstance(message, Reject):
                link.consumed_bytes[data.lane] += len(item.envelope)
                if message.code in (Code.MALFORMED, Code.TOO_LARGE, Code.TOO_DEEP):
                    self.refuse(link, message, now_ms, ready)
                    return
                self.nack(link, _id_of(item.envelope), message)
                continue
            problem = self.trust.check(message.credential, self.fabric_now(now_ms))
            if problem is None and len(item.hops) >= HOPS_MAX:
                problem = Reject(Code.UNROUTABLE, "too many hops")
            if problem is not None:
                link.consumed_bytes[data.lane] += len(item.envelope)
                self.nack(link, message.id, problem)
                continue
            item = item._replace(age_ms=item.age_ms + transit_ms)
            self.on_message(link, item, message, data.lane, data.clock_ms, now_ms, ready)
            if link.state is not State.OPEN:
                return

    def ack(self, link: Link, id_: bytes) -> None:
        link.acks.append(id_)
        self._answering[link.number] = None

    def nack(self, link: Link, id_: bytes, reason: Reject) -> None:
        self.count("refused", reason.code.reason)
        link.nacks.append((id_, reason.code, reason.detail))
        self._answering[link.number] = None

    def _on_ack(self, link: Link, id_: bytes, now_ms: int, ready: Ready) -> None:
        row = self.outboxes[link.destination].settle(id_)
        if row is not None:
            self._dirty[link.destination] = None
            self.on_settled(row, None, now_ms, ready)

    def _on_nack(self, link: Link, id_: bytes, reason: Reject, now_ms: int, ready: Ready) -> None:
        outbox = self.outboxes[link.destination]
        row = outbox.settle(id_)
        if row is None:
            return
        self._dirty[link.destination] = None
        if reason.code not in TEMPORARY:
            self.on_settled(row, reason, now_ms, ready)
            return
        if reason.code is Code.UNKNOWN_SIGNER:
            link.introduced.pop(row.held.message.envelope.signer, None)
            outbox.again(row, now_ms)
        else:
            self.count("waited", reason.code.reason)
            outbox.again(row, now_ms + _TEMPORARY_WAIT_MS)

    def _on_intro(self, link: Link, credentials: list[bytes], now_ms: int) -> None:
        for raw in credentials:
            checked = self.trust.check_raw(raw, self.fabric_now(now_ms))
            if isinstance(checked, Reject):
                self.count("refused", checked.code.reason)
            else:
                self.learn(checked)

    def learn(self, credential: Credential) -> None:
        """Remember a verified credential. The oldest that no message needs is forgotten beyond the bound."""
        self.credentials[credential.digest] = credential
        self.credentials.move_to_end(credential.digest)
        if len(self.credentials) > CREDENTIALS_CACHED_MAX:
            self.credentials.popitem(last=False)

    def _on_lists(self, link: Link, raw: bytes, now_ms: int, ready: Ready) -> None:
        if link.peer_role != Role.PARENT:
            self.refuse(link, Reject(Code.WRONG_DIRECTION, "lists come from the parent"), now_ms, ready)
            return
        self.apply_lists(raw, now_ms, ready)

    def apply_lists(self, raw: bytes, now_ms: int, ready: Ready) -> Reject | None:
        """Put a newer revocation list in force: cut the links of who is on it, and pass it down."""
        lists = verify_revocations(raw, self.trust.authority_key, self.me.fabric)
        if isinstance(lists, Reject):
            self.count("refused", lists.code.reason)
            return lists
        if not lists.supersedes(self.trust.revocations):
            return Reject(Code.STALE_LIST) if lists.version < self.trust.revocations.version else None
        self.trust.revocations = lists
        ready.persist.append(KeepLists(raw))
        for link in list(self.links.values()):
            if link.peer is None:
                continue
            revoked = lists.check(link.peer)
            if revoked is not None:
                self.refuse(link, revoked, now_ms, ready)
            elif link.peer_role != Role.PARENT:
                self.send(link, Lists(raw), ready)
        ready.notes.append(Note("revocations applied", {"version": lists.version, "revoked": len(lists.ids)}))
        self.on_lists(now_ms, ready)
        return None

    # -- the end of a turn ------------------------------------------------------------------------------

    def _tick(self, now_ms: int, ready: Ready) -> None:
        if now_ms >= self._timers_at_ms:
            self._timers_at_ms = now_ms + _TIMERS_MS
            self._timers(now_ms, ready)
        dirty, self._dirty = self._dirty, {}
        for destination in dirty:
            link = self.by_destination.get(destination)
            if link is not None and link.is_open:
                self._pump(link, self.outboxes[destination], now_ms, ready)
                self.make_routes(link, now_ms, ready)
        answering, self._answering = self._answering, {}
        for number in answering:
            link = self.links.get(number)
            if link is not None and link.is_open:
                self._answer(link, ready)
        ready.wake_at_ms = now_ms if self._dirty else self._timers_at_ms

    def touch(self, destination: str) -> None:
        """Something waits for this destination."""
        self._dirty[destination] = None

    def _answer(self, link: Link, ready: Ready) -> None:
        for i in range(0, len(link.acks), FRAME_ELEMENTS_MAX // 2):
            self.send(link, Ack(link.acks[i : i + FRAME_ELEMENTS_MAX // 2]), ready)
        for i in range(0, len(link.nacks), ITEMS_MAX):
            self.send(link, Nack(link.nacks[i : i + ITEMS_MAX]), ready)
        link.acks, link.nacks = [], []
        credit = link.grant()
        if credit is not None:
            self.send(link, credit, ready)

    def _timers(self, now_ms: int, ready: Ready) -> None:
        for link in list(self.links.values()):
            if link.state is State.WAITING and now_ms - link.since_ms > HELLO_WAIT_MS:
                self.refuse(link, Reject(Code.NOT_READY, "no HELLO"), now_ms, ready)
            elif link.state is State.GREETED and now_ms - link.greeted_at_ms >= HELLO_RETRY_MS:
                self._greet(link, now_ms, ready)
            elif link.state is State.OPEN:
                if now_ms - link.heard_at_ms > LINK_SILENCE_MS:
                    self.count("links_silent", link.peer_role.name.lower())
                    self._lost(link, now_ms, ready)
                    ready.close.append((link.number, Code.CLOSED))
                    continue
                if link.peer_role == Role.PARENT and now_ms - link.pinged_at_ms >= PING_MS:
                    link.pinged_at_ms = now_ms
                    self.send(link, Ping(now_ms), ready)
                outbox = self.outboxes[link.destination]
                for row in outbox.overdue(now_ms):
                    link.refund(row.held.lane, row.wire_bytes)
                    self.count("sent_again", row.held.lane.name.lower())
                self._dirty[link.destination] = None
        self.on_timers(now_ms, ready)

    # -- sending ----------------------------------------------------------------------------------------

    def _pump(self, link: Link, outbox: Outbox, now_ms: int, ready: Ready) -> None:
        """Send what credit allows, urgent first; items of one lane share a frame."""
        items: list[Item] = []
        size, lane = 0, Lane.URGENT
        while (row := outbox.take(now_ms, link.allowance())) is not None:
            held = row.held
            message = self.fit(row, link, now_ms)
            if isinstance(message, Reject):
                outbox.end(row)
                self.on_settled(row, message, now_ms, ready)
                continue
            self._introduce(message, link, ready)
            item = self._item(row, message, now_ms)
            bytes_ = len(item.envelope)
            if items and (held.lane != lane or size + bytes_ > _FRAME_TARGET_BYTES or len(items) == ITEMS_MAX):
                self.send(link, Data(lane, now_ms, items), ready)
                items, size = [], 0
            items.append(item)
            lane, size = held.lane, size + bytes_
            outbox.sent(row, now_ms, bytes_)
            link.sent_bytes[lane] += bytes_
            self.counters["sent"] += 1
        if items:
            self.send(link, Data(lane, now_ms, items), ready)

    def _introduce(self, message: Verified, link: Link, ready: Ready) -> None:
        signer = message.envelope.signer
        if signer not in link.introduced:
            self.send(link, Intro([message.credential.raw]), ready)
            link.introduced[signer] = None

    def _item(self, row: Row, message: Verified, now_ms: int) -> Item:
        held = row.held
        direction = Direction.UP if row.destination == UPLINK else Direction.DOWN
        hops = list(held.hops)
        if self.accepts:
            hops.append(self.me.id)
        return Item(direction, held.age_at(now_ms), hops, list(row.targets), message.raw)

    def fit(self, row: Row, link: Link, now_ms: int) -> Verified | Reject:
        """What of a held message may go to this peer, now (SPEC 3.5, 4, 5): the last look before it leaves."""
        held, peer = row.held, link.peer
        assert peer is not None
        if self.is_expired(held.message, held.age_at(now_ms), now_ms):
            return Reject(Code.EXPIRED)
        revoked = self.trust.revocations.check(held.message.credential)
        if revoked is not None:
            return revoked
        return self.strip(held.message, peer)

    def strip(self, message: Verified, holder: Credential) -> Verified | Reject:
        """The message as this holder may have it, or WITHHELD when it may not know of it or not use the rest."""
        header = message.header
        if not may_hold(holder, header.label, header.audience):
            self.count("withheld", header.label.short)
            return Reject(Code.WITHHELD, holder.id)
        envelope = redact(
            message.envelope, header.manifest, lambda label: may_hold(holder, label, header.audience)
        )
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
            now_ms=self.fabric_now(now_ms),
            skew_ms=self.skew_ms,
            clock_suspect=self.clock_suspect,
        )

    def count(self, what: str, reason: str, by: int = 1) -> None:
        """A counter by reason: "refused:bad_digest". Reasons come from tables, never from a peer."""
        self.counters[f"{what}:{reason}"] += by


def _id_of(raw: bytes) -> bytes:
    """The id of an envelope that could not be trusted, to refuse it by."""
    envelope = _decode_envelope(raw)
    return bytes(ID_BYTES) if isinstance(envelope, Reject) else leaf_of(envelope.header)[:ID_BYTES]


