"""A relay (SPEC 7-9): what climbs, what descends, who below gets it, and what became of it.

`step` of `Node` dispatches; this says what messages mean. The order of checks on arrival is `_examine`, and it is
the only way into custody. Guarantees, at this hop and whatever the others do: nothing enters in a direction that
`permissions.DIRECTIONS` does not list, without its origin's grant, out of time, or with a part above this relay's
clearance; an action reaches only targets that its selector, its requester's grant and the target's own grant name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from fabric.protocol.actions import End
from fabric.protocol.announce import announce, announce_all, answered, next_frames
from fabric.protocol.credentials import Credential
from fabric.protocol.custody import Custody
from fabric.protocol.envelope import Header, Kind
from fabric.protocol.errors import Code, Reject
from fabric.protocol.lifetime import check_lifetime, remaining_ms
from fabric.protocol.limits import (
    FRAME_BYTES_MAX,
    POINT_QUOTA_BYTES,
    RETRY_MS,
    SKEW_MS,
    TARGETS_MAX,
)
from fabric.protocol.link import Link
from fabric.protocol.links import UPLINK
from fabric.protocol.node import Node
from fabric.protocol.outbox import Held, Outbox, Row
from fabric.protocol.permissions import (
    check_direction,
    check_origin,
    is_target,
    publish_rate_per_s,
    request_grants,
)
from fabric.protocol.rates import Rates
from fabric.protocol.ready import (
    KeepDispatch,
    KeepGap,
    KeepSession,
    Note,
    Op,
    Put,
    Ready,
)
from fabric.protocol.reports import NOBODY, SELECTED, build_gap, build_report
from fabric.protocol.routing import Attachment, Route, RouteTable, open_attachment
from fabric.protocol.sessions import Sessions, is_point, node_of, point_session
from fabric.protocol.severity import Lane
from fabric.protocol.signing import Signer
from fabric.protocol.tlp import Label
from fabric.protocol.verify import Verified, open_envelope
from fabric.protocol.wire import Bye, Direction, Item, Role, Routed, Routes

# A control point acknowledges after its handler returned, so its silence means work, not loss.
_POINT_RETRY_MS = 10_000
_DISPATCHES_MAX = 100_000
_TARGET_NAMES_BYTES_MAX = 131_072
# Hops, ages and the frame itself.
_FRAMING_BYTES = 4_096


class Relay(Node):
    accepts = (Role.CHILD, Role.PARENT, Role.POINT)

    def __init__(
        self,
        credential: Credential,
        signer: Signer,
        authority_key: bytes,
        session: bytes,
        entropy: Callable[[int], bytes],
        parent: str = "",
        skew_ms: int = SKEW_MS,
    ) -> None:
        super().__init__(credential, signer, authority_key, session, entropy, skew_ms)
        self.parent = parent
        self.custody = Custody(self._outbox)
        self.routes = RouteTable()
        self.rates = Rates()
        # (action's digest, target or "" for "turned here") -> (label, until): who may answer what.
        self._dispatches: OrderedDict[tuple[bytes, str], tuple[Label, int]] = OrderedDict()
        self.sessions = Sessions()
        self._markers: dict[str, bytes] = {}  # session -> the gap marker that it has yet to acknowledge
        self._reports = 0

    @property
    def is_root(self) -> bool:
        return not self.parent

    # -- links ------------------------------------------------------------------------------------------

    def destination_of(self, link: Link) -> str:
        assert link.peer is not None
        if link.peer_role == Role.PARENT:
            return UPLINK
        if link.peer_role == Role.CHILD:
            return f"relay:{link.peer.id}"
        return point_session(link.peer.id, link.peer_session)

    def _outbox(self, destination: str) -> Outbox:
        outbox = self.outboxes.get(destination)
        if outbox is None:
            retry_ms = _POINT_RETRY_MS if is_point(destination) else RETRY_MS
            outbox = self.outboxes[destination] = Outbox(destination, retry_ms)
        self.touch(destination)
        return outbox

    def on_open(self, link: Link, now_ms: int, ready: Ready) -> None:
        self.sessions.came(link.destination)
        if link.peer_role == Role.PARENT:
            announce_all(link, self.routes)

    def on_lost(self, link: Link, now_ms: int, ready: Ready) -> None:
        if link.peer_role == Role.POINT:
            self.sessions.left(link.destination, now_ms)

    def on_bye(self, link: Link, bye: Bye, now_ms: int, ready: Ready) -> None:
        if link.peer_role == Role.POINT and not self.sessions.is_durable(link.destination):
            self._forget_session(link.destination, now_ms, ready)

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        for destination in self.sessions.overdue(now_ms):
            self._forget_session(destination, now_ms, ready)
        for destination, records in self.sessions.gaps():
            self._mark_gap(destination, records, now_ms, ready)
        for held in self.custody.overdue(now_ms):
            self._expire(held, now_ms, ready)
        self.custody.dedup.sweep(now_ms)
        while self._dispatches and next(iter(self._dispatches.values()))[1] < now_ms:
            self._dispatches.popitem(last=False)

    def _forget_session(self, destination: str, now_ms: int, ready: Ready) -> None:
        """A control point left, or did not come back in time: its rows end, its routes go."""
        self.sessions.forget(destination)
        self._markers.pop(destination, None)
        for route in self.routes.forget_via(destination):
            self._announce(route.attachment, withdrawn=True)
        ready.persist += [KeepSession(destination, b""), KeepGap(destination, 0)]
        outbox = self.outboxes.get(destination)
        for row in outbox.rows() if outbox else []:
            self.on_settled(row, Reject(Code.SUBSCRIBER_GONE), now_ms, ready)
        self.outboxes.pop(destination, None)

    # -- routes -----------------------------------------------------------------------------------------

    def on_routes(self, link: Link, frame: Routes, now_ms: int, ready: Ready) -> None:
        if link.peer_role == Role.PARENT:
            self.refuse(link, Reject(Code.WRONG_ROLE, "routes come from below"), now_ms, ready)
            return
        if frame.sequence == link.routes_in:
            self.send(link, Routed(frame.sequence, []), ready)
            return
        if frame.first:
            for route in self.routes.forget_via(link.destination):
                self._announce(route.attachment, withdrawn=True)
        refusals = []
        for index, raw in enumerate(frame.attachments):
            opened = open_attachment(raw, self.credentials)
            problem = opened if isinstance(opened, Reject) else self._attach(opened, link, now_ms, ready)
            if problem is not None:
                self.count("refused", problem.code.reason)
                refusals.append((index, problem.code, problem.detail))
        for node, session, epoch in frame.withdrawals:
            known = self.routes.get((node, session))
            if known is not None and self.routes.withdraw(node, session, epoch, link.destination):
                self._announce(known.attachment, withdrawn=True)
        if not any(code is Code.UNKNOWN_SIGNER for _, code, _ in refusals):
            link.routes_in = frame.sequence
        self.send(link, Routed(frame.sequence, refusals), ready)

    def _attach(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> Reject | None:
        problem = self.trust.check(attachment.credential, self.fabric_now(now_ms))
        if problem is not None:
            return problem
        if link.peer_role == Role.POINT:
            assert link.peer is not None
            if attachment.key != (link.peer.id, link.peer_session):
                return Reject(Code.WRONG_PEER, "a control point attaches itself only")
            self.keep(attachment.credential, ready)
            ready.persist.append(KeepSession(link.destination, attachment.raw))
            self.sessions.attached(link.destination, attachment.keep_ms)
            for surplus in self.sessions.surplus(link.peer.id):
                self._forget_session(surplus, now_ms, ready)
        if self.routes.put(attachment, link.destination):
            self._announce(attachment, withdrawn=False)
        return None

    def _announce(self, attachment: Attachment, *, withdrawn: bool) -> None:
        uplink = self.by_destination.get(UPLINK)
        if uplink is not None:
            announce(uplink, attachment.key, attachment.epoch if withdrawn else None)
            self.touch(UPLINK)

    def make_routes(self, link: Link, now_ms: int, ready: Ready) -> None:
        if link.peer_role == Role.PARENT:
            for frame in next_frames(link, self.routes, now_ms):
                self.send(link, frame, ready)

    def on_routed(self, link: Link, frame: Routed, now_ms: int, ready: Ready) -> None:
        for (node, _), reason in answered(link, frame):
            ready.notes.append(
                Note("route refused", {"node": node, "code": reason.code.label, "detail": reason.detail})
            )
        self.touch(UPLINK)

    # -- messages in ------------------------------------------------------------------------------------

    def on_message(self, link: Link, item: Item, message: Verified, lane: Lane, sent_ms: int, now_ms: int,
                   ready: Ready) -> None:
        link.consumed_bytes[lane] += len(item.envelope)
        self.counters["received"] += 1
        problem = check_direction(message.header.kind, link.peer_role, item.direction)
        if problem is None and self.custody.dedup.seen(message.id, item.direction, now_ms):
            self.counters["repeats"] += 1
            self._upgrade(message, item.direction, ready)
            self.ack(link, message.id)
            return
        problem = problem or self._examine(link, item, message, now_ms)
        if problem is not None:
            self.nack(link, message.id, problem)
            return
        stripped = self.strip(message, self.me)
        if isinstance(stripped, Reject):
            self.nack(link, message.id, stripped)
            return
        if self.custody.full(stripped.header.lane, len(stripped.raw)):
            self.nack(link, message.id, Reject(Code.BUSY, stripped.header.lane.name.lower()))
            return
        self.ack(link, message.id)
        self._route(stripped, item, now_ms, ready)

    def _examine(self, link: Link, item: Item, message: Verified, now_ms: int) -> Reject | None:
        header = message.header
        problem = check_lifetime(
            header.kind.word, header.issued_at_ms, header.ttl_ms, item.age_ms, self.fabric_now(now_ms),
            self.skew_ms, self.clock_suspect,
        )
        problem = problem or check_origin(message.credential, header)
        if problem is not None or link.peer_role != Role.POINT:
            return problem
        # The first hop: what only the relay of the origin can know.
        assert link.peer is not None
        if message.credential.id != link.peer.id:
            return Reject(Code.WRONG_PEER, "a control point sends its own messages only")
        if header.kind is Kind.RESULT:
            return self._check_answer(header, link.peer.id)
        if header.kind in (Kind.EVENT, Kind.INTEL):
            rate = publish_rate_per_s(message.credential, header.topic)
            if not self.rates.allow(link.peer.id, header.records, rate, now_ms):
                return Reject(Code.RATE_EXCEEDED, header.topic)
        return None

    def _check_answer(self, header: Header, target: str) -> Reject | None:
        dispatched = self._dispatches.get((header.correlation, target))
        if dispatched is None:
            return Reject(Code.NOT_A_TARGET, header.topic)
        if header.label < dispatched[0]:
            return Reject(Code.LABEL_TOO_LOW, header.topic)
        return None

    def _upgrade(self, message: Verified, direction: Direction, ready: Ready) -> None:
        """The same message by another path, with parts that the first copy lacked (SPEC 7.5)."""
        held = self.custody.get(message.id, direction)
        if held is None:
            return
        fitted = self.strip(message, self.me)
        if isinstance(fitted, Reject):
            return
        fuller = held.message.united_with(fitted)
        if fuller is not held.message:
            self.counters["upgraded"] += 1
            self.custody.replace(held, fuller, ready)

    def submit(self, message: Verified, now_ms: int, ready: Ready) -> None:
        """A message of this relay's own climbs like any other."""
        self._route(message, Item(Direction.UP, 0, [], [], message.raw), now_ms, ready)

    # -- where to ---------------------------------------------------------------------------------------

    def _route(self, message: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        header = message.header
        match header.kind, item.direction:
            case Kind.EVENT, _:
                here = [r for r in self.routes.interested(header.topic) if is_point(r.via)]
                self._hold(message, item, self._uplink() + _destinations(here), now_ms, ready)
            case Kind.INTEL, Direction.UP if not self.is_root:
                self._hold(message, item, self._uplink(), now_ms, ready)
            case Kind.INTEL, _:
                below = self.routes.interested(header.topic)
                self._hold(message, item, _destinations(below), now_ms, ready)
            case Kind.ACTION, Direction.UP:
                grants = request_grants(message.credential, header)
                assert not isinstance(grants, Reject)
                if self.is_root or grants[0].scope == self.me.id:
                    self._turn(message, item, now_ms, ready)
                else:
                    self._hold(message, item, self._uplink(), now_ms, ready)
            case Kind.ACTION, _:
                self._dispatch(message, item, tuple(item.targets), now_ms, ready)
            case Kind.RESULT, Direction.UP if not self._turns_here(header):
                self._hold(message, item, self._uplink(), now_ms, ready)
            case Kind.RESULT, _:
                self._hold(message, item, _destinations(self.routes.of_node(header.to)), now_ms, ready)

    def _uplink(self) -> list[tuple[str, tuple[str, ...]]]:
        return [] if self.is_root else [(UPLINK, ())]

    def _turns_here(self, result: Header) -> bool:
        return self.is_root or (result.correlation, "") in self._dispatches

    def _hold(self, message: Verified, item: Item, destinations: list[tuple[str, tuple[str, ...]]], now_ms: int,
              ready: Ready, direction: Direction | None = None) -> None:
        header = message.header
        direction = item.direction if direction is None else direction
        expires_at_ms = now_ms + remaining_ms(
            issued_at_ms=header.issued_at_ms, ttl_ms=header.ttl_ms, age_ms=item.age_ms,
            now_ms=self.fabric_now(now_ms), skew_ms=self.skew_ms, clock_suspect=self.clock_suspect,
        )
        if not destinations:
            self.count("ended", Code.NO_INTEREST.reason)
            self.custody.saw(message.id, direction, expires_at_ms, ready)
            return
        self.keep(message.credential, ready)
        held = Held(message, direction, header.lane, item.age_ms, now_ms, expires_at_ms, tuple(item.hops))
        self.custody.put(held, destinations, ready)
        if header.kind in (Kind.EVENT, Kind.INTEL):
            for destination, _ in destinations:
                if is_point(destination):
                    self._shed(self._outbox(destination), now_ms, ready)

    def _shed(self, outbox: Outbox, now_ms: int, ready: Ready) -> None:
        """A control point that does not keep up loses its own oldest; nobody else waits for it."""
        while outbox.bytes > POINT_QUOTA_BYTES:
            row = outbox.least()
            if row is None:
                return  # all of it is in flight
            lost = self.sessions.lose(outbox.destination, row.held.message.header.records)
            if lost:
                ready.persist.append(KeepGap(outbox.destination, lost))
            self.on_settled(row, Reject(Code.SUBSCRIBER_SLOW), now_ms, ready)

    def _mark_gap(self, destination: str, records: int, now_ms: int, ready: Ready) -> None:
        """Tell a reader that is there how much it lost, one marker at a time."""
        unread = self._markers.get(destination)
        if destination not in self.by_destination or (unread and self.custody.get(unread, Direction.DOWN)):
            return
        self._reports += 1
        raw = build_gap(
            node_of(destination), records, self.me, self.signer, self._reports, self.fabric_now(now_ms), self.entropy
        )
        marker = open_envelope(raw, {self.me.digest: self.me}, self.roots)
        assert isinstance(marker, Verified)
        self._markers[destination] = marker.id
        self.sessions.told(destination)
        ready.persist.append(KeepGap(destination, 0))
        item = Item(Direction.DOWN, 0, [], [], raw)
        self._hold(marker, item, [(destination, ())], now_ms, ready)

    # -- actions ----------------------------------------------------------------------------------------

    def _turn(self, action: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """The highest relay that this action reaches: here its targets are selected (SPEC 9.2)."""
        header = action.header
        targets = tuple([
            route.attachment.node
            for route in self.routes.executors()
            if is_target(action.credential, header, route.attachment.credential)
        ])
        if not _fits(action, targets):
            self.custody.saw(action.id, Direction.UP, now_ms + header.ttl_ms + self.skew_ms, ready)
            self.report(action, End.REFUSED, (), Code.TOO_LARGE, now_ms, ready)
            return
        self._remember(action.leaf, "", header, now_ms, ready)
        self.custody.saw(action.id, Direction.UP, now_ms + header.ttl_ms + self.skew_ms, ready)
        self.report(action, SELECTED if targets else NOBODY, targets, None, now_ms, ready)
        if targets:
            self._dispatch(action, item._replace(direction=Direction.DOWN), targets, now_ms, ready)

    def _dispatch(self, action: Verified, item: Item, targets: tuple[str, ...], now_ms: int, ready: Ready) -> None:
        """Hand an action to the links that lead to its targets. Each tier asks again who may be one."""
        header = action.header
        by_via: dict[str, list[str]] = {}
        for target in dict.fromkeys(targets):
            route = self.routes.executor(target)
            if route is None:
                self.report(action, End.UNROUTABLE, (target,), Code.UNROUTABLE, now_ms, ready)
            elif not is_target(action.credential, header, route.attachment.credential):
                self.report(action, End.REFUSED, (target,), Code.EXECUTE_DENIED, now_ms, ready)
            else:
                by_via.setdefault(route.via, []).append(target)
                if is_point(route.via):
                    self._remember(action.leaf, target, header, now_ms, ready)
        destinations = [(via, tuple(below)) for via, below in by_via.items()]
        self._hold(action, item, destinations, now_ms, ready, Direction.DOWN)

    def _remember(self, digest: bytes, target: str, header: Header, now_ms: int, ready: Ready) -> None:
        # A result may come long after the action's delivery ended: an hour and its own ttl cover a slow handler.
        until_ms = now_ms + header.ttl_ms + 3_600_000
        self._dispatches[(digest, target)] = (header.label, until_ms)
        ready.persist.append(KeepDispatch(digest, target, int(header.label), until_ms))
        if len(self._dispatches) > _DISPATCHES_MAX:
            self._dispatches.popitem(last=False)

    def report(self, action: Verified, end: str, targets: tuple[str, ...], code: Code | None, now_ms: int,
               ready: Ready, *, climbing: bool = False) -> None:
        """Tell the requester. `climbing`: the action had not turned yet, so the requester is below this relay."""
        self._reports += 1
        raw = build_report(
            action, str(end), targets, code, self.me, self.signer, self._reports, self.fabric_now(now_ms), self.entropy
        )
        report = open_envelope(raw, {self.me.digest: self.me}, self.roots)
        assert isinstance(report, Verified)
        direction = Direction.DOWN if climbing else Direction.UP
        self.count("reported", str(end))
        self._route(report, Item(direction, 0, [], [], raw), now_ms, ready)

    # -- how rows end -----------------------------------------------------------------------------------

    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        self.custody.end(row, ready)
        if refused is None:
            self.counters["acknowledged"] += 1
            return
        header = row.held.message.header
        self.count("ended", refused.code.reason)
        if header.kind is not Kind.ACTION:
            return  # thousands a second may end like this: they are counted
        ready.notes.append(Note("action ended", {
            "reason": refused.code.reason, "code": refused.code.label, "id": row.held.message.id.hex(),
            "origin": header.origin, "destination": row.destination.split("/")[0],
            "age_ms": row.held.age_at(now_ms), "ttl_ms": header.ttl_ms,
        }))
        self._action_ended(row, refused, now_ms, ready)

    def _action_ended(self, row: Row, refused: Reject, now_ms: int, ready: Ready) -> None:
        """After dispatch silence is `unknown`; only an undispatched row, or the peer's own refusal, says more."""
        code = refused.code
        dispatched = row.tries > 0 or row.held.restored
        if code in (Code.EXPIRED, Code.SUBSCRIBER_GONE) and dispatched and row.destination != UPLINK:
            end = End.UNKNOWN
        elif code is Code.EXPIRED:
            end = End.EXPIRED
        elif code in (Code.SUBSCRIBER_GONE, Code.UNROUTABLE):
            end = End.UNROUTABLE
        else:
            end = End.REFUSED
        climbing = row.held.direction is Direction.UP
        self.report(row.held.message, end, row.targets, code, now_ms, ready, climbing=climbing)

    def _expire(self, held: Held, now_ms: int, ready: Ready) -> None:
        if not self.is_expired(held.message, held.age_at(now_ms), now_ms):
            self.custody.later(held, now_ms + 1_000)
            return
        for row in list(held.rows.values()):
            self.on_settled(row, Reject(Code.EXPIRED), now_ms, ready)

    def on_lists(self, now_ms: int, ready: Ready) -> None:
        """Queued messages of a revoked origin end; they would be refused at every hop."""
        for outbox in list(self.outboxes.values()):
            for row in outbox.rows():
                revoked = self.trust.revocations.check(row.held.message.credential)
                if revoked is not None:
                    self.on_settled(row, revoked, now_ms, ready)

    # -- after a restart --------------------------------------------------------------------------------

    def on_restore(self, op: Op, now_ms: int) -> None:
        match op:
            case KeepSession(destination, raw):
                attachment = open_attachment(raw, self.credentials)
                if isinstance(attachment, Attachment):
                    self.routes.put(attachment, destination)
                    self._outbox(destination)
                    self.sessions.attached(destination, attachment.keep_ms)
                    self.sessions.left(destination, now_ms)
            case KeepGap(destination, records):
                self.sessions.restore_lost(destination, records)
            case KeepDispatch(digest, target, label, until_ms):
                self._dispatches[(digest, target)] = (Label(label), until_ms)
            case Put():
                for destination, _ in op.destinations:
                    if is_point(destination):
                        self.sessions.left(destination, now_ms)


def _fits(action: Verified, targets: tuple[str, ...]) -> bool:
    """Whether the action and all its targets go in one frame, and their names in one report."""
    names_bytes = sum(len(name) + 2 for name in targets)
    return (
        len(targets) <= TARGETS_MAX
        and names_bytes <= _TARGET_NAMES_BYTES_MAX
        and names_bytes + len(action.raw) <= FRAME_BYTES_MAX - _FRAMING_BYTES
    )


def _destinations(routes: list[Route]) -> list[tuple[str, tuple[str, ...]]]:
    return [(via, ()) for via in dict.fromkeys(route.via for route in routes)]
