"""What a relay and a control point have in common (SPEC 7, 10): events in, one `Ready` out.

`step` takes one event and the time; frames that can wait for each other are made at `Tick`, the end of a driver's
turn. Guarantees: every frame but an accepted peer's is refused; a message is acknowledged in the same `Ready` that
persists it; everything that may be lost is repeated. A node makes its components and calls them by name: this file says
which frame, event and timer goes where. What messages mean is said by the kind of node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from fabric.protocol.base.errors import Code, Fault, Reject
from fabric.protocol.base.limits import FORGED_MAX, SKEW_MS
from fabric.protocol.base.signing import Signer
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.faults import fault_of
from fabric.protocol.core.kept_credentials import KeptCredentials
from fabric.protocol.core.ready import (
    Arrived,
    Event,
    LinkDown,
    LinkUp,
    LogGrown,
    Note,
    Op,
    Put,
    Ready,
    Renewed,
    Submit,
    Tick,
)
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.ending import Ending
from fabric.protocol.custody.outbox import Outbox, Row
from fabric.protocol.envelope.verify import RootCache, Verified, is_forged, open_envelope
from fabric.protocol.links.admission import Admission, Twins
from fabric.protocol.links.candidates import Candidates
from fabric.protocol.links.directory_distribution import DirectoryDistribution
from fabric.protocol.links.facts import CredentialRenewed, Fact, ListTaken, PeerLeft, RowsEnded, TurnEnded
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import Links
from fabric.protocol.links.liveness import Liveness
from fabric.protocol.links.log_heads import LogHeads
from fabric.protocol.links.opening import Opening
from fabric.protocol.links.policy_distribution import PolicyDistribution
from fabric.protocol.links.port import LinkPort
from fabric.protocol.links.release import Release
from fabric.protocol.links.restoring import Restoring
from fabric.protocol.links.transfer import Transfer
from fabric.protocol.links.trust_distribution import TrustDistribution
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Bye,
    Credit,
    Data,
    Direction,
    Directory,
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
    Rules,
    Welcome,
    Witnessed,
)

# How often what depends on time is looked at: while anything is under way, and while nothing is.
_TIMERS_MS = 250
_IDLE_TIMERS_MS = 1_000
# What follows from an event, and was put off for a moment, is done within this.
_CALM_MS = 2_000
# What was to have run out by now, and by a better time has not, is looked at again after this.
_EXPIRY_LATER_MS = 1_000
# Who waits for admission is let in as steadily as this.
_ADMIT_MS = 20


class Node(ABC):
    """The dispatcher. `entropy(n)` gives n random bytes; `parents` in order of preference."""

    accepts: tuple[Role, ...] = ()  # as what peers may come
    custody: Custody

    def __init__(
        self,
        credential: Credential,
        signer: Signer,
        authority_key: bytes,
        session: bytes,
        entropy: Callable[[int], bytes],
        parents: tuple[str, ...] = (),
        skew_ms: int = SKEW_MS,
    ) -> None:
        self.me = credential
        self.signer = signer
        self.session = session
        self.entropy = entropy
        self.parents = parents
        self.skew_ms = skew_ms
        is_relay = bool(self.accepts)
        self.counters = Counters()
        self.outboxes: dict[str, Outbox] = {}
        self.roots = RootCache()
        self.kept = KeptCredentials()
        self.trust = TrustStore(credential, authority_key, skew_ms)
        self.time = Timekeeper(credential, skew_ms, self.counters.count, has_parents=bool(parents))
        self.routes = RouteTable(credential.id)
        self.uplink = Uplink(parents, lambda: int.from_bytes(entropy(4)) / 2**32)
        self._candidates = Candidates(self.uplink)
        self._admission = Admission()
        self._twins = Twins()
        self.link_table = Links(
            credential.id, self.outboxes, self.uplink, self._candidates, self._admission, self.time, self.counters,
            self.hear, is_relay=is_relay,
        )
        self.port = LinkPort(
            self.link_table.by_number, self.link_table.by_destination, self.link_table.send, self.link_table.refuse,
            self.counters.count,
        )
        self.trust_distribution = TrustDistribution(self.trust, self.time, self.port)
        self.policies = PolicyDistribution(self.trust, self.port)
        self.directory = DirectoryDistribution(credential.fabric, authority_key, self.port)
        self.log_heads = LogHeads(credential, signer, self.port, self.time.now)
        self.release = Release(self.trust, self.time, skew_ms, self.counters)
        self.transfer = Transfer(
            credential.id, self.link_table, self.outboxes, self.release, self.trust, self.time, self.counters, self,
            is_relay=is_relay,
        )
        self.opening = Opening(
            credential, session, self.accepts, self.link_table, self._candidates, self._admission, self._twins,
            self.uplink, self.routes, self.trust, self.time, self.transfer, self.trust_distribution, self.policies,
            self.directory, self.counters, self.check_room, self.hear,
        )
        self.liveness = Liveness(
            self.link_table, self.outboxes, self.uplink, self.opening, self.transfer, self.trust_distribution,
            self.policies, self.counters, self, is_relay=is_relay,
        )
        self.ending = Ending(self._settle)
        self._timers_ms = self._stirred_ms = -_IDLE_TIMERS_MS
        self._is_calm = False  # every link, when they were last looked at: to ask each of them takes its time
        self._show()
        self.set_up()

    def _show(self) -> None:
        """What a kind of node uses of the components, under its short name."""
        self.links, self.by_destination = self.link_table.by_number, self.link_table.by_destination
        self.send, self.refuse, self.part = self.link_table.send, self.link_table.refuse, self.link_table.part
        self.attempt = self.link_table.attempt
        self.contained, self.parents_wanted = self.link_table.contained, self.link_table.parents_wanted
        self.touch, self.ack, self.nack = self.transfer.mark_due, self.transfer.ack, self.transfer.nack
        self.strip, self.count, self.keep = self.release.strip, self.counters.count, self.kept.keep

    @property
    def path(self) -> tuple[str, ...]:
        """The relays from the root to this one; of a control point nothing."""
        return self.link_table.path

    @property
    def ancestors(self) -> tuple[str, ...]:
        """The relays from the root to our parent."""
        return self.link_table.ancestors

    @property
    def parent_links(self) -> list[Link]:
        """Open links to parents."""
        return self.link_table.parents

    @property
    def draining(self) -> bool:
        """Whether this node takes nobody any more."""
        return self.opening.draining

    def _settle(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        """For components that end rows. An end is heard where it is: who listens may have come after they were made."""
        self.on_settled(row, refused, now_ms, ready)

    # -- what each kind of node says ----------------------------------------------------------------------

    @abstractmethod
    def set_up(self) -> None:
        """Make the components that only this kind of node has."""

    @abstractmethod
    def on_event(self, event: Event, now_ms: int, ready: Ready) -> None:
        """An event that only this kind of node knows."""
        raise AssertionError(f"{type(event).__name__} is no event of this node")

    @abstractmethod
    def submit(self, message: Verified, now_ms: int, ready: Ready) -> None:
        """A message of this node's own."""

    @abstractmethod
    def on_frame(self, link: Link, frame: Frame, now_ms: int, ready: Ready) -> None:
        """A frame about routes, questions to issuers, or what was done with either."""

    @abstractmethod
    def hear(self, fact: Fact, now_ms: int, ready: Ready) -> None:
        """What a component tells: the table of who hears it."""

    def log_known(self, link: Link) -> int | None:
        """Up to which entry the audit log of this peer is known here; None where heads are not taken."""
        del link
        return None

    @abstractmethod
    def check_room(self, link: Link) -> Reject | None:
        """Whether the peer of this link may have one more."""

    @abstractmethod
    def takes_in(self, lane: Lane) -> bool:
        """Whether more of this lane is welcome."""

    @abstractmethod
    def on_message(
        self, link: Link, item: Item, message: Verified, lane: Lane, now_ms: int, ready: Ready
    ) -> None:
        """A peer hands over a message: it is to be acknowledged or refused."""

    @abstractmethod
    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        """A row has ended: None by an acknowledgement."""

    @abstractmethod
    def on_put_off(self, row: Row, reason: Reject) -> None:
        """The peer does not take it now; it is tried again by itself."""

    @abstractmethod
    def make_routes(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Send what is due of our routes."""

    @abstractmethod
    def ticks(self) -> Sequence[Callable[[int, Ready], None]]:
        """What is done a few times a second, in this order, after what every node does."""

    @abstractmethod
    def on_restore(self, op: Op, now_ms: int) -> None:
        """What only this kind of node keeps; of a `Put` too, before the message is taken back."""

    # -- the driver's side --------------------------------------------------------------------------------

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
        if not _asks_for_life(event):
            self._stirred_ms = now_ms
        match event:
            case Arrived(number, Fault() as fault):
                self.link_table.end_faulty(number, fault, now_ms, ready)
            case Arrived(number):
                link = self.links.get(number)
                if link is not None:
                    self.contained(partial(self._arrived, event), link, now_ms, ready)
            case Tick():
                self._tick(now_ms, ready)
            case Renewed(credential):
                self._renewed(credential, now_ms, ready)
            case LogGrown():
                self.log_heads.grown(event, now_ms, ready)
            case Submit(message):
                self.submit(message, now_ms, ready)
            case LinkUp():
                link = Link(event.link, event.peer, event.nonce, now_ms, event.role, event.expects)
                self.contained(self.opening.connected, link, now_ms, ready)
            case LinkDown(number):
                link = self.links.get(number)
                if link is not None:
                    self.contained(self.link_table.lost, link, now_ms, ready)
            case _:
                self.on_event(event, now_ms, ready)
        return ready

    def resume(self, session: bytes) -> None:
        """The session of an earlier run goes on; before there is any link."""
        self.session = session
        self.opening.resumed(session)

    # -- frames -------------------------------------------------------------------------------------------

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
        if not isinstance(frame, Ping | Pong):
            link.stirs()
        match frame:
            case Data():
                self.transfer.data(link, frame, event.opened, now_ms, ready)
            case Ack(ids):
                self.transfer.acknowledged(link, ids, now_ms, ready)
            case Nack(refusals):
                for id_, code, detail in refusals:
                    self.transfer.refused(link, id_, Reject(code, detail), now_ms, ready)
            case Credit(allowed):
                self.transfer.allowed(link, allowed)
            case Intro():
                self.trust_distribution.introduced(link, frame, now_ms, ready)
            case Ping(clock_ms):
                link.transit.observe(clock_ms, now_ms)
                self.trust_distribution.repeat(link, ready)
                self.policies.repeat(link, ready)
                told_ms, spared_ms = self.time.to_tell(now_ms), self.liveness.spares(link, now_ms)
                self.send(link, Pong(clock_ms, told_ms, self.path, self.log_known(link), spared_ms), ready)
                self.transfer.repeat_credit(link, ready)
            case Pong(clock_ms, fabric_clock_ms, path, log_known, spared_ms):
                if link.peer_role == Role.PARENT:
                    self.liveness.is_spared(link, spared_ms)
                    if self.link_table.is_current(link):
                        self.log_heads.told(link, log_known)
                    self.trust_distribution.repeat(link, ready)
                    self.policies.repeat(link, ready)
                    if self.link_table.is_current(link) and link.peer is not None:
                        self.time.hear(link.number, link.peer, clock_ms, fabric_clock_ms, now_ms)
                    self.opening.parent_placed(link, path, now_ms, ready)
            case Lists():
                before = self.trust.revocations
                self.trust_distribution.handed_over(link, frame, now_ms, ready)
                self._follow_lists(before, now_ms, ready)
            case Rules():
                self.policies.handed_over(link, frame, now_ms, ready)
            case Directory():
                self.directory.frame(link, frame, now_ms, ready)
            case Witnessed():
                self.log_heads.seen(link, frame, now_ms, ready)
            case Hello():
                self.opening.hello(link, frame, now_ms, ready)
            case Welcome():
                self.opening.welcome(link, frame, now_ms, ready)
            case Refused(code, detail, _):
                self.link_table.refused(link, Reject(code, detail), now_ms, ready)
            case Bye(Code.DRAINING) if link.is_open and link.peer_role == Role.PARENT and link.peer is not None:
                # It still takes and gives; nobody is cut until there is another parent, or it has gone.
                ready.notes.append(Note("parent drains", {"peer": link.peer.id}))
                self.uplink.shun(link.peer.id, now_ms)
                self.opening.choose(now_ms, ready)
            case Bye():
                was_open = link.is_open
                self.link_table.end(link, Code.CLOSED, now_ms, ready)
                if was_open:
                    self.hear(PeerLeft(link), now_ms, ready)
            case _:
                self.on_frame(link, frame, now_ms, ready)

    # -- whom it trusts -----------------------------------------------------------------------------------

    def _renewed(self, credential: Credential, now_ms: int, ready: Ready) -> None:
        """This node's own credential was issued anew: the same node, the same keys. No link has to end for that."""
        assert (credential.id, credential.curve_key) == (self.me.id, self.me.curve_key)
        self.me = credential
        self.time.renewed(credential)
        self.opening.renewed(credential)
        self.log_heads.renewed(credential)
        self.trust_distribution.renewed(credential, ready)
        self.hear(CredentialRenewed(), now_ms, ready)

    def apply_lists(self, raw: bytes, now_ms: int, ready: Ready) -> Reject | None:
        """A revocation list that the driver found: put it in force if it is newer than the one that is."""
        before = self.trust.revocations
        refused = self.trust_distribution.apply(raw, now_ms, ready)
        self._stirred_ms = now_ms
        self._follow_lists(before, now_ms, ready)
        return refused

    def ask_again(self) -> None:
        """What waits for a reader may go, where that one is on a newer revocation list."""
        for outbox in self.outboxes.values():
            outbox.ask()

    def _follow_lists(self, before: Revocations, now_ms: int, ready: Ready) -> None:
        if self.trust.revocations is not before:
            self.hear(ListTaken(), now_ms, ready)

    # -- what survives a restart --------------------------------------------------------------------------

    def restore(
        self, ops: Iterable[Op], now_ms: int, number_of: Callable[[Put], int] = lambda _: 0
    ) -> list[tuple[bytes, Direction]]:
        """Take back what is on disk, in its order. Returns the messages that cannot be believed any more.

        `number_of`: of the row that has a message, which says its place among all; 0 where a driver knows none.
        """
        restoring = Restoring(self.trust, self.kept, self.directory, self.custody, self.roots)
        damaged = []
        for op in ops:
            self.on_restore(op, now_ms)
            if not restoring.restore(op, number_of(op) if isinstance(op, Put) else 0, now_ms):
                assert isinstance(op, Put)
                self.count("ended", "quarantined")
                damaged.append((op.id, op.direction))
        self.trust.settle()
        return damaged

    # -- the end of a turn --------------------------------------------------------------------------------

    def _tick(self, now_ms: int, ready: Ready) -> None:
        if now_ms >= self._timers_at_ms(now_ms):
            self._timers_ms = now_ms
            self._timers(now_ms, ready)
        self.attempt(self._end_rows, now_ms, ready)
        self.opening.admit(now_ms, ready)
        self.transfer.turn(now_ms, ready)
        self.link_table.turn_over()
        self.attempt(partial(self.hear, TurnEnded()), now_ms, ready)
        timers_ms = self._timers_at_ms(now_ms)
        soon_ms = now_ms + _ADMIT_MS if self.opening.anybody_waits else timers_ms
        at_once = self.transfer.anything_due or self.ending
        ready.wake_at_ms = now_ms if at_once else min(soon_ms, timers_ms)

    def _timers_at_ms(self, now_ms: int) -> int:
        soon_ms = self._timers_ms + _TIMERS_MS
        if not self._is_idle(now_ms):
            return soon_ms
        due_ms = [self.liveness.due_ms(link) for link in self.parent_links]
        return max(soon_ms, min([self._timers_ms + _IDLE_TIMERS_MS, *due_ms]))

    def _is_idle(self, now_ms: int) -> bool:
        """Nothing came for a while, nothing is held, and nobody comes, goes or moves."""
        if now_ms - self._stirred_ms < _CALM_MS or len(self.custody) or self.draining:
            return False
        has_parent = bool(self.uplink.current) or not self.parents
        return self._is_calm and has_parent and len(self.parents_wanted(now_ms)) <= 1

    def _timers(self, now_ms: int, ready: Ready) -> None:
        self._twins.sweep(now_ms)
        self.custody.dedup.sweep(now_ms)
        for tick in (self.liveness.tick, self.opening.choose, self._end_overdue, *self.ticks()):
            self.attempt(tick, now_ms, ready)
        self._is_calm = self.liveness.is_calm()

    def _end_rows(self, now_ms: int, ready: Ready) -> None:
        if rows := self.ending.turn(now_ms, ready):
            self.hear(RowsEnded(rows), now_ms, ready)

    def _end_overdue(self, now_ms: int, ready: Ready) -> None:
        for held in self.custody.overdue(now_ms):
            why = self.release.why_over(held, now_ms)
            if why is None:
                self.custody.later(held, now_ms + _EXPIRY_LATER_MS)
                continue
            self.ending.end(list(held.rows.values()), why, now_ms, ready)


def _asks_for_life(event: Event) -> bool:
    """A peer asks, or says, that it is there, or time passes: nothing follows from that later."""
    return isinstance(event, Tick) or (isinstance(event, Arrived) and isinstance(event.frame, Ping | Pong))
