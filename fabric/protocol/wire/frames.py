"""The frames of a link (SPEC 7): what each of them says. How they look on the wire is in `codec`."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from msgspec import Meta

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import ENVELOPE_BYTES_MAX, HOPS_MAX, MOVED_MAX, TARGETS_MAX
from fabric.protocol.base.shapes import Name, Number
from fabric.protocol.vocabulary.severity import Lane

PROTOCOL_VERSIONS = (1, 1)  # lowest and highest that this code speaks
SESSION_BYTES = 16


class Direction(IntEnum):
    """Where a message goes: up is towards the root. The numbers are on the wire."""

    UP = 0
    DOWN = 1


class Role(IntEnum):
    """What the sender of a HELLO says it is to the receiver."""

    CHILD = 1
    PARENT = 2
    POINT = 3


class Hello(NamedTuple):
    """The greeting of whoever dialled: versions that it speaks, who it is, and what it is to the other side."""

    version_min: int
    version_max: int
    fabric: str
    role: Role
    credential: bytes
    session: bytes
    nonce: bytes
    clock_ms: int
    revocations_version: int
    policy_version: int

    def repeats(self, other: Hello) -> bool:
        """Whether it is the same once more: only what time it is, and which lists are known, may have changed."""
        return self[:7] == other[:7]


class Welcome(NamedTuple):
    """The listener's answer to a HELLO that it accepts; `nonce` is the HELLO's, `fabric_clock_ms` 0: not known."""

    version: int
    credential: bytes
    session: bytes
    nonce: bytes
    clock_ms: int
    fabric_clock_ms: int
    revocations_version: int
    policy_version: int
    window_bytes: int
    path: tuple[str, ...] = ()  # the relays from the root to the sender, as far as it knows them


class Refused(NamedTuple):
    """REJECT: the link is not accepted, and why."""

    code: Code
    detail: str
    nonce: bytes


class Intro(NamedTuple):
    """Credentials of origins, as they were signed, before the first message of each."""

    credentials: list[bytes]


class Item(NamedTuple):
    """One message on its way. `age_ms` and `hops` are the hops' own account, not signed by the origin.

    `targets`: the nodes that a descending action is for, as the turn relay selected them; each tier checks again.
    `moved`: how often a relay that was to hand this to `targets`, of whatever kind, found them gone elsewhere.
    """

    direction: Direction
    age_ms: Number
    hops: Annotated[list[Name], Meta(max_length=HOPS_MAX)]
    targets: Annotated[list[Name], Meta(max_length=TARGETS_MAX)]
    envelope: Annotated[bytes, Meta(max_length=ENVELOPE_BYTES_MAX)]
    moved: Annotated[int, Meta(ge=0, le=MOVED_MAX)] = 0


class Data(NamedTuple):
    """Messages of one lane, with the sender's clock as they leave."""

    lane: Lane
    clock_ms: int
    items: list[Item]


class Ack(NamedTuple):
    """Ids of items (visits, SPEC 7.8) that the receiver holds, or had before."""

    ids: list[bytes]


class Nack(NamedTuple):
    """Ids that are refused, each with a code and a detail. BUSY and UNKNOWN_SIGNER mean: again later."""

    refusals: list[tuple[bytes, Code, str]]


class Credit(NamedTuple):
    """Cumulative bytes that may be sent on this link, per lane."""

    allowed_bytes: list[int]


class Routes(NamedTuple):
    """Attachments signed by their nodes (`routing`), and withdrawals [node, session, epoch].

    `first` begins a full table: what was known by this link before is forgotten. Otherwise it is a change.
    """

    sequence: int
    first: bool
    attachments: list[bytes]
    withdrawals: list[tuple[str, bytes, int]]


class Routed(NamedTuple):
    """The answer to ROUTES: held, but for the attachments with these indices, each with the code."""

    sequence: int
    refusals: list[tuple[int, Code, str]]


class Ping(NamedTuple):
    """The sender's clock; the answer is a PONG."""

    clock_ms: int


class Pong(NamedTuple):
    """The answer to a PING, with its clock; `fabric_clock_ms` 0: not known."""

    clock_ms: int
    fabric_clock_ms: int
    path: tuple[str, ...] = ()  # as in WELCOME
    log_known: int | None = None  # of the audit log of whoever asked, up to which entry; None: heads are not taken
    spared_ms: int = 0  # how much longer than usual whoever asked may wait before it asks again


class Bye(NamedTuple):
    """Its sender takes leave or drains, as `code` says; `redirect` names another relay, or is empty."""

    code: Code
    redirect: str


class Lists(NamedTuple):
    """The authority's revocation list, passed down as it was signed."""

    revocations: bytes


class Directory(NamedTuple):
    """The authority's directory of relays, passed down as it was signed."""

    raw: bytes


class Rules(NamedTuple):
    """The authority's approval policies, passed on as they were signed."""

    policies: bytes


class Join(NamedTuple):
    """A question to an issuer (`joining`), from somebody who is not in yet or wants to stay in. It climbs."""

    id: bytes
    issuer: str
    key: bytes  # by which it was asked; the asker's own relay fills it in
    request: bytes


class Joined(NamedTuple):
    """The issuer's answer to the JOIN with this id, or why there is none. It goes back the way the question came."""

    id: bytes
    code: Code | None
    detail: str
    answer: bytes


class Applied(NamedTuple):
    """Which revocation list is in force at relays below: [relay, version, since when by fabric time]."""

    entries: list[tuple[str, int, int]]


class Denied(NamedTuple):
    """How often a control point was not let do something by its own node, by code: it never got as far as its relay."""

    counts: list[tuple[Code, int]]


class Grown(NamedTuple):
    """How far its sender's audit log goes: a signed head, and the digests of the entries after number `since`."""

    head: bytes
    since: int
    digests: list[bytes]


class Witnessed(NamedTuple):
    """The counter-signature of a head of this number; `code`: what is wrong with it, if anything is."""

    number: int
    code: Code | None
    witness: bytes


Frame = (
    Hello | Welcome | Refused | Intro | Data | Ack | Nack | Credit | Routes | Routed | Ping | Pong | Bye | Lists
    | Join | Joined | Applied | Directory | Denied | Rules | Grown | Witnessed
)
