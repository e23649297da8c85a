"""How trust travels (SPEC 6.3, 6.4): credentials that peers introduce, and the revocation list, passed on.

Guarantees: a newer revocation list takes effect in one step: peers on it are cut, and all others are told, again and
again until they have it. A peer goes on under its newer credential; as long as its link lives it is checked that it may
still be there. Refuses peers that pass on what nobody vouched for. What else follows from a list is the node's.
"""

from __future__ import annotations

from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.audit.telling import trusted
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FORGED_MAX, STALL_MS
from fabric.protocol.core.ready import KeepLists, Note, Ready
from fabric.protocol.core.standing import Standing
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.links.handover import Handover
from fabric.protocol.links.handshake import check_floor
from fabric.protocol.links.link import Link
from fabric.protocol.links.port import LinkPort
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.known import supersedes
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Intro, Lists

# Nobody's word: no honest peer passes such a credential on.
_FORGED = frozenset({Code.BAD_CREDENTIAL, Code.BROKEN_CHAIN})


class TrustDistribution:
    """What it learns goes into the `trust` store; it keeps nothing itself."""

    def __init__(self, trust: TrustStore, time: Timekeeper, port: LinkPort) -> None:
        self._trust = trust
        self._time = time
        self._standing = Standing(trust, time)
        self._port = port
        self._lists = Handover(
            port, lambda link: link.lists, lambda: (trust.revocations.version, Lists(trust.revocations.raw))
        )

    # -- credentials --------------------------------------------------------------------------------------

    def introduced(self, link: Link, frame: Intro, now_ms: int, ready: Ready) -> None:
        """A peer passes on credentials of others, or a newer one of its own."""
        forged = 0
        for raw in frame.credentials:
            introduced = self._trust.introduce(raw)
            if isinstance(introduced, Credential):
                self._may_be_renewed(link, introduced, now_ms)
                continue
            self._port.count("refused", introduced.code.reason)
            forged += introduced.code in _FORGED
            if forged >= FORGED_MAX:
                self._port.refuse(link, Reject(introduced.code, "too many in one frame"), now_ms, ready)
                return

    def _may_be_renewed(self, link: Link, credential: Credential, now_ms: int) -> None:
        """The peer goes on under a newer credential of its own: what it may follows that from now on."""
        peer = link.peer
        if peer is None or (peer.id, peer.kind) != (credential.id, credential.kind):
            return
        if not supersedes(credential, peer):
            return
        if credential.curve_key == link.peer_key and self._standing.check(credential, now_ms) is None:
            link.peer = credential

    def renewed(self, own: Credential, ready: Ready) -> None:
        """This node has a newer credential of its own: every peer is to know it."""
        self._trust.renewed(own)
        for link in self._port.links.values():
            if link.is_open:
                link.introductions.due(own.digest)
                self._port.send(link, Intro([own.raw]), ready)
        ready.notes.append(Note("credential renewed", {"serial": own.serial}))
        ready.audit.append(Audited(kinds.TRUST_RENEWED, "", {"serial": own.serial, "credential": own.raw}))

    @property
    def judged_by(self) -> tuple[int, int]:
        """Changes with whatever may change what peers may, but for the time."""
        return self._trust.revocations.version, self._trust.credentials.replaced

    def check_peer(self, link: Link, now_ms: int) -> Reject | None:
        """Of an open link, a few times a second: why its peer is not to stay."""
        if self._lists.is_overdue(link, now_ms, STALL_MS):
            return Reject(Code.STALE_LIST, "the newer one that was announced does not come")
        too_low = check_floor(link.version, self._trust.floor(link.lists.theirs))
        if too_low is not None:
            return too_low
        if link.peer is not None:  # others may have told of a newer one of it
            link.peer = self._trust.in_force(link.peer, self._time.clocks(now_ms))
        over = self._standing.check(link.peer, now_ms) if link.peer is not None else None
        return over if self._time.for_now(over) is over else None

    def over_at_ms(self, link: Link, now_ms: int) -> int:
        """When the time of an open link's peer is over, by this node's own clock and as far as is known now."""
        assert link.peer is not None
        return now_ms + self._trust.left_ms(link.peer, self._time.clocks(now_ms))

    # -- revocation lists -----------------------------------------------------------------------------------

    def link_opened(self, link: Link, theirs: int, ready: Ready) -> None:
        """`theirs`: the version that the peer has. Whoever has the newer one hands it over, before anything else."""
        self._lists.link_opened(link, theirs, ready)

    def handed_over(self, link: Link, frame: Lists, now_ms: int, ready: Ready) -> None:
        """By any peer: it is the authority's word, whoever brings it. One that is not is a lie, and ends the link."""
        lists = self._trust.read_revocations(frame.revocations)
        if isinstance(lists, Reject):
            self._port.refuse(link, lists, now_ms, ready)
        else:
            self._put_in_force(lists, now_ms, ready, link)

    def apply(self, raw: bytes, now_ms: int, ready: Ready) -> Reject | None:
        """A list that the driver found: put it in force if it is newer than the one that is."""
        lists = self._trust.read_revocations(raw)
        if isinstance(lists, Reject):
            self._port.count("refused", lists.code.reason)
            return lists
        return self._put_in_force(lists, now_ms, ready)

    def _put_in_force(
        self, lists: Revocations, now_ms: int, ready: Ready, source: Link | None = None
    ) -> Reject | None:
        """Cut the links of who is on it, and pass it on to all but its source."""
        if not self._trust.take_revocations(lists):
            if lists.raw == self._trust.revocations.raw:
                return None
            self._port.count("refused", Code.STALE_LIST.reason)
            return Reject(Code.STALE_LIST)
        ready.persist.append(KeepLists(lists.raw))
        ready.audit.append(trusted(kinds.TRUST_REVOCATIONS, lists.raw, lists.version))
        for link in list(self._port.links.values()):
            if link.peer is None:
                continue
            revoked = lists.check(link.peer)
            if revoked is not None:
                if link.is_open and link is not source:
                    self._lists.send(link, ready)  # a relay's word alone ends no control point that has another
                self._port.refuse(link, revoked, now_ms, ready)
            elif link.is_open and link is not source:
                self._lists.send(link, ready)
        ready.notes.append(Note("revocations applied", {"version": lists.version, "revoked": len(lists.ids)}))
        return None

    def repeat(self, link: Link, ready: Ready) -> None:
        """At a PING or PONG."""
        self._lists.repeat(link, ready)

    def list_is_over(self, now_ms: int) -> bool:
        """Whether the revocation list in force is past its time, so that actions of others' segments stop."""
        return self._trust.list_is_over(self._time.clocks(now_ms)) and not self._time.unknown
