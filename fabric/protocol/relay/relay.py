"""A relay (SPEC 7-9): checks what arrives, and routes it up, down, and to those below.

Each file on the way to this one has a subject: `node` (what a control point has too), `placing` (who is where), `below`
(sessions), `holding` (rows). This says what messages mean, and wires the components that own their state: `dispatch`
(actions), `rerouting` (who moved), `reporter` (what readers and origins are told), `enrolment.proxy` (questions to
issuers) and `list_reach` (which revocation list is in force where). The order of checks on arrival is `_examine`, the
only way into custody. Guarantees, at this hop and whatever the others do: nothing enters in a direction that
`permissions.DIRECTIONS` does not list, without its origin's grant, out of time, or with a part above this relay's
clearance.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.access.permissions import (
    DENIALS,
    check_direction,
    check_origin,
    publish_grant,
)
from fabric.protocol.access.rates import Rates
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ACTIONS_PER_S, SETTLE_MS
from fabric.protocol.core.ready import Ask, Event, Note, Op, Ready, Replace
from fabric.protocol.custody.custody import Destinations
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.outbox import Row, visit_of
from fabric.protocol.custody.waiting import waits_for
from fabric.protocol.enrolment.proxy import EnrolmentProxy
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.lifetime import check_lifetime
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.facts import (
    CredentialRenewed,
    Fact,
    LinkLost,
    LinkOpened,
    ListTaken,
    PeerLeft,
    RowsEnded,
    TurnEnded,
)
from fabric.protocol.links.link import Link
from fabric.protocol.relay.dispatch import Dispatch
from fabric.protocol.relay.holding import Holding
from fabric.protocol.relay.list_reach import ListReach
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.relay.reporter import Reporter
from fabric.protocol.relay.rerouting import Moved, Rerouting
from fabric.protocol.relay.router import Router, Way
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import (
    Applied,
    Denied,
    Direction,
    Frame,
    Item,
    Join,
    Joined,
    Role,
    Routed,
    Routes,
)

# A control point that counts wrongly shall not make the counters of its relay unreadable for good.
_DENIED_AT_ONCE_MAX = 10_000


class Relay(Holding):
    """The core of a relay: it judges each message, and routes it."""

    def set_up(self) -> None:
        super().set_up()
        self.rates = Rates()
        self._started_ms: int | None = None
        messages = MessagePort(
            self.route, self.hold, lambda row, refused, now_ms, ready: self.on_settled(row, refused, now_ms, ready)
        )
        self.router = Router(self.me.id, self.routes, is_root=self.is_root)
        self.report_signer = ReportSigner(
            self.me, self.signer, self.entropy, self.roots, self.time.now, lambda: self.time.unknown
        )
        self.reporter = Reporter(
            self.report_signer, self.sessions, self.custody, self.router, self.port, messages, self.time.now,
            lambda: self.time.unknown, self.counters,
        )
        self.dispatch = Dispatch(self.report_signer, self.custody, self.routes, self.router, messages, self.count)
        self.rerouting = Rerouting(
            self.me.id, self.routes, self.router, self.custody, self.sleeping, self.outboxes.get, self.dispatch,
            messages, self.counters,
        )
        self.enrolment = EnrolmentProxy(self.me.id, self.me.curve_key, self.port, is_root=self.is_root)
        self.list_reach = ListReach(
            self.me.id, self.trust, self.routes, self.port, self.time.now, is_root=self.is_root
        )

    # -- what components hear ---------------------------------------------------------------------------

    def on_event(self, event: Event, now_ms: int, ready: Ready) -> None:
        if isinstance(event, Ask):
            self.enrolment.ask(event, now_ms, ready)
        else:
            super().on_event(event, now_ms, ready)

    def on_frame(self, link: Link, frame: Frame, now_ms: int, ready: Ready) -> None:
        match frame:
            case Routes():
                self.on_routes(link, frame, now_ms, ready)
            case Routed():
                self.on_routed(link, frame, now_ms, ready)
            case Join():
                self.on_join(link, frame, now_ms, ready)
            case Joined():
                self.on_joined(link, frame, now_ms, ready)
            case Applied():
                self.on_applied(link, frame, now_ms, ready)
            case Denied(counts):
                self.on_denied(link, counts, now_ms, ready)

    def hear(self, fact: Fact, now_ms: int, ready: Ready) -> None:
        match fact:
            case LinkOpened(link):
                self.on_open(link, now_ms, ready)
            case LinkLost(link):
                self.on_lost(link, now_ms, ready)
            case PeerLeft(link):
                self.on_bye(link, now_ms, ready)
            case CredentialRenewed():
                self.on_renewed(now_ms, ready)
            case ListTaken():
                self.on_lists(now_ms, ready)
            case RowsEnded(rows):
                self.on_ended(rows)
            case TurnEnded():
                self.on_turn_end(ready)

    def on_join(self, link: Link, frame: Join, now_ms: int, ready: Ready) -> None:
        self.enrolment.question(link, frame, now_ms, ready)

    def on_joined(self, link: Link, frame: Joined, now_ms: int, ready: Ready) -> None:
        self.enrolment.answer(link, frame, now_ms, ready)

    def on_renewed(self, now_ms: int, ready: Ready) -> None:
        self.place_anew(now_ms, ready)
        self.report_signer.renewed(self.me)

    def on_lists(self, now_ms: int, ready: Ready) -> None:
        self.end_revoked(now_ms, ready)
        self.ask_again()
        self.forget_revoked(now_ms, ready)
        self.list_reach.list_changed(now_ms)

    def on_open(self, link: Link, now_ms: int, ready: Ready) -> None:
        super().on_open(link, now_ms, ready)
        self.list_reach.link_opened(link)

    def on_session_end(self, destination: str, code: Code, now_ms: int, ready: Ready) -> None:
        self.reporter.session_ended(destination)
        super().on_session_end(destination, code, now_ms, ready)

    def on_turn_end(self, ready: Ready) -> None:
        self.sleeping.turn_ends(ready)
        self.reporter.turn_ended(ready)

    def on_restore(self, op: Op, now_ms: int) -> None:
        super().on_restore(op, now_ms)
        self.reporter.restored(op, now_ms)
        self.dispatch.restored(op, now_ms)
        self.rerouting.restored(op, now_ms)
        self.list_reach.restored(now_ms)

    def on_moved(self, destination: str, moved: Moved, now_ms: int, ready: Ready) -> None:
        self.rerouting.moved(destination, moved)

    def on_found(self, attachment: Attachment, now_ms: int, ready: Ready) -> None:
        self.rerouting.found(attachment)

    def on_gone(self, destination: str, now_ms: int, ready: Ready) -> None:
        self.rerouting.gone(destination, now_ms, ready)

    def on_revoked(self, destination: str, below: list[Attachment], now_ms: int, ready: Ready) -> None:
        self.rerouting.revoked(destination, below, now_ms, ready)

    def on_applied(self, link: Link, frame: Applied, now_ms: int, ready: Ready) -> None:
        self.list_reach.frame(link, frame, now_ms, ready)

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        super().on_timers(now_ms, ready)
        self.rerouting.expire(now_ms, ready)
        self.end_too_much(now_ms, ready)
        self.reporter.tick(now_ms, ready)  # of what ended until now, before anything is sent after who moved
        self.dispatch.tick(now_ms)
        self.rerouting.tick(now_ms, ready)
        self.enrolment.tick(now_ms, ready)
        self.list_reach.tick(now_ms, ready)
        if self._started_ms is None:
            self._started_ms = now_ms

    # -- messages in ------------------------------------------------------------------------------------

    def on_message(self, link: Link, item: Item, message: Verified, lane: Lane, sent_ms: int, now_ms: int,
                   ready: Ready) -> None:
        link.credit.consume(lane, len(item.envelope))
        self.counters["received"] += 1
        visit = visit_of(message.id, item.moved, item.targets)
        problem = check_direction(message.header.kind, link.peer_role, item.direction) or _check_beginning(link, item)
        if self.rerouting.is_forgotten(message, item, now_ms):
            item = item._replace(moved=0, targets=[])
        seen_as = visit_of(message.id, item.moved, item.targets)
        if problem is None and self._made_a_circle(item, message, now_ms):
            # It was here and went to who is below now. Taken for a repeat it would be lost, so it is known by its way.
            seen_as = visit_of(message.id, len(item.hops), item.hops)
            problem = self._check_circle(link)
        seen = self.custody.dedup.seen(seen_as, item.direction, now_ms)
        if problem is None and item.moved and not seen:
            problem = self.rerouting.check(link.destination, message, item, now_ms)
        if problem is None and seen:
            self.counters["repeats"] += 1
            self._upgrade(message, item.direction, now_ms, ready)
            self.ack(link, visit)
            return
        problem = problem or self._examine(link, item, message, now_ms)
        if problem is not None:
            self.nack(link, visit, problem)
            return
        stripped = self.strip(message, self.me)
        if isinstance(stripped, Reject):
            self.nack(link, visit, stripped)
            return
        problem = self._waits(stripped, item, now_ms) or self._no_room(stripped)  # for whom, where both are true
        problem = problem or self._no_way_yet(link, stripped, item, now_ms)
        problem = problem or self._check_rate(link, stripped, now_ms)
        if problem is None and stripped.header.kind is Kind.ACTION:
            problem = self.dispatch.no_room_for(stripped, item)  # last: to know how much it takes is work
        if problem is not None:
            self.nack(link, visit, problem)
            return
        self.ack(link, visit)
        if seen_as != message.id:
            until_ms = seen_until_ms(stripped.header, now_ms)
            self.custody.saw(seen_as, item.direction, until_ms, ready, stripped.header)
        if item.moved:
            self.rerouting.route(stripped, item, now_ms, ready)
        else:
            self.route(stripped, item, now_ms, ready)

    def _made_a_circle(self, item: Item, message: Verified, now_ms: int) -> bool:
        """Whether its hops say that it climbed from here before. An action that went down from here is a repeat."""
        if item.direction is not Direction.UP or item.moved or self.me.id not in item.hops:
            return False
        went_down = self.dispatch.turned(message) or self.custody.dedup.seen(
            message.id, Direction.DOWN, now_ms
        )
        return not (message.header.kind is Kind.ACTION and went_down)

    def _check_circle(self, link: Link) -> Reject | None:
        """Whether who brings back what was here is above this relay, too. Then it stays where it is until one moves."""
        assert link.peer is not None
        above = link.peer.id == self.uplink.current or link.peer.id in self.ancestors
        if above or not (self.is_root or self.uplink.current):
            self.count("refused", Code.LOOP.reason)
            return Reject(Code.BUSY, f"{link.peer.id} may be above {self.me.id}")
        return None

    def _no_room(self, message: Verified) -> Reject | None:
        return Reject(Code.BUSY, message.header.lane.name.lower()) if self.custody.no_room_for(message) else None

    def _waits(self, message: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether a reader to whom it would have to go is full and loses nothing: it stays where it is (SPEC 7.5)."""
        header = message.header
        if header.kind not in (Kind.EVENT, Kind.INTEL) or not self.may_wait:
            return None
        reader = self.full_reader(self._ways_for_readers(message, item, now_ms), message, now_ms)
        if not reader:
            return None
        self.count("waits", header.kind.word)
        return Reject(Code.BUSY, waits_for(reader))

    def _ways_for_readers(self, message: Verified, item: Item, now_ms: int) -> list[Way]:
        """Where an event or intel will go from here, as `route` and `Rerouting.route` say."""
        if not item.moved:
            return self.router.readers(message.header, item.direction)
        if item.direction is Direction.UP and not self.rerouting.goes_down_here(message, now_ms):
            return self.router.up()
        here, others = self.rerouting.ways_of(message, item)
        return [*here, *others]

    def _no_way_yet(self, link: Link, message: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether its way will be known in a moment: it is not taken before (SPEC 7.8)."""
        header = message.header
        if item.moved:
            return self.rerouting.not_yet(link.destination, message, item, now_ms)
        descends = item.direction is Direction.DOWN
        ends_here = header.kind is Kind.RESULT and (descends or self.dispatch.answer_turns(header))
        if ends_here and self._is_settling(now_ms) and not self.router.down_to(header.to):
            return Reject(Code.BUSY, "the ways are not known yet")
        return None

    def _is_settling(self, now_ms: int) -> bool:
        """Just started: who is below has yet to say so."""
        return self._started_ms is None or now_ms - self._started_ms < SETTLE_MS

    def _examine(self, link: Link, item: Item, message: Verified, now_ms: int) -> Reject | None:
        header = message.header
        problem = check_lifetime(
            header.kind.word, header.issued_at_ms, header.ttl_ms, item.age_ms, self.time.now(now_ms),
            self.skew_ms, self.time.by_age_only(now_ms),
        )
        problem = problem or check_origin(message.credential, header)
        assert link.peer is not None
        if problem is None and link.peer_role == Role.POINT and message.credential.id != link.peer.id:
            problem = Reject(Code.WRONG_PEER, "a control point sends its own messages only")
        if problem is None and header.kind is Kind.RESULT:
            problem = self.dispatch.check_answer(message)
        if problem is None and header.kind is Kind.ACTION:
            problem = self.time.for_now(
                self.trust.check_action(message.credential, self.me.segment, self.time.clocks(now_ms))
            )
        return problem

    def _check_rate(self, link: Link, message: Verified, now_ms: int) -> Reject | None:
        """What only the relay of the origin can know. What there is no room for costs its origin nothing."""
        header = message.header
        if link.peer_role != Role.POINT or header.kind is Kind.RESULT:
            return None
        whose: tuple[str, object] = (header.origin, header.kind)
        rate_per_s = ACTIONS_PER_S
        if header.kind is not Kind.ACTION:
            grant = publish_grant(message.credential, header)
            assert not isinstance(grant, Reject), "`check_origin` asked for it"
            whose, rate_per_s = (header.origin, grant), grant.rate_per_s
        allowed = self.rates.allow(whose, header.records, rate_per_s, now_ms)
        return None if allowed else Reject(Code.RATE_EXCEEDED, header.topic)

    def on_denied(self, link: Link, counts: Sequence[tuple[Code, int]], now_ms: int, ready: Ready) -> None:
        """What its own node did not let a control point do counts like what this relay would have refused."""
        if link.peer_role != Role.POINT:
            wrong = Reject(Code.WRONG_DIRECTION, "a relay is told by its control points")
            self.refuse(link, wrong, now_ms, ready)
            return
        for code, count in counts:
            if code in DENIALS:
                self.count("refused", code.reason, min(count, _DENIED_AT_ONCE_MAX))

    def _upgrade(self, message: Verified, direction: Direction, now_ms: int, ready: Ready) -> None:
        """The same message by another path, with parts that the first copy lacked (SPEC 7.5)."""
        held = self.custody.get(message.id, direction)
        if held is None and not any(self.custody.asleep.rows):
            return
        fitted = self.strip(message, self.me)
        if isinstance(fitted, Reject):
            return
        if held is None:
            if self._no_room(fitted) is None and self.custody.asleep.offer(fitted, direction):
                ready.persist.append(Replace(fitted.id, direction, fitted.raw))  # perhaps it sleeps
            return
        fuller = held.message.united_with(fitted)
        if fuller is held.message:
            return
        if self.waits_to_grow(held, now_ms) or not self.custody.replace(held, fuller, ready):
            self.count("refused", Code.BUSY.reason)
            return
        self.counters["upgraded"] += 1
        self.shed_readers(held, now_ms, ready)

    def submit(self, message: Verified, now_ms: int, ready: Ready) -> None:
        """A message of this relay's own climbs like any other."""
        self.route(message, Item(Direction.UP, 0, [], [], message.raw), now_ms, ready)

    # -- where to ---------------------------------------------------------------------------------------

    def route(self, message: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        header = message.header
        match header.kind, item.direction:
            case (Kind.EVENT | Kind.INTEL), _:
                self.hold(message, item, self.router.readers(header, item.direction), now_ms, ready)
            case Kind.ACTION, Direction.UP if self.dispatch.turns(message):
                self.dispatch.turn(message, item, now_ms, ready)
            case Kind.ACTION, Direction.UP:
                self.hold(message, item, self.router.up(), now_ms, ready)
            case Kind.ACTION, _:
                self.dispatch.hand_out(message, item, item.targets, now_ms, ready)
            case Kind.RESULT, Direction.UP if not self.dispatch.answer_turns(header):
                self.hold(message, item, self.router.up(), now_ms, ready)
            case Kind.RESULT, _:
                self._answer_to(message, item, now_ms, ready)

    def _answer_to(self, result: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """Down to the requester. One that moved away is found from above."""
        header = result.header
        ways = self.router.down_to(header.to)
        climbs = item.direction is Direction.UP or not item.hops  # a report of this relay's own begins here
        if ways:
            self.hold(result, item, ways, now_ms, ready)
        elif climbs and not self.is_root:
            self.hold(result, item, self.router.up(), now_ms, ready, Direction.UP)
        else:
            self.hold(result, item, [(self.router.upwards, (header.to,))], now_ms, ready, moved=item.moved + 1)

    def hold(self, message: Verified, item: Item, destinations: Destinations, now_ms: int, ready: Ready,
             direction: Direction | None = None, *, moved: int = 0) -> None:
        """Hold a message for these destinations; for none, remember that it was seen. `direction`: else the item's."""
        held = self._hold(message, item, destinations, now_ms, ready, direction, moved=moved)
        if held is not None:
            self.rerouting.rows_changed(held, now_ms)

    # -- how rows end -----------------------------------------------------------------------------------

    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        self.custody.end(row, ready)
        self.sleeping.ended(row)
        if row.moved:
            self.rerouting.rows_changed(row.held, now_ms)
        if refused is None:
            self.waiting.read(row.destination, now_ms)
            self.counters["acknowledged"] += 1
            return
        header = row.held.message.header
        self.count("ended", refused.code.reason)
        if header.kind is not Kind.ACTION:
            self.reporter.row_ended(row, refused, now_ms)  # thousands a second may end: they are told together
            return
        ready.notes.append(Note("action ended", {
            "reason": refused.code.reason, "code": refused.code.label, "id": row.held.message.id.hex(),
            "origin": header.origin, "destination": row.destination.split("/")[0],
            "age_ms": row.held.age_at(now_ms), "ttl_ms": header.ttl_ms,
        }))
        self.dispatch.row_ended(row, refused, now_ms, ready)


def _check_beginning(link: Link, item: Item) -> Reject | None:
    """A message begins at a control point: it has been nowhere, followed nobody, and is for whom its header says."""
    begins = not (item.moved or item.hops or item.targets)
    if begins or link.peer_role != Role.POINT:
        return None
    return Reject(Code.WRONG_DIRECTION, "a control point says neither whom it is for nor where it has been")
