"""One connection to a peer (SPEC 7.1-7.3): its state, and records of what is due on it, each with an owner.

`credit` and `answers` are the transfer's; `introductions` of whoever passes credentials on; `lists` and
`policies` of what distributes these; `routes_out` of `announce`, and `routes_in` of whoever hears routes; `look_at_ms`,
`spared` and `asks_at` of `liveness`. Guarantee: a frame that the state of its link does not allow never reaches the
logic (`ALLOWED` is the whole table). Holds no socket and knows no time but what it is told. Who may open a link is
decided in `handshake`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX, HELLO_BYTES_MAX
from fabric.protocol.envelope.lifetime import Transit
from fabric.protocol.links.answers import Answers
from fabric.protocol.links.credit import LinkCredit
from fabric.protocol.links.introductions import Introductions
from fabric.protocol.links.list_exchange import ListExchange
from fabric.protocol.routes.attachments import Attachment, RouteKey
from fabric.protocol.routes.changes import Changes
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.frames import (
    Ack,
    Applied,
    Bye,
    Credit,
    Data,
    Denied,
    Directory,
    Frame,
    Grown,
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
    Rules,
    Welcome,
    Witnessed,
)


class State(Enum):
    """The states of a link (SPEC 7.2). `ALLOWED` says which frames may come in each."""

    WAITING = "waiting"  # the peer dialled; its HELLO has not come, or waits for its turn
    STANDBY = "standby"  # we dialled one of our parents; whether it is greeted is not decided
    GREETED = "greeted"  # we dialled and said HELLO
    OPEN = "open"
    CLOSED = "closed"


# What a frame may be in each state. In GREETED the listener may already send: its WELCOME was lost, and what follows
# is ignored until the repeated HELLO brings another. Anything else in WAITING is a stranger knocking.
ALLOWED: dict[State, frozenset[type]] = {
    State.WAITING: frozenset({Hello, Join}),
    State.STANDBY: frozenset({Refused, Bye}),
    State.GREETED: frozenset({Welcome, Refused, Bye}),
    State.OPEN: frozenset({
        Hello, Welcome, Refused, Intro, Data, Ack, Nack, Credit, Routes, Routed, Ping, Pong, Bye, Lists,
        Join, Joined, Applied, Directory, Denied, Rules, Grown, Witnessed,
    }),
    State.CLOSED: frozenset(),
}


@dataclass(slots=True, eq=False)
class RoutesOut:
    """Route changes that the peer has yet to confirm: one frame at a time, repeated until it is answered."""

    changes: Changes = field(default_factory=Changes)
    full: bool = False  # the next frame begins a full table
    sequence: int = 0
    pending: list[tuple[Attachment, str]] = field(default_factory=list)  # what the frame holds, in order, and whose
    frame: Routes | None = None
    sent_at_ms: int = 0
    not_before_ms: int = 0  # when there is anything to be said again


@dataclass(slots=True, eq=False)
class RoutesIn:
    """What the peer says of who is where, as far as it is applied."""

    sequence: int = -1  # the last of its ROUTES
    # Of what a new full table has yet to say again: the epoch.
    unconfirmed: dict[RouteKey, int] = field(default_factory=dict)
    unconfirmed_at_ms: int = 0


@dataclass(slots=True, eq=False)
class Link:
    """One connection, under the driver's `number`. `peer` and `destination` are known once it is open."""

    number: int
    peer_key: bytes
    nonce: bytes
    since_ms: int
    greet_as: Role | None = None  # set on the side that dialled
    expects: str = ""
    state: State = State.WAITING
    peer: Credential | None = None
    peer_role: Role = Role.POINT  # what the peer is to us
    peer_session: bytes = b""
    version: int = 0  # of the protocol, that is spoken on it
    destination: str = ""
    hello: Hello | None = None  # the one that was checked: only that is answered, again too
    hello_at_ms: int = 0  # when it was last repeated
    leaving_at_ms: int | None = None  # the peer has another parent, or we have: only what is left over still comes
    credit: LinkCredit = field(default_factory=LinkCredit)
    answers: Answers = field(default_factory=Answers)
    introductions: Introductions = field(default_factory=Introductions)
    lists: ListExchange = field(default_factory=ListExchange)
    policies: ListExchange = field(default_factory=ListExchange)
    transit: Transit = field(default_factory=Transit)
    routes_out: RoutesOut = field(default_factory=RoutesOut)
    routes_in: RoutesIn = field(default_factory=RoutesIn)
    knocks: int = 0  # questions of a stranger
    heard_at_ms: int = 0
    pinged_at_ms: int = 0
    look_at_ms: int = 0  # when `Liveness` looks at it again
    spared: tuple[int, int] = (0, 0)  # how much longer it is silent than links are, as was told last, and before that
    asks_at: int = 0  # among which of those who ask together its peer was told to ask next; 0: it was not
    greeted_at_ms: int = 0

    def check(self, frame: Frame) -> Reject | None:
        if type(frame) in ALLOWED[self.state]:
            return None
        return Reject(Code.NOT_READY, f"{type(frame).__name__.upper()} while {self.state.value}")

    @property
    def frame_bytes_max(self) -> int:
        return FRAME_BYTES_MAX if self.state in (State.OPEN, State.GREETED) else HELLO_BYTES_MAX

    @property
    def is_open(self) -> bool:
        return self.state is State.OPEN

    @property
    def spared_ms(self) -> int:
        """How much longer it may be silent. What was told last may be lost, so what was told before counts too."""
        return max(self.spared)

    def spare(self, ms: int) -> None:
        """Whoever asks on it was told how much longer than usual it may wait."""
        self.spared = ms, self.spared[0]

    def stirs(self) -> None:
        """Something happens on it besides PING and PONG: it is to be looked at."""
        self.look_at_ms = 0

    def knock(self) -> int:
        """A stranger asks: how often it has by now."""
        self.knocks += 1
        return self.knocks

    def wait_anew(self, now_ms: int) -> None:
        """A stranger waits for an answer: its time to say HELLO begins again."""
        self.since_ms = now_ms

    def opened(self, peer: Credential, role: Role, session: bytes, now_ms: int) -> None:
        """The handshake is done."""
        self.state = State.OPEN
        self.peer, self.peer_role, self.peer_session = peer, role, session
        self.heard_at_ms = self.pinged_at_ms = now_ms
