"""A relay (SPEC 7-9): which component hears which event, frame and fact, and which is done when.

What happens to a message is in `messages.passage`. Its components own their state:

- `below`: `route_exchange` (who is where), `session_keeper` (sessions of control points), `departures` (who goes),
  `roster` (who executes, here or away), `recipients` (who somebody is), `list_reach` (which revocation list is in force
  where), `witnesses` (how far audit logs go), `denials`
- `actions`: `dispatch` (targets, and handing out), `dispatches` (who was handed what), `answerers` (who may answer),
  `action_reports` (what requesters are told), `cancelling`, `approving` (actions that wait for approvals), `asking`
  (who is asked for those), `absent` (actions for those who are away), `resolutions` (what became of actions)
- `messages`: `intake` (what is asked of a message), `readers` (who is slow), `holding` (rows), `upgrading` (copies that
  came again), `rerouting` (who moved), `reporter` (what readers and origins are told)
- beside them `enrolment.proxy` (questions to issuers and about recipients)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import LANE_WINDOW_BYTES
from fabric.protocol.core.ready import (
    Ask,
    Drain,
    Event,
    KeepHead,
    KeepMember,
    KeepSession,
    Note,
    Op,
    Put,
    Ready,
)
from fabric.protocol.custody.asleep import ReadersAsleep
from fabric.protocol.custody.custody import Custody, Destinations
from fabric.protocol.custody.outbox import Row
from fabric.protocol.custody.outboxes import Outboxes
from fabric.protocol.custody.sessions import Sessions, is_point, node_of
from fabric.protocol.custody.sleeping import Sleeping
from fabric.protocol.custody.waiting import Waiting
from fabric.protocol.enrolment.proxy import EnrolmentProxy
from fabric.protocol.envelope.header import Kind
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
from fabric.protocol.relay.actions.absent import Absent
from fabric.protocol.relay.actions.action_reports import ActionReports
from fabric.protocol.relay.actions.answerers import Answerers
from fabric.protocol.relay.actions.approving import Approving
from fabric.protocol.relay.actions.asking import Asking
from fabric.protocol.relay.actions.cancelling import Cancelling
from fabric.protocol.relay.actions.dispatch import Dispatch
from fabric.protocol.relay.actions.dispatches import Dispatches
from fabric.protocol.relay.actions.resolutions import Resolutions
from fabric.protocol.relay.below.denials import Denials
from fabric.protocol.relay.below.departures import Departures
from fabric.protocol.relay.below.facts import (
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
from fabric.protocol.relay.below.list_reach import ListReach
from fabric.protocol.relay.below.recipients import Recipients
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.relay.below.route_exchange import RouteExchange
from fabric.protocol.relay.below.session_keeper import SessionKeeper
from fabric.protocol.relay.below.witnesses import Witnesses
from fabric.protocol.relay.messages.holding import Holding
from fabric.protocol.relay.messages.intake import Intake
from fabric.protocol.relay.messages.passage import Answers, Passage
from fabric.protocol.relay.messages.readers import Readers
from fabric.protocol.relay.messages.reporter import Reporter
from fabric.protocol.relay.messages.rerouting import Rerouting
from fabric.protocol.relay.messages.upgrading import Upgrading
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.relay.router import Router
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import (
    Applied,
    Denied,
    Direction,
    Frame,
    Grown,
    Item,
    Join,
    Joined,
    Role,
    Routed,
    Routes,
)


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
        messages = MessagePort(lambda *routed: self.passage.route(*routed), self.hold, self.readdress, self._settle)
        self.router = Router(me.id, self.routes, is_root=is_root)
        self.report_signer = ReportSigner(
            me, self.signer, self.entropy, self.roots, self.time.now, lambda: self.time.unknown,
            self.trust.credentials.newest,
        )
        self.reporter = Reporter(
            self.report_signer, self.sessions, self.custody, self.router, self.port, messages, self.time.now,
            lambda: self.time.unknown, self.counters,
        )
        self.roster = Roster(self.trust, self.time, self.routes, self.skew_ms, self.count)
        self.resolutions = Resolutions(self.report_signer, self.time, messages, self.count)
        self.action_reports = ActionReports(self.report_signer, messages, self.count)
        self.asking = Asking(
            self.report_signer, self.trust, self.time, self.routes, messages, self.custody.leaves_half, self.count
        )
        self.approving = Approving(
            self.asking, self.trust, self.time, self.roster, self.roots,
            lambda *approved: self.dispatch.release(*approved), self.action_reports.say, self.count, self.skew_ms,
        )
        self.dispatches = Dispatches()
        self.answerers = Answerers(me.id, self.dispatches, self.routes, self.router, self.custody)
        self.cancelling = Cancelling(
            self.dispatches, self.custody, self.roster, self.approving, self.action_reports, messages
        )
        self.dispatch = Dispatch(
            me.id, self.dispatches, self.action_reports, self.custody, self.routes, self.router, self.roster,
            self.resolutions, self.approving, self.cancelling, messages, lambda: self.trust.policies,
            lambda way: (link := self.by_destination.get(way)) is not None and link.is_open, self.count,
        )
        self.absent = Absent(
            self.roster, self.custody, self.dispatch, self.cancelling, self.action_reports, messages
        )
        self.rerouting = Rerouting(
            me.id, self.routes, self.router, self.custody, self.sleeping, self.outboxes.get, self.dispatch,
            self.answerers, messages, self.counters,
        )
        self.intake = Intake(
            me, self.link_table, self.uplink, self.trust, self.time, self.skew_ms, self.custody, self.readers,
            self.router, self.dispatch, self.answerers, self.rerouting, self.roster, self.roots, self.counters,
            is_root=is_root,
        )
        self.upgrading = Upgrading(
            self.custody, self.readers, self.intake, lambda message: self.strip(message, self.me), self.counters
        )
        self.passage = Passage(
            self.intake, self.upgrading, self.rerouting, self.custody, self.dispatch, self.approving, self.answerers,
            self.resolutions, self.router, self.trust, lambda message: self.strip(message, self.me), self.hold,
            Answers(self.ack, self.nack), self.reporter.recipient_unknown, self.counters, is_root=is_root,
        )
        self.denials = Denials(self.port, self.counters)
        recipients = Recipients(self.trust, self.time, self.routes, self.roster, is_root=is_root)
        self.enrolment = EnrolmentProxy(me.id, me.curve_key, self.port, recipients, is_root=is_root)
        self.witnesses = Witnesses(me, self.signer, self.port, self.time.now)
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
            case Grown():
                self.witnesses.frame(link, frame, now_ms, ready)
            case Denied(counts):
                self.denials.frame(link, counts, now_ms, ready)

    def hear(self, fact: Fact, now_ms: int, ready: Ready) -> None:
        match fact:
            case TurnEnded():  # far more often than all others
                self.sleeping.turn_ends(ready)
                self.reporter.turn_ended(ready)
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
                ready.audit.append(Audited(kinds.SESSION_ENDED, node_of(destination), {"code": code.label}))
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
                self.witnesses.renewed(self.me)
                self.intake.renewed(self.me)
            case ListTaken():
                self.holding.list_changed(now_ms, ready)
                self.ask_again()
                self.session_keeper.list_changed(now_ms, ready)
                self.absent.list_changed()
                self.list_reach.list_changed(now_ms)
            case RowsEnded(rows):
                self.holding.ended(rows)

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
            case KeepHead():
                self.witnesses.restored(op)
        self.reporter.restored(op, now_ms)
        self.dispatch.restored(op, now_ms)
        self.resolutions.restored(op, now_ms)
        self.approving.restored(op)
        self.rerouting.restored(op, now_ms)
        self.absent.restored(op)
        self.list_reach.restored(now_ms)

    def check_room(self, link: Link) -> Reject | None:
        return self.session_keeper.check_room(link)

    def log_known(self, link: Link) -> int | None:
        return self.witnesses.known(link)

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

    # -- messages ---------------------------------------------------------------------------------------

    def on_message(
        self, link: Link, item: Item, message: Verified, lane: Lane, now_ms: int, ready: Ready
    ) -> None:
        self.passage.take(link, item, message, lane, now_ms, ready)

    def submit(self, message: Verified, now_ms: int, ready: Ready) -> None:
        """A message of this relay's own climbs like any other."""
        self.passage.route(message, Item(Direction.UP, 0, [], [], message.raw), now_ms, ready)

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
        self.action_reports.row_ended(row, refused, now_ms, ready)

