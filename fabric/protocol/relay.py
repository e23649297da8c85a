"""A relay (SPEC 7-9): what climbs, what descends, who below gets it, and what became of it.

`step` of `Node` dispatches; this says what messages mean. The order of checks on arrival is `_examine`, and it is
the only way into custody. Guarantees, at this hop and whatever the others do: nothing enters in a direction that
`permissions.DIRECTIONS` does not list, without its origin's grant, out of time, or with a part above this relay's
clearance; an action reaches only targets that its selector, its requester's grant and the target's own grant name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from fabric.protocol.actions import End
from fabric.protocol.below import Below
from fabric.protocol.credentials import Credential
from fabric.protocol.custody import Destinations, HeldKey
from fabric.protocol.envelope import Header, Kind
from fabric.protocol.errors import Code, Reject
from fabric.protocol.lifetime import check_lifetime, remaining_ms
from fabric.protocol.limits import (
    FRAME_BYTES_MAX,
    POINT_QUOTA_BYTES,
    SESSION_GRACE_MS,
    SETTLE_MS,
    SKEW_MS,
    TARGETS_MAX,
)
from fabric.protocol.link import Link
from fabric.protocol.links import UPLINK
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
    Note,
    Op,
    Put,
    Ready,
)
from fabric.protocol.reports import NOBODY, SELECTED, build_gap, build_report
from fabric.protocol.routing import Attachment
from fabric.protocol.sessions import is_point, node_of
from fabric.protocol.severity import Lane
from fabric.protocol.signing import Signer
from fabric.protocol.tlp import Label
from fabric.protocol.topics import matches
from fabric.protocol.verify import Verified, open_envelope
from fabric.protocol.wire import Direction, Item, Role

_DISPATCHES_MAX = 100_000
_TARGET_NAMES_BYTES_MAX = 131_072
# Hops, ages and the frame itself.
_FRAMING_BYTES = 4_096


class Relay(Below):
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
        super().__init__(credential, signer, authority_key, session, entropy, parents, skew_ms)
        self.rates = Rates()
        # (action's digest, target or "" for "turned here") -> (label, until): who may answer what.
        self._dispatches: OrderedDict[tuple[bytes, str], tuple[Label, int]] = OrderedDict()
        self._markers: dict[str, bytes] = {}  # session -> the gap marker that it has yet to acknowledge
        self._homing: dict[HeldKey, None] = {}  # messages on their way back up, for whoever moved away
        self._departed: OrderedDict[str, int] = OrderedDict()  # who moved away -> until when that is remembered
        self._started_ms: int | None = None
        self._reports = 0

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        super().on_timers(now_ms, ready)
        for destination, records in self.sessions.gaps():
            self._mark_gap(destination, records, now_ms, ready)
        for held in self.custody.overdue(now_ms):
            self._expire(held, now_ms, ready)
        self.custody.dedup.sweep(now_ms)
        while self._dispatches and next(iter(self._dispatches.values()))[1] < now_ms:
            self._dispatches.popitem(last=False)
        while self._departed and next(iter(self._departed.values())) < now_ms:
            self._departed.popitem(last=False)

    def on_session_end(self, destination: str, now_ms: int, ready: Ready) -> None:
        self._markers.pop(destination, None)
        outbox = self.outboxes.get(destination)
        for row in outbox.rows() if outbox else []:
            self.on_settled(row, Reject(Code.SUBSCRIBER_GONE), now_ms, ready)

    # -- messages in ------------------------------------------------------------------------------------

    def on_message(self, link: Link, item: Item, message: Verified, lane: Lane, sent_ms: int, now_ms: int,
                   ready: Ready) -> None:
        link.consumed_bytes[lane] += len(item.envelope)
        self.counters["received"] += 1
        if item.direction is Direction.UP and not item.moved and self.me.id in item.hops:
            # It was here, and was answered for: taken for a repeat, it would be lost.
            self.refuse(link, Reject(Code.LOOP, f"{self.me.id} is below {item.hops[-1]}"), now_ms, ready)
            return
        problem = check_direction(message.header.kind, link.peer_role, item.direction)
        if problem is None and item.moved:
            problem = self._check_moved(item, message, now_ms)
        elif problem is None and self.custody.dedup.seen(message.id, item.direction, now_ms):
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
        problem = self._no_room(stripped) or self._no_way_yet(link, stripped, item, now_ms)
        if problem is not None:
            self.nack(link, message.id, problem)
            return
        self.ack(link, message.id)
        if item.moved:
            self._route_moved(stripped, item, now_ms, ready)
        else:
            self._route(stripped, item, now_ms, ready)

    def _no_room(self, message: Verified) -> Reject | None:
        lane = message.header.lane
        return Reject(Code.BUSY, lane.name.lower()) if self.custody.full(lane, len(message.raw)) else None

    def _no_way_yet(self, link: Link, message: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether its way will be known in a moment: it is not taken before (SPEC 7.8)."""
        header = message.header
        if item.moved:
            ways = self._ways(message, item.targets)
            back = item.direction is Direction.UP and any(way == link.destination for way, _ in ways)
            return Reject(Code.BUSY, "the ways change") if back else None
        ends_here = header.kind is Kind.RESULT and (item.direction is Direction.DOWN or self._turns_here(header))
        if ends_here and self._is_settling(now_ms) and not self.routes.of_node(header.to):
            return Reject(Code.BUSY, "the ways are not known yet")
        return None

    def _is_settling(self, now_ms: int) -> bool:
        """Just started: who is below has yet to say so."""
        if self._started_ms is None:
            self._started_ms = now_ms
        return now_ms - self._started_ms < SETTLE_MS

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
                here = [a for a in self.routes.interested(header.topic) if a.relay == self.me.id]
                self._hold(message, item, self._uplink() + self._destinations(here), now_ms, ready)
            case Kind.INTEL, Direction.UP if not self.is_root:
                self._hold(message, item, self._uplink(), now_ms, ready)
            case Kind.INTEL, _:
                below = self.routes.interested(header.topic)
                self._hold(message, item, self._destinations(below), now_ms, ready)
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
                self._answer_to(message, item, now_ms, ready)

    def _answer_to(self, result: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """Down to the requester. One that moved away is found from above."""
        header = result.header
        ways = self._destinations(self.routes.of_node(header.to))
        if ways or self.is_root:
            self._hold(result, item, ways, now_ms, ready)
        elif item.direction is Direction.UP or header.origin == self.me.id:
            self._hold(result, item, self._uplink(), now_ms, ready, Direction.UP)
        else:
            self._hold(result, item, [(UPLINK, (header.to,))], now_ms, ready, moved=True)

    def _destinations(self, attachments: list[Attachment]) -> list[tuple[str, tuple[str, ...]]]:
        ways = dict.fromkeys(self.routes.via(attachment) for attachment in attachments)
        return [(way, ()) for way in ways if way]

    def _uplink(self) -> list[tuple[str, tuple[str, ...]]]:
        return [] if self.is_root else [(UPLINK, ())]

    def _turns_here(self, result: Header) -> bool:
        return self.is_root or (result.correlation, "") in self._dispatches

    def _hold(self, message: Verified, item: Item, destinations: list[tuple[str, tuple[str, ...]]], now_ms: int,
              ready: Ready, direction: Direction | None = None, *, moved: bool = False) -> None:
        header = message.header
        direction = item.direction if direction is None else direction
        known = self.custody.get(message.id, direction)
        if known is not None:
            self._readdress(known, [], destinations, ready)
            return
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
        self.custody.put(held, destinations, ready, [way for way, _ in destinations] if moved else ())
        self._note_homing(held)
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
            attachment.node
            for attachment in self.routes.executors()
            if self.routes.via(attachment) and is_target(action.credential, header, attachment.credential)
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
        by_way: dict[str, list[str]] = {}
        follow = []
        for target in dict.fromkeys(targets):
            attachment = self.routes.executor(target)
            way = self.routes.via(attachment) if attachment is not None else ""
            if attachment is None or not way:
                if not self.is_root and (item.moved or target in self._departed):
                    follow.append(target)
                else:
                    self.report(action, End.UNROUTABLE, (target,), Code.UNROUTABLE, now_ms, ready)
            elif not is_target(action.credential, header, attachment.credential):
                self.report(action, End.REFUSED, (target,), Code.EXECUTE_DENIED, now_ms, ready)
            else:
                by_way.setdefault(way, []).append(target)
                if is_point(way):
                    self._remember(action.leaf, target, header, now_ms, ready)
        ways = [(way, tuple(below)) for way, below in by_way.items()]
        if ways or not follow:
            self._hold(action, item, ways, now_ms, ready, Direction.DOWN, moved=item.moved)
        if follow:
            self._hold(action, item, [(UPLINK, tuple(follow))], now_ms, ready, Direction.DOWN, moved=True)

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

    # -- who moved away -----------------------------------------------------------------------------------

    def _check_moved(self, item: Item, message: Verified, now_ms: int) -> Reject | None:
        """Nothing gets a new direction by this: a child gives back only what it had from here (SPEC 7.8)."""
        kind = message.header.kind
        if kind is Kind.EVENT or not item.targets:
            return Reject(Code.WRONG_DIRECTION, f"{kind.word} that moved")
        seen = self.custody.dedup.seen
        if item.direction is Direction.UP and not (
            seen(message.id, Direction.DOWN, now_ms) or seen(message.id, Direction.UP, now_ms)
        ):
            return Reject(Code.WRONG_DIRECTION, f"{kind.word} that never was here")
        return None

    def _route_moved(self, message: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """To whoever moved, and to nobody else; further up, when the way there does not begin here."""
        if message.header.kind is Kind.ACTION:
            self._dispatch(message, item, tuple(item.targets), now_ms, ready)
            return
        self.counters["followed"] += 1
        others = [target for target in item.targets if target != self.me.id]
        ways = self._ways(message, others)
        if len(others) < len(item.targets):
            ways += [(way, ()) for way, _ in self._destinations(self.routes.interested(message.header.topic))]
        if ways:
            self._hold(message, item, ways, now_ms, ready, moved=True)
        else:
            self.count("ended", Code.UNROUTABLE.reason)

    def _ways(self, message: Verified, targets: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Where to send a message for these nodes from here; up, for those who are not below."""
        action = message.header.kind is Kind.ACTION
        by_way: dict[str, list[str]] = {}
        for target in dict.fromkeys(targets):
            executor = self.routes.executor(target)
            known = ([executor] if executor else []) if action else self.routes.of_node(target)
            ways = [way for way, _ in self._destinations(known)]
            for way in ways or ([] if self.is_root else [UPLINK]):
                by_way.setdefault(way, []).append(target)
        return [(way, tuple(below)) for way, below in by_way.items()]

    def on_moved(self, destination: str, moved: list[Attachment], now_ms: int, ready: Ready) -> None:
        nodes = dict.fromkeys(attachment.node for attachment in moved)
        if destination != UPLINK and not self.routes.via(moved[0]):
            for node in nodes:
                self._departed[node] = now_ms + SESSION_GRACE_MS
        for row in self._rows_of(destination):
            header = row.held.message.header
            match header.kind:
                case Kind.RESULT:
                    concerned = [header.to] if header.to in nodes else []
                case Kind.INTEL if not row.targets:
                    interest = (matches(p, header.topic) for a in moved for p in a.subscriptions)
                    concerned = [moved[0].node] if any(interest) else []
                case _:
                    concerned = [target for target in row.targets if target in nodes]
            self._follow(row, concerned, now_ms, ready)

    def on_gone(self, destination: str, now_ms: int, ready: Ready) -> None:
        node = node_of(destination)
        self._departed[node] = now_ms + SESSION_GRACE_MS
        for row in self._rows_of(destination):
            kind = row.held.message.header.kind
            if kind is Kind.RESULT:
                self._follow(row, [row.held.message.header.to], now_ms, ready)
            elif kind is Kind.INTEL:
                self._follow(row, list(row.targets) or [node], now_ms, ready, whole=True)
            elif kind is Kind.ACTION:
                self._follow(row, list(row.targets), now_ms, ready)

    def _rows_of(self, destination: str) -> list[Row]:
        """Rows that may have to follow somebody. Of those that climb only what moved already."""
        if destination == UPLINK:
            held = [self.custody.get(*key) for key in self._homing]
            return [h.rows[UPLINK] for h in held if h is not None and UPLINK in h.rows]
        outbox = self.outboxes.get(destination)
        return outbox.rows() if outbox is not None else []

    def _follow(self, row: Row, concerned: list[str], now_ms: int, ready: Ready, *, whole: bool = False) -> None:
        """What of a row is for these nodes is sent after them. `whole`: nobody else is behind its destination."""
        held, kind = row.held, row.held.message.header.kind
        if kind is Kind.ACTION and (row.tries or held.restored) and row.destination != UPLINK:
            return  # it may have got there: after dispatch silence is `unknown`, and nothing is dispatched twice
        ways = [way for way in self._ways(held.message, concerned) if way[0] != row.destination]
        if not ways:
            return
        found = {target for _, targets in ways for target in targets}
        left = tuple(target for target in row.targets if target not in found)
        stays = bool(left) or (kind is Kind.INTEL and not row.targets and not whole)
        if stays:
            row.targets = left
        self._readdress(held, [] if stays else [row], ways, ready)
        self.counters["followed"] += 1
        if kind is Kind.ACTION:
            for way, targets in ways:
                for target in targets if is_point(way) else ():
                    self._remember(held.message.leaf, target, held.message.header, now_ms, ready)

    def _readdress(self, held: Held, rows: list[Row], ways: Destinations, ready: Ready) -> None:
        if ways or rows:
            self.custody.readdress(held, rows, ways, ready)
            self._note_homing(held)

    def _note_homing(self, held: Held) -> None:
        key = (held.message.id, held.direction)
        if UPLINK in held.rows and held.rows[UPLINK].moved:
            self._homing[key] = None
        else:
            self._homing.pop(key, None)

    # -- how rows end -----------------------------------------------------------------------------------

    def on_settled(self, row: Row, refused: Reject | None, now_ms: int, ready: Ready) -> None:
        self.custody.end(row, ready)
        if row.moved and row.destination == UPLINK:
            self._homing.pop((row.held.message.id, row.held.direction), None)
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
        super().on_restore(op, now_ms)
        match op:
            case KeepGap(destination, records):
                self.sessions.restore_lost(destination, records)
            case KeepDispatch(digest, target, label, until_ms):
                self._dispatches[(digest, target)] = (Label(label), until_ms)
            case Put():
                if UPLINK in op.moved:
                    self._homing[(op.id, op.direction)] = None
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

