"""Links of a node (SPEC 7.2, 7.7): which there are, what is said on them, and how they end.

Guarantees: a node has one parent; what was in flight on a link that is lost or left waits for the next; a peer that is
refused is told why; what fails in this program while it works for a link ends that link, and nothing else. How links
open is in `opening`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from fabric.protocol.base.errors import Code, Fault, Reject
from fabric.protocol.base.limits import HOPS_MAX, SKEW_MS
from fabric.protocol.base.signing import Signer
from fabric.protocol.core.faults import Faults, fault_of
from fabric.protocol.core.ready import Note, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.outbox import Outbox
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.links.admission import Admission, Twins
from fabric.protocol.links.directory_distribution import DirectoryDistribution
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.port import LinkPort
from fabric.protocol.links.trust_distribution import TrustDistribution
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Bye, Frame, Refused, Role, encode_frame

UPLINK = "^"
# Refusals by a parent that say that it will not do for a while.
_SHUNNED = frozenset({Code.LOOP, Code.TWIN, Code.DRAINING})


class Links:
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
        self.trust = TrustStore(credential, authority_key, skew_ms)
        self.skew_ms = skew_ms
        self.kept: OrderedDict[bytes, None] = OrderedDict()  # the last credentials that went to disk, by digest
        self.roots = RootCache()
        self.links: dict[int, Link] = {}
        self.by_destination: dict[str, Link] = {}
        self.outboxes: dict[str, Outbox] = {}
        self.counters: Counter[str] = Counter()
        self.parents = parents
        self.time = Timekeeper(credential, skew_ms, self.count, has_parents=bool(parents))
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
        self._faults = Faults()
        self.port = LinkPort(self.links, self.by_destination, self.send, self.refuse, self.count)
        self.trust_distribution = TrustDistribution(self.trust, self.time, self.port)
        self.directory = DirectoryDistribution(credential.fabric, authority_key, self.port)
        self.set_up()

    def set_up(self) -> None:
        """The state that a subclass adds; each calls its own above it first."""

    @property
    def path(self) -> tuple[str, ...]:
        """The relays from the root to this one; of a control point nothing, since nobody is below it.

        Where a parent says more than a frame takes, the nearest.
        """
        return (*self.ancestors, self.me.id)[-HOPS_MAX:] if self.accepts else ()

    def is_below(self, relay: str) -> bool:
        """Whether this relay is known to be below this node, by its own word and that of those between."""
        return False

    def parents_wanted(self, now_ms: int) -> list[str]:
        """Whom of its parents the driver is to dial, or to stay connected to."""
        wanted = self.uplink.wanted(now_ms)
        for link in self._parent_links.values():
            if link.peer is not None and link.peer.id not in wanted:
                wanted.append(link.peer.id)
        return wanted

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

    # -- the end of a link ------------------------------------------------------------------------------

    def _leave(self, link: Link, now_ms: int) -> None:
        """Another parent is better. What was in flight goes there; what this one still has for us may come."""
        link.leaving_at_ms = now_ms
        del self.by_destination[link.destination]
        self.outboxes[link.destination].recall()

    def _lost(self, link: Link, now_ms: int, ready: Ready, *, patient: bool = True) -> None:
        """`patient`: the peer ended it, and may be back in a moment; else it kept us waiting."""
        was_open, current = link.state is State.OPEN, self.by_destination.get(link.destination) is link
        self._forget(link)
        if current:
            outbox = self.outboxes.get(link.destination)
            if outbox is not None:
                outbox.recall()
        if not was_open:
            return
        assert link.peer is not None
        ready.notes.append(Note("link left" if link.leaving_at_ms is not None else "link lost", {"peer": link.peer.id}))
        if current and link.peer_role == Role.PARENT:
            self.ancestors = ()
            self.time.lost(link.number)
            self.uplink.lost(now_ms, patient=patient)
            for left in self.parent_links:  # one that was left may be the best there is
                self._end(left, Code.CLOSED, now_ms, ready)
        if current or link.peer_role != Role.PARENT:
            self.on_lost(link, now_ms, ready)

    def _forget(self, link: Link) -> None:
        """It is in no table any more."""
        link.state = State.CLOSED
        self.links.pop(link.number, None)
        self._parent_links.pop(link.number, None)
        self._answering.pop(link.number, None)
        self._admission.forget(link.number)
        self._no_candidate(link)
        if self.by_destination.get(link.destination) is link:
            del self.by_destination[link.destination]

    def _end(self, link: Link, code: Code, now_ms: int, ready: Ready, *, patient: bool = True) -> None:
        ready.close.append((link.number, code))
        self._lost(link, now_ms, ready, patient=patient)

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
        """End a link that never opened."""
        self._forget(link)
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

    # -- what goes wrong here -----------------------------------------------------------------------------

    def contained(
        self, work: Callable[[Link, int, Ready], None], link: Link, now_ms: int, ready: Ready
    ) -> None:
        """Do `work` for a link. An exception in it is a fault of this program: it ends this link, and nothing else.

        What was decided before the exception is in `ready` and in memory alike, and stays.
        """
        try:
            work(link, now_ms, ready)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody else is to pay for it
            self.end_faulty(link.number, fault_of(error), now_ms, ready)

    def end_faulty(self, number: int, fault: Fault, now_ms: int, ready: Ready) -> None:
        """End the link at which this program failed; its peer hears no more than that."""
        link = self.links.get(number)
        self._note_fault(fault, link, now_ms, ready)
        if link is None:  # it failed while it ended, or before it began
            if all(closed != number for closed, _ in ready.close):
                ready.close.append((number, Code.INTERNAL))
            return
        try:
            self.refuse(link, Reject(Code.INTERNAL), now_ms, ready)
        except Exception as error:  # noqa: BLE001 - the same, where even ending it fails
            self._note_fault(fault_of(error), link, now_ms, ready)
            self._forget(link)
            if link.peer is not None and link.peer_role == Role.PARENT and self.uplink.current == link.peer.id:
                self.uplink.lost(now_ms, patient=False)

    def _note_fault(self, fault: Fault, link: Link | None, now_ms: int, ready: Ready) -> None:
        self.count("faults", fault.kind)
        ready.notes += self._faults.note(fault, link.peer.id if link is not None and link.peer else "", now_ms)

    # -- what is said -------------------------------------------------------------------------------------

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

    # -- what everything uses ---------------------------------------------------------------------------

    def touch(self, destination: str) -> None:
        """Something waits for this destination."""
        self._dirty[destination] = None

    def count(self, what: str, reason: str, by: int = 1) -> None:
        """A counter by reason: "refused:bad_digest". Reasons come from tables, never from a peer."""
        self.counters[f"{what}:{reason}"] += by
