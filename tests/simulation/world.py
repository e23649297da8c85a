"""A whole tree in one process, on virtual time, from a seed: the same cores as in production, another driver.

Every choice (loss, delay, salts, sessions, nonces) comes from the seed, so a run repeats byte for byte; `trace` is a
digest over everything that happened, in order. What is persisted is on a disk before anything is sent, as a driver has
to do it. What lies between nodes is in `network`, what a disk does in `disk`, what must be true in `checkers`.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fabric.protocol.core.faults import FAULT
from fabric.protocol.core.ready import (
    Attach,
    Delivered,
    Delivery,
    Drain,
    Event,
    Handled,
    LinkDown,
    LinkUp,
    Op,
    Published,
    Put,
    Ready,
    Repeated,
    Replace,
    Submit,
    Tick,
)
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.sealed_parts import Opener
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.node import Node
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import Role
from tests.simulation.disk import Disk, Key
from tests.simulation.executor import Executor
from tests.simulation.finding import Parts
from tests.simulation.network import Network
from tests.support import (
    DAY_MS,
    FABRIC,
    HOUR_MS,
    SECOND_MS,
    T0,
    Authority,
    Member,
    derive,
    entropy,
    message,
)

_REDIAL_MS = 500
_CONNECT_MS = 5
# The number of a frame.
_LISTS = 14
# How long ends of rows may wait for a commit, as in the real spool.
_OWED_MS = 50
# When everything that was sent has come, and whoever answers has done so.
_ON_ITS_WAY_MS = 5_000
# Few, so that what a relay holds when it crashes has some that sleep.
_AWAKE_MAX = 1
# What a requester is told of an action that is no end of it.
NO_ENDS = ("selected", "held", "approved", "dispatched", "resolved")


class Observer:
    """Who looks on. A checker raises AssertionError when something is not as promised."""

    def sent(self, sender: SimNode, receiver: SimNode, payload: bytes) -> None:
        """A frame leaves, whether or not it will arrive."""

    def committed(self, node: SimNode, ops: Sequence[Op]) -> None:
        """These are on its disk now."""

    def stepped(self, node: SimNode, ready: Ready) -> None:
        """A core has decided; nothing of it is done yet."""

    def told(self, node: SimNode, delivered: Delivered) -> None:
        """A control point's program hears of it."""

    def published(self, node: SimNode, message: Verified) -> None:
        """A control point has signed this and submits it."""

    def began(self, node: SimNode, action: Verified) -> None:
        """An executor with a ledger calls the handler of this."""

    def did(self, node: SimNode, id_: bytes) -> None:
        """The handler of this action returned."""

    def reverted(self, node: SimNode, id_: bytes) -> None:
        """The inverse of what this action did returned, and all went well."""

    def restarted(self, node: SimNode, quarantined: Sequence[Key]) -> None:
        """It is back; these of its rows could not be read."""


@dataclass(eq=False)
class SimNode:
    name: str
    member: Member
    make: Callable[[bytes], Node]
    core: Node
    disk: Disk = field(default_factory=Disk)
    dials: list[tuple[str, Role]] = field(default_factory=list)
    links: dict[int, tuple[str, int]] = field(default_factory=dict)  # ours -> (peer, theirs)
    dialled: dict[str, int] = field(default_factory=dict)  # peer -> ours, of those of `links` that this side dialled
    dialling: dict[str, None] = field(default_factory=dict)  # peers that are to be dialled in a moment
    alive: bool = True
    off: bool = False  # and will not be started again
    drains: bool = False  # as the file says that its process finds at every start
    lists: bytes = b""  # the file with the authority's revocation list, of whoever has one
    wake_at_ms: int | None = None  # in the world's time
    durable: bool = True  # whether its disk outlives it: a control point's does with an outbox
    ahead_ms: int = 0  # of its steady clock, to the world's time
    wall_ms: int = 0  # of its machine's clock, to the world's time
    effects_left: int | None = None  # it dies after so many more
    down_ms: int = 1_000
    quarantined: list[Key] = field(default_factory=list)
    lies: Callable[[SimNode, SimNode, bytes], list[bytes]] | None = None  # what leaves instead of a frame
    forges: Callable[[Node], None] | None = None  # what somebody changed in its program
    delivered: list[Delivery] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    owed_since_ms: int = 0
    executed: list[bytes] = field(default_factory=list)
    seen: list[Delivered] = field(default_factory=list)
    takes: Attach | None = None
    executor: Executor | None = None  # of one with a ledger

    def now_ms(self, world_ms: int) -> int:
        """Its own time, which does not jump while it runs."""
        return world_ms + self.ahead_ms


class World:
    def __init__(
        self, seed: int = 0, *, loss: float = 0.0, delay_ms: tuple[int, int] = (1, 10), watch: bool = True,
        answers: bool = True,
    ) -> None:
        """`answers`: who executes an action without a ledger says so by itself."""
        self.answers = answers
        self.random = random.Random(seed)
        self.network = Network(self.random, loss, delay_ms)
        self.now_ms = T0
        self.authority = Authority()
        self.nodes: dict[str, SimNode] = {}
        self.roots = RootCache(1 << 20)  # one for all: signatures are verified once, not once a hop
        self.frames = 0
        self.observers: list[Observer] = [Secrets()] if watch else []
        self.broken: AssertionError | None = None  # what an observer raised within a core, which contains it
        self._trace = hashlib.sha256()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._links = 0
        self._sessions = 0
        self.revoked: list[str] = []  # in the order in which the authority put them on its list

    # -- who is there -----------------------------------------------------------------------------------

    def relay(self, name: str, parent: str = "", clearance: Label = Label.RED, dial: str = "parent",
              organisation: str = "acme", backups: Sequence[str] = (), communities: Sequence[str] = (),
              client_of: Sequence[str] = (), *, carries_sealed: bool = False) -> SimNode:
        member = self.authority.issue(
            name, NodeKind.RELAY, clearance, segment=name, organisation=organisation, communities=communities,
            client_of=client_of, carries_sealed=carries_sealed,
        )

        parents = (parent, *backups) if parent else ()

        def make(session: bytes) -> Node:
            return Relay(
                member.credential, member.signer, self.authority.key, session, entropy(session), parents
            )

        node = self._add(name, member, make)
        node.disk = Disk(_AWAKE_MAX)
        for above in parents:
            if dial == "parent":
                node.dials.append((above, Role.CHILD))
            else:
                self.nodes[above].dials.append((name, Role.PARENT))
                self.after(0, partial(self._dial_wanted, self.nodes[above]))
        self.after(0, lambda: self._dial_wanted(node))
        return node

    def point(self, name: str, relay: str, grants: Grants, clearance: Label = Label.RED,
              tags: Mapping[str, str] | None = None, organisation: str = "acme",
              backups: Sequence[str] = (), outbox: bool = False, principal: str = "", communities: Sequence[str] = (),
              client_of: Sequence[str] = ()) -> SimNode:
        """`outbox`: what it holds, and its session, outlive it."""
        member = self.authority.issue(
            name, NodeKind.POINT, clearance, segment=relay, grants=grants, organisation=organisation,
            tags=tuple(sorted((tags or {}).items())), principal=principal, communities=communities,
            client_of=client_of,
        )

        def make(session: bytes) -> Node:
            return Point(
                member.credential, member.signer, self.authority.key, session, entropy(session), (relay, *backups)
            )

        node = self._add(name, member, make)
        node.durable = outbox
        node.dials += [(peer, Role.POINT) for peer in (relay, *backups)]
        self.after(0, lambda: self._dial_wanted(node))
        return node

    def _add(self, name: str, member: Member, make: Callable[[bytes], Node]) -> SimNode:
        core = make(self._session(name))
        core.roots = self.roots
        node = self.nodes[name] = SimNode(name, member, make, core)
        return node

    def _session(self, name: str) -> bytes:
        self._sessions += 1
        return derive("session", name, self._sessions)[:16]

    def keep_ledger(self, name: str) -> None:
        """Its program executes as the real one does, and goes on with what it left when it starts again."""
        node = self.nodes[name]
        node.executor = Executor(self, node)

    # -- what they do -----------------------------------------------------------------------------------

    def attach(self, name: str, *patterns: str, executes: bool = False, keep_ms: int = 0) -> None:
        takes = self.nodes[name].takes = Attach(self.now_ms, executes, patterns, keep_ms)
        self.step(name, takes)

    def publish(self, name: str, **fields: Any) -> Verified:
        """Sign and submit a message."""
        node = self.nodes[name]
        issued_at_ms = node.core.time.to_sign(node.now_ms(self.now_ms))
        raw = message(node.member, **{"issued_at_ms": issued_at_ms, **fields})
        opened = open_envelope(raw, {node.member.credential.digest: node.member.credential}, self.roots)
        assert isinstance(opened, Verified), opened
        for observer in self.observers:
            observer.published(node, opened)
        self.step(name, Submit(opened))
        return opened

    def step(self, name: str, event: Event) -> None:
        node = self.nodes[name]
        if node.alive:
            now_ms = node.now_ms(self.now_ms)
            self._tell_state(node)
            if woken := node.disk.wake():
                damaged = node.core.restore(woken, now_ms)
                assert not damaged, "what is damaged is found when the disk is read"
            ready = node.core.step(event, now_ms)
            ready.merge(node.core.step(Tick(), now_ms))
            self._apply(node, ready)

    def do(self, node: SimNode, core: Node, step: Callable[[int, Ready], None]) -> None:
        """Something besides what is stepped into it, in this run of it."""
        if node.alive and node.core is core:
            now_ms, ready = node.now_ms(self.now_ms), Ready()
            step(now_ms, ready)
            ready.merge(core.step(Tick(), now_ms))
            self._apply(node, ready)

    def cut(self, name: str, peer_name: str) -> None:
        """The connection between two nodes breaks; whoever dials does it again."""
        node = self.nodes[name]
        for link, (peer, theirs) in list(node.links.items()):
            if peer == peer_name:
                self._unlink(node, link, self.nodes[peer], theirs)

    def part(self, name: str, peer_name: str, *, told: bool = True) -> None:
        """No way between these two, until `join`. `told`: connections break; else nobody hears of it."""
        self.network.cut(name, peer_name)
        if told:
            self.cut(name, peer_name)

    def relay_of(self, name: str) -> str:
        """Whom a node has as its parent, or relay, now; empty is nobody."""
        link = self.nodes[name].core.by_destination.get(UPLINK)
        return link.peer.id if link is not None and link.peer is not None else ""

    def join(self, name: str, peer_name: str) -> None:
        self.network.mend(name, peer_name)

    def revoke(self, name: str, keeper: str) -> None:
        """The authority puts somebody on its list, and the newer list is handed to a relay."""
        self.revoked.append(name)
        raw = issue_revocations(
            FABRIC, len(self.revoked), self.now_ms, self.now_ms + DAY_MS, self.revoked, self.authority.signer
        )
        self.nodes[keeper].lists = raw
        self._read_lists(self.nodes[keeper])

    def regulate(self, policies: bytes, keeper: str) -> None:
        """The authority's newer policies are handed to a relay."""
        node = self.nodes[keeper]

        def apply(_: int, ready: Ready) -> None:
            refused = node.core.policies.apply(policies, ready)
            assert refused is None, refused

        self.do(node, node.core, apply)

    def _read_lists(self, node: SimNode) -> None:
        """As the process of a relay does when it finds another file, and at its start."""

        def apply(now_ms: int, ready: Ready) -> None:
            refused = node.core.apply_lists(node.lists, now_ms, ready)
            assert refused is None, refused

        if node.lists:
            self.do(node, node.core, apply)

    def drain(self, name: str, within_ms: int, away_ms: int) -> None:
        """A relay takes its leave, goes when everybody has moved or the time is over, and comes back after a while."""
        node = self.nodes[name]
        node.drains = True
        self.step(name, Drain())
        self._drain_on(node, self.now_ms + within_ms, away_ms)

    def _drain_on(self, node: SimNode, until_ms: int, away_ms: int) -> None:
        core = node.core
        assert isinstance(core, Relay)
        drained = core.draining and core.drained and not sum(core.custody.asleep.rows)
        if not node.alive or not (drained or self.now_ms >= until_ms):
            self.after(SECOND_MS, lambda: self._drain_on(node, until_ms, away_ms))
            return
        if node.disk.owed:
            self._written(node, node.disk.settle())
        node.drains = False
        self.crash(node.name, away_ms)

    def switch_off(self, name: str) -> None:
        """For good."""
        self.nodes[name].off = True
        self.crash(name, 0)

    def doom(self, name: str, effects: int, down_ms: int) -> None:
        """Crash after so many more effects: between a commit and a frame, or between two frames."""
        self.nodes[name].effects_left, self.nodes[name].down_ms = effects, down_ms

    def dies(self, node: SimNode) -> bool:
        if node.effects_left is None:
            return False
        node.effects_left -= 1
        if node.effects_left >= 0:
            return False
        self.crash(node.name, node.down_ms)
        return True

    def crash(self, name: str, down_ms: int) -> None:
        """Forget everything that was not persisted; come back after a while."""
        node = self.nodes[name]
        if not node.alive:
            return
        node.alive, node.effects_left = False, None
        node.disk.lose_power()
        for link, (peer, theirs) in list(node.links.items()):
            self._unlink(node, link, self.nodes[peer], theirs)
        self.after(down_ms, lambda: self._restart(node))

    def _restart(self, node: SimNode) -> None:
        if node.off:
            return
        now_ms = node.now_ms(self.now_ms)
        if not node.durable:
            node.disk = Disk()
        node.core = node.make(node.core.session if node.durable and node.takes else self._session(node.name))
        node.core.roots = self.roots
        if node.forges is not None:
            node.forges(node.core)
        node.core.time.wall_is_ahead(node.wall_ms - node.ahead_ms)
        damaged = node.core.restore(node.disk.load(now_ms), now_ms)
        node.core.custody.sleeps(node.disk.asleep)
        node.disk.asleep.are_of(node.core.trust.credentials.voucher_of)
        quarantined, node.quarantined = [*node.quarantined, *damaged], []
        node.alive = True
        node.wake_at_ms = None
        if node.executor is not None:
            node.executor.start()
        for observer in self.observers:
            observer.restarted(node, quarantined)
        if node.takes is not None:
            self.step(node.name, node.takes._replace(epoch=self.now_ms))
        if node.drains:
            self.step(node.name, Drain())
        self._read_lists(node)
        self._dial_wanted(node)
        self._wake(node, self.now_ms)

    # -- the network ------------------------------------------------------------------------------------

    def _dial_wanted(self, node: SimNode) -> None:
        """As a driver does: connections to the parents that the core wants, and to no other; to children always."""
        if not node.alive or not node.dials:
            return
        wanted = node.core.parents_wanted(node.now_ms(self.now_ms))
        for peer, role in node.dials:
            if role is Role.PARENT or peer in wanted:
                if peer not in node.dialled and peer not in node.dialling:
                    node.dialling[peer] = None
                    wait_ms = 1 + int(self.random.random() * _REDIAL_MS)
                    self.after(wait_ms, partial(self._dial, node.name, peer, role))
            elif peer in node.dialled:
                link = node.dialled[peer]
                self._unlink(node, link, self.nodes[peer], node.links[link][1])

    def _dial(self, name: str, peer_name: str, role: Role) -> None:
        node, peer = self.nodes[name], self.nodes[peer_name]
        node.dialling.pop(peer_name, None)
        if not node.alive or peer_name in node.dialled:
            return
        if role != Role.PARENT and peer_name not in node.core.parents_wanted(node.now_ms(self.now_ms)):
            return
        if not peer.alive or self.network.is_cut(name, peer_name) or self.network.is_cut(peer_name, name):
            self._dial_wanted(node)
            return
        self._links += 2
        ours, theirs = self._links - 1, self._links
        node.links[ours], peer.links[theirs] = (peer_name, theirs), (name, ours)
        node.dialled[peer_name] = ours
        nonce = derive("nonce", ours)[:16]
        self._log("dial", name, peer_name, b"")
        self.after(_CONNECT_MS, lambda: self._both_up(node, ours, peer, theirs, nonce, role))

    def _both_up(self, node: SimNode, ours: int, peer: SimNode, theirs: int, nonce: bytes, role: Role) -> None:
        if ours not in node.links or theirs not in peer.links:
            return
        self.step(peer.name, LinkUp(theirs, node.member.curve_key, b""))
        self.step(node.name, LinkUp(ours, peer.member.curve_key, nonce, role, peer.name))

    def _unlink(self, node: SimNode, link: int, peer: SimNode, theirs: int) -> None:
        if node.links.pop(link, None) is None:
            return
        peer.links.pop(theirs, None)
        for side, other, number in ((node, peer, link), (peer, node, theirs)):
            if side.dialled.get(other.name) == number:
                del side.dialled[other.name]
        for side, number in ((node, link), (peer, theirs)):
            self.after(_CONNECT_MS, partial(self.step, side.name, LinkDown(number)))

    def _apply(self, node: SimNode, ready: Ready) -> None:
        """The driver's duty (SPEC 10), an effect at a time: a node that is to die does so between any two of them."""
        if ready.notes and (faults := [note.fields for note in ready.notes if note.event == FAULT]):
            raise self.broken or AssertionError(f"{node.name}: {faults}")  # contained, and a fault nevertheless
        for observer in self.observers:
            observer.stepped(node, ready)
        for link, payload in ready.early:
            if self.dies(node):
                return
            self._transmit(node, link, payload)
        if self.dies(node):
            return
        if node.executor is not None:
            node.executor.commit(ready)
            if not node.alive:
                return
        self._commit(node, ready.persist)
        for link, payload in ready.send:
            if self.dies(node):
                return
            self._transmit(node, link, payload)
        for delivered in ready.deliver:
            if self.dies(node):
                return
            self._deliver(node, delivered)
        for link, _ in ready.close:
            if link in node.links:
                peer, theirs = node.links[link]
                self._unlink(node, link, self.nodes[peer], theirs)
        self._dial_wanted(node)
        if ready.wake_at_ms is not None:
            self._wake(node, max(ready.wake_at_ms - node.ahead_ms, self.now_ms + 1))

    def _commit(self, node: SimNode, ops: Sequence[Op]) -> None:
        written = node.disk.commit(ops) if ops else []
        if node.disk.owed and self.now_ms - node.owed_since_ms >= _OWED_MS:
            written = [*written, *node.disk.settle()]
        if not node.disk.owed:
            node.owed_since_ms = self.now_ms
        if written:
            self._written(node, written)

    def _written(self, node: SimNode, ops: Sequence[Op]) -> None:
        for observer in self.observers:
            observer.committed(node, ops)

    def _transmit(self, node: SimNode, link: int, payload: bytes) -> None:
        if link not in node.links:
            return
        peer_name, theirs = node.links[link]
        peer = self.nodes[peer_name]
        frames = [payload] if node.lies is None else node.lies(node, peer, payload)
        for frame in frames:
            self.frames += 1
            for observer in self.observers:
                observer.sent(node, peer, frame)
            arrivals = self.network.arrivals(node.name, peer_name, len(frame), self.now_ms)
            self._log("sent" if arrivals else "lost", node.name, peer_name, frame)
            for at_ms in arrivals:
                self._at(at_ms, partial(self._receive, peer_name, theirs, frame))

    def _receive(self, name: str, link: int, payload: bytes) -> None:
        node = self.nodes[name]
        deaf = name in self.revoked and payload[1] == _LISTS  # nobody obeys a list that revokes himself
        if node.alive and link in node.links and not deaf:
            self.step(name, node.core.read(link, payload))

    def _wake(self, node: SimNode, at_ms: int) -> None:
        if node.wake_at_ms is not None and self.now_ms < node.wake_at_ms <= at_ms:
            return
        node.wake_at_ms = at_ms
        self._at(at_ms, lambda: self._woken(node, at_ms))

    def _woken(self, node: SimNode, at_ms: int) -> None:
        if node.alive and node.wake_at_ms == at_ms:
            node.wake_at_ms = None
            self._tell_state(node)
            self._apply(node, node.core.step(Tick(), node.now_ms(self.now_ms)))

    @staticmethod
    def _tell_state(node: SimNode) -> None:
        """What a driver knows of its machine."""
        node.core.time.wall_is_ahead(node.wall_ms - node.ahead_ms)
        if isinstance(node.core, Relay):
            node.core.custody.open_intake(not node.disk.full)

    # -- applications -----------------------------------------------------------------------------------

    def _deliver(self, node: SimNode, delivered: Delivered) -> None:
        node.seen.append(delivered)
        for observer in self.observers:
            observer.told(node, delivered)
        if isinstance(delivered, Published):
            node.published.append(delivered)
        if node.executor is not None and isinstance(delivered, Published | Repeated):
            node.executor.hear(delivered)
        if not isinstance(delivered, Delivery):
            return
        self._log("delivered", node.name, delivered.message.id.hex(), b"")
        node.delivered.append(delivered)
        if node.executor is not None and delivered.message.header.kind is Kind.ACTION:
            node.executor.take(delivered)
        elif delivered.message.header.kind is Kind.ACTION:
            node.executed.append(delivered.message.id)
            record = {"end": "completed", "targets": [node.name], "by": node.name, "status": 200}
            if self.answers:
                self.after(1, lambda: self._answer(node, delivered, record))
        else:
            core = node.core
            self.after(1, lambda: self._handle(node, core, delivered.message.id))

    def _handle(self, node: SimNode, core: Node, id_: bytes) -> None:
        if not node.alive or node.core is not core:
            return  # the program that was to handle it is gone
        self.step(node.name, Handled(id_))

    def _answer(self, node: SimNode, delivery: Delivery, record: Mapping[str, Any]) -> None:
        if not node.alive:
            return
        about = delivery.message.header
        self.publish(
            node.name, kind=Kind.RESULT, topic=about.topic, records=[record], label=about.label, to=about.origin,
            correlation=delivery.message.leaf, severity=about.severity, sequence=len(node.executed), ttl_ms=HOUR_MS,
            state=State.COMPLETED,
        )

    def records(self, name: str) -> list[tuple[bytes, dict[str, Any]]]:
        """(id, content) of every record that was delivered to a control point."""
        found, opener = [], Opener(name, self.nodes[name].member.signer)
        for delivery in self.nodes[name].delivered:
            readings = read_records(delivery.message.header, delivery.message.envelope.parts, opener.open)
            assert isinstance(readings, list), readings
            found += [(delivery.message.id, reading.content) for reading in readings]
        return found

    # -- time and truth ---------------------------------------------------------------------------------

    def _log(self, what: str, a: str, b: str, payload: bytes) -> None:
        self._trace.update(f"{self.now_ms} {what} {a} {b} {len(payload)} ".encode())
        self._trace.update(payload)

    @property
    def trace(self) -> str:
        return self._trace.hexdigest()

    def after(self, in_ms: int, function: Callable[[], None]) -> None:
        """Do something later in virtual time."""
        self._at(self.now_ms + in_ms, function)

    def _at(self, at_ms: int, function: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (at_ms, self._sequence, function))

    def run(self, for_ms: int) -> None:
        """Let this much virtual time pass."""
        until_ms = self.now_ms + for_ms
        while self._queue and self._queue[0][0] <= until_ms:
            at_ms, _, function = heapq.heappop(self._queue)
            self.now_ms = max(self.now_ms, at_ms)
            function()
        self.now_ms = until_ms

    def run_until(self, condition: Callable[[], bool], within_ms: int, step_ms: int = 100) -> bool:
        """Run until a condition holds; False when it does not within the time."""
        deadline_ms = self.now_ms + within_ms
        while not condition():
            if self.now_ms >= deadline_ms:
                return False
            self.run(step_ms)
        return True

    def come_to_rest(self, within_ms: int) -> None:
        """Run until nobody holds anything, and then for as long as something may still be on its way."""
        assert self.run_until(self._holds_nothing, within_ms), "somebody holds something for ever"
        self.run(_ON_ITS_WAY_MS)

    def _holds_nothing(self) -> bool:
        return all(node.alive and not node.disk.held and not len(node.core.custody) for node in self.nodes.values())


class Secrets(Observer):
    """No byte of a part above a node's clearance is sent to it, stored by it, or logged by anybody."""

    def __init__(self) -> None:
        self._secrets: list[tuple[bytes, str]] = []
        self._above: dict[Label, Parts[tuple[Label, str]]] = {clearance: Parts() for clearance in Label}

    def published(self, node: SimNode, message: Verified) -> None:
        for entry, part in zip(message.header.manifest, message.envelope.parts, strict=True):
            if part is not None and entry.label > Label.CLEAR and not entry.is_sealed:  # that is no secret
                self._secrets.append((part, node.name))
                for clearance in Label:
                    if entry.label > clearance:
                        self._above[clearance].add(part, (entry.label, node.name))

    def sent(self, sender: SimNode, receiver: SimNode, payload: bytes) -> None:
        del sender
        clearance = receiver.member.credential.clearance
        for label, origin in self._above[clearance].within(payload):
            raise AssertionError(
                f"{label.name} of {origin} was sent to {receiver.name}, cleared for {clearance.name}: "
                f"{type(decode_frame(payload)).__name__}"
            )

    def stepped(self, node: SimNode, ready: Ready) -> None:
        for op in ready.persist:
            if isinstance(op, (Put, Replace)):
                for label, origin in self._above[node.member.credential.clearance].within(op.envelope):
                    raise AssertionError(f"{label.name} of {origin} is on {node.name}'s disk")
        if ready.notes:
            logged = repr(ready.notes).encode()
            for part, origin in self._secrets:
                assert part[16:] not in logged, f"content of {origin} is in {node.name}'s log"
