"""What goes into a core and what comes out (SPEC 10): events in, one `Ready` out.

The driver's duty, in this order and in one place: send what is `early`, commit `persist`, then `send`, then `deliver`,
then `close`. An acknowledgement that was sent before its commit would be a lie after a crash; what is early promises
nothing, and need not wait for a disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, Fault, Reject
from fabric.protocol.core.ledger_ops import LedgerOp
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction, Frame, Role


class LinkUp(NamedTuple):
    """A connection exists; `peer` is its CURVE key. With a `role` we dialled it and greet as that; without, we wait.

    `nonce` is 16 random bytes; `expects` the only id that may answer, where one was dialled.
    """

    link: int
    peer: bytes
    nonce: bytes
    role: Role | None = None
    expects: str = ""


class LinkDown(NamedTuple):
    """The connection with this number has ended. Its number does not come again."""

    link: int


class Arrived(NamedTuple):
    """A frame, or why there is none. Of DATA, `opened` holds what became of each item's envelope, in order.

    It is shorter where reading stopped: the link ends after what is in it.
    """

    link: int
    frame: Frame | Reject | Fault
    opened: tuple[Verified | Reject, ...] = ()
    size: int = 0


class Submit(NamedTuple):
    """A message of this node's own."""

    message: Verified


class Renewed(NamedTuple):
    """This node's credential as it was issued anew, verified: the same id and keys."""

    credential: Credential


class Ask(NamedTuple):
    """A question of this node to an issuer; `id` is 16 random bytes."""

    id: bytes
    issuer: str
    request: bytes


class Answer(NamedTuple):
    """What this node, an issuer, answers to the question with this id."""

    id: bytes
    refused: Reject | None
    answer: bytes


class Attach(NamedTuple):
    """What a control point takes from now on. `epoch` rises with every change (ms since 1970 do)."""

    epoch: int
    executes: bool
    subscriptions: tuple[str, ...]
    keep_ms: int = 0  # how long events and intel wait for this session while it is away; 0: a short grace


class Parents(NamedTuple):
    """Whom this control point is to be with from now on, the nearest first. `at_once`: it is somewhere else by now."""

    ids: tuple[str, ...]
    at_once: bool


class Handled(NamedTuple):
    """The application is done with a delivery; `refused` says that it could not read it."""

    id: bytes
    refused: Reject | None = None


class Deny(NamedTuple):
    """This control point's program was not let do something, with this code. Its relay is to count it."""

    code: Code


class Leave(NamedTuple):
    """A control point says goodbye: nothing is to wait for this session."""


class LogGrown(NamedTuple):
    """This node's audit log goes so far. `digests`: of its entries after number `since`, where these are to be had."""

    log: bytes
    number: int
    hash: bytes
    since: int = 0
    digests: tuple[bytes, ...] = ()


class Drain(NamedTuple):
    """This relay is about to stop: its children go elsewhere, and it takes no new ones."""


class Tick(NamedTuple):
    """The end of a driver's turn: what accumulated becomes frames, and timers are looked at."""


Event = (
    LinkUp | LinkDown | Arrived | Submit | Renewed | Ask | Answer | Attach | Parents | Handled | Deny | Leave | Drain
    | Tick | LogGrown
)


class Put(NamedTuple):
    """Hold a message for its destinations, and remember that it was seen."""

    id: bytes
    direction: Direction
    lane: Lane
    envelope: bytes
    age_ms: int
    received_at_ms: int
    expires_at_ms: int
    hops: tuple[str, ...]
    destinations: tuple[tuple[str, tuple[str, ...]], ...]  # (destination, targets for it)
    moved: tuple[tuple[str, int], ...] = ()  # (destination, how often its targets had to be followed)


class Done(NamedTuple):
    """One destination of a message has it, or never will. `last`: the message itself goes too."""

    id: bytes
    direction: Direction
    destination: str
    last: bool


class Seen(NamedTuple):
    """A message was taken in this direction: until `until_ms` another copy of it is a repeat (SPEC 7.5)."""

    id: bytes
    direction: Direction
    until_ms: int


class SeenAction(NamedTuple):
    """An action was taken in: it is not forgotten before its time, and counts for its requester."""

    id: bytes
    direction: Direction
    until_ms: int
    requester: str


class Replace(NamedTuple):
    """A fuller copy of a held message. Of one that sleeps, a copy that may have parts which that lacks."""

    id: bytes
    direction: Direction
    envelope: bytes


class KeepCredential(NamedTuple):
    """A verified credential, as it was signed, to be known again after a restart."""

    digest: bytes
    raw: bytes


class KeepLists(NamedTuple):
    """The revocation list that is in force from now on, as it was signed. It replaces the one on disk."""

    raw: bytes


class KeepDirectory(NamedTuple):
    """The directory of relays that is held from now on, as it was signed. It replaces the one on disk."""

    raw: bytes


class KeepPolicies(NamedTuple):
    """The approval policies that are in force from now on, as they were signed. They replace those on disk."""

    raw: bytes


class KeepSession(NamedTuple):
    """A control point's session here, as it attached itself; an empty attachment forgets it."""

    destination: str
    attachment: bytes


class KeepGap(NamedTuple):
    """How many records a session lost that it has yet to be told of; 0 forgets it."""

    destination: str
    records: int


class KeepNotice(NamedTuple):
    """What has been counted for a notice to an origin, and is not told yet; an empty body forgets it."""

    name: str
    body: bytes


class KeepPosition(NamedTuple):
    """How far a source was read: committed with what was made of it, so that nothing is read twice or left out.

    An empty position forgets the source.
    """

    source: str
    position: str


class KeepOwner(NamedTuple):
    """Whose file this is, and the session under which relays know it."""

    fabric: str
    node: str
    session: bytes


class KeepDispatch(NamedTuple):
    """An action (full digest) was handed to a target here, with this label; or turned here, when target is ''.

    `way`: the destination by which it went. Of rows of an earlier version it and the requester are not known.
    `lasts_ms`: of `until_ms`, for how long something may be said of its effect, and nothing else of it. `between`: the
    relays between that way's child and the target then, with slashes between them. `audience`: a digest of whom
    it was for; of rows of an earlier version it is not known.
    """

    digest: bytes
    target: str
    label: int
    until_ms: int
    requester: str = ""
    way: str = ""
    lasts_ms: int = 0
    between: str = ""
    audience: bytes = b""


class KeepOpen(NamedTuple):
    """An action that turned here is not resolved, or some target's end is unknown; nobody may answer after `until_ms`.

    `about`: what its resolution says of it. Without it, the action is forgotten. `is_late`: it is to be resolved again.
    """

    digest: bytes
    about: bytes = b""
    targets: tuple[str, ...] = ()
    until_ms: int = 0
    revision: int = 0
    is_late: bool = False


class KeepEnd(NamedTuple):
    """How an action that is open ended at a target: the number of its state; 0 forgets it."""

    digest: bytes
    target: str
    state: int
    until_ms: int = 0


class KeepHold(NamedTuple):
    """An action that waits for approvals until then, with its targets; without a body it is forgotten."""

    digest: bytes
    body: bytes = b""
    until_ms: int = 0


class KeepApproval(NamedTuple):
    """An approval of an action that is held, and its signer's credential; without them it is forgotten."""

    digest: bytes
    approver: str
    credential: bytes = b""
    envelope: bytes = b""
    until_ms: int = 0


class KeepMember(NamedTuple):
    """This control point executes, by its credential, and was last seen then. An empty credential forgets it.

    `epoch`: of the newest statement that said so; an older one is no word of what it does now.
    """

    node: str
    credential: bytes
    seen_ms: int
    epoch: int = 0


class KeepHead(NamedTuple):
    """The newest head of the audit log of this node below. `forked_ms`: when it was not what it had been; 0: never."""

    node: str
    head: bytes
    forked_ms: int
    voucher: str


class Sleep(NamedTuple):
    """A message that waits for readers only is to be known by its row from here on: it is not in memory any more.

    `queue` is the one of each reader in which it sleeps (`asleep.queue_of`).
    """

    id: bytes
    direction: Direction
    queue: int
    bytes: int
    destinations: tuple[str, ...]


class EndAsleep(NamedTuple):
    """Nothing that sleeps for this reader is wanted any more."""

    destination: str


Op = (
    Put | Done | Seen | Replace | KeepCredential | KeepLists | KeepSession | KeepDispatch | KeepGap | KeepNotice
    | KeepPosition | KeepOwner | KeepDirectory | KeepMember | KeepOpen | KeepEnd | SeenAction | Sleep | EndAsleep
    | KeepPolicies | KeepHold | KeepApproval | KeepHead | LedgerOp
)


def may_wait(op: Op) -> bool:
    """Whether a driver may commit this a little later, with what comes next (SPEC 10).

    The end of a row that climbed, and what is counted with it: if both are forgotten, the message is sent again and
    known as a repeat, or ends again. What descends is not among these: an action must not be offered twice because a
    disk was slow. That a row sleeps changes nothing on disk.
    """
    if isinstance(op, Done):
        return op.direction is Direction.UP
    return isinstance(op, Sleep) or (isinstance(op, KeepNotice) and op.body != b"")


class Delivery(NamedTuple):
    """A message for the application of a control point."""

    message: Verified
    age_ms: int
    hops: tuple[str, ...]


class Repeated(NamedTuple):
    """An action that this control point took in before has come again, by this link."""

    id: bytes
    link: int


class Published(NamedTuple):
    """The end of a message that this node submitted: durable at the relay, or refused with a code."""

    id: bytes
    refused: Reject | None
    records: int = 0  # that were in custody until now; none where it was refused at once


class Connected(NamedTuple):
    """The link to this relay is open."""

    relay: str


class Disconnected(NamedTuple):
    """The link to a relay ended, or a relay refused one, and why."""

    reason: Reject
    final: bool  # trying again cannot help until somebody acts
    relay: str = ""  # who said so, if anybody did


class SubscriptionRefused(NamedTuple):
    """What this node wants to take is not granted, by its own credential or by its relay's answer."""

    reason: Reject


class Attached(NamedTuple):
    """The relay has applied what this node takes, up to this epoch."""

    epoch: int


class Asked(NamedTuple):
    """Somebody asks this node, an issuer; `key` is the CURVE key of the connection by which it was asked."""

    id: bytes
    key: bytes
    request: bytes


class Answered(NamedTuple):
    """What became of a question of this node."""

    id: bytes
    refused: Reject | None
    answer: bytes


Delivered = (
    Delivery | Repeated | Published | Connected | Disconnected | SubscriptionRefused | Attached | Asked | Answered
)


class Note(NamedTuple):
    """A line for the log: names, ids and numbers only. An alarm is written as an error: somebody has to act."""

    event: str
    fields: dict[str, str | int]
    alarm: bool = False


@dataclass(slots=True)
class Ready:
    """What a core wants done after an event; the module's text has the order. `audit` goes into the log first.

    `early` and `send` are encoded frames, each with its link's number; `close` says with which code a link ends.
    `wake_at_ms`: when the core wants a Tick at the latest, by the clock that `step` is given; None: not by itself.
    """

    early: list[tuple[int, bytes]] = field(default_factory=list)
    persist: list[Op] = field(default_factory=list)
    send: list[tuple[int, bytes]] = field(default_factory=list)
    deliver: list[Delivered] = field(default_factory=list)
    close: list[tuple[int, Code]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    audit: list[Audited] = field(default_factory=list)
    wake_at_ms: int | None = None

    def merge(self, other: Ready) -> None:
        self.early += other.early
        self.persist += other.persist
        self.send += other.send
        self.deliver += other.deliver
        self.close += other.close
        self.notes += other.notes
        self.audit += other.audit
        self.wake_at_ms = other.wake_at_ms if other.wake_at_ms is not None else self.wake_at_ms


