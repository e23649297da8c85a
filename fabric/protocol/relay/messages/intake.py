"""What a relay asks of a message before it takes it (SPEC 7.3-7.8): `Passage.take` has the order.

Guarantees, at this hop and whatever the others do: nothing enters in a direction that `permissions.DIRECTIONS` does not
list, without its origin's grant, or out of time; what is refused for want of room, or of a way that will be known in a
moment, stays where it is.
"""

from __future__ import annotations

from fabric.protocol.access.permissions import check_direction, check_origin, publish_grant, resolves
from fabric.protocol.access.rates import Rates
from fabric.protocol.access.released import why_not_released
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ACTIONS_PER_S, RELABELS_PER_S, SETTLE_MS
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.ready import Ready
from fabric.protocol.core.standing import Standing
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.waiting import waits_for
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.lifetime import check_lifetime
from fabric.protocol.envelope.verify import RootCache, Verified
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import Links
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.relay.actions.answerers import Answerers
from fabric.protocol.relay.actions.dispatch import Dispatch
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.relay.messages.readers import Readers
from fabric.protocol.relay.messages.rerouting import Rerouting
from fabric.protocol.relay.router import Router, Way
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.known import supersedes
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Direction, Item, Role


class Intake:
    """It keeps how much each origin sent of late, and since when this relay runs."""

    def __init__(
        self, me: Credential, links: Links, uplink: Uplink, trust: TrustStore, time: Timekeeper, skew_ms: int,
        custody: Custody, readers: Readers, router: Router, dispatch: Dispatch, answerers: Answerers,
        rerouting: Rerouting, roster: Roster, roots: RootCache, counters: Counters, *, is_root: bool,
    ) -> None:
        self._me = me
        self._links = links
        self._uplink = uplink
        self._trust = trust
        self._time = time
        self._skew_ms = skew_ms
        self._custody = custody
        self._readers = readers
        self._router = router
        self._dispatch = dispatch
        self._answerers = answerers
        self._rerouting = rerouting
        self._roster = roster
        self._roots = roots
        self._count = counters.count
        self._is_root = is_root
        self._rates = Rates()
        self._started_ms: int | None = None

    def renewed(self, me: Credential) -> None:
        """This relay has a newer credential."""
        self._me = me

    def tick(self, now_ms: int, _: Ready) -> None:
        if self._started_ms is None:
            self._started_ms = now_ms

    @staticmethod
    def check_way(link: Link, item: Item, message: Verified) -> Reject | None:
        """Whether such a message may come from such a peer in this direction."""
        problem = check_direction(message.header.kind, link.peer_role, item.direction)
        return problem or _check_beginning(link, item)

    def made_a_circle(self, item: Item, message: Verified, now_ms: int) -> bool:
        """Whether its hops say that it climbed from here before. An action that went down from here is a repeat."""
        if item.direction is not Direction.UP or item.moved or self._me.id not in item.hops:
            return False
        went_down = self._dispatch.turned(message) or self._custody.dedup.seen(
            message.id, Direction.DOWN, now_ms
        )
        return not (message.header.kind is Kind.ACTION and went_down)

    def check_circle(self, link: Link) -> Reject | None:
        """Whether who brings back what was here is above this relay, too. Then it stays where it is until one moves."""
        assert link.peer is not None
        above = link.peer.id == self._uplink.current or link.peer.id in self._links.ancestors
        if above or not (self._is_root or self._uplink.current):
            self._count("refused", Code.LOOP.reason)
            return Reject(Code.BUSY, f"{link.peer.id} may be above {self._me.id}")
        return None

    def no_room(self, message: Verified) -> Reject | None:
        """Whether its lane is full, or its origin has its share of it."""
        return Reject(Code.BUSY, message.header.lane.name.lower()) if self._custody.no_room_for(message) else None

    def waits(self, message: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether a reader to whom it would have to go is full and loses nothing: it stays where it is (SPEC 7.5)."""
        header = message.header
        if header.kind not in (Kind.EVENT, Kind.INTEL) or not self._readers.may_wait:
            return None
        reader = self._readers.full_reader(self._ways_for_readers(message, item, now_ms), message, now_ms)
        if not reader:
            return None
        self._count("waits", header.kind.word)
        return Reject(Code.BUSY, waits_for(reader))

    def _ways_for_readers(self, message: Verified, item: Item, now_ms: int) -> list[Way]:
        """Where an event or intel will go from here, as `route` and `Rerouting.route` say."""
        if not item.moved:
            return self._router.readers(message.header, item.direction)
        if item.direction is Direction.UP and not self._rerouting.goes_down_here(message, now_ms):
            return self._router.up()
        here, others = self._rerouting.ways_of(message, item)
        return [*here, *others]

    def no_way_yet(self, link: Link, message: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether its way will be known in a moment: it is not taken before (SPEC 7.8)."""
        header = message.header
        if item.moved:
            return self._rerouting.not_yet(link.destination, message, item, now_ms)
        descends = item.direction is Direction.DOWN
        ends_here = header.kind is Kind.RESULT and (descends or self._answerers.turn_here(header))
        if ends_here and self._is_settling(now_ms) and not self._router.down_to(header.to):
            return Reject(Code.BUSY, "the ways are not known yet")
        return None

    def _is_settling(self, now_ms: int) -> bool:
        """Just started: who is below has yet to say so."""
        return self._started_ms is None or now_ms - self._started_ms < SETTLE_MS

    def examine(self, link: Link, item: Item, message: Verified, now_ms: int) -> Reject | None:
        """In time, by an origin that may say it, over a link that it may come by."""
        header = message.header
        problem = check_lifetime(
            header.kind.word, message.counts_from_ms, header.ttl_ms, item.age_ms, self._time.now(now_ms),
            self._skew_ms, self._time.by_age_only(now_ms),
        )
        problem = self._check_released(item, message, now_ms) or problem or check_origin(message.credential, header)
        assert link.peer is not None
        if problem is None and link.peer_role == Role.POINT and message.credential.id != link.peer.id:
            problem = Reject(Code.WRONG_PEER, "a control point sends its own messages only")
        if problem is None and link.peer_role == Role.POINT and supersedes(link.peer, message.credential):
            problem = _check_now(link.peer, message)
        if problem is None and header.kind is Kind.RESULT:
            problem = self._answerers.check(link.destination, message, item, now_ms)
        if problem is None and resolves(header):
            problem = self._answerers.check_resolution(message)
        if problem is None and header.kind is Kind.ACTION:
            problem = self._time.for_now(
                self._trust.check_action(message.credential, self._me.segment, self._time.clocks(now_ms))
            )
        return problem

    def _check_released(self, item: Item, message: Verified, now_ms: int) -> Reject | None:
        """Whether an action that comes down was approved, where that is due. One that climbs has yet to be held."""
        if message.header.kind is not Kind.ACTION or (item.direction is Direction.UP and not item.moved):
            return None if message.envelope.approved is None else Reject(Code.BAD_APPROVAL, "approvals climb alone")
        found = [self._roster.executor(target, now_ms) for target in item.targets]
        known = [executor.credential for executor in found if executor is not None]
        return why_not_released(
            message, known, self._trust, Standing(self._trust, self._time).checks(now_ms), self._roots,
            self._time.now(now_ms), self._skew_ms,
        )

    def check_rate(self, link: Link, message: Verified, now_ms: int) -> Reject | None:
        """What only the relay of the origin can know. What there is no room for costs its origin nothing."""
        header = message.header
        if link.peer_role != Role.POINT or header.kind is Kind.RESULT:
            return None
        lowers = header.relabels is not None
        if lowers and not self._rates.allow((header.origin, "relabels"), 1, RELABELS_PER_S, now_ms):
            return Reject(Code.RATE_EXCEEDED, f"{header.topic}: relabelled")
        whose: tuple[str, object] = (header.origin, header.kind)
        rate_per_s = ACTIONS_PER_S
        if header.kind not in (Kind.ACTION, Kind.APPROVAL):
            grant = publish_grant(message.credential, header)
            assert not isinstance(grant, Reject), "`check_origin` asked for it"
            whose, rate_per_s = (header.origin, grant), grant.rate_per_s
        allowed = self._rates.allow(whose, header.records, rate_per_s, now_ms)
        return None if allowed else Reject(Code.RATE_EXCEEDED, header.topic)


def _check_now(origin: Credential, message: Verified) -> Reject | None:
    """Whether it may say this by its newer credential. Further on it may be under way since before that."""
    return check_origin(origin, message.header) if message.header.kind in (Kind.EVENT, Kind.INTEL) else None


def _check_beginning(link: Link, item: Item) -> Reject | None:
    """A message begins at a control point: it has been nowhere, followed nobody, and is for whom its header says."""
    begins = not (item.moved or item.hops or item.targets)
    if begins or link.peer_role != Role.POINT:
        return None
    return Reject(Code.WRONG_DIRECTION, "a control point says neither whom it is for nor where it has been")
