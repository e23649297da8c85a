"""Custody and outboxes under any order of events: nothing is lost, nothing ends twice, accounts are right."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabric.protocol.base.limits import LANE_QUOTA_BYTES, RETRY_MS
from fabric.protocol.core.ready import Done, Put, Ready, Replace
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.pace import Pace
from fabric.protocol.envelope.layout import redact
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction
from tests.support import EVERYTHING, T0, Authority, derive, message, opened

AUTHORITY = Authority("outbox")
ORIGINS = [AUTHORITY.issue(f"origin-{n}", grants=EVERYTHING) for n in range(3)]
DESTINATIONS = ("^", "relay:a", "point:b/00")


def noise(size: int) -> str:
    """Text that zlib makes little of, so that messages differ in size and windows fill."""
    return "".join(derive("noise", n).hex() for n in range(size // 64 + 1))[:size]


MESSAGES = [
    opened(message(origin, records=[{"x": noise(size), "s": "t" * 100}], rules={"s": Label.RED}, sequence=n), origin)
    for origin in ORIGINS
    for n, size in enumerate([1, 50, 400, 2000, 1, 50, 400, 2000])
]
WINDOW = 1_500  # one large message, or some small ones
OPEN_WINDOW = [1 << 40] * len(Lane)
FOREVER_MS = 1 << 60


def stripped(whole: Verified) -> Verified:
    """The copy of a message that came by a relay without clearance for all of it."""
    return whole.with_parts_of(redact(whole.envelope, whole.header.manifest, lambda entry: entry.label < Label.RED))


def heads(outbox: Outbox, lane: Lane, now_ms: int) -> list[Row]:
    """What each origin could send next: the first of its rows that is not in flight, if its time has come."""
    first: dict[str, Row] = {}
    for row in outbox.rows():
        if row.held.lane == lane and row.sent_at_ms is None:
            first.setdefault(row.held.message.header.origin, row)
    return [row for row in first.values() if row.not_before_ms <= now_ms]


def unpaced(name: str) -> Outbox:
    """Order and credit alone decide: what the pace adds has tests of its own."""
    outbox = Outbox(name, RETRY_MS)
    outbox.paces = (Endless(),) * len(Lane)
    return outbox


class Endless(Pace):
    def __init__(self) -> None:
        super().__init__()
        self.window_bytes = 1 << 40

    def answered(self, sent_ms: int, now_ms: int) -> None:
        pass



class Journey(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.now_ms = T0
        self.outboxes = {name: unpaced(name) for name in DESTINATIONS}
        self.custody = Custody(lambda name: self.outboxes[name])
        self.left = list(MESSAGES)
        self.open: dict[tuple[bytes, str], Lane] = {}
        self.persisted: dict[tuple[bytes, str], int] = {}
        self.sizes: dict[bytes, int] = {}
        # At most what the floor can owe a lane: a sixteenth of what went before it, and one for the rounding.
        self.earned = {name: [0] * len(Lane) for name in DESTINATIONS}

    def apply(self, ready: Ready) -> None:
        for op in ready.persist:
            if isinstance(op, Put):
                for name, _ in op.destinations:
                    assert (op.id, name) not in self.persisted
                    self.persisted[op.id, name] = 0
            elif isinstance(op, Done):
                assert self.persisted[op.id, op.destination] == 0, "a row ends once"
                self.persisted[op.id, op.destination] = 1
                others = [v for (id_, _), v in self.persisted.items() if id_ == op.id]
                assert op.last == all(others)

    @rule(
        lane=st.sampled_from(list(Lane)), where=st.sets(st.sampled_from(DESTINATIONS), min_size=1),
        whole=st.booleans(),
    )
    def put(self, lane: Lane, where: set[str], whole: bool) -> None:
        if not self.left:
            return
        copy = self.left.pop() if whole else stripped(self.left.pop())
        held = Held(copy, Direction.UP, lane, 0, self.now_ms, self.now_ms + 60_000, ())
        self.sizes[copy.id] = len(copy.raw)
        ready = Ready()
        self.custody.put(held, [(name, ()) for name in sorted(where)], ready)
        self.apply(ready)
        self.open |= {(held.message.id, name): lane for name in where}

    @rule(name=st.sampled_from(DESTINATIONS), count=st.integers(1, 6))
    def send(self, name: str, count: int) -> None:
        outbox = self.outboxes[name]
        for _ in range(count):
            allowance = [WINDOW - outbox.in_flight_bytes[lane] for lane in Lane]
            row = self.take(outbox, allowance)
            if row is None:
                return
            assert (row.held.message.id, name) in self.open and not row.done
            fits = row.held.size <= allowance[row.held.lane]
            assert fits or outbox.in_flight_bytes[row.held.lane] == 0
            outbox.sent(row, self.now_ms, row.held.size)

    def take(self, outbox: Outbox, allowance: list[int]) -> Row | None:
        """What is offered, held against the order of lanes: a row may pass a higher lane for what it is owed only."""
        ready = {lane: heads(outbox, lane, self.now_ms) for lane in Lane}
        fits = {
            lane: [r.held.size <= allowance[lane] or outbox.in_flight_bytes[lane] == 0 for r in ready[lane]]
            for lane in Lane
        }
        surely = [lane for lane in Lane if fits[lane] and all(fits[lane])]
        perhaps = [lane for lane in Lane if any(fits[lane])]
        row = outbox.take(self.now_ms, allowance)
        if row is None:
            assert not surely
            return None
        lane, earned = row.held.lane, self.earned[outbox.destination]
        assert row in ready[lane] and lane in perhaps
        if surely and surely[0] < lane:
            assert earned[lane] >= row.held.size, f"{lane.name} went before {surely[0].name} and was owed too little"
            earned[lane] = 0
        else:
            for below in perhaps:
                if below > lane:
                    earned[below] += row.held.size // 16 + 1
        return row

    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """The other parts of a message come by another way: rows carry them, and they are counted."""
        held = [row.held for outbox in self.outboxes.values() for row in outbox.rows() if row.held.message.withheld]
        if not held:
            return
        one = data.draw(st.sampled_from(held))
        fuller = one.message.united_with(next(m for m in MESSAGES if m.id == one.message.id))
        assert fuller.withheld == 0
        ready = Ready()
        assert self.custody.replace(one, fuller, ready)
        self.sizes[fuller.id] = len(fuller.raw)
        assert [type(op) for op in ready.persist] == [Replace]
        assert all(row.held.message is fuller for row in one.rows.values())

    @rule(passed_ms=st.integers(0, 70_000), data=st.data())
    def deadlines(self, passed_ms: int, data: st.DataObject) -> None:
        """What is offered as due is due, once; put back or ended, nothing loses its deadline."""
        self.now_ms += passed_ms
        due = self.custody.overdue(self.now_ms)
        assert self.custody.overdue(self.now_ms) == []
        for held in due:
            assert held.rows
            if data.draw(st.booleans()):
                self.custody.later(held, self.now_ms + 1_000)
            else:
                for row in list(held.rows.values()):
                    self.end(row)
        everything = self.custody.overdue(FOREVER_MS)
        assert sorted(held.message.id for held in everything) == sorted({id_ for id_, _ in self.open})
        for held in everything:
            self.custody.later(held, max(self.now_ms + 1_000, held.expires_at_ms))

    @rule(name=st.sampled_from(DESTINATIONS), data=st.data(), again=st.booleans())
    def answer(self, name: str, data: st.DataObject, again: bool) -> None:
        outbox = self.outboxes[name]
        flying = [row for row in outbox.rows() if row.sent_at_ms is not None]
        if not flying:
            return
        row = data.draw(st.sampled_from(flying))
        assert outbox.settle(row.held.message.id, self.now_ms) is row
        assert outbox.settle(row.held.message.id, self.now_ms) is None, "an answer counts once"
        if again:
            outbox.again(row, self.now_ms + 200)
        else:
            self.end(row)

    def end(self, row) -> None:
        ready = Ready()
        self.custody.end(row, ready)
        self.apply(ready)
        del self.open[row.held.message.id, row.destination]

    @rule(name=st.sampled_from(DESTINATIONS), data=st.data())
    def expire(self, name: str, data: st.DataObject) -> None:
        rows = self.outboxes[name].rows()
        if rows:
            row = data.draw(st.sampled_from(rows))
            self.end(row)
            ready = Ready()
            self.custody.end(row, ready)
            assert ready.persist == []

    @rule(name=st.sampled_from(DESTINATIONS))
    def lose_the_link(self, name: str) -> None:
        self.outboxes[name].recall()
        self.outboxes[name].paces = (Endless(),) * len(Lane)
        assert all(row.sent_at_ms is None for row in self.outboxes[name].rows())

    @rule(name=st.sampled_from(DESTINATIONS), passed_ms=st.integers(0, 40_000))
    def wait(self, name: str, passed_ms: int) -> None:
        self.now_ms += passed_ms
        for row in self.outboxes[name].overdue(self.now_ms):
            assert row.sent_at_ms is None

    @rule(name=st.sampled_from(DESTINATIONS))
    def drain(self, name: str) -> None:
        """With an open window everything comes, each row once."""
        self.now_ms += 1_000
        outbox = self.outboxes[name]
        waiting = {row.held.message.id for row in outbox.rows() if row.sent_at_ms is None}
        came = []
        while (row := self.take(outbox, OPEN_WINDOW)) is not None:
            came.append(row.held.message.id)
            outbox.sent(row, self.now_ms, row.held.size)
        assert len(came) == len(set(came)) and set(came) == waiting

    @invariant()
    def accounts_are_right(self) -> None:
        if not hasattr(self, "open"):
            return
        for name, outbox in self.outboxes.items():
            mine = {id_ for id_, where in self.open if where == name}
            assert {row.held.message.id for row in outbox.rows()} == mine
            assert sum(outbox.counts()) == len(mine)
            assert outbox.bytes == sum(len(row.held.message.raw) for row in outbox.rows())
            for lane in Lane:
                flying = [r for r in outbox.rows() if r.sent_at_ms is not None and r.held.lane == lane]
                assert outbox.in_flight_bytes[lane] == sum(row.held.size for row in flying)
                queued = [r for r in outbox.rows() if r.sent_at_ms is None and r.held.lane == lane]
                assert outbox.queued_bytes(lane) == sum(row.held.size for row in queued)
        for lane in Lane:
            # Rows of readers (these are all events) count in no lane.
            ids = {id_ for (id_, where), at in self.open.items() if at == lane and not where.startswith("point:")}
            assert self.custody.lane_bytes[lane] == sum(self.sizes[id_] for id_ in ids)
            assert self.custody.full(lane, LANE_QUOTA_BYTES - self.custody.lane_bytes[lane] + 1)
            assert not self.custody.full(lane, LANE_QUOTA_BYTES - self.custody.lane_bytes[lane])
        assert len(self.custody) == len({id_ for id_, _ in self.open})
        assert {key for key, ended in self.persisted.items() if not ended} == set(self.open)


Journey.TestCase.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
TestJourney = Journey.TestCase


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 23), st.lists(st.sampled_from([Lane.CRITICAL, Lane.HIGH, Lane.MEDIUM]), unique=True),
       st.lists(st.integers(0, 23), min_size=1, max_size=4))
def test_no_lane_waits_for_more_than_its_share(low, between, flood):
    """However many lanes are full above it, and of whatever sizes: after 16 times its bytes it is its turn."""
    outbox = unpaced("^")

    def add(lane: Lane, message_: Verified) -> None:
        outbox.add(Row(Held(message_, Direction.UP, lane, 0, T0, T0 + 60_000, ()), "^"))

    add(Lane.LOW, MESSAGES[low])
    full = (Lane.URGENT, *between)
    sent = 0
    for turn in range(2_000):
        for lane in full:  # each lane above always has something
            if not heads(outbox, lane, T0):
                add(lane, MESSAGES[flood[turn % len(flood)]])
        row = outbox.take(T0, OPEN_WINDOW)
        assert row is not None
        if row.held.lane == Lane.LOW:
            break
        sent += row.held.size if row.held.lane == Lane.URGENT else 0
    largest = max(len(MESSAGES[n].raw) for n in flood)
    assert row.held.lane == Lane.LOW and sent <= 16 * row.held.size + largest


def rows_in(outbox: Outbox, lane: Lane, count: int, offset: int = 0) -> None:
    custody = Custody(lambda _: outbox)
    for n in range(count):
        origin = ORIGINS[n % 3]
        verified = opened(message(origin, records=[{"x": "y" * 300}], sequence=offset + n), origin)
        custody.put(Held(verified, Direction.UP, lane, 0, T0, T0 + 60_000, ()), [("^", ())], Ready())


def order_of(outbox: Outbox) -> list[Lane]:
    order = []
    while (row := outbox.take(T0, [1 << 40] * len(Lane))) is not None:
        order.append(row.held.lane)
        outbox.sent(row, T0, row.held.size)
    return order


def test_urgent_goes_first_and_the_lowest_does_not_starve() -> None:
    outbox = unpaced("^")
    rows_in(outbox, Lane.LOW, 30)
    rows_in(outbox, Lane.URGENT, 200, 1_000)
    order = order_of(outbox)
    assert order[:10] == [Lane.URGENT] * 10
    before_the_last_urgent = order[: len(order) - order[::-1].index(Lane.URGENT)]
    assert 8 <= before_the_last_urgent.count(Lane.LOW) <= 15, "about one in sixteen"
