"""How a link opens (SPEC 7.1, 7.7): from a connection, by HELLO and WELCOME, to a peer with a proven identity.

Guarantees: a link opens only by a handshake that `handshake` accepted, when it is its turn; of parents one is greeted
or answered at a time; a relay that drains takes nobody. Refuses with a reason that the peer is told.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.audit.telling import key_print, link_refused
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import LANE_WINDOW_BYTES, PING_MS
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.ready import Note, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.links.admission import Admission, Twins
from fabric.protocol.links.candidates import Candidates
from fabric.protocol.links.directory_distribution import DirectoryDistribution
from fabric.protocol.links.facts import Hear, LinkOpened
from fabric.protocol.links.handshake import check_hello, check_welcome, negotiate
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import Links, destination_of
from fabric.protocol.links.policy_distribution import PolicyDistribution
from fabric.protocol.links.transfer import Transfer
from fabric.protocol.links.trust_distribution import TrustDistribution
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS, Hello, Refused, Role, Welcome


class Opening:
    """Connections that are to become links. `accepts`: as what peers may come; `check_room`: whether one more may.

    `routes` knows who is below this node, `twins` which destinations change hands again and again.
    """

    def __init__(
        self, me: Credential, session: bytes, accepts: tuple[Role, ...], links: Links, candidates: Candidates,
        admission: Admission, twins: Twins, uplink: Uplink, routes: RouteTable, trust: TrustStore, time: Timekeeper,
        transfer: Transfer, trust_distribution: TrustDistribution, policies: PolicyDistribution,
        directory: DirectoryDistribution, counters: Counters, check_room: Callable[[Link], Reject | None], hear: Hear,
    ) -> None:
        self._me = me
        self._session = session
        self._accepts = accepts
        self._links = links
        self._candidates = candidates
        self._admission = admission
        self._twins = twins
        self._uplink = uplink
        self._routes = routes
        self._trust = trust
        self._time = time
        self._transfer = transfer
        self._trust_distribution = trust_distribution
        self._policies = policies
        self._directory = directory
        self._count = counters.count
        self._check_room = check_room
        self._hear = hear
        self._draining = False
        self._parent = ""  # whom a link to a parent led to last

    # -- what the node tells it ---------------------------------------------------------------------------

    def renewed(self, me: Credential) -> None:
        """This node goes on under a newer credential."""
        self._me = me

    def resumed(self, session: bytes) -> None:
        """The session of an earlier run goes on."""
        self._session = session

    def drain(self) -> None:
        """Nobody is taken below from now on."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether this node takes nobody any more."""
        return self._draining

    @property
    def anybody_waits(self) -> bool:
        """Whether somebody waits for admission."""
        return len(self._admission) > 0

    # -- parents ------------------------------------------------------------------------------------------

    def connected(self, link: Link, now_ms: int, ready: Ready) -> None:
        """A connection is there: theirs, or one that we dialled."""
        self._links.connected(link)
        if link.greet_as == Role.PARENT:
            self.greet(link, now_ms, ready)
        elif link.greet_as is not None:
            link.state = State.STANDBY
            self._is_candidate(link.expects, link, now_ms, ready)

    def _is_candidate(self, parent: str, link: Link, now_ms: int, ready: Ready) -> None:
        """One of our parents could be had: we have a connection to it, or it says HELLO."""
        older = self._candidates.take_over(parent)
        if older is not None:
            self._links.close(older, Code.CLOSED, ready)
        self._candidates.add(parent, link, now_ms)
        self.choose(now_ms, ready)

    def choose(self, now_ms: int, ready: Ready) -> None:
        """Greet, or answer, whichever parent it is time for."""
        parent = self._uplink.choice(now_ms)
        if parent:
            self._uplink.greeted(parent, now_ms)
            link = self._candidates.to(parent)
            work = self.greet if link.state is State.STANDBY else self._accept
            self._links.contained(work, link, now_ms, ready)

    def greet(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Say HELLO, or say it again."""
        assert link.greet_as is not None
        if link.state is not State.GREETED:
            link.heard_at_ms = now_ms  # from here on an answer is waited for
        link.state = State.GREETED
        link.greeted_at_ms = now_ms
        self._links.send(
            link,
            Hello(
                *PROTOCOL_VERSIONS, self._me.fabric, link.greet_as, self._me.raw, self._session, link.nonce, now_ms,
                self._trust.revocations.version, self._trust.policies.version,
            ),
            ready,
        )

    def parent_placed(self, link: Link, path: tuple[str, ...], now_ms: int, ready: Ready) -> None:
        """Where our parent is. Below ourselves it must not be: what climbed would come back and be taken for seen."""
        if not self._links.is_current(link) or link.peer is None:
            return
        self._links.placed(path)
        if self._is_above(link.peer.id, path):
            self._links.refuse(link, Reject(Code.LOOP, f"{self._me.id} is above its parent"), now_ms, ready)

    def _is_above(self, parent: str, path: tuple[str, ...]) -> bool:
        """Whether this node is above its parent: where that says so, and those between said it of themselves.

        Without the second a parent that lies could part any relays below it, and their control points with them.
        """
        return self._me.id in path and self._routes.is_below(parent)

    # -- whoever comes ------------------------------------------------------------------------------------

    def hello(self, link: Link, hello: Hello, now_ms: int, ready: Ready) -> None:
        """A peer that dialled says who it is."""
        if link.greet_as is not None:
            return  # both sides dialled nothing of this kind; the dialler never takes a HELLO
        if link.hello is not None:
            if not hello.repeats(link.hello):
                self._links.refuse(link, Reject(Code.WRONG_ROLE, "another HELLO on this connection"), now_ms, ready)
            elif link.state is State.OPEN:
                self._welcome(link, link.hello, now_ms, ready)  # ours was lost
            else:
                link.hello_at_ms = now_ms  # its turn will come
            return
        clocks_ms = self._time.clocks_in_handshake(hello.clock_ms, hello.role, now_ms)
        checked = check_hello(hello, link, self._trust, self._uplink.parents, self._accepts, clocks_ms)
        if isinstance(checked, Reject):
            checked = self._time.for_now(checked) or checked
        else:
            problem = self._check_place(checked, hello.role) or self._trust.meet(checked)
            checked = problem or self._trust.in_force(checked, clocks_ms)
        if isinstance(checked, Reject):
            self._turn_away(link, hello, checked, ready)
            return
        link.nonce, link.hello, link.hello_at_ms = hello.nonce, hello, now_ms
        link.peer, link.peer_role, link.peer_session = checked, hello.role, hello.session
        link.transit.observe(hello.clock_ms, now_ms)  # what a link usually takes is known before its first message
        if hello.role == Role.PARENT and checked.id == self._uplink.current:
            self._accept(link, now_ms, ready)  # our parent again, restarted
            return
        if hello.role == Role.PARENT:
            self._is_candidate(checked.id, link, now_ms, ready)
            return
        if self._admission.ask(link.number, checked.id):
            self.admit(now_ms, ready)
        else:
            self._turn_away(link, hello, Reject(Code.BUSY, "too many come at once"), ready)

    def _check_place(self, peer: Credential, role: Role) -> Reject | None:
        """What the handshake cannot know: whether this node may be above that one, now."""
        if role == Role.PARENT:
            return None
        # Of who else is above only the parent's word is known, and that keeps nobody away: a child that is above this
        # relay knows it from those between, and refuses.
        if (role == Role.CHILD and peer.id == self._uplink.current) or peer.id == self._me.id:
            return Reject(Code.LOOP, f"{peer.id} is above {self._me.id}")
        if self._draining:
            return Reject(Code.DRAINING, self._me.id)
        return None

    def admit(self, now_ms: int, ready: Ready) -> None:
        """Answer those whose turn it is."""
        for number in self._admission.due(now_ms):
            link = self._links.by_number.get(number)
            if link is not None and link.state is State.WAITING:
                self._links.contained(self._accept, link, now_ms, ready)

    def _turn_away(self, link: Link, hello: Hello, reason: Reject, ready: Ready) -> None:
        self._count("refused", reason.code.reason)
        ready.notes.append(Note("link refused", {"code": reason.code.label, "detail": reason.detail}))
        ready.audit.append(link_refused(link.peer_key, reason.code, link.peer.id if link.peer else ""))
        self._links.send(link, Refused(reason.code, reason.detail, hello.nonce), ready)
        self._links.close(link, reason.code, ready)

    def _accept(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Answer a HELLO that was found good, and whose turn it is."""
        hello, peer = link.hello, link.peer
        assert hello is not None and peer is not None
        problem = self._check_room(link)
        if problem is not None:
            self._turn_away(link, hello, problem, ready)
            return
        destination = destination_of(link)
        rival = self._links.by_destination.get(destination)
        same = rival is not None and rival.peer is not None and rival.peer.id == peer.id
        alive = same and rival is not None and now_ms - rival.heard_at_ms < PING_MS
        if alive and self._twins.is_twin(destination, now_ms):
            self._count("twins", link.peer_role.name.lower())
            self._turn_away(link, hello, Reject(Code.TWIN, peer.id), ready)
            return
        version = negotiate(hello.version_min, hello.version_max)
        assert isinstance(version, int), "only a HELLO that was checked is welcome"
        link.version = version
        self._open(link, peer, hello.role, hello.session, now_ms, ready,
                   before=lambda: self._welcome(link, hello, now_ms, ready))
        self._lists_known(link, hello, ready)

    def _welcome(self, link: Link, hello: Hello, now_ms: int, ready: Ready) -> None:
        self._links.send(
            link,
            Welcome(link.version, self._me.raw, self._session, hello.nonce, now_ms, self._time.to_tell(now_ms),
                    self._trust.revocations.version, self._trust.policies.version, LANE_WINDOW_BYTES,
                    self._links.path),
            ready,
        )

    # -- whoever answers ----------------------------------------------------------------------------------

    def welcome(self, link: Link, welcome: Welcome, now_ms: int, ready: Ready) -> None:
        """A peer that we dialled answers our HELLO."""
        if link.state is not State.GREETED:
            return
        role = Role.CHILD if link.greet_as == Role.PARENT else Role.PARENT
        clocks_ms = self._time.clocks_in_handshake(welcome.fabric_clock_ms, role, now_ms)
        checked = check_welcome(welcome, link, self._trust, clocks_ms)
        if not isinstance(checked, Reject) and role == Role.PARENT and self._is_above(checked.id, welcome.path):
            checked = Reject(Code.LOOP, f"{self._me.id} is above {checked.id}")
        if not isinstance(checked, Reject):
            checked = self._trust.meet(checked) or self._trust.in_force(checked, clocks_ms)
        if isinstance(checked, Reject):
            self._links.refuse(link, checked, now_ms, ready)
            return
        if role == Role.PARENT and not self._uplink.takes(checked.id):
            self._links.part(link, now_ms, ready)  # a better one answered first
            return
        link.transit.observe(welcome.clock_ms, now_ms)
        if role == Role.PARENT:
            self._time.hear(link.number, checked, link.greeted_at_ms, welcome.fabric_clock_ms, now_ms)
        link.version = welcome.version
        self._open(link, checked, role, welcome.session, now_ms, ready)
        if role == Role.PARENT:
            self._links.placed(welcome.path)
        self._lists_known(link, welcome, ready)

    # -- both ---------------------------------------------------------------------------------------------

    def _lists_known(self, link: Link, said: Hello | Welcome, ready: Ready) -> None:
        """Whoever has a newer one of what the authority signed hands it over."""
        self._policies.link_opened(link, said.policy_version, ready)
        self._trust_distribution.link_opened(link, said.revocations_version, ready)

    def _open(self, link: Link, peer: Credential, role: Role, session: bytes, now_ms: int, ready: Ready,
              before: Callable[[], None] = lambda: None) -> None:
        link.opened(peer, role, session, now_ms)
        link.destination = destination_of(link)
        self._links.opened(link, now_ms, ready)
        before()
        ready.notes.append(Note("link open", {"peer": peer.id, "role": role.name.lower()}))
        ready.audit.append(Audited(kinds.LINK_OPENED, peer.id, {
            "role": role.name.lower(), "key": key_print(link.peer_key), "credential": peer.digest,
        }))
        if role == Role.PARENT and peer.id != self._parent:
            ready.audit.append(Audited(kinds.PARENT_CHANGED, "", {"from": self._parent, "to": peer.id}))
            self._parent = peer.id
        self._hear(LinkOpened(link), now_ms, ready)
        self._transfer.mark_due(link.destination)
        self._directory.link_opened(link, ready)
