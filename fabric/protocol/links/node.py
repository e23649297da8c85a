"""What a relay and a control point have in common (SPEC 7, 10): events in, one `Ready` out.

`step` takes one event and the time; frames that can wait for each other are made at `Tick`, the end of a driver's
turn. Guarantees: every frame but an accepted peer's is refused; a message is acknowledged in the same `Ready` that
persists it; everything that may be lost is repeated. Four files, one subject each: `links`, `opening` (how they
open), `carrier` on it, and this, which dispatches to the components. A subclass says what messages mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from fabric.protocol.base.errors import Code, Fault, Reject
from fabric.protocol.base.limits import (
    CREDENTIALS_CACHED_MAX,
    FORGED_MAX,
    HELLO_RETRY_MS,
    HELLO_WAIT_MS,
    LEAVING_MS,
    LINK_SILENCE_MS,
    PARENT_SILENCE_MS,
    PING_MS,
    STALL_MS,
    UNEASY_MS,
    UNEASY_PING_MS,
)
from fabric.protocol.core.faults import fault_of
from fabric.protocol.core.ready import (
    Arrived,
    Event,
    KeepCredential,
    KeepDirectory,
    KeepLists,
    LinkDown,
    LinkUp,
    Note,
    Op,
    Put,
    Ready,
    Renewed,
    Seen,
    SeenAction,
    Submit,
    Tick,
)
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Row
from fabric.protocol.envelope.verify import Verified, is_forged, open_envelope
from fabric.protocol.links.announce import settled
from fabric.protocol.links.carrier import Carrier
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import UPLINK
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.wire.frames import (
    Ack,
    Applied,
    Bye,
    Credit,
    Data,
    Denied,
    Direction,
    Directory,
    Hello,
    Intro,
    Join,
    Joined,
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
)

_TIMERS_MS = 250
# What was to have run out by now, and by a better time has not, is looked at again after this.
_EXPIRY_LATER_MS = 1_000
# Who waits for admission is let in as steadily as this.
_ADMIT_MS = 20


class Node(Carrier):
    """The dispatcher: which frame, event and timer goes where."""

    custody: Custody

    # -- the driver's side ------------------------------------------------------------------------------

    def read(self, link: int, payload: bytes) -> Arrived:
        """Decode a frame and open the envelopes in it. Reads state, changes none but the cache of roots."""
        try:
            return self._read(link, payload)
        except Exception as error:  # noqa: BLE001 - `step` ends the link for it
            return Arrived(link, fault_of(error), (), len(payload))

    def _read(self, link: int, payload: bytes) -> Arrived:
        known = self.links.get(link)
        frame = decode_frame(payload, known.frame_bytes_max if known else 0)
        opened: list[Verified | Reject] = []
        if isinstance(frame, Data) and known is not None and known.is_open:
            forged = 0
            for item in frame.items:
                opened.append(open_envelope(item.envelope, self.trust.credentials, self.roots))
                forged += is_forged(opened[-1])
                if forged >= FORGED_MAX:
                    break
        return Arrived(link, frame, tuple(opened), len(payload))

    def step(self, event: Event, now_ms: int) -> Ready:
        """Apply one event. Never raises for anything that a peer did: a fault that it brings out ends its link."""
        ready = Ready()
        match event:
            case Arrived(number, Fault() as fault):
                self.end_faulty(number, fault, now_ms, ready)
            case Arrived(number):
                link = self.links.get(number)
                if link is not None:
                    self.contained(partial(self._arrived, event), link, now_ms, ready)
            case Tick():
                self._tick(now_ms, ready)
            case Renewed(credential):
                self._renewed(credential, now_ms, ready)
            case Submit(message):
                self.submit(message, now_ms, ready)
            case LinkUp():
                link = Link(event.link, event.peer, event.nonce, now_ms, event.role, event.expects)
                self.contained(self._link_up, link, now_ms, ready)
            case LinkDown(number):
                link = self.links.get(number)
                if link is not None:
                    self.contained(self._lost, link, now_ms, ready)
            case _:
                self.on_event(event, now_ms, ready)
        return ready

    # -- what a subclass says ---------------------------------------------------------------------------

    def on_event(self, event: Event, now_ms: int, ready: Ready) -> None:
        raise AssertionError(f"{type(event).__name__} is no event of this node")

    def submit(self, message: Verified, now_ms: int, ready: Ready) -> None:
        raise AssertionError("a subclass submits")

    def on_bye(self, link: Link, bye: Bye, now_ms: int, ready: Ready) -> None:
        """The peer left on purpose; its link is gone."""

    def on_routes(self, link: Link, frame: Routes, now_ms: int, ready: Ready) -> None:
        self.refuse(link, Reject(Code.WRONG_ROLE, "routes come from below"), now_ms, ready)

    def on_routed(self, link: Link, frame: Routed, now_ms: int, ready: Ready) -> None:
        """The peer has applied our routes."""

    def on_join(self, link: Link, frame: Join, now_ms: int, ready: Ready) -> None:
        raise AssertionError("a subclass passes questions on, or answers them")

    def on_joined(self, link: Link, frame: Joined, now_ms: int, ready: Ready) -> None:
        raise AssertionError("a subclass passes answers on, or takes them")

    def on_applied(self, link: Link, frame: Applied, now_ms: int, ready: Ready) -> None:
        self.refuse(link, Reject(Code.WRONG_ROLE, "relays below say which list they have"), now_ms, ready)

    def on_denied(self, link: Link, counts: Sequence[tuple[Code, int]], now_ms: int, ready: Ready) -> None:
        """The peer did not let its own program do these."""
        self.refuse(link, Reject(Code.WRONG_DIRECTION, "a relay is told by its control points"), now_ms, ready)

    def make_routes(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Send what is due of our routes."""

    def on_renewed(self, now_ms: int, ready: Ready) -> None:
        """This node has a newer credential: what it says of itself is to be signed under that."""

    def on_lists(self, now_ms: int, ready: Ready) -> None:
        """A newer revocation list is in force."""

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        """A few times a second. What has run out ends."""
        for held in self.custody.overdue(now_ms):
            why = self.why_over(held, now_ms)
            if why is None:
                self.custody.later(held, now_ms + _EXPIRY_LATER_MS)
                continue
            self.ending.end(list(held.rows.values()), why, now_ms, ready)
        self.custody.dedup.sweep(now_ms)

    def on_ended(self, rows: Sequence[Row]) -> None:
        """These have ended, a part of many: whoever held them may be empty by now."""

    def on_turn_end(self, ready: Ready) -> None:
        """Everything that a turn brought is decided: what has to be committed together with it."""

    def on_restore(self, op: Op, now_ms: int) -> None:
        """What only this kind of node keeps; of a `Put` too, before the message is taken back."""

    # -- frames -----------------------------------------------------------------------------------------

    def _arrived(self, event: Arrived, link: Link, now_ms: int, ready: Ready) -> None:
        frame = event.frame
        assert not isinstance(frame, Fault)
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
            case Intro():
                self.trust_distribution.introduced(link, frame, now_ms, ready)
            case Ping(clock_ms):
                link.transit.observe(clock_ms, now_ms)
                self.trust_distribution.repeat(link, ready)
                self.send(link, Pong(clock_ms, self.time.to_tell(now_ms), self.path), ready)
                credit = link.grant(self.takes_in, always=True)
                assert credit is not None
                self.send(link, credit, ready)
            case Pong(clock_ms, fabric_clock_ms, path):
                if link.peer_role == Role.PARENT:
                    self.trust_distribution.repeat(link, ready)
                    if self.by_destination.get(link.destination) is link and link.peer is not None:
                        self.time.hear(link.number, link.peer, clock_ms, fabric_clock_ms, now_ms)
                    self._on_path(link, path, now_ms, ready)
            case Routes():
                self.on_routes(link, frame, now_ms, ready)
            case Routed():
                self.on_routed(link, frame, now_ms, ready)
            case Lists():
                before = self.trust.revocations
                self.trust_distribution.handed_over(link, frame, now_ms, ready)
                self._follow_lists(before, now_ms, ready)
            case Directory():
                self.directory.frame(link, frame, now_ms, ready)
            case Join():
                self.on_join(link, frame, now_ms, ready)
            case Applied():
                self.on_applied(link, frame, now_ms, ready)
            case Joined():
                self.on_joined(link, frame, now_ms, ready)
            case Denied(counts):
                self.on_denied(link, counts, now_ms, ready)
            case Hello():
                self._on_hello(link, frame, now_ms, ready)
            case Welcome():
                self._on_welcome(link, frame, now_ms, ready)
            case Refused(code, detail, _):
                self._end(link, code, now_ms, ready, patient=False)
                self._was_refused(link, Reject(code, detail), now_ms, ready)
            case Bye(Code.DRAINING) if link.is_open and link.peer_role == Role.PARENT and link.peer is not None:
                # It still takes and gives; nobody is cut until there is another parent, or it has gone.
                ready.notes.append(Note("parent drains", {"peer": link.peer.id}))
                self.uplink.shun(link.peer.id, now_ms)
                self._choose(now_ms, ready)
            case Bye():
                was_open = link.is_open
                self._end(link, Code.CLOSED, now_ms, ready)
                if was_open:
                    self.on_bye(link, frame, now_ms, ready)

    def _on_path(self, link: Link, path: tuple[str, ...], now_ms: int, ready: Ready) -> None:
        """Where our parent is. Below ourselves it must not be: what climbed would come back and be taken for seen."""
        if self.by_destination.get(link.destination) is not link or link.peer is None:
            return
        self.ancestors = path
        if self.is_above(link.peer.id, path):
            self.refuse(link, Reject(Code.LOOP, f"{self.me.id} is above its parent"), now_ms, ready)

    # -- whom it trusts ---------------------------------------------------------------------------------

    def _renewed(self, credential: Credential, now_ms: int, ready: Ready) -> None:
        """This node's own credential was issued anew: the same node, the same keys. No link has to end for that."""
        assert (credential.id, credential.curve_key) == (self.me.id, self.me.curve_key)
        self.me = credential
        self.time.renewed(credential)
        self.trust_distribution.renewed(credential, ready)
        self.on_renewed(now_ms, ready)

    def apply_lists(self, raw: bytes, now_ms: int, ready: Ready) -> Reject | None:
        """A revocation list that the driver found: put it in force if it is newer than the one that is."""
        before = self.trust.revocations
        refused = self.trust_distribution.apply(raw, now_ms, ready)
        self._follow_lists(before, now_ms, ready)
        return refused

    def ask_again(self) -> None:
        """What waits for a reader may go, where that one is on a newer revocation list."""
        for outbox in self.outboxes.values():
            outbox.ask()

    def _follow_lists(self, before: Revocations, now_ms: int, ready: Ready) -> None:
        if self.trust.revocations is not before:
            self.on_lists(now_ms, ready)

    # -- what survives a restart ------------------------------------------------------------------------

    def keep(self, credential: Credential, ready: Ready) -> None:
        """Whoever signed what is on disk must be known when it is read back.

        A disk keeps at least as many of the last as are remembered here, so one that is forgotten is written again.
        """
        if credential.digest not in self.kept:
            self._keep_in_mind(credential.digest)
            ready.persist.append(KeepCredential(credential.digest, credential.raw))

    def _keep_in_mind(self, digest: bytes) -> None:
        self.kept[digest] = None
        if len(self.kept) > CREDENTIALS_CACHED_MAX:
            self.kept.popitem(last=False)

    def restore(
        self, ops: Iterable[Op], now_ms: int, number_of: Callable[[Put], int] = lambda _: 0
    ) -> list[tuple[bytes, Direction]]:
        """Take back what is on disk, in its order. Returns the messages that cannot be believed any more.

        `number_of`: of the row that has a message, which says its place among all; 0 where a driver knows none.

        Credentials are not judged by the time here: a message of one that ran out meanwhile is refused where it is
        sent to, and so ends with that reason.
        """
        damaged = []
        for op in ops:
            self.on_restore(op, now_ms)
            match op:
                case KeepCredential(digest, raw):
                    self._keep_in_mind(digest)
                    self.trust.restore_credential(raw)
                case KeepLists(raw):
                    self.trust.restore_revocations(raw)
                case KeepDirectory(raw):
                    self.directory.restore(raw)
                case Seen(id_, direction, until_ms):
                    self.custody.dedup.add(id_, direction, until_ms)
                case SeenAction(id_, direction, until_ms, requester):
                    self.custody.dedup.add_action(id_, direction, until_ms, requester)
                case Put():
                    if not self._readopt(op, number_of(op), now_ms):
                        self.count("ended", "quarantined")
                        damaged.append((op.id, op.direction))
        self.trust.settle()
        return damaged

    def _readopt(self, op: Put, number: int, now_ms: int) -> bool:
        known = self.custody.get(op.id, op.direction)
        message = open_envelope(op.envelope, self.trust.credentials, self.roots)
        if known is not None:  # it came again while this slept
            if not isinstance(message, Reject):
                self.custody.unite(known, message)
            return True
        if isinstance(message, Reject):
            return False
        # The clock may have been set back while we were off; age never shrinks.
        received_at_ms = min(op.received_at_ms, now_ms)
        held = Held(
            message, op.direction, op.lane, op.age_ms, received_at_ms, op.expires_at_ms, op.hops, restored=True,
            order=number,
        )
        self.custody.adopt(held, op.destinations, op.moved)
        return True

    # -- the end of a turn ------------------------------------------------------------------------------

    def _tick(self, now_ms: int, ready: Ready) -> None:
        if now_ms >= self._timers_at_ms:
            self._timers_at_ms = now_ms + _TIMERS_MS
            self._timers(now_ms, ready)
        self.on_ended(self.ending.turn(now_ms, ready))
        self._admit_waiting(now_ms, ready)
        dirty, self._dirty = self._dirty, {}
        for destination in dirty:
            link = self.by_destination.get(destination)
            if link is not None and link.is_open:
                self.contained(self._serve, link, now_ms, ready)
        answering, self._answering = self._answering, {}
        for number in answering:
            link = self.links.get(number)
            if link is not None and link.is_open:
                self.contained(self._answer, link, now_ms, ready)
        self._after_commit.clear()
        self.on_turn_end(ready)
        soon_ms = now_ms + _ADMIT_MS if self._admissions_wait else self._timers_at_ms
        ready.wake_at_ms = now_ms if self._dirty or self.ending else min(soon_ms, self._timers_at_ms)

    def _serve(self, link: Link, now_ms: int, ready: Ready) -> None:
        # Who is where goes first: it says where to the answers to what follows are sent.
        self.make_routes(link, now_ms, ready)
        self._pump(link, self.outboxes[link.destination], now_ms, ready)

    def _timers(self, now_ms: int, ready: Ready) -> None:
        for link in list(self.links.values()):
            self.contained(self._look_at, link, now_ms, ready)
        self._choose(now_ms, ready)
        self._twins.sweep(now_ms)
        self.on_timers(now_ms, ready)

    def _look_at(self, link: Link, now_ms: int, ready: Ready) -> None:
        """A few times a second, in whatever state it is."""
        if link.state is State.WAITING:
            said_ms = link.since_ms if link.hello is None else link.hello_at_ms
            if now_ms - said_ms > HELLO_WAIT_MS:
                self.refuse(link, Reject(Code.NOT_READY, "no HELLO"), now_ms, ready)
        elif link.state is State.GREETED and now_ms - link.heard_at_ms > LINK_SILENCE_MS:
            # A host that is gone, or a process that hangs: its connection may stay for a quarter of an hour.
            self.count("links_silent", "unanswered")
            self._end(link, Code.CLOSED, now_ms, ready, patient=False)
        elif link.state is State.GREETED and now_ms - link.greeted_at_ms >= HELLO_RETRY_MS:
            self._greet(link, now_ms, ready)
        elif link.state is State.OPEN:
            self._look_after(link, now_ms, ready)

    def _look_after(self, link: Link, now_ms: int, ready: Ready) -> None:
        """An open link: does it live, is a ping due, what is to be sent again."""
        outbox = self.outboxes[link.destination]
        current = self.by_destination.get(link.destination) is link
        problem = self.trust_distribution.check_peer(link, now_ms)
        if problem is not None:
            self.refuse(link, problem, now_ms, ready)
            return
        silence_ms = now_ms - link.heard_at_ms
        can_leave = current and link.destination == UPLINK and self.uplink.alternatives
        if silence_ms > (PARENT_SILENCE_MS if can_leave else LINK_SILENCE_MS):
            self._give_up(link, "links_silent", now_ms, ready)
            return
        if can_leave and outbox.stalled(now_ms, STALL_MS):
            self._give_up(link, "links_stalled", now_ms, ready)
            return
        if not current and link.leaving_at_ms is not None and now_ms - link.leaving_at_ms > LEAVING_MS:
            self.part(link, now_ms, ready)
            return
        every_ms = UNEASY_PING_MS if can_leave and silence_ms > UNEASY_MS else PING_MS
        if link.peer_role == Role.PARENT and now_ms - link.pinged_at_ms >= every_ms:
            link.pinged_at_ms = now_ms
            self.send(link, Ping(now_ms), ready)
        if not current:
            self.make_routes(link, now_ms, ready)
            return
        for row in outbox.overdue(now_ms):
            link.refund(row.held.lane, row.wire_bytes)
            self.count("sent_again", row.held.lane.name.lower())
        if not outbox.empty or not settled(link):
            self._dirty[link.destination] = None
        if link.stinted:  # by now there may be room
            self._answering[link.number] = None

    def _give_up(self, link: Link, why: str, now_ms: int, ready: Ready) -> None:
        """The peer is there and does nothing, or is not there any more: whoever has another parent goes there."""
        self.count(why, link.peer_role.name.lower())
        self._end(link, Code.CLOSED, now_ms, ready, patient=False)
