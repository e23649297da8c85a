"""The links of a node (SPEC 7.2, 7.7): which there are, what is said on them, and how they end.

Guarantees: a node has one parent; at most one open link leads to a destination, the newest; what was in flight on a
link that is lost or left waits for the next; a peer that is refused is told why; what fails in this program while it
works for a link ends that link, and nothing else. How links open is in `opening`.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.audit.telling import link_refused
from fabric.protocol.base.errors import Code, Fault, Reject
from fabric.protocol.base.limits import HOPS_MAX, RETRY_MS
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.faults import Faults, fault_of
from fabric.protocol.core.ready import Note, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.outbox import Outbox
from fabric.protocol.custody.sessions import child_relay, point_session
from fabric.protocol.links.admission import Admission
from fabric.protocol.links.candidates import Candidates
from fabric.protocol.links.facts import Hear, LinkLost, LinkRefused
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Bye, Frame, Refused, Role

UPLINK = "^"
# Refusals by a parent that say that it will not do for a while.
_SHUNNED = frozenset({Code.LOOP, Code.TWIN, Code.DRAINING})


def destination_of(link: Link) -> str:
    """Where it leads: to the parent, to a child relay, or to one session of a control point."""
    assert link.peer is not None
    if link.peer_role == Role.PARENT:
        return UPLINK
    if link.peer_role == Role.CHILD:
        return child_relay(link.peer.id)
    return point_session(link.peer.id, link.peer_session)


class Links:
    """The table of links. `me`: the id of this node. `is_relay`: whether anybody may be below it.

    `admission` and `candidates` hold links that have yet to open; one that ends is taken out of them here.
    """

    def __init__(
        self, me: str, outboxes: dict[str, Outbox], uplink: Uplink, candidates: Candidates, admission: Admission,
        time: Timekeeper, counters: Counters, hear: Hear, *, is_relay: bool,
    ) -> None:
        self._me = me
        self._outboxes = outboxes
        self._uplink = uplink
        self._candidates = candidates
        self._admission = admission
        self._time = time
        self._count = counters.count
        self._hear = hear
        self._is_relay = is_relay
        self.by_number: dict[int, Link] = {}
        self.by_destination: dict[str, Link] = {}  # the open one for each
        self._parents: dict[int, Link] = {}
        self._ancestors: tuple[str, ...] = ()
        self._after_commit: set[int] = set()  # links on which something waits for this turn's commit
        self._faults = Faults()

    # -- which there are ----------------------------------------------------------------------------------

    def is_current(self, link: Link) -> bool:
        """Whether it leads to its destination; else its peer has a newer one, or this node left it for another."""
        return self.by_destination.get(link.destination) is link

    @property
    def parents(self) -> list[Link]:
        """Open links to parents: the present one, and those that were left and may still have something for us."""
        return list(self._parents.values())

    @property
    def ancestors(self) -> tuple[str, ...]:
        """From the root to our parent, as far as it knows."""
        return self._ancestors

    @property
    def path(self) -> tuple[str, ...]:
        """The relays from the root to this one; of a control point nothing, since nobody is below it.

        Where a parent says more than a frame takes, the nearest.
        """
        return (*self._ancestors, self._me)[-HOPS_MAX:] if self._is_relay else ()

    def parents_wanted(self, now_ms: int) -> list[str]:
        """Whom of its parents the driver is to dial, or to stay connected to."""
        wanted = self._uplink.wanted(now_ms)
        for link in self._parents.values():
            if link.peer is not None and link.peer.id not in wanted:
                wanted.append(link.peer.id)
        return wanted

    # -- the beginning of a link --------------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        """A connection that has yet to open."""
        self.by_number[link.number] = link

    def opened(self, link: Link, now_ms: int, ready: Ready) -> None:
        """It leads to its destination from now on, and takes the place of the one that did."""
        older = self.by_destination.get(link.destination)
        assert link.peer is not None
        if older is not None and older.peer is not None and older.peer.id != link.peer.id:
            self._leave(older, now_ms)
        elif older is not None:
            # The same node came again: what it left behind on the old connection is moved to this one.
            self.end(older, Code.CLOSED, now_ms, ready)
        self._candidates.drop(link)
        if link.peer_role == Role.PARENT:
            self._parents[link.number] = link
            self._uplink.opened(link.peer.id, now_ms)
            self._ancestors = ()
            self._time.follow(link.number)
            if self._time.unknown:
                link.pinged_at_ms = 0  # it is asked what time it is at once
        self.by_destination[link.destination] = link
        self._outboxes.setdefault(link.destination, Outbox(link.destination, RETRY_MS))

    def placed(self, ancestors: tuple[str, ...]) -> None:
        """Our parent says where it is."""
        self._ancestors = ancestors

    # -- the end of a link --------------------------------------------------------------------------------

    def _leave(self, link: Link, now_ms: int) -> None:
        """Another parent is better. What was in flight goes there; what this one still has for us may come."""
        link.leaving_at_ms = now_ms
        del self.by_destination[link.destination]
        self._outboxes[link.destination].recall()

    def lost(
        self, link: Link, now_ms: int, ready: Ready, *, patient: bool = True, code: Code = Code.CLOSED
    ) -> None:
        """`patient`: the peer ended it, and may be back in a moment; else it kept us waiting. `code`: why it ends."""
        was_open, current = link.state is State.OPEN, self.is_current(link)
        self._forget(link)
        if current:
            outbox = self._outboxes.get(link.destination)
            if outbox is not None:
                outbox.recall()
        if not was_open:
            return
        assert link.peer is not None
        ready.notes.append(Note("link left" if link.leaving_at_ms is not None else "link lost", {"peer": link.peer.id}))
        role = link.peer_role.name.lower()
        ready.audit.append(Audited(kinds.LINK_ENDED, link.peer.id, {"role": role, "code": code.label}))
        if current and link.peer_role == Role.PARENT:
            self._ancestors = ()
            self._time.lost(link.number)
            self._uplink.lost(now_ms, patient=patient)
            for left in self.parents:  # one that was left may be the best there is
                self.end(left, Code.CLOSED, now_ms, ready)
        if current or link.peer_role != Role.PARENT:
            self._hear(LinkLost(link), now_ms, ready)

    def _forget(self, link: Link) -> None:
        """It is in no table any more."""
        link.state = State.CLOSED
        self.by_number.pop(link.number, None)
        self._parents.pop(link.number, None)
        self._admission.forget(link.number)
        self._candidates.drop(link)
        if self.is_current(link):
            del self.by_destination[link.destination]

    def end(self, link: Link, code: Code, now_ms: int, ready: Ready, *, patient: bool = True) -> None:
        """Close the connection, with this code."""
        ready.close.append((link.number, code))
        self.lost(link, now_ms, ready, patient=patient, code=code)

    def part(self, link: Link, now_ms: int, ready: Ready) -> None:
        """Nothing more is to come over this link: say so, and end it."""
        self.send(link, Bye(Code.CLOSED, ""), ready)
        self.end(link, Code.CLOSED, now_ms, ready)

    def close(self, link: Link, code: Code, ready: Ready) -> None:
        """End a link that never opened."""
        self._forget(link)
        ready.close.append((link.number, code))

    def refuse(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """The peer broke a rule: tell it which, and end the link."""
        self._count("refused", reason.code.reason)
        ready.notes.append(Note("link refused", {
            "code": reason.code.label, "detail": reason.detail, "peer": link.peer.id if link.peer else "",
        }))
        if not link.is_open:
            ready.audit.append(link_refused(link.peer_key, reason.code, link.peer.id if link.peer else ""))
        self.send(link, Refused(reason.code, reason.detail, link.nonce), ready)
        self.end(link, reason.code, now_ms, ready, patient=False)
        self._was_refused(link, reason, now_ms, ready)

    def refused(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """The peer refuses us."""
        self.end(link, reason.code, now_ms, ready, patient=False)
        self._was_refused(link, reason, now_ms, ready)

    def _was_refused(self, link: Link, reason: Reject, now_ms: int, ready: Ready) -> None:
        """By the peer, or by us; the link is gone."""
        parent = link.peer.id if link.peer is not None and link.peer_role == Role.PARENT else link.expects
        if reason.code in _SHUNNED and parent in self._uplink.parents:
            self._uplink.shun(parent, now_ms)
        if link.greet_as is not None:
            self._hear(LinkRefused(link, reason), now_ms, ready)

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

    def attempt(self, work: Callable[[int, Ready], None], now_ms: int, ready: Ready) -> None:
        """Do `work` that no link is to blame for. An exception in it is noted, and whatever is next is done.

        What a peer sent may fail here much later, when it ends or runs out; it would fail after each restart, too.
        """
        try:
            work(now_ms, ready)
        except Exception as error:  # noqa: BLE001 - a relay that ends takes everybody below it along
            self._note_fault(fault_of(error), None, now_ms, ready)

    def end_faulty(self, number: int, fault: Fault, now_ms: int, ready: Ready) -> None:
        """End the link at which this program failed; its peer hears no more than that."""
        link = self.by_number.get(number)
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
            if link.peer is not None and link.peer_role == Role.PARENT and self._uplink.current == link.peer.id:
                self._uplink.lost(now_ms, patient=False)

    def _note_fault(self, fault: Fault, link: Link | None, now_ms: int, ready: Ready) -> None:
        self._count("faults", fault.kind)
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

    def turn_over(self) -> None:
        """The driver commits."""
        self._after_commit.clear()
