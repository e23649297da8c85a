"""How a link opens (SPEC 7.1, 7.7): from a connection, by HELLO and WELCOME, to a peer with a proven identity.

Guarantees: at most one open link for a destination, the newest; a link opens only by a handshake that `handshake`
accepted, when it is its turn; of parents one is greeted or answered at a time. Refuses with a reason that the peer is
told.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import LANE_WINDOW_BYTES, PING_MS, RETRY_MS
from fabric.protocol.core.ready import Note, Ready
from fabric.protocol.custody.outbox import Outbox
from fabric.protocol.links.handshake import check_hello, check_welcome, negotiate
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import Links
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS, Hello, Refused, Role, Welcome


class Opening(Links):
    """Connections that are to become links."""

    def _link_up(self, link: Link, now_ms: int, ready: Ready) -> None:
        self.links[link.number] = link
        if link.greet_as == Role.PARENT:
            self._greet(link, now_ms, ready)
        elif link.greet_as is not None:
            link.state = State.STANDBY
            self._is_candidate(link.expects, link, now_ms, ready)

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
            work = self._greet if link.state is State.STANDBY else self._accept
            self.contained(work, link, now_ms, ready)

    def _greet(self, link: Link, now_ms: int, ready: Ready) -> None:
        assert link.greet_as is not None
        if link.state is not State.GREETED:
            link.heard_at_ms = now_ms  # from here on an answer is waited for
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
        if link.hello is not None:
            if not hello.repeats(link.hello):
                self.refuse(link, Reject(Code.WRONG_ROLE, "another HELLO on this connection"), now_ms, ready)
            elif link.state is State.OPEN:
                self._welcome(link, link.hello, now_ms, ready)  # ours was lost
            else:
                link.hello_at_ms = now_ms  # its turn will come
            return
        clocks_ms = self.time.clocks_in_handshake(hello.clock_ms, hello.role, now_ms)
        checked = check_hello(hello, link, self.trust, self.uplink.parents, self.accepts, clocks_ms)
        if isinstance(checked, Reject):
            checked = self.time.for_now(checked) or checked
        else:
            checked = self._check_place(checked, hello.role) or self.trust.meet(checked) or checked
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
        # Of who else is above only the parent's word is known, and that keeps nobody away: a child that is above this
        # relay knows it from those between, and refuses.
        if (role == Role.CHILD and peer.id == self.uplink.current) or peer.id == self.me.id:
            return Reject(Code.LOOP, f"{peer.id} is above {self.me.id}")
        if self.draining:
            return Reject(Code.DRAINING, self.me.id)
        return None

    def is_above(self, parent: str, path: tuple[str, ...]) -> bool:
        """Whether this node is above its parent: where that says so, and those between said it of themselves.

        Without the second a parent that lies could part any relays below it, and their control points with them.
        """
        return self.me.id in path and self.is_below(parent)

    def check_room(self, link: Link) -> Reject | None:
        """Whether this peer may have one link more: a subclass knows how many it has."""
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
        problem = self.check_room(link)
        if problem is not None:
            self._turn_away(link, hello, problem, ready)
            return
        rival = self.by_destination.get(self.destination_of(link))
        same = rival is not None and rival.peer is not None and rival.peer.id == peer.id
        alive = same and rival is not None and now_ms - rival.heard_at_ms < PING_MS
        if alive and self._twins.is_twin(self.destination_of(link), now_ms):
            self.count("twins", link.peer_role.name.lower())
            self._turn_away(link, hello, Reject(Code.TWIN, peer.id), ready)
            return
        self._open(link, peer, hello.role, hello.session, now_ms, ready,
                   before=lambda: self._welcome(link, hello, now_ms, ready))
        self.trust_distribution.link_opened(link, hello.revocations_version, ready)

    @property
    def _admissions_wait(self) -> bool:
        return len(self._admission) > 0

    def _admit_waiting(self, now_ms: int, ready: Ready) -> None:
        for number in self._admission.due(now_ms):
            link = self.links.get(number)
            if link is not None and link.state is State.WAITING:
                self.contained(self._accept, link, now_ms, ready)

    def _welcome(self, link: Link, hello: Hello, now_ms: int, ready: Ready) -> None:
        version = negotiate(hello.version_min, hello.version_max)
        assert isinstance(version, int), "only a HELLO that was checked is welcome"
        self.send(
            link,
            Welcome(version, self.me.raw, self.session, hello.nonce, now_ms, self.time.to_tell(now_ms),
                    self.trust.revocations.version, 0, LANE_WINDOW_BYTES, self.path),
            ready,
        )

    def _on_welcome(self, link: Link, welcome: Welcome, now_ms: int, ready: Ready) -> None:
        if link.state is not State.GREETED:
            return
        role = Role.CHILD if link.greet_as == Role.PARENT else Role.PARENT
        clocks_ms = self.time.clocks_in_handshake(welcome.fabric_clock_ms, role, now_ms)
        checked = check_welcome(welcome, link, self.trust, clocks_ms)
        if not isinstance(checked, Reject) and role == Role.PARENT and self.is_above(checked.id, welcome.path):
            checked = Reject(Code.LOOP, f"{self.me.id} is above {checked.id}")
        if not isinstance(checked, Reject):
            checked = self.trust.meet(checked) or checked
        if isinstance(checked, Reject):
            self.refuse(link, checked, now_ms, ready)
            return
        if role == Role.PARENT and not self.uplink.takes(checked.id):
            self.part(link, now_ms, ready)  # a better one answered first
            return
        link.transit.observe(welcome.clock_ms, now_ms)
        if role == Role.PARENT:
            self.time.hear(link.number, checked, link.greeted_at_ms, welcome.fabric_clock_ms, now_ms)
        self._open(link, checked, role, welcome.session, now_ms, ready)
        if role == Role.PARENT:
            self.ancestors = welcome.path
        self.trust_distribution.link_opened(link, welcome.revocations_version, ready)

    def _open(self, link: Link, peer: Credential, role: Role, session: bytes, now_ms: int, ready: Ready,
              before: Callable[[], None] = lambda: None) -> None:
        link.opened(peer, role, session, now_ms)
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
            self.time.follow(link.number)
            if self.time.unknown:
                link.pinged_at_ms = 0  # it is asked what time it is at once
        self.by_destination[link.destination] = link
        self.outboxes.setdefault(link.destination, Outbox(link.destination, RETRY_MS))
        before()
        ready.notes.append(Note("link open", {"peer": peer.id, "role": role.name.lower()}))
        self.on_open(link, now_ms, ready)
        self._dirty[link.destination] = None
        self.directory.link_opened(link, ready)
