"""Custody and outboxes under any order of events: nothing is lost, nothing ends twice, accounts are right."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabric.protocol.custody import Custody
from fabric.protocol.limits import RETRY_MS
from fabric.protocol.outbox import Held, Outbox
from fabric.protocol.ready import Done, Put, Ready
from fabric.protocol.severity import Lane
from fabric.protocol.wire import Direction
from tests.support import EVERYTHING, T0, Authority, message, opened

AUTHORITY = Authority("outbox")
ORIGINS = [AUTHORITY.issue(f"origin-{n}", grants=EVERYTHING) for n in range(3)]
DESTINATIONS = ("^", "relay:a", "point:b/00")
MESSAGES = [
    opened(message(origin, records=[{"x": "y" * size}], sequence=n), origin)
    for origin in ORIGINS
    for n, size in enumerate([1, 50, 400, 2000, 1, 50, 400, 2000])
]
WINDOW = 4_096


class Journey(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.now_ms = T0
        self.outboxes = {name: Outbox(name, RETRY_MS) for name in DESTINATIONS}
        self.custody = Custody(lambda name: self.outboxes[name])
        self.left = list(MESSAGES)
        self.open: dict[tuple[bytes, str], Lane] = {}
        self.persisted: dict[tuple[bytes, str], int] = {}

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

    @rule(lane=st.sampled_from(list(Lane)), where=st.sets(st.sampled_from(DESTINATIONS), min_size=1))
    def put(self, lane: Lane, where: set[str]) -> None:
        if not self.left:
            return
        held = Held(self.left.pop(), Direction.UP, lane, 0, self.now_ms, self.now_ms + 60_000, ())
        ready = Ready()
        self.custody.put(held, [(name, ()) for name in sorted(where)], ready)
        self.apply(ready)
        self.open |= {(held.message.id, name): lane for name in where}

    @rule(name=st.sampled_from(DESTINATIONS), count=st.integers(1, 6))
    def send(self, name: str, count: int) -> None:
        outbox = self.outboxes[name]
        for _ in range(count):
            allowance = [WINDOW - outbox.in_flight_bytes[lane] for lane in Lane]
            row = outbox.take(self.now_ms, allowance)
            if row is None:
                return
            assert (row.held.message.id, name) in self.open and not row.done
            fits = row.held.size <= allowance[row.held.lane]
            assert fits or outbox.in_flight_bytes[row.held.lane] == 0
            outbox.sent(row, self.now_ms, row.held.size)

    @rule(name=st.sampled_from(DESTINATIONS), data=st.data(), again=st.booleans())
    def answer(self, name: str, data: st.DataObject, again: bool) -> None:
        outbox = self.outboxes[name]
        flying = [row for row in outbox.rows() if row.sent_at_ms is not None]
        if not flying:
            return
        row = data.draw(st.sampled_from(flying))
        assert outbox.settle(row.held.message.id) is row
        assert outbox.settle(row.held.message.id) is None, "an answer counts once"
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
        while (row := outbox.take(self.now_ms, [1 << 40] * len(Lane))) is not None:
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
            assert outbox.bytes == sum(row.held.size for row in outbox.rows())
            for lane in Lane:
                flying = [r for r in outbox.rows() if r.sent_at_ms is not None and r.held.lane == lane]
                assert outbox.in_flight_bytes[lane] == sum(row.held.size for row in flying)
        for lane in Lane:
            ids = {id_ for (id_, _), at in self.open.items() if at == lane}
            sizes = {m.id: len(m.raw) for m in MESSAGES}
            assert self.custody.lane_bytes[lane] == sum(sizes[id_] for id_ in ids)
        assert {key for key, ended in self.persisted.items() if not ended} == set(self.open)


Journey.TestCase.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
TestJourney = Journey.TestCase


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
    outbox = Outbox("^", RETRY_MS)
    rows_in(outbox, Lane.LOW, 30)
    rows_in(outbox, Lane.URGENT, 200, 1_000)
    order = order_of(outbox)
    assert order[:10] == [Lane.URGENT] * 10
    before_the_last_urgent = order[: len(order) - order[::-1].index(Lane.URGENT)]
    assert 8 <= before_the_last_urgent.count(Lane.LOW) <= 15, "about one in sixteen"
