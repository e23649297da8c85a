"""A whole tree in one process, on virtual time, from a seed: the same cores as in production, another driver.

Every choice (loss, delay, salts, sessions, nonces) comes from the seed, so a run repeats byte for byte; `trace` is a
digest over everything that happened, in order. Persisted operations are applied to a list that stands for a disk
before anything is sent, as a driver must.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fabric.protocol.credentials import Grants, NodeKind
from fabric.protocol.envelope import Kind
from fabric.protocol.links import UPLINK
from fabric.protocol.node import Node
from fabric.protocol.parts import read_records
from fabric.protocol.point import Point
from fabric.protocol.ready import (
    Attach,
    Delivered,
    Delivery,
    Done,
    Event,
    Handled,
    LinkDown,
    LinkUp,
    Op,
    Published,
    Put,
    Ready,
    Replace,
    Seen,
    Submit,
    Tick,
    may_wait,
)
from fabric.protocol.relay import Relay
from fabric.protocol.tlp import Label
from fabric.protocol.verify import RootCache, Verified, open_envelope
from fabric.protocol.wire import Role, decode_frame
from tests.support import HOUR_MS, T0, Authority, Member, derive, entropy, message

_REDIAL_MS = 500
_CONNECT_MS = 5


class Disk:
    """What a relay persisted: the operations themselves, without those that ended."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.owed: list[Op] = []
        self.commits = 0

    def commit(self, ops: Sequence[Op]) -> None:
        """As the relay's loop does: what may wait is not on disk before something that may not."""
        self.owed.extend(ops)
        if not all(may_wait(op) for op in ops):
            self.commits += 1
            self.ops.extend(self.owed)
            self.owed.clear()

    def load(self) -> list[Op]:
        """What a restart finds, in the order in which a relay restores: messages last."""
        held: dict[tuple[bytes, int], Put] = {}
        others: list[Op] = []
        for op in self.ops:
            if isinstance(op, Put):
                held[(op.id, op.direction)] = op
            elif isinstance(op, Done):
                put = held.get((op.id, op.direction))
                if put is not None:
                    left = tuple(d for d in put.destinations if d[0] != op.destination)
                    held[(op.id, op.direction)] = put._replace(destinations=left)
                    if op.last:  # as the spool does: what ended is remembered as seen
                        del held[(op.id, op.direction)]
                        others.append(Seen(op.id, op.direction, put.expires_at_ms))
            else:
                others.append(op)
        return [*others, *held.values()]


@dataclass(eq=False)
class SimNode:
    name: str
    member: Member
    make: Callable[[bytes], Node]
    core: Node
    disk: Disk = field(default_factory=Disk)
    dials: list[tuple[str, Role]] = field(default_factory=list)
    links: dict[int, tuple[str, int]] = field(default_factory=dict)  # ours -> (peer, theirs)
    dialled: dict[int, None] = field(default_factory=dict)  # those of `links` that this side dialled
    dialling: dict[str, None] = field(default_factory=dict)  # peers that are to be dialled in a moment
    alive: bool = True
    wake_at_ms: int | None = None
    delivered: list[Delivery] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    executed: list[bytes] = field(default_factory=list)
    seen: list[Delivered] = field(default_factory=list)


class World:
    def __init__(
        self, seed: int = 0, *, loss: float = 0.0, delay_ms: tuple[int, int] = (1, 10), watch: bool = True
    ) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.delay_ms = delay_ms
        self.now_ms = T0
        self.authority = Authority()
        self.nodes: dict[str, SimNode] = {}
        self.roots = RootCache(1 << 20)  # one for all: signatures are verified once, not once a hop
        self.frames = 0
        self.watchers: list[Callable[[SimNode, SimNode, bytes], None]] = []
        if watch:
            self.watchers.append(self._check_clearance)
        self._trace = hashlib.sha256()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._links = 0
        self._parted: dict[frozenset[str], None] = {}
        self._sessions = 0
        self._secrets: list[tuple[bytes, Label, str]] = []

    # -- who is there -----------------------------------------------------------------------------------

    def relay(self, name: str, parent: str = "", clearance: Label = Label.RED, dial: str = "parent",
              organisation: str = "acme", backups: Sequence[str] = ()) -> SimNode:
        member = self.authority.issue(
            name, NodeKind.RELAY, clearance, segment=name, organisation=organisation
        )

        parents = (parent, *backups) if parent else ()

        def make(session: bytes) -> Node:
            return Relay(
                member.credential, member.signer, self.authority.key, session, entropy(session), parents
            )

        node = self._add(name, member, make)
        for above in parents:
            if dial == "parent":
                node.dials.append((above, Role.CHILD))
            else:
                self.nodes[above].dials.append((name, Role.PARENT))
                self._later(0, lambda above=above: self._dial_wanted(self.nodes[above]))
        self._later(0, lambda: self._dial_wanted(node))
        return node

    def point(self, name: str, relay: str, grants: Grants, clearance: Label = Label.RED,
              tags: Mapping[str, str] | None = None, organisation: str = "acme",
              backups: Sequence[str] = ()) -> SimNode:
        member = self.authority.issue(
            name, NodeKind.POINT, clearance, segment=relay, grants=grants, organisation=organisation,
            tags=tuple(sorted((tags or {}).items())),
        )

        def make(session: bytes) -> Node:
            return Point(
                member.credential, member.signer, self.authority.key, session, entropy(session), (relay, *backups)
            )

        node = self._add(name, member, make)
        node.dials += [(peer, Role.POINT) for peer in (relay, *backups)]
        self._later(0, lambda: self._dial_wanted(node))
        return node

    def _add(self, name: str, member: Member, make: Callable[[bytes], Node]) -> SimNode:
        core = make(self._session(name))
        core.roots = self.roots
        node = self.nodes[name] = SimNode(name, member, make, core)
        return node

    def _session(self, name: str) -> bytes:
        self._sessions += 1
        return derive("session", name, self._sessions)[:16]

    # -- what they do -----------------------------------------------------------------------------------

    def attach(self, name: str, *patterns: str, executes: bool = False) -> None:
        self.step(name, Attach(self.now_ms, executes, patterns))

    def publish(self, name: str, **fields: Any) -> Verified:
        """Sign and submit a message; its secrets above CLEAR are watched for on every link from here on."""
        node = self.nodes[name]
        raw = message(node.member, **{"issued_at_ms": self.now_ms, **fields})
        opened = open_envelope(raw, {node.member.credential.digest: node.member.credential}, self.roots)
        assert isinstance(opened, Verified), opened
        for entry, part in zip(opened.header.manifest, opened.envelope.parts, strict=True):
            if part is not None and entry.label > Label.CLEAR:
                self._secrets.append((part, entry.label, name))
        self.step(name, Submit(opened))
        return opened

    def step(self, name: str, event: Event) -> None:
        node = self.nodes[name]
        if node.alive:
            ready = node.core.step(event, self.now_ms)
            ready.merge(node.core.step(Tick(), self.now_ms))
            self._apply(node, ready)

    def cut(self, name: str, peer_name: str) -> None:
        """The connection between two nodes breaks; whoever dials does it again."""
        node = self.nodes[name]
        for link, (peer, theirs) in list(node.links.items()):
            if peer == peer_name:
                self._unlink(node, link, self.nodes[peer], theirs)

    def part(self, name: str, peer_name: str, *, told: bool = True) -> None:
        """No way between these two, until `join`. `told`: connections break; else nobody hears of it."""
        self._parted[frozenset((name, peer_name))] = None
        if told:
            self.cut(name, peer_name)

    def relay_of(self, name: str) -> str:
        """Whom a node has as its parent, or relay, now; empty is nobody."""
        link = self.nodes[name].core.by_destination.get(UPLINK)
        return link.peer.id if link is not None and link.peer is not None else ""

    def join(self, name: str, peer_name: str) -> None:
        self._parted.pop(frozenset((name, peer_name)), None)

    def is_parted(self, name: str, peer_name: str) -> bool:
        return frozenset((name, peer_name)) in self._parted

    def crash(self, name: str, down_ms: int) -> None:
        """Forget everything that was not persisted; come back after a while."""
        node = self.nodes[name]
        node.alive = False
        node.disk.owed.clear()
        for link, (peer, theirs) in list(node.links.items()):
            self._unlink(node, link, self.nodes[peer], theirs)
        self._later(down_ms, lambda: self._restart(node))

    def _restart(self, node: SimNode) -> None:
        node.core = node.make(self._session(node.name))
        node.core.roots = self.roots
        if isinstance(node.core, Relay):
            assert node.core.restore(node.disk.load(), self.now_ms) == []
        node.alive = True
        node.wake_at_ms = None
        self._dial_wanted(node)
        self._wake(node, self.now_ms)

    # -- the network ------------------------------------------------------------------------------------

    def _dial_wanted(self, node: SimNode) -> None:
        """As a driver does: connections to the parents that the core wants, and to no other; to children always."""
        if not node.alive or not node.dials:
            return
        wanted = node.core.parents_wanted(self.now_ms)
        connected = {node.links[link][0]: link for link in node.dialled}
        for peer, role in node.dials:
            if role == Role.PARENT or peer in wanted:
                if peer not in connected and peer not in node.dialling:
                    node.dialling[peer] = None
                    wait_ms = 1 + int(self.random.random() * _REDIAL_MS)
                    self._later(wait_ms, lambda peer=peer, role=role: self._dial(node.name, peer, role))
            elif peer in connected:
                link = connected[peer]
                self._unlink(node, link, self.nodes[peer], node.links[link][1])

    def _dial(self, name: str, peer_name: str, role: Role) -> None:
        node, peer = self.nodes[name], self.nodes[peer_name]
        node.dialling.pop(peer_name, None)
        if not node.alive or any(node.links[link][0] == peer_name for link in node.dialled):
            return
        if role != Role.PARENT and peer_name not in node.core.parents_wanted(self.now_ms):
            return
        if not peer.alive or self.is_parted(name, peer_name):
            self._dial_wanted(node)
            return
        self._links += 2
        ours, theirs = self._links - 1, self._links
        node.links[ours], peer.links[theirs] = (peer_name, theirs), (name, ours)
        node.dialled[ours] = None
        nonce = derive("nonce", ours)[:16]
        self._log("dial", name, peer_name, b"")
        self._later(_CONNECT_MS, lambda: self._both_up(node, ours, peer, theirs, nonce, role))

    def _both_up(self, node: SimNode, ours: int, peer: SimNode, theirs: int, nonce: bytes, role: Role) -> None:
        if ours not in node.links or theirs not in peer.links:
            return
        self.step(peer.name, LinkUp(theirs, node.member.curve_key, b""))
        self.step(node.name, LinkUp(ours, peer.member.curve_key, nonce, role, peer.name))

    def _unlink(self, node: SimNode, link: int, peer: SimNode, theirs: int) -> None:
        if node.links.pop(link, None) is None:
            return
        peer.links.pop(theirs, None)
        node.dialled.pop(link, None)
        peer.dialled.pop(theirs, None)
        for side, number in ((node, link), (peer, theirs)):
            self._later(_CONNECT_MS, lambda side=side, number=number: self.step(side.name, LinkDown(number)))

    def _apply(self, node: SimNode, ready: Ready) -> None:
        self._check_kept(node, ready)
        node.disk.commit(ready.persist)
        for link, payload in ready.send:
            self._transmit(node, link, payload)
        for delivered in ready.deliver:
            self._deliver(node, delivered)
        for link, _ in ready.close:
            if link in node.links:
                peer, theirs = node.links[link]
                self._unlink(node, link, self.nodes[peer], theirs)
        self._dial_wanted(node)
        if ready.wake_at_ms is not None:
            self._wake(node, max(ready.wake_at_ms, self.now_ms + 1))

    def _transmit(self, node: SimNode, link: int, payload: bytes) -> None:
        if link not in node.links:
            return
        peer_name, theirs = node.links[link]
        self.frames += 1
        for watcher in self.watchers:
            watcher(node, self.nodes[peer_name], payload)
        lost = self.random.random() < self.loss or self.is_parted(node.name, peer_name)
        delay_ms = self.random.randint(*self.delay_ms)
        self._log("lost" if lost else "sent", node.name, peer_name, payload)
        if not lost:
            self._later(delay_ms, lambda: self._receive(peer_name, theirs, payload))

    def _receive(self, name: str, link: int, payload: bytes) -> None:
        node = self.nodes[name]
        if node.alive and link in node.links:
            self.step(name, node.core.read(link, payload))

    def _wake(self, node: SimNode, at_ms: int) -> None:
        if node.wake_at_ms is not None and self.now_ms < node.wake_at_ms <= at_ms:
            return
        node.wake_at_ms = at_ms
        self._at(at_ms, lambda: self._woken(node, at_ms))

    def _woken(self, node: SimNode, at_ms: int) -> None:
        if node.alive and node.wake_at_ms == at_ms:
            node.wake_at_ms = None
            self._apply(node, node.core.step(Tick(), self.now_ms))

    # -- applications -----------------------------------------------------------------------------------

    def _deliver(self, node: SimNode, delivered: Delivered) -> None:
        node.seen.append(delivered)
        if isinstance(delivered, Published):
            node.published.append(delivered)
        if not isinstance(delivered, Delivery):
            return
        self._log("delivered", node.name, delivered.message.id.hex(), b"")
        node.delivered.append(delivered)
        header = delivered.message.header
        if header.kind is Kind.ACTION:
            node.executed.append(delivered.message.id)
            record = {"end": "completed", "targets": [node.name], "by": node.name, "status": 200}
            self._later(1, lambda: self._answer(node, delivered, record))
        else:
            self._later(1, lambda: self.step(node.name, Handled(delivered.message.id)))

    def _answer(self, node: SimNode, delivery: Delivery, record: Mapping[str, Any]) -> None:
        about = delivery.message.header
        self.publish(
            node.name, kind=Kind.RESULT, topic=about.topic, records=[record], label=about.label, to=about.origin,
            correlation=delivery.message.leaf, severity=about.severity, sequence=len(node.executed), ttl_ms=HOUR_MS,
        )

    def records(self, name: str) -> list[tuple[bytes, dict[str, Any]]]:
        """(id, content) of every record that was delivered to a control point."""
        found = []
        for delivery in self.nodes[name].delivered:
            readings = read_records(delivery.message.header, delivery.message.envelope.parts)
            assert isinstance(readings, list), readings
            found += [(delivery.message.id, reading.content) for reading in readings]
        return found

    # -- time and truth ---------------------------------------------------------------------------------

    def _check_clearance(self, sender: SimNode, receiver: SimNode, payload: bytes) -> None:
        """No byte of a part above the receiver's clearance is in anything that is sent to it."""
        del sender
        clearance = receiver.member.credential.clearance
        for part, label, origin in self._secrets:
            assert label <= clearance or part not in payload, (
                f"{label.name} of {origin} was sent to {receiver.name}, cleared for {clearance.name}: "
                f"{type(decode_frame(payload)).__name__}"
            )

    def _check_kept(self, node: SimNode, ready: Ready) -> None:
        """Nor is it in anything that the node stores or logs."""
        if not self.watchers:
            return
        clearance = node.member.credential.clearance
        kept = [op.envelope for op in ready.persist if isinstance(op, (Put, Replace))]
        logged = repr(ready.notes).encode() if ready.notes else b""
        for part, label, origin in self._secrets if kept or logged else ():
            if label > clearance:
                stored = any(part in envelope for envelope in kept)
                assert not stored, f"{label.name} of {origin} is on {node.name}'s disk"
            assert part[16:] not in logged, f"content of {origin} is in {node.name}'s log"

    def _log(self, what: str, a: str, b: str, payload: bytes) -> None:
        self._trace.update(f"{self.now_ms} {what} {a} {b} {len(payload)} ".encode())
        self._trace.update(payload)

    @property
    def trace(self) -> str:
        return self._trace.hexdigest()

    def _later(self, in_ms: int, function: Callable[[], None]) -> None:
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
