"""Links of a node (SPEC 7.1, 7.2, 7.7): how they open, who is at the other end, and how they end.

Guarantees: at most one open link for a destination, the newest; a link opens only by a handshake that `handshake`
accepted, when it is its turn; a node has one parent, and what was in flight on a link that is lost or left waits for
the next. Refuses with a reason that the peer is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from fabric.protocol.admission import Admission, Twins
from fabric.protocol.credentials import Credential
from fabric.protocol.errors import Code, Reject
from fabric.protocol.handshake import Trust, check_hello, check_welcome, negotiate
from fabric.protocol.known import Known
from fabric.protocol.limits import (
    LANE_WINDOW_BYTES,
    PING_MS,
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
from fabric.protocol.timekeeping import Timekeeping
from fabric.protocol.uplink import Uplink
from fabric.protocol.verify import RootCache
from fabric.protocol.wire import (
    PROTOCOL_VERSIONS,
    Bye,
    Frame,
    Hello,
    Lists,
    Refused,
    Role,
    Welcome,
    encode_frame,
)

UPLINK = "^"
# Refusals by a parent that say that it will not do for a while.
_SHUNNED = frozenset({Code.LOOP, Code.TWIN, Code.DRAINING})


class Links(Timekeeping):
    """The state that all of a node shares. `entropy(n)` gives n random bytes; `parents` in order of preference."""

    accepts: tuple[Role, ...] = ()

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
        self.trust = Trust(authority_key, credential.fabric, skew_ms)
        self.skew_ms = skew_ms
        self.keep_time()
        self.credentials = Known(credential)
        self.kept: dict[bytes, None] = {}  # credentials that are on disk, by digest
        self.roots = RootCache()
        self.links: dict[int, Link] = {}
        self.by_destination: dict[str, Link] = {}
        self.outboxes: dict[str, Outbox] = {}
        self.counters: Counter[str] = Counter()
        self.parents = parents
        self.uplink = Uplink(parents, lambda: int.from_bytes(entropy(4)) / 2**32)
        self.ancestors: tuple[str, ...] = ()  # from the root to our parent, as far as it knows
        self.draining = False
        self._parent_links: dict[int, Link] = {}
        self._candidates: dict[str, Link] = {}  # parents that could be greeted or answered, or that were
        self._admission = Admission()
        self._twins = Twins()
        self._dirty: dict[str, None] = {}
        self._answering: dict[int, None] = {}
        self._after_commit: set[int] = set()  # links on which something waits for this turn's commit
        self._timers_at_ms = 0
        self.set_up()

    def set_up(self) -> None:
        """The state that a subclass adds; each calls its own above it first."""

    @property
    def path(self) -> tuple[str, ...]:
        """The relays from the root to this one; of a control point nothing, since nobody is below it."""
        return (*self.ancestors, self.me.id) if self.accepts else ()

    def parents_wanted(self, now_ms: int) -> list[str]:
        """Whom of its parents the driver is to dial, or to stay connected to."""
        kept = [link.peer.id for link in self.parent_links if link.peer is not None]
        return list(dict.fromkeys([*self.uplink.wanted(now_ms), *kept]))

    @property
    def parent_links(self) -> list[Link]:
        """Open links to parents: the present one, and those that were left and may still have something for us."""
        return list(self._parent_links.values())

    # -- what a subclass says ---------------------------------------------------------------------------

    def destination_of(self, link: Link) -> str:
        raise AssertionError("a subclass names destinations")

    def on_open(self, link: Link, now_ms: int, ready: Ready) -> None:
        """The link's handshake is done."""

    def on_lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        """An open link is gone, and it was not left for another before."""

    def on_refused(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """The peer refused us, or we refused the peer that we dialled."""

    # -- from the connection to the open link -----------------------------------------------------------

    def _link_up(self, event: LinkUp, now_ms: int, ready: Ready) -> None:
        link = Link(event.link, event.peer, event.nonce, now_ms, event.role, event.expects)
        self.links[event.link] = link
        if event.role == Role.PARENT:
            self._greet(link, now_ms, ready)
        elif event.role is not None:
            link.state = State.STANDBY
            self._is_candidate(event.expects, link, now_ms, ready)

    def _is_candidate(self, parent: str, link: Link, now_ms: int, ready: Ready) -> None:
        """One of our parents could be had: we have a connection to it, or it says HELLO."""
        older = self._candidates.pop(parent, None)
        if older is not None:
            self._close(older, Code.CLOSED, ready)
        self._candidates[parent] = link
        self.uplink.came(parent, now_ms)
        self._choose(now_ms, ready)

    def _choose(self, now_ms: int, ready: Ready) -> None:
        """Greet, or answer, whichever parent it is time for."""
        parent = self.uplink.choice(now_ms)
        if parent:
            self.uplink.greeted(parent, now_ms)
            link = self._candidates[parent]
            if link.state is State.STANDBY:
                self._greet(link, now_ms, ready)
            else:
                self._accept(link, now_ms, ready)

    def _greet(self, link: Link, now_ms: int, ready: Ready) -> None:
        assert link.greet_as is not None
        link.state = State.GREETED
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
        if link.hello is not None:
            if hello.nonce == link.nonce and hello.role == link.hello.role:
                link.hello_at_ms = now_ms  # its turn will come
            else:
                self._turn_away(link, hello, Reject(Code.WRONG_ROLE, "another HELLO on this connection"), ready)
            return
        time_ms = self.time_in_handshake(hello.clock_ms, hello.role, now_ms)
        checked = check_hello(hello, link, self.trust, self.uplink.parents, self.accepts, time_ms)
        if isinstance(checked, Reject):
            checked = self.for_now(checked) or checked
        else:
            checked = self._check_place(checked, hello.role) or self.credentials.meet(checked) or checked
        if isinstance(checked, Reject):
            self._turn_away(link, hello, checked, ready)
            return
        link.nonce, link.hello, link.hello_at_ms = hello.nonce, hello, now_ms
        link.peer, link.peer_role, link.peer_session = checked, hello.role, hello.session
        link.transit.observe(hello.clock_ms, now_ms)  # what a link usually takes is known before its first message
        if hello.role == Role.PARENT and checked.id == self.uplink.current:
            self._accept(link, now_ms, ready)  # our parent again, restarted
            return
        if hello.role == Role.PARENT:
            self._is_candidate(checked.id, link, now_ms, ready)
            return
        turn = self._admission.ask(link.number, now_ms)
        if turn is None:
            self._turn_away(link, hello, Reject(Code.BUSY, "too many come at once"), ready)
        elif turn:
            self._accept(link, now_ms, ready)

    def _check_place(self, peer: Credential, role: Role) -> Reject | None:
        """What the handshake cannot know: whether this node may be above that one, now."""
        if role == Role.PARENT:
            return None
        if peer.id in self.ancestors or peer.id == self.uplink.current or peer.id == self.me.id:
            return Reject(Code.LOOP, f"{peer.id} is above {self.me.id}")
        if self.draining:
            return Reject(Code.DRAINING, self.me.id)
        return None

    def _turn_away(self, link: Link, hello: Hello, reason: Reject, ready: Ready) -> None:
        self.count("refused", reason.code.reason)
        ready.notes.append(Note("link refused", {"code": reason.code.label, "detail": reason.detail}))
        self.send(link, Refused(reason.code, reason.detail, hello.nonce), ready)
        self._close(link, reason.code, ready)

    def _accept(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Answer a HELLO that was found good, and whose turn it is."""
        hello, peer = link.hello, link.peer
        assert hello is not None and peer is not None
        rival = self.by_destination.get(self.destination_of(link))
        same = rival is not None and rival.peer is not None and rival.peer.id == peer.id
        alive = same and rival is not None and now_ms - rival.heard_at_ms < PING_MS
        if alive and self._twins.is_twin(self.destination_of(link), now_ms):
            self.count("twins", link.peer_role.name.lower())
            self._turn_away(link, hello, Reject(Code.TWIN, peer.id), ready)
            return
        self._open(link, peer, hello.role, hello.session, now_ms, ready,
                   before=lambda: self._welcome(link, hello, now_ms, ready))
        self._compare_lists(link, hello.revocations_version, ready)

    def _compare_lists(self, link: Link, theirs: int, ready: Ready) -> None:
        """Whoever has the newer list hands it over, before anything else on this link."""
        link.lists_version = theirs
        if theirs < self.trust.revocations.version:
            self.say_lists(link, ready)

    @property
    def _admissions_wait(self) -> bool:
        return len(self._admission) > 0

    def _admit_waiting(self, now_ms: int, ready: Ready) -> None:
        for number in self._admission.due(now_ms):
            link = self.links.get(number)
            if link is not None and link.state is State.WAITING:
                self._accept(link, now_ms, ready)

    def _welcome(self, link: Link, hello: Hello, now_ms: int, ready: Ready) -> None:
        version = negotiate(hello.version_min, hello.version_max)
        assert isinstance(version, int)
        self.send(
            link,
            Welcome(version, self.me.raw, self.session, hello.nonce, now_ms, self.told_time(now_ms),
                    self.trust.revocations.version, 0, LANE_WINDOW_BYTES, self.path),
            ready,
        )

    def _on_welcome(self, link: Link, welcome: Welcome, now_ms: int, ready: Ready) -> None:
        if link.state is not State.GREETED:
            return
        role = Role.CHILD if link.greet_as == Role.PARENT else Role.PARENT
        time_ms = self.time_in_handshake(welcome.fabric_clock_ms, role, now_ms)
        checked = check_welcome(welcome, link, self.trust, time_ms)
        if not isinstance(checked, Reject) and role == Role.PARENT and self.me.id in welcome.path:
            checked = Reject(Code.LOOP, f"{self.me.id} is above {checked.id}")
        if not isinstance(checked, Reject):
            checked = self.credentials.meet(checked) or checked
        if isinstance(checked, Reject):
            self.refuse(link, checked, now_ms, ready)
            return
        if role == Role.PARENT and not self.uplink.takes(checked.id):
            self.part(link, now_ms, ready)  # a better one answered first
            return
        link.transit.observe(welcome.clock_ms, now_ms)
        if role == Role.PARENT:
            self.hear_time(link.greeted_at_ms, welcome.fabric_clock_ms, now_ms)
        self._open(link, checked, role, welcome.session, now_ms, ready)
        if role == Role.PARENT:
            self.ancestors = welcome.path
        self._compare_lists(link, welcome.revocations_version, ready)

    def _open(self, link: Link, peer: Credential, role: Role, session: bytes, now_ms: int, ready: Ready,
              before: Callable[[], None] = lambda: None) -> None:
        link.opened(peer, role, session, now_ms)
        link.hello = None
        link.destination = self.destination_of(link)
        older = self.by_destination.get(link.destination)
        if older is not None and older.peer is not None and older.peer.id != peer.id:
            self._leave(older, now_ms)
        elif older is not None:
            # The same node came again: what it left behind on the old connection is moved to this one.
            self._end(older, Code.CLOSED, now_ms, ready)
        self._no_candidate(link)
        if role == Role.PARENT:
            self._parent_links[link.number] = link
            self.uplink.opened(peer.id, now_ms)
            self.ancestors = ()
            if self.time_unknown:
                link.pinged_at_ms = 0  # it is asked what time it is at once
        self.by_destination[link.destination] = link
        self.outboxes.setdefault(link.destination, Outbox(link.destination, RETRY_MS))
        before()
        ready.notes.append(Note("link open", {"peer": peer.id, "role": role.name.lower()}))
        self.on_open(link, now_ms, ready)
        self._dirty[link.destination] = None

    # -- the end of a link ------------------------------------------------------------------------------

    def _leave(self, link: Link, now_ms: int) -> None:
        """Another parent is better. What was in flight goes there; what this one still has for us may come."""
        link.leaving_at_ms = now_ms
        del self.by_destination[link.destination]
        self.outboxes[link.destination].recall()

    def _lost(self, link: Link, now_ms: int, ready: Ready, *, patient: bool = True) -> None:
        """`patient`: the peer ended it, and may be back in a moment; else it kept us waiting."""
        was_open = link.state is State.OPEN
        link.state = State.CLOSED
        self.links.pop(link.number, None)
        self._parent_links.pop(link.number, None)
        self._answering.pop(link.number, None)
        self._admission.forget(link.number)
        self._no_candidate(link)
        current = self.by_destination.get(link.destination) is link
        if current:
            del self.by_destination[link.destination]
            outbox = self.outboxes.get(link.destination)
            if outbox is not None:
                outbox.recall()
        if not was_open:
            return
        assert link.peer is not None
        ready.notes.append(Note("link left" if link.leaving_at_ms is not None else "link lost", {"peer": link.peer.id}))
        if current and link.peer_role == Role.PARENT:
            self.ancestors = ()
            self.uplink.lost(now_ms, patient=patient)
            for left in self.parent_links:  # one that was left may be the best there is
                self._end(left, Code.CLOSED, now_ms, ready)
        if current or link.peer_role != Role.PARENT:
            self.on_lost(link, now_ms, ready)

    def _end(self, link: Link, code: Code, now_ms: int, ready: Ready, *, patient: bool = True) -> None:
        self._lost(link, now_ms, ready, patient=patient)
        ready.close.append((link.number, code))

    def part(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Nothing more is to come over this link: say so, and end it."""
        self.send(link, Bye(Code.CLOSED, ""), ready)
        self._end(link, Code.CLOSED, now_ms, ready)

    def _no_candidate(self, link: Link) -> None:
        for parent, candidate in list(self._candidates.items()):
            if candidate is link:
                del self._candidates[parent]
                self.uplink.went(parent)

    def _close(self, link: Link, code: Code, ready: Ready) -> None:
        """End a link that never opened, or after `_lost`."""
        link.state = State.CLOSED
        self.links.pop(link.number, None)
        self._admission.forget(link.number)
        self._no_candidate(link)
        ready.close.append((link.number, code))

    def refuse(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """The peer broke a rule: tell it which, and end the link."""
        self.count("refused", reason.code.reason)
        ready.notes.append(Note("link refused", {
            "code": reason.code.label, "detail": reason.detail, "peer": link.peer.id if link.peer else "",
        }))
        self.send(link, Refused(reason.code, reason.detail, link.nonce), ready)
        self._end(link, reason.code, now_ms, ready, patient=False)
        self._was_refused(link, reason, now_ms, ready)

    def _was_refused(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """By the peer, or by us; the link is gone."""
        parent = link.peer.id if link.peer is not None and link.peer_role == Role.PARENT else link.expects
        if reason.code in _SHUNNED and parent in self.uplink.parents:
            self.uplink.shun(parent, now_ms)
        if link.greet_as is not None:
            self.on_refused(link, reason, now_ms, ready)

    def send(self, link: Link, frame: Frame, ready: Ready) -> None:
        """When this turn's commit is done."""
        self._after_commit.add(link.number)
        ready.send.append((link.number, encode_frame(frame)))

    def send_early(self, link: Link, frame: Frame, ready: Ready) -> None:
        """What promises nothing: before the commit, unless that would overtake what this link was to hear first."""
        if link.number in self._after_commit:
            self.send(link, frame, ready)
        else:
            ready.early.append((link.number, encode_frame(frame)))

    def say_lists(self, link: Link, ready: Ready) -> None:
        """Pass the revocation list on."""
        link.pings_since_lists = 0
        self.send(link, Lists(self.trust.revocations.raw), ready)

    def repeat_lists(self, link: Link, ready: Ready) -> None:
        """At a PING or PONG: nothing answers the list, and it may have been lost. Ever more seldom, and for ever."""
        if link.pings_since_lists is not None:
            link.pings_since_lists += 1
            if link.pings_since_lists.bit_count() == 1:
                self.send(link, Lists(self.trust.revocations.raw), ready)

    # -- what everything uses ---------------------------------------------------------------------------

    def touch(self, destination: str) -> None:
        """Something waits for this destination."""
        self._dirty[destination] = None

    def count(self, what: str, reason: str, by: int = 1) -> None:
        """A counter by reason: "refused:bad_digest". Reasons come from tables, never from a peer."""
        self.counters[f"{what}:{reason}"] += by
