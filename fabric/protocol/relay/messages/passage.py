"""What happens to a message at a relay (SPEC 7.8, 8, 9): it is refused, or taken and routed by its kind.

`take` is the only way into custody. Guarantees, at this hop and whatever the others do: nothing enters in a direction
that `permissions.DIRECTIONS` does not list, without its origin's grant, out of time, or with a part above this relay's
clearance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fabric.protocol.access.declassifying import told_of
from fabric.protocol.audit import kinds, telling
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.outbox import visit_of
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.link import Link
from fabric.protocol.relay.actions.answerers import Answerers
from fabric.protocol.relay.actions.approving import Approving
from fabric.protocol.relay.actions.dispatch import Dispatch
from fabric.protocol.relay.actions.resolutions import Resolutions
from fabric.protocol.relay.messages.intake import Intake
from fabric.protocol.relay.messages.rerouting import Rerouting
from fabric.protocol.relay.messages.upgrading import Upgrading
from fabric.protocol.relay.port import Hold
from fabric.protocol.relay.router import Router
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.openc2 import split_topic
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction, Item


class Answers(NamedTuple):
    """To the peer that hands a message over, of its visit here."""

    ack: Callable[[Link, bytes], None]
    nack: Callable[[Link, bytes, Reject], None]


class Passage:
    """It keeps nothing itself. `strip`: takes out what this relay may not hold. `recipient_unknown`: tells origins."""

    def __init__(
        self, intake: Intake, upgrading: Upgrading, rerouting: Rerouting, custody: Custody, dispatch: Dispatch,
        approving: Approving, answerers: Answerers, resolutions: Resolutions, router: Router, trust: TrustStore,
        strip: Callable[[Verified], Verified | Reject], hold: Hold, answers: Answers,
        recipient_unknown: Callable[[Verified, int], None], counters: Counters, *, is_root: bool,
    ) -> None:
        self._intake = intake
        self._upgrading = upgrading
        self._rerouting = rerouting
        self._custody = custody
        self._dispatch = dispatch
        self._approving = approving
        self._answerers = answerers
        self._resolutions = resolutions
        self._router = router
        self._trust = trust
        self._strip = strip
        self._hold = hold
        self._answers = answers
        self._recipient_unknown = recipient_unknown
        self._counters = counters
        self._is_root = is_root

    # -- in ---------------------------------------------------------------------------------------------

    def take(self, link: Link, item: Item, message: Verified, lane: Lane, now_ms: int, ready: Ready) -> None:
        """A peer hands it over: it is acknowledged, and on its way, or refused with why."""
        intake, rerouting = self._intake, self._rerouting
        link.credit.consume(lane, len(item.envelope))
        self._counters["received"] += 1
        visit = visit_of(message.id, item.moved, item.targets)
        problem = intake.check_way(link, item, message)
        seen_as = visit
        if item.moved and rerouting.is_forgotten(message, item, now_ms):
            item = item._replace(moved=0, targets=[])
            seen_as = message.id
        if problem is None and intake.made_a_circle(item, message, now_ms):
            # It was here and went to who is below now. Taken for a repeat it would be lost, so it is known by its way.
            seen_as = visit_of(message.id, len(item.hops), item.hops)
            problem = intake.check_circle(link)
        seen = self._custody.dedup.seen(seen_as, item.direction, now_ms)
        if problem is None and item.moved and not seen:
            problem = rerouting.check(link.destination, message, item, now_ms)
        if problem is None and seen:
            self._counters["repeats"] += 1
            self._upgrading.came_again(message, item.direction, now_ms, ready)
            self._answers.ack(link, visit)
            return
        problem = problem or intake.examine(link, item, message, now_ms)
        stripped = self._strip(message) if problem is None else problem
        if isinstance(stripped, Reject):
            self._refuse(link, visit, message, stripped, ready)
            return
        problem = self._waits(link, stripped, item, now_ms)
        if problem is not None:
            self._refuse(link, visit, message, problem, ready)
            return
        self._answers.ack(link, visit)
        if stripped.header.kind is Kind.ACTION:
            self._took_action(link, stripped, item, ready)
        ready.audit += told_of(stripped, link.peer.id if link.peer is not None else "")
        if seen_as != message.id:
            until_ms = seen_until_ms(stripped.header, now_ms)
            self._custody.saw(seen_as, item.direction, until_ms, ready, stripped.header)
        if item.moved:
            rerouting.route(stripped, item, now_ms, ready)
        else:
            self.route(stripped, item, now_ms, ready)

    def _waits(self, link: Link, message: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether there is no room, no way, or no use for it now."""
        problem = self._intake.waits(message, item, now_ms)  # before room: it says for whom, where both are true
        problem = problem or self._intake.no_room(message)
        problem = problem or self._intake.no_way_yet(link, message, item, now_ms)
        problem = problem or self._intake.check_rate(link, message, now_ms)
        if problem is None and message.header.kind is Kind.APPROVAL and self._is_root and not self._is_awaited(message):
            return Reject(Code.BAD_APPROVAL, "nothing waits for it")
        if problem is None and message.header.kind is Kind.ACTION:
            return self._dispatch.no_room_for(message, item, now_ms)  # last: to know how much it takes is work
        return problem

    def _refuse(self, link: Link, visit: bytes, message: Verified, problem: Reject, ready: Ready) -> None:
        header, peer = message.header, link.peer.id if link.peer is not None else ""
        ready.audit += telling.refused(header.origin, problem, message.id, peer, header.kind.word)
        self._answers.nack(link, visit, problem)

    def _took_action(self, link: Link, action: Verified, item: Item, ready: Ready) -> None:
        header, peer = action.header, link.peer.id if link.peer is not None else ""
        ready.audit.append(Audited(kinds.ACTION_TAKEN, header.origin, {
            "action": action.leaf, "class": self._trust.policies.class_of(split_topic(header.topic)[0]),
            "link": peer, "moved": item.moved, "down": int(item.direction),
        }))

    # -- where to ---------------------------------------------------------------------------------------

    def route(self, message: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """To wherever a message of its kind goes from here."""
        header = message.header
        match header.kind, item.direction:
            case (Kind.EVENT | Kind.INTEL), _:
                self._look_for_recipients(message, item, now_ms)
                self._hold(message, item, self._router.readers(header, item.direction), now_ms, ready)
            case Kind.ACTION, Direction.UP if self._dispatch.turns(message):
                self._dispatch.turn(message, item, now_ms, ready)
            case Kind.ACTION, Direction.UP:
                self._hold(message, item, self._router.up(), now_ms, ready)
            case Kind.APPROVAL, _ if self._is_awaited(message):
                self._custody.saw(message.id, item.direction, seen_until_ms(header, now_ms), ready, header)
                self._approving.heard(message, item.age_ms, now_ms, ready)
            case Kind.APPROVAL, _:
                self._hold(message, item, self._router.up(), now_ms, ready)
            case Kind.ACTION, _:
                self._dispatch.hand_out(message, item, item.targets, now_ms, ready)
            case Kind.RESULT, Direction.UP if not self._answerers.turn_here(header):
                self._hold(message, item, self._router.up(), now_ms, ready)
            case Kind.RESULT, _:
                self._answer_to(message, item, now_ms, ready)
                self._resolutions.heard(message, now_ms, ready)

    def _look_for_recipients(self, message: Verified, item: Item, now_ms: int) -> None:
        """At the root everybody is known who was connected of late: a recipient who is not may be a slip of the pen."""
        recipients = message.header.audience.recipients
        if not recipients or not self._is_root or item.direction is not Direction.UP:
            return
        if any(self._trust.credentials.newest(id_) is None for id_ in recipients):
            self._recipient_unknown(message, now_ms)

    def _is_awaited(self, approval: Verified) -> bool:
        return self._approving.holds(approval.header.correlation)

    def _answer_to(self, result: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """Down to the requester. One that moved away is found from above."""
        header = result.header
        ways = self._router.down_to(header.to)
        climbs = item.direction is Direction.UP or not item.hops  # a report of this relay's own begins here
        if ways:
            self._hold(result, item, ways, now_ms, ready)
        elif climbs and not self._is_root:
            self._hold(result, item, self._router.up(), now_ms, ready, Direction.UP)
        else:
            self._hold(result, item, [(self._router.upwards, (header.to,))], now_ms, ready, moved=item.moved + 1)
