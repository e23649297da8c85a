"""Links of a node (SPEC 7.1, 7.2): how they open, who is at the other end, and how they end.

Guarantees: at most one open link for a destination, the newest; a link opens only by a handshake that `handshake`
accepted; what was in flight on one that is lost waits for the next. Refuses with a reason that the peer is told.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from fabric.protocol.credentials import Credential
from fabric.protocol.errors import Code, Reject
from fabric.protocol.handshake import Trust, check_hello, check_welcome, negotiate
from fabric.protocol.lifetime import ClockOffset
from fabric.protocol.limits import (
    CREDENTIALS_CACHED_MAX,
    LANE_WINDOW_BYTES,
    RETRY_MS,
    SKEW_MS,
)
from fabric.protocol.link import Link, State
from fabric.protocol.outbox import Outbox
from fabric.protocol.ready import (
    LinkUp,
    Note,
    Ready,
)
from fabric.protocol.signing import Signer
from fabric.protocol.verify import RootCache
from fabric.protocol.wire import (
    PROTOCOL_VERSIONS,
    Frame,
    Hello,
    Lists,
    Refused,
    Role,
    Welcome,
    encode_frame,
)

UPLINK = "^"


class Links:
    """The state that all of a node shares. `entropy(n)` gives n random bytes."""

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
        self.kept: dict[bytes, None] = {}  # credentials that are on disk, by digest
        self.roots = RootCache()
        self.links: dict[int, Link] = {}
        self.by_destination: dict[str, Link] = {}
        self.outboxes: dict[str, Outbox] = {}
        self.counters: Counter[str] = Counter()
        self._dirty: dict[str, None] = {}
        self._answering: dict[int, None] = {}
        self._timers_at_ms = 0

    def fabric_now(self, now_ms: int) -> int:
        """The root's time, by which credentials and issued_at are judged (SPEC 5)."""
        return now_ms + self.clock.offset_ms

    @property
    def clock_suspect(self) -> bool:
        return self.clock.suspect(self.skew_ms)

    # -- what a subclass says ---------------------------------------------------------------------------

    def destination_of(self, link: Link) -> str:
        raise AssertionError("a subclass names destinations")

    def on_open(self, link: Link, now_ms: int, ready: Ready) -> None:
        """The link's handshake is done."""

    def on_lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        """An open link is gone."""

    def on_refused(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """The peer refused us, or we refused the peer that we dialled."""

    # -- from the connection to the open link -----------------------------------------------------------

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

    # -- the end of a link ------------------------------------------------------------------------------

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

    # -- what everything uses ---------------------------------------------------------------------------

    def learn(self, credential: Credential) -> None:
        """Remember a verified credential. The oldest that no message needs is forgotten beyond the bound."""
        self.credentials[credential.digest] = credential
        self.credentials.move_to_end(credential.digest)
        if len(self.credentials) > CREDENTIALS_CACHED_MAX:
            self.credentials.popitem(last=False)

    def touch(self, destination: str) -> None:
        """Something waits for this destination."""
        self._dirty[destination] = None

    def count(self, what: str, reason: str, by: int = 1) -> None:
        """A counter by reason: "refused:bad_digest". Reasons come from tables, never from a peer."""
        self.counters[f"{what}:{reason}"] += by
