"""A relay (SPEC 7-9): checks what arrives, and routes it up, down, and to those below.

This file says what happens to a message, and which component hears which frame, event and fact. Those own their
state: `route_exchange` (who is where), `session_keeper` (sessions of control points), `departures` (who goes),
`readers` (who is slow), `holding` (rows), `intake` (what is asked of a message), `dispatch` (actions), `approving`
(actions that wait for approvals), `roster` (who executes, here or away), `absent` (actions for those who are away),
`resolutions` (what became of actions), `rerouting` (who moved), `reporter` (what readers and origins are told),
`enrolment.proxy` (questions to issuers), `list_reach` (which revocation list is in force where).
`on_message` is the only way into custody. Guarantees, at this hop and whatever the others do: nothing enters in a
direction that `permissions.DIRECTIONS` does not list, without its origin's grant, out of time, or with a part above
this relay's clearance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fabric.protocol.access.permissions import DENIALS
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import LANE_WINDOW_BYTES
from fabric.protocol.core.ready import Ask, Drain, Event, KeepMember, KeepSession, Note, Op, Put, Ready, Replace
from fabric.protocol.custody.asleep import ReadersAsleep
from fabric.protocol.custody.custody import Custody, Destinations
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.outbox import Row, visit_of
from fabric.protocol.custody.outboxes import Outboxes
from fabric.protocol.custody.sessions import Sessions, is_point
from fabric.protocol.custody.sleeping import Sleeping
from fabric.protocol.custody.waiting import Waiting
from fabric.protocol.enrolment.proxy import EnrolmentProxy
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.facts import (
    CredentialRenewed,
    LinkLost,
    LinkOpened,
    ListTaken,
    PeerLeft,
    RowsEnded,
    TurnEnded,
)
from fabric.protocol.links.link import Link
from fabric.protocol.links.node import Node
from fabric.protocol.relay.absent import Absent
from fabric.protocol.relay.approving import Approving
from fabric.protocol.relay.departures import Departures
from fabric.protocol.relay.dispatch import Dispatch
from fabric.protocol.relay.facts import (
    Attached,
    ChildRevoked,
    Executes,
    ExecutesNoMore,
    Fact,
    Found,
    Gone,
    Moved,
    SessionEnded,
    Surplus,
)
from fabric.protocol.relay.holding import Holding
from fabric.protocol.relay.intake import Intake
from fabric.protocol.relay.list_reach import ListReach
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.readers import Readers
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.relay.reporter import Reporter
from fabric.protocol.relay.rerouting import Rerouting
from fabric.protocol.relay.resolutions import Resolutions
from fabric.protocol.relay.roster import Roster
from fabric.protocol.relay.route_exchange import RouteExchange
from fabric.protocol.relay.router import Router
from fabric.protocol.relay.session_keeper import SessionKeeper
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Applied, Denied, Direction, Frame, Item, Join, Joined, Role, Routed, Routes

# A control point that counts wrongly shall not make the counters of its relay unreadable for good.
_DENIED_AT_ONCE_MAX = 10_000


class Relay(Node):
    """The core of a relay: what happens to each event, frame and message, and who hears what follows from it."""

    accepts = (Role.CHILD, Role.PARENT, Role.POINT)

    def set_up(self) -> None:
        """Make the components that only a relay has."""
        me, is_root = self.me, self.is_root
        self._own_outboxes = Outboxes(self.outboxes, self.touch)
        self.custody = Custody(self._own_outboxes.of)
        self.sessions = Sessions()
        self.sleeping = Sleeping(self.custody, self.outboxes.get, self.sessions.keeps_much, self.touch)
        self.waiting = Waiting()
        self.route_exchange = RouteExchange(
            me, self.signer, self.session, self.routes, self.link_table, self.trust, self.time, self.kept, self._twins,
            self.counters, self.touch, lambda *said: self.session_keeper.check_reader(*said), self.hear,
        )
        self.session_keeper = SessionKeeper(
            self.sessions, self.sleeping, self.waiting, self.routes, self.route_exchange, self.link_table, self.trust,
            self.kept, self.counters, self.hear,
        )
        self.departures = Departures(self.link_table, self.uplink, self.opening, self.custody, self._own_outboxes)
        self.readers = Readers(
            self._own_outboxes, self.sessions, self.waiting, self.sleeping, self.custody, self.routes, self.trust,
            self.time, self._settle,
        )
        self.holding = Holding(
            self.custody, self._own_outboxes, self.sessions, self.readers, self.sleeping, self.ending, self.kept,
            self.trust, self.time, self.skew_ms, self.counters,
        )
        messages = MessagePort(self.route, self.hold, self.readdress, self._settle)
        self.router = Router(me.id, self.routes, is_root=is_root)
        self.report_signer = ReportSigner(
            me, self.signer, self.entropy, self.roots, self.time.now, lambda: self.time.unknown
        )
        self.reporter = Reporter(
            self.report_signer, self.sessions, self.custody, self.router, self.port, messages, self.time.now,
            lambda: self.time.unknown, self.counters,
        )
        self.roster = Roster(self.trust, self.time, self.routes, self.skew_ms, self.count)
        self.resolutions = Resolutions(self.report_signer, self.time, messages, self.count)
        self.approving = Approving(
            self.report_signer, self.trust, self.time, self.routes, self.roster, self.roots, messages,
            self._release, self._end, self.count, self.custody.leaves_half, self.skew_ms,
        )
        self.dispatch = Dispatch(
            self.report_signer, self.custody, self.routes, self.router, self.roster, self.resolutions, self.approving,
            messages, lambda: self.trust.policies, self.time.now,
            lambda way: (link := self.by_destination.get(way)) is not None and link.is_open, self.count,
        )
        self.absent = Absent(self.roster, self.custody, self.dispatch, messages)
        self.rerouting = Rerouting(
            me.id, self.routes, self.router, self.custody, self.sleeping, self.outboxes.get, self.dispatch, messages,
            self.counters,
        )
        self.intake = Intake(
            me, self.link_table, self.uplink, self.trust, self.time, self.skew_ms, self.custody, self.readers,
            self.router, self.dispatch, self.rerouting, self.roster, self.roots, self.counters, is_root=is_root,
        )
        self.enrolment = EnrolmentProxy(me.id, me.curve_key, self.port, is_root=is_root)
        self.list_reach = ListReach(me.id, self.trust, self.routes, self.port, self.time.now, is_root=is_root)

    @property
    def is_root(self) -> bool:
        """Whether nobody is above."""
        return not self.parents

    # -- event, frame, fact: who hears it ---------------------------------------------------------------

    def on_event(self, event: Event, now_ms: int, ready: Ready) -> None:
        match event:
            case Ask():
                self.enrolment.ask(event, now_ms, ready)
            case Drain():
                self.departures.drain(ready)
            case _:
                super().on_event(event, now_ms, ready)

    def on_frame(self, link: Link, frame: Frame, now_ms: int, ready: Ready) -> None:
        match frame:
            case Routes():
                self.route_exchange.frame(link, frame, now_ms, ready)
            case Routed():
                self.route_exchange.confirmed(link, frame, ready)
            case Join():
                self.enrolment.question(link, frame, now_ms, ready)
            case Joined():
                self.enrolment.answer(link, frame, now_ms, ready)
            case Applied():
                self.list_reach.frame(link, frame, now_ms, ready)
            case Denied(counts):
                self._denied(link, counts, now_ms, ready)

    def hear(self, fact: Fact, now_ms: int, ready: Ready) -> None:
        match fact:
            case LinkOpened(link):
                self.session_keeper.opened(link)
                if link.peer_role == Role.PARENT:
                    self.route_exchange.parent_opened(link, now_ms, ready)
                self.list_reach.link_opened(link)
            case LinkLost(link):
                self.departures.lost(link)
                self.session_keeper.lost(link, now_ms, ready)
                self.route_exchange.lost(link, now_ms, ready)
            case PeerLeft(link):
                self.session_keeper.took_leave(link, now_ms, ready)
            case Attached(attachment, link):
                self.session_keeper.attached(attachment, link, now_ms, ready)
                self.absent.is_back(attachment.node)  # it may say the same again, after this relay was off
                self.readers.look_at_room(link.destination, now_ms)
            case Surplus(attachment):
                self.session_keeper.surplus(attachment, now_ms, ready)
            case SessionEnded(destination, code):
                self.reporter.session_ended(destination)
                self.rerouting.session_ended(destination, now_ms, ready)
                self.holding.session_ended(destination, code, now_ms, ready)
            case Moved(destination, attachment, with_it):
                self.rerouting.moved(destination, (attachment, with_it))
            case Found(attachment):
                self.rerouting.found(attachment)
            case Executes(attachment):
                self.roster.saw(attachment, now_ms, ready)
                self.absent.is_back(attachment.node)
            case ExecutesNoMore(node, destination):
                self.rerouting.executes_no_more(node, destination)
            case Gone(destination):
                self.rerouting.gone(destination, now_ms, ready)
            case ChildRevoked(destination, below):
                self.rerouting.revoked(destination, below, now_ms, ready)
            case CredentialRenewed():
                self.route_exchange.renewed(self.me, now_ms, ready)
                self.report_signer.renewed(self.me)
                self.intake.renewed(self.me)
            case ListTaken():
                self.holding.list_changed(now_ms, ready)
                self.ask_again()
                self.session_keeper.list_changed(now_ms, ready)
                self.absent.list_changed()
                self.list_reach.list_changed(now_ms)
            case RowsEnded(rows):
                self.holding.ended(rows)
            case TurnEnded():
                self.sleeping.turn_ends(ready)
                self.reporter.turn_ended(ready)

    def ticks(self) -> Sequence[Callable[[int, Ready], None]]:
        return (
            self.route_exchange.tick, self.session_keeper.tick, self.departures.tick, self.readers.tick,
            self.rerouting.expire, self.readers.end_too_much,
            self.reporter.tick,  # of what ended until now, before anything is sent after who moved
            self.dispatch.tick, self.resolutions.tick, self.approving.tick, self.absent.tick, self.rerouting.tick,
            self.enrolment.tick, self.list_reach.tick, self.intake.tick, self.roster.tick,
        )

    def on_restore(self, op: Op, now_ms: int) -> None:
        match op:
            case KeepSession(destination):
                attachment = self.route_exchange.restored(op)
                if attachment is not None:
                    self._own_outboxes.of(destination)
                    if is_point(destination):
                        self.session_keeper.restored(destination, attachment, now_ms)
            case Put():
                for destination, _ in op.destinations:
                    if is_point(destination):
                        self.sessions.left(destination, now_ms, restored=True)
            case KeepMember():
                self.roster.restored(op, now_ms)
        self.reporter.restored(op, now_ms)
        self.dispatch.restored(op, now_ms)
        self.resolutions.restored(op, now_ms)
        self.approving.restored(op, now_ms)
        self.rerouting.restored(op, now_ms)
        self.absent.restored(op)
        self.list_reach.restored(now_ms)

    def check_room(self, link: Link) -> Reject | None:
        return self.session_keeper.check_room(link)

    def takes_in(self, lane: Lane) -> bool:
        return not self.custody.full(lane, LANE_WINDOW_BYTES)

    def on_put_off(self, row: Row, reason: Reject) -> None:
        self.readers.put_off(row, reason)

    def make_routes(self, link: Link, now_ms: int, ready: Ready) -> None:
        self.route_exchange.say(link, now_ms, ready)

    # -- the driver's side ------------------------------------------------------------------------------

    @property
    def drained(self) -> bool:
        """Whether this relay drains, nobody is here any more, and what climbed has been taken above."""
        return self.departures.drained

    def readers_sleep(self, asleep: ReadersAsleep, awake_rows: int, last_row: int, now_ms: int) -> None:
        """The driver lets sleep what waits for readers, beyond so many rows, and wakes what `sleeping` says.

        `asleep`: what of it slept when it began. `last_row`: the number of the last row that it had then.
        """
        self.custody.readers_sleep(asleep, last_row)
        self.sleeping.begin(awake_rows)
        for destination in asleep:
            self.sessions.left(destination, now_ms, restored=True)
            self.sleeping.woke(destination)
        for destination in self.outboxes:
            self.readers.look_at_room(destination, now_ms)

    def woken(self, destination: str, now_ms: int) -> Ready:
        """Some of what slept for this reader is awake: it may go, or, where it had too much, ends."""
        ready = Ready()
        self.sleeping.woke(destination)
        self.readers.end_too_much(now_ms, ready)
        return ready

    # -- messages in ------------------------------------------------------------------------------------

    def on_message(self, link: Link, item: Item, message: Verified, lane: Lane, sent_ms: int, now_ms: int,
                   ready: Ready) -> None:
        link.credit.consume(lane, len(item.envelope))
        self.counters["received"] += 1
        visit = visit_of(message.id, item.moved, item.targets)
        problem = self.intake.check_way(link, item, message)
        if self.rerouting.is_forgotten(message, item, now_ms):
            item = item._replace(moved=0, targets=[])
        seen_as = visit_of(message.id, item.moved, item.targets)
        if problem is None and self.intake.made_a_circle(item, message, now_ms):
            # It was here and went to who is below now. Taken for a repeat it would be lost, so it is known by its way.
            seen_as = visit_of(message.id, len(item.hops), item.hops)
            problem = self.intake.check_circle(link)
        seen = self.custody.dedup.seen(seen_as, item.direction, now_ms)
        if problem is None and item.moved and not seen:
            problem = self.rerouting.check(link.destination, message, item, now_ms)
        if problem is None and seen:
            self.counters["repeats"] += 1
            self._upgrade(message, item.direction, now_ms, ready)
            self.ack(link, visit)
            return
        problem = problem or self.intake.examine(link, item, message, now_ms)
        if problem is not None:
            self.nack(link, visit, problem)
            return
        stripped = self.strip(message, self.me)
        if isinstance(stripped, Reject):
            self.nack(link, visit, stripped)
            return
        problem = self.intake.waits(stripped, item, now_ms)  # before room: it says for whom, where both are true
        problem = problem or self.intake.no_room(stripped)
        problem = problem or self.intake.no_way_yet(link, stripped, item, now_ms)
        problem = problem or self.intake.check_rate(link, stripped, now_ms)
        if problem is None and stripped.header.kind is Kind.APPROVAL:
            nobody = self.is_root and not self._is_awaited(stripped)
            problem = Reject(Code.BAD_APPROVAL, "nothing waits for it") if nobody else None
        if problem is None and stripped.header.kind is Kind.ACTION:
            problem = self.dispatch.no_room_for(stripped, item, now_ms)  # last: to know how much it takes is work
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

    def _denied(self, link: Link, counts: Sequence[tuple[Code, int]], now_ms: int, ready: Ready) -> None:
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
            if self.intake.no_room(fitted) is None and self.custody.asleep.offer(fitted, direction):
                ready.persist.append(Replace(fitted.id, direction, fitted.raw))  # perhaps it sleeps
            return
        fuller = held.message.united_with(fitted)
        if fuller is held.message:
            return
        if self.readers.waits_to_grow(held, now_ms) or not self.custody.replace(held, fuller, ready):
            self.count("refused", Code.BUSY.reason)
            return
        self.counters["upgraded"] += 1
        self.readers.shed(held, now_ms, ready)

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
            case Kind.APPROVAL, _ if self._is_awaited(message):
                self.custody.saw(message.id, item.direction, seen_until_ms(header, now_ms), ready, header)
                self.approving.heard(message, now_ms, ready)
            case Kind.APPROVAL, _:
                self.hold(message, item, self.router.up(), now_ms, ready)
            case Kind.ACTION, _:
                self.dispatch.hand_out(message, item, item.targets, now_ms, ready)
            case Kind.RESULT, Direction.UP if not self.dispatch.answer_turns(header):
                self.hold(message, item, self.router.up(), now_ms, ready)
            case Kind.RESULT, _:
                self._answer_to(message, item, now_ms, ready)
                self.resolutions.heard(message, now_ms, ready)

    def _release(self, action: Verified, targets: tuple[str, ...], now_ms: int, ready: Ready) -> None:
        """It was approved for these."""
        self.dispatch.release(action, targets, now_ms, ready)

    def _end(
        self, action: Verified, end: str, targets: tuple[str, ...], code: Code | None, now_ms: int, ready: Ready, *,
        detail: str = "",
    ) -> None:
        """It was not approved."""
        self.dispatch.report(action, end, targets, code, now_ms, ready, detail=detail)

    def _is_awaited(self, approval: Verified) -> bool:
        return self.approving.holds(approval.header.correlation)

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
        held = self.holding.hold(message, item, destinations, now_ms, ready, direction, moved=moved)
        if held is not None:
            self.rerouting.rows_changed(held, now_ms)
            self.absent.rows_changed(held)

    def readdress(self, row: Row, ways: Destinations, left: tuple[str, ...] | None, now_ms: int, ready: Ready) -> None:
        """Instead of by this row its message goes these ways; `left`: for whom the row stays, None where it goes."""
        held = row.held
        self.holding.readdress(row, ways, left, ready)
        self.rerouting.rows_changed(held, now_ms)
        self.absent.rows_changed(held)
        self.counters["followed"] += len(ways)
        if held.message.header.kind is Kind.ACTION:
            self.dispatch.handed(held.message, ways, now_ms, ready)

    # -- how rows end -----------------------------------------------------------------------------------

    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        self.custody.end(row, ready)
        self.sleeping.ended(row)
        if row.moved:
            self.rerouting.rows_changed(row.held, now_ms)
            self.absent.rows_changed(row.held)
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

