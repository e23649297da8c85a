"""What an attack is, and the usual one: open links and fill them with frames, as fast as they go.

Everything is bounded, and an attack that is over before its time is worth less than one that goes on: `FRAMES_MAX` and
`BYTES_MAX` are far above what a minute takes, and stop what forgot the time.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import zmq

from fabric.edge.identity.identity import Dial, Identity, load_identity
from fabric.protocol.base.signing import Signer
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Intro, Role
from fabric.transport.keys import CurveKeys
from relays.authority import open_authority
from scripts.attacks.peer import Peer

FRAMES_MAX = 50_000_000
BYTES_MAX = 100_000_000_000
CONNECTIONS_MAX = 200_000
# Frames of one link before the next one has its turn.
_BURST = 32
_HEARD = 256
# A link that takes nothing for so long was ended without a word, or might as well be. Not soon: what waits in it, the
# relay may have to hold.
_STUCK_S = 10.0
# Entering takes a while where a parent is chosen.
_ENTERS_S = 15.0
_IDLE_S = 0.002
# How long a session that is made to be left stays, so that the relay hears it.
_STAY_S = 0.1
# And how long it tries to come.
_COMES_S = 3.0


@dataclass
class Tally:
    """What an attacker did, and what came of it."""

    frames: int = 0
    bytes: int = 0
    connections: int = 0
    entered: int = 0
    cut: int = 0
    heard: int = 0

    def sent(self, payload_bytes: int) -> None:
        self.frames += 1
        self.bytes += payload_bytes

    @property
    def over(self) -> bool:
        return (
            self.frames >= FRAMES_MAX or self.bytes >= BYTES_MAX or self.connections >= CONNECTIONS_MAX
        )


class Orders:
    """When to begin, and when to end. The attacker's process fills them in."""

    def __init__(self, deadline_s: float) -> None:
        self.begun = False
        self.deadline_s = deadline_s
        self.ready: Callable[[], None] = lambda: None

    def go_on(self, tally: Tally) -> bool:
        return not tally.over and time.monotonic() < self.deadline_s


class Spoils:
    """What an attacker has to go by: the folder of a throwaway fabric, and the relay under attack.

    It could take more than its role has; an attack says in its own words what it takes, and what that stands for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def identity(self, id_: str) -> Identity:
        return load_identity(self.folder / "ids" / id_)

    @cached_property
    def dial(self) -> Dial:
        """The relay under attack: the honest sensor's own."""
        dial = self.identity("sensor").relay
        assert dial is not None
        return dial

    @cached_property
    def authority(self) -> Signer:
        """For credentials that the attacker was given, over time, by whoever may."""
        return open_authority(self.folder.name, self.folder.parent).signer


class Attack(Protocol):
    """`who` and `kind` name it; `story` says in one sentence what it does."""

    @property
    def who(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def story(self) -> str: ...

    def strong(self, tally: Tally) -> bool:
        """Whether so much was done that it shows something: an attacker that gives way may get no time at all."""
        ...

    def run(self, spoils: Spoils, orders: Orders, tally: Tally) -> None:
        """Prepare, say that it is ready, and from when `orders.begun` is set attack for as long as they say."""


# Frames without end, encoded: (spoils, the peer of the link that they are for) -> frames.
Frames = Callable[[Spoils, Peer], Iterator[bytes]]


@dataclass(frozen=True)
class Flood:
    """Frames on open links of one identity. Where a link is lost, another one goes on from there."""

    who: str
    kind: str
    story: str
    me: str  # an identity of the tree
    frames: Frames
    per_link: bool = False  # the frames go by the link's number, or session, and begin anew with each
    introduces: tuple[str, ...] = ()  # whose credentials go ahead on each link: nothing is looked at without
    role: Role = Role.POINT
    connections: int = 1
    listens: bool = True  # False: never reads
    frame_bytes: int = 1_000  # about, for the sender's own queue
    ahead_ms: int = 0  # of the time that it tells who asks

    def strong(self, tally: Tally) -> bool:
        return tally.frames > self.connections

    def run(self, spoils: Spoils, orders: Orders, tally: Tally) -> None:
        identity = spoils.identity(self.me)
        keys = CurveKeys(identity.credential.curve_key, identity.curve_secret)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        links: list[_Link] = []
        shared: Iterator[bytes] | None = None
        try:
            while orders.go_on(tally):
                while len(links) < self.connections:
                    peer = Peer(context, spoils.dial, keys, frame_bytes=self.frame_bytes, ahead_ms=self.ahead_ms)
                    links.append(_Link(peer))
                    tally.connections += 1
                moved = 0
                for link in links:
                    if link.peer.welcome and link.frames is None:
                        if self.per_link or shared is None:
                            shared = self.frames(spoils, link.peer)
                        link.begin(self._intro(spoils), shared)
                        tally.entered += 1
                    moved += self._turn(link, identity, orders, tally)
                for link in [link for link in links if link.is_over]:
                    tally.cut += 1
                    link.peer.close()
                    links.remove(link)
                if tally.entered >= self.connections or (tally.entered and tally.cut):
                    orders.ready()  # with all its links, or as many as it is let have
                if not moved:
                    time.sleep(_IDLE_S)
        finally:
            context.destroy(linger=0)

    def _intro(self, spoils: Spoils) -> list[bytes]:
        raws = [spoils.identity(id_).credential.raw for id_ in self.introduces]
        return [encode_frame(Intro(raws))] if raws else []

    def _turn(self, link: _Link, identity: Identity, orders: Orders, tally: Tally) -> int:
        """One link's turn; how much it did."""
        heard = link.peer.hear(_HEARD) if self.listens or not orders.begun or not link.peer.welcome else 0
        tally.heard += heard
        if not link.peer.welcome:
            link.peer.greet(identity.credential, self.role)
        elif orders.begun and link.frames is not None:
            heard += link.fill(tally)
        return heard


@dataclass
class _Link:
    peer: Peer
    frames: Iterator[bytes] | None = None
    _next: bytes = b""
    _moved_s: float = field(default_factory=time.monotonic)

    def begin(self, first: Sequence[bytes], frames: Iterator[bytes]) -> None:
        """The first of them is made now, while there is time, and with it what is made once."""
        self.frames = itertools.chain([next(frames)], frames)
        for payload in first:
            self.peer.send(payload)

    def fill(self, tally: Tally) -> int:
        for sent in range(_BURST):
            assert self.frames is not None
            self._next = self._next or next(self.frames)
            if not self.peer.send(self._next):
                return sent
            tally.sent(len(self._next))
            self._next = b""
            self._moved_s = time.monotonic()
        return _BURST

    @property
    def is_over(self) -> bool:
        still_s = time.monotonic() - self._moved_s
        if self.peer.welcome:
            return self.peer.cut or (bool(self._next) and still_s > _STUCK_S)
        return self.peer.cut or still_s > _ENTERS_S


@dataclass(frozen=True)
class Ghosts:
    """Sessions of one identity, each on a connection of its own that is left as soon as it was heard."""

    who: str
    kind: str
    story: str
    me: str
    attach: Callable[[Identity, str, bytes], bytes]  # (identity, relay, session) -> ROUTES, encoded
    role: Role = Role.POINT
    at_once: int = 16

    def strong(self, tally: Tally) -> bool:
        return tally.connections > self.at_once

    def run(self, spoils: Spoils, orders: Orders, tally: Tally) -> None:
        identity = spoils.identity(self.me)
        keys = CurveKeys(identity.credential.curve_key, identity.curve_secret)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        orders.ready()
        guests: list[_Guest] = []
        try:
            while orders.go_on(tally):
                while orders.begun and len(guests) < self.at_once:
                    guests.append(_Guest(Peer(context, spoils.dial, keys)))
                    tally.connections += 1
                for guest in guests:
                    tally.heard += guest.peer.hear(_HEARD)
                    if guest.peer.welcome and not guest.entered_s:
                        guest.entered_s = time.monotonic()
                        routes = self.attach(identity, spoils.dial.id, guest.peer.session)
                        guest.peer.send(routes)
                        tally.entered += 1
                        tally.sent(len(routes))
                    elif not guest.peer.welcome:
                        guest.peer.greet(identity.credential, self.role)
                for guest in [guest for guest in guests if guest.is_over]:
                    tally.cut += not guest.entered_s
                    guest.peer.close()
                    guests.remove(guest)
                time.sleep(_IDLE_S)
        finally:
            context.destroy(linger=0)


@dataclass
class _Guest:
    peer: Peer
    came_s: float = field(default_factory=time.monotonic)
    entered_s: float = 0.0

    @property
    def is_over(self) -> bool:
        """It was heard: a moment after its routes went, for they go with a connection that is closed too early."""
        now_s = time.monotonic()
        entered = bool(self.entered_s) and now_s - self.entered_s > _STAY_S
        return entered or self.peer.cut or now_s - self.came_s > _COMES_S
