"""What must be true after every step, whatever fails (SPEC 3.5, 5, 7.5, 7.9, 9): looked at from outside.

A checker knows what was published, when in true time and with which labels, and reads frames and disks itself; it asks
no function that it checks. `Broken` says what was promised and is not so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgpack

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.core.ready import (
    Delivered,
    Delivery,
    Done,
    KeepLists,
    Op,
    Published,
    Put,
    Ready,
    Replace,
    Seen,
    SeenAction,
)
from fabric.protocol.custody.outbox import Row
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import Approved, decode_envelope, leaf_of
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.reports import NOTICE_TOPIC, SELECTED
from fabric.protocol.envelope.resolution import RESOLVED
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Credential, NodeKind
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import Ack, Data, Direction
from tests.simulation.disk import Key
from tests.simulation.world import Observer, SimNode, World

# The first elements of a frame: an array, and its number.
_DATA, _ACK = 5, 6


# Traffic Light Protocol 2.0, said once more: who has what, by what they are to the audience. What a label goes to, each
# lower one goes to as well.
GOES_TO: dict[Label, tuple[str, ...]] = {
    Label.CLEAR: ("the world", "community", "client", "organisation", "recipient"),
    Label.GREEN: ("community", "client", "organisation", "recipient"),
    Label.AMBER: ("client", "organisation", "recipient"),
    Label.AMBER_STRICT: ("organisation", "recipient"),
    Label.RED: ("recipient",),
}


def carries(credential: Credential, audience: Audience) -> bool:
    """Whether it may have in its hands what is sealed to the recipients of this audience, and what it cannot read."""
    cleared = credential.clearance is Label.RED and credential.organisation in audience.organisations
    return bool(audience.recipients) and credential.kind is NodeKind.RELAY and (credential.carries_sealed or cleared)


def reached_by(credential: Credential, audience: Audience) -> set[str]:
    """What somebody is to an audience. Without recipients everybody of an organisation that it names is one."""
    is_ = {"the world"}
    if set(credential.communities) & set(audience.communities):
        is_.add("community")
    if set(credential.client_of) & set(audience.organisations):
        is_.add("client")
    if credential.organisation in audience.organisations:
        is_.add("organisation")
        if not audience.recipients or credential.id in audience.recipients:
            is_.add("recipient")
    return is_


class Broken(AssertionError):
    """A promise that was not kept."""


@dataclass(eq=False)
class Known:
    """What is known of a message: what its origin signed, and what became of it."""

    message: Verified
    published_ms: int  # in the world's time
    acked: bool = False  # its program was promised that it is held
    refused: bool = False  # its program was told that it is not, or not any more
    holders: dict[tuple[str, Direction], None] = field(default_factory=dict)
    passed: dict[str, None] = field(default_factory=dict)  # relays that took it on its way up
    handled: dict[str, None] = field(default_factory=dict)  # by whom; it is on their disks that they did
    reported: bool = False
    damaged: bool = False  # a disk lost it, and said so


class Promises(Observer):
    """`readers`: durable ones that never move, and their relays. `slack_ms`: how late is late."""

    def __init__(self, world: World, readers: dict[str, str], root: str, slack_ms: int) -> None:
        self.world = world
        self.readers = readers
        self.root = root
        self.slack_ms = slack_ms
        self.known: dict[bytes, Known] = {}
        self.ends: dict[str, dict[tuple[str, bytes, str], None]] = {}  # origin -> (relay, id, destination)
        self.noticed: Counter[str] = Counter()  # origin -> messages that notices told it of
        self.unreadable: Counter[str] = Counter()  # origin -> notices that a hop could not pass on whole
        self.unheard: dict[bytes, None] = {}  # actions, by full digest, of whose ends something could not be passed on
        self.lists: dict[str, tuple[str, ...]] = {}  # node -> whom the list on its disk revokes
        self.selected: dict[str, list[list[str]]] = {}  # action -> targets, as the relay where it turned said
        self.resolutions: dict[str, dict[int, dict[str, list[str]]]] = {}  # action -> revision -> targets by end
        self._words_damaged = False  # a disk lost something that a relay had said
        self._ending: dict[tuple[str, bytes, str], str] = {}  # the same, as long as it is not on disk
        self.lane_bytes: Counter[tuple[str, str, Lane]] = Counter()  # (sender, receiver, lane), first sendings only
        self._sent: dict[tuple[str, str, bytes], None] = {}
        self._delivered: dict[tuple[str, bytes, bytes], None] = {}  # (node, session, id)
        self._leaves: dict[bytes, bytes] = {}
        self._approved_ms: dict[tuple[bytes, int], int] = {}  # (action, an approval's own time) -> when it was signed
        for node in world.nodes.values():
            self._listen(node)

    # -- what happens -----------------------------------------------------------------------------------

    def published(self, node: SimNode, message: Verified) -> None:
        self.known[message.id] = Known(message, self.world.now_ms)
        if message.header.kind is Kind.APPROVAL:
            self._approved_ms[message.header.correlation, message.header.issued_at_ms] = self.world.now_ms
        time, off_ms = node.core.time, message.header.issued_at_ms - self.world.now_ms
        if (time.measured or time.doubted) and abs(off_ms) > SKEW_MS + self.slack_ms:
            raise Broken(f"{node.name} was told the time, and signed another one: {off_ms} ms off")

    def restarted(self, node: SimNode, quarantined: Sequence[Key]) -> None:
        for id_, direction in quarantined:
            known = self.known.get(id_)
            if known is None:
                self._words_damaged = True  # perhaps a notice
            else:
                known.damaged = True
                known.holders.pop((node.name, direction), None)
        self._ending = {key: origin for key, origin in self._ending.items() if key[0] != node.name}
        self.lists.pop(node.name, None)
        for op in node.disk.kept.values():
            self._listed(node, op)
        self._listen(node)

    def _listen(self, node: SimNode) -> None:
        """Hear of every row that ends at this relay, and why."""
        core = node.core
        if not isinstance(core, Relay):
            return
        settled: Callable[[Row, Reject | None, int, Ready], None] = core.on_settled

        def listen(row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
            header = row.held.message.header
            counted = self._counted(core, header.origin)
            settled(row, refused, now_ms, ready)
            if refused is None:
                return
            try:
                told = header.kind is Kind.ACTION or self._counted(core, header.origin) > counted
                self._row_ended(node, row, refused, told)
            except Broken as broken:  # the core contains it, as whatever is raised in it
                self.world.broken = broken
                raise

        core.on_settled = listen  # type: ignore[method-assign]

    @staticmethod
    def _counted(core: Relay, origin: str) -> int:
        tallies = core.reporter._notices._tallies.items()
        return sum(n for about, tally in tallies if about.origin == origin for n, _ in tally.counts.values())

    def _row_ended(self, node: SimNode, row: Row, refused: Reject, told: bool) -> None:
        header = row.held.message.header
        if header.topic == NOTICE_TOPIC and refused.code is Code.WITHHELD:
            self.unreadable[header.to] += 1  # its origin moved, and no relay on the way to it may know of it
        if header.kind is Kind.RESULT and refused.code is Code.WITHHELD:
            self.unheard[header.correlation] = None  # nor may it know of this end of an action
        known = self.known.get(row.held.message.id)
        if known is None:
            return
        if refused.code is not Code.REVOKED and self._is_revoked(node, header.origin):
            raise Broken(f"{node.name} ended {header.kind.word} of {header.origin}, who is revoked, as {refused.code}")
        true_ms = self._age_ms(known, row.held.message.envelope.approved)
        by_date = self._over_by_its_date(row.held.message)
        early = true_ms < header.ttl_ms - self.slack_ms and not by_date and node.forges is None
        if refused.code is Code.EXPIRED and early:
            raise Broken(f"{node.name} ended {header.kind.word} after {true_ms} of {header.ttl_ms} ms")
        if told:
            known.reported = True
            if header.kind is not Kind.ACTION:
                self._ending[node.name, known.message.id, row.destination] = header.origin

    # -- on links ---------------------------------------------------------------------------------------

    def sent(self, sender: SimNode, receiver: SimNode, payload: bytes) -> None:
        if sender.lies is not None or payload[1] not in (_DATA, _ACK):
            return
        frame = decode_frame(payload)
        match frame:
            case Data(lane, _, items):
                for item in items:
                    self._item_sent(sender, receiver, lane, item.age_ms, item.envelope)
            case Ack(ids):
                self._acked(sender, ids)

    def _item_sent(self, sender: SimNode, receiver: SimNode, lane: Lane, age_ms: int, raw: bytes) -> None:
        envelope = decode_envelope(raw)
        assert not isinstance(envelope, Reject)
        known = self.known.get(self._id_of(envelope.header))
        if known is None:
            return  # what relays say themselves
        self._check_holder(receiver, known, envelope.parts, "was sent to")
        self._check_origin(sender, known, "sent")
        header = known.message.header
        if header.kind is Kind.ACTION and None in envelope.parts:
            raise Broken(f"{header.kind.word} was sent to {receiver.name} without a part")
        true_ms = self._age_ms(known, envelope.approved)
        if true_ms >= header.ttl_ms + self.slack_ms:
            raise Broken(f"{sender.name} sent {header.kind.word} to {receiver.name}, {true_ms} of {header.ttl_ms} ms")
        if not true_ms - self.slack_ms <= age_ms <= true_ms + self.slack_ms:
            raise Broken(f"{sender.name} says that {header.kind.word} is {age_ms} ms old, and it is {true_ms}")
        key = (sender.name, receiver.name, known.message.id)
        if key not in self._sent:
            self._sent[key] = None
            self.lane_bytes[sender.name, receiver.name, lane] += len(raw)

    def _check_holder(self, holder: SimNode, known: Known, parts: Sequence[bytes | None], what: str) -> None:
        header, credential = known.message.header, holder.member.credential
        reached = reached_by(credential, header.audience)
        kept = [entry for entry, part in zip(header.manifest, parts, strict=True) if part is not None]
        carried = carries(credential, header.audience)
        is_sealed = bool(header.manifest) and all(entry.is_sealed for entry in header.manifest)
        labels = [entry.label for entry in kept if not (carried and entry.is_sealed)]
        if not (carried and is_sealed and header.label is Label.RED):
            labels.append(header.label)
        for label in labels:
            if label > credential.clearance or reached.isdisjoint(GOES_TO[label]):
                raise Broken(f"{label.name} of {header.origin} {what} {holder.name}, {credential.clearance.name}")

    def _acked(self, node: SimNode, ids: Sequence[bytes]) -> None:
        """What is acknowledged is on disk, or is known there as seen."""
        disk = node.disk
        for id_ in ids:
            known = self.known.get(id_)
            if known is None or known.damaged:
                continue
            if isinstance(node.core, Relay):
                self._check_origin(node, known, "acknowledged")
            in_ledger = node.executor is not None and id_ in node.executor.ledger.seen
            if not in_ledger and not any((id_, way) in disk.held or (id_, way) in disk.seen for way in Direction):
                raise Broken(f"{node.name} acknowledged {known.message.header.kind.word} that is not on its disk")

    # -- on disks ---------------------------------------------------------------------------------------

    def committed(self, node: SimNode, ops: Sequence[Op]) -> None:
        for op in ops:
            match op:
                case Put(id_, direction):
                    known = self.known.get(id_)
                    if known is None:
                        self._resolved(node, op.envelope)
                        continue
                    self._check_stored(node, known, op.envelope)
                    if isinstance(node.core, Relay):
                        self._check_origin(node, known, "took in")
                    known.holders[node.name, direction] = None
                    if direction is Direction.UP:
                        known.passed[node.name] = None
                    if node.name == known.message.header.origin and node.durable:
                        known.acked = True
                case Replace(id_, _, envelope) if id_ in self.known:
                    self._check_stored(node, self.known[id_], envelope)
                case (Seen(id_, direction) | SeenAction(id_, direction)) if id_ in self.known:
                    if isinstance(node.core, Relay):
                        self.known[id_].passed[node.name] = None
                    elif direction is Direction.DOWN:
                        self.known[id_].handled[node.name] = None
        for op in ops:
            if isinstance(op, Done) and (origin := self._ending.pop((node.name, op.id, op.destination), "")):
                self.ends.setdefault(origin, {})[node.name, op.id, op.destination] = None
            if isinstance(op, Done) and op.last and op.id in self.known:
                known = self.known[op.id]
                if (op.id, op.direction) not in node.disk.held:
                    known.holders.pop((node.name, op.direction), None)
                if not known.holders:
                    self._check_end(known)
        for op in ops:
            self._listed(node, op)

    def _resolved(self, node: SimNode, raw: bytes) -> None:
        """What a relay says of an action is on its disk, before anybody hears of it."""
        message = open_envelope(raw, node.core.trust.credentials, RootCache())
        if isinstance(message, Reject) or message.header.origin != node.name:
            return
        (reading,) = read_records(message.header, message.envelope.parts)  # type: ignore[misc]
        said = reading.content
        if said.get("end") == SELECTED:
            self.selected.setdefault(message.header.correlation.hex(), []).append(sorted(said["targets"]))
        if said.get("end") != RESOLVED:
            return
        revisions = self.resolutions.setdefault(said["action"], {})
        if revisions.setdefault(said["revision"], said["targets"]) != said["targets"]:
            raise Broken(f"{node.name} resolved {said['action']} twice in the same revision")

    def _listed(self, node: SimNode, op: Op) -> None:
        """A list is in force when it is on disk; then nothing of whom it revokes is, but what sleeps until it wakes."""
        if not isinstance(op, KeepLists):
            return
        body, _ = msgpack.unpackb(op.raw)
        self.lists[node.name] = tuple(msgpack.unpackb(body)[5])
        for id_, direction in node.disk.held if isinstance(node.core, Relay) else ():
            if id_ in self.known and not node.disk.sleeps(id_, direction):
                self._check_origin(node, self.known[id_], "still holds")

    def _is_revoked(self, node: SimNode, origin: str) -> bool:
        return origin in self.lists.get(node.name, ())

    def _check_origin(self, node: SimNode, known: Known, what: str) -> None:
        """What a relay does whose program somebody changed is no promise: those it hands something to are looked at."""
        header = known.message.header
        if node.forges is None and self._is_revoked(node, header.origin):
            raise Broken(f"{node.name} {what} {header.kind.word} of {header.origin}, who is revoked")

    def gone(self, known: Known) -> bool:
        """Whether it may be lost: a disk lost it, and said so; its origin, or a relay that had it, is revoked."""
        revoked = self.world.revoked
        return known.damaged or known.message.header.origin in revoked or any(r in known.passed for r in revoked)

    def _check_stored(self, node: SimNode, known: Known, raw: bytes) -> None:
        envelope = decode_envelope(raw)
        assert not isinstance(envelope, Reject)
        self._check_holder(node, known, envelope.parts, "is on the disk of")

    def _check_end(self, known: Known) -> None:
        """Nobody holds it any more: it was delivered to all who were to have it, or its origin is told."""
        header = known.message.header
        if header.kind is not Kind.EVENT or not known.acked or known.reported or known.refused or self.gone(known):
            return
        if self.root not in known.passed:
            raise Broken(f"nobody holds {header.topic} {header.sequence} of {header.origin}, and the root never had it")
        for reader, relay in self.readers.items():
            if relay in known.passed and reader not in known.handled and reader not in self.world.revoked:
                raise Broken(f"nobody holds {header.topic} {header.sequence} of {header.origin}: {reader} missed it")

    # -- at control points ------------------------------------------------------------------------------

    def stepped(self, node: SimNode, ready: Ready) -> None:
        """What its program will be told together with the end of a row is no loss."""
        for delivered in ready.deliver:
            if isinstance(delivered, Published) and delivered.refused is not None and delivered.id in self.known:
                self.known[delivered.id].refused = True

    def told(self, node: SimNode, delivered: Delivered) -> None:
        match delivered:
            case Published(id_, None) if id_ in self.known:
                self.known[id_].acked = True
            case Delivery(message):
                self._delivery(node, message)

    def _delivery(self, node: SimNode, message: Verified) -> None:
        if message.header.topic == NOTICE_TOPIC:
            (reading,) = read_records(message.header, message.envelope.parts)  # type: ignore[misc]
            if reading.withheld:
                self.unreadable[node.name] += 1
            self.noticed[node.name] += sum(entry["messages"] for entry in reading.content.get("ended", ()))
        known = self.known.get(message.id)
        if known is None:
            return
        header = known.message.header
        self._check_origin(node, known, "was given")
        true_ms = self._age_ms(known, message.envelope.approved)
        if true_ms >= header.ttl_ms + self.slack_ms:
            raise Broken(f"{header.kind.word} came to {node.name} after {true_ms} of {header.ttl_ms} ms")
        original = known.message.envelope.parts
        if any(part not in (None, whole) for part, whole in zip(message.envelope.parts, original, strict=True)):
            raise Broken(f"{node.name} got what {header.origin} never signed")
        key = (node.name, b"" if header.kind is Kind.ACTION else node.core.session, message.id)
        again = key in self._delivered if not node.durable else node.name in known.handled
        if again:
            raise Broken(f"{header.kind.word} {header.sequence} of {header.origin} came twice to {node.name}")
        self._delivered[key] = None

    # -- when faults have stopped -----------------------------------------------------------------------

    def at_the_end(self) -> list[str]:
        """Whoever was to have something has it by now, and origins were told of the rest."""
        found = []
        for known in self.known.values():
            header = known.message.header
            if header.kind is not Kind.EVENT or not known.acked or known.refused or known.damaged:
                continue
            held = [name for name, _ in known.holders if name not in self.world.revoked]
            if held:
                found.append(f"{header.topic} {header.sequence} of {header.origin} is still held by {held}")
        for origin, ends in self.ends.items():
            excused = self._words_damaged or self.unreadable[origin] or origin in self.world.revoked
            owed = sum(relay not in self.world.revoked for relay, _, _ in ends)
            if self.noticed[origin] < owed and not excused:
                found.append(f"{origin} was told of {self.noticed[origin]} of its {owed} messages that ended")
        return found

    def _over_by_its_date(self, message: Verified) -> bool:
        """Whether what its origin signed says that its time is over: one that nobody told the time may be years off."""
        return self.world.now_ms > message.counts_from_ms + message.header.ttl_ms + SKEW_MS - self.slack_ms

    def _age_ms(self, known: Known, approved: Approved | None = None) -> int:
        """An action that was approved is as old as the approval that completed its quorum."""
        since_ms = known.published_ms
        if approved is not None:
            since_ms = self._approved_ms.get((known.message.leaf, approved.at_ms), since_ms)
        return self.world.now_ms - since_ms

    def _id_of(self, header: bytes) -> bytes:
        leaf = self._leaves.get(header)
        if leaf is None:
            leaf = self._leaves[header] = leaf_of(header)
        return leaf[:16]
