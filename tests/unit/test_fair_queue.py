"""Origins in turn, each in order, and what a reader is to get later behind a gate: held against a plain list."""

from functools import cache

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabric.protocol.custody.fair_queue import FairQueue
from fabric.protocol.custody.outbox import Held, Row
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from tests.support import T0, Authority, verified

AUTHORITY = Authority("fair-queue")
ORIGINS = {name: AUTHORITY.issue(name) for name in ("a", "b", "c")}
READER = "point:analyst-1/00"
SPARE = 32  # so many that ended may be left behind a gate


@cache
def signed(origin, order):
    return verified(ORIGINS[origin], sequence=order)


def row(origin="a", order=1, *, sheddable=True):
    held = Held(signed(origin, order), Direction.DOWN, Lane.LOW, 0, T0 + order, T0 + 60_000, (), order=order)
    made = Row(held, READER, place=(True, order))
    made.sheddable = sheddable
    return made


def queue(*rows, gate=None):
    made = FairQueue()
    made.set_gate(gate)
    for each in rows:
        made.push(each)
    return made


def end(waits, each):
    each.done = True
    waits.discard(each)


def drained(waits, now_ms=T0, in_flight=()):
    taken = []
    while waits.head(now_ms, in_flight) is not None:
        taken.append(waits.pop())
    return [(each.held.message.header.origin, each.held.order) for each in taken]


def kept(waits):
    """How many rows are in memory, ended ones included: in the lines, and behind the gate."""
    return sum(1 for line in waits._origins.values() for _ in line), len(waits._gated)


def origin_of(each):
    return each.held.message.header.origin


class Journey(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.queue, self.waiting, self.gate, self.next = FairQueue(), [], None, 0
        self.served_since = {}  # by origin that has something to send: who was served while it had

    def open_rows(self):
        return [each for each in self.waiting
                if self.gate is None or each.held.order < self.gate or not each.sheddable]

    @rule(origin=st.sampled_from("abc"), sheddable=st.booleans(), count=st.integers(1, 4))
    def push(self, origin, sheddable, count):
        for _ in range(count):
            self.next += 1
            each = row(origin, self.next, sheddable=sheddable)
            self.queue.push(each)
            self.waiting.append(each)

    @rule(back=st.integers(-3, 12))
    def set_gate(self, back):
        """Somewhere among what waits, or behind all of it; or there is none."""
        self.gate = None if back < 0 else self.next + 2 - back
        self.queue.set_gate(self.gate)

    @rule(data=st.data(), count=st.integers(1, 8))
    def end(self, data, count):
        for _ in range(min(count, len(self.waiting))):
            each = data.draw(st.sampled_from(self.waiting))
            self.waiting.remove(each)
            end(self.queue, each)
            assert not each.queued

    @rule(count=st.integers(1, 5))
    def send(self, count):
        for _ in range(count):
            open_ = self.open_rows()
            first = self.queue.head(T0, ())
            if not open_:
                assert first is None
                return
            assert self.queue.pop() is first and not first.queued
            origin = origin_of(first)
            assert first is min((each for each in open_ if origin_of(each) == origin), key=lambda each: each.held.order)
            for other in {origin_of(each) for each in open_} - {origin}:
                served = self.served_since.setdefault(other, set())
                assert origin not in served, f"{origin} went twice while {other} waited"
                served.add(origin)
            self.served_since.pop(origin, None)
            self.waiting.remove(first)

    @invariant()
    def whoever_has_nothing_waits_for_nobody(self):
        has = {origin_of(each) for each in self.open_rows()}
        self.served_since = {origin: served for origin, served in self.served_since.items() if origin in has}

    @invariant()
    def it_has_what_waits_and_counts_what_may_go(self):
        open_ = self.open_rows()
        assert {id(each) for each in self.queue} == {id(each) for each in self.waiting}
        assert len(self.queue) == len(self.waiting) and self.queue.open_rows == len(open_)
        assert self.queue.bytes == sum(each.held.size for each in open_)
        assert all(each.queued and each.gated == (each not in open_) for each in self.waiting)

    @invariant()
    def what_ended_is_let_go(self):
        in_lines, gated = kept(self.queue)
        open_ = len(self.open_rows())
        assert in_lines <= 2 * open_ and gated <= 2 * (len(self.waiting) - open_) + SPARE

    @invariant()
    def the_oldest_is_the_first_of_an_origin_or_else_behind_the_gate(self):
        open_ = self.open_rows()
        behind = [each for each in self.waiting if each not in open_]
        for only in (False, True):
            may = [each for each in open_ if each.sheddable or not only] or behind
            assert self.queue.oldest(sheddable=only) is min(may, key=lambda each: each.held.order, default=None)


Journey.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestJourney = Journey.TestCase


def test_one_whose_time_has_not_come_or_whose_answer_is_due_keeps_up_its_own_origin_only():
    later, flying, other = row("a", 1), row("b", 2), row("c", 3)
    later.not_before_ms = T0 + 5
    waits = queue(later, row("a", 4), flying, other)
    assert drained(waits, T0, {flying.visit}) == [("c", 3)]
    assert drained(waits, T0 + 5) == [("a", 1), ("b", 2), ("a", 4)]
    assert waits.head(T0 + 5, ()) is None and kept(waits) == (0, 0)


def test_what_ended_at_the_head_is_let_go_on_the_way_to_what_did_not():
    rows = [row("a", n) for n in range(1, 8)]
    waits = queue(*rows)
    for each in rows[:3]:
        end(waits, each)
    assert kept(waits) == (7, 0), "most have not ended"
    assert waits.head(T0, ()) is rows[3] and kept(waits) == (4, 0)
    end(waits, rows[5])
    end(waits, rows[6])
    assert waits.open_rows == 2 and drained(waits) == [("a", 4), ("a", 5)]


def test_an_origin_of_which_all_has_ended_keeps_up_nobody():
    gone = row("a", 1)
    waits = queue(gone, *[row("b", n) for n in range(2, 5)])
    end(waits, gone)
    assert kept(waits) == (4, 0), "it is still there"
    assert drained(waits) == [("b", 2), ("b", 3), ("b", 4)]


def test_behind_a_gate_they_are_let_go_when_most_have_ended_and_there_are_enough():
    rows = [row("a", n) for n in range(1, SPARE + 4)]
    waits = queue(*rows, gate=1)
    for each in rows[2:]:
        end(waits, each)
    assert kept(waits) == (0, SPARE + 3), "no more than twice those two, and as many as are spared"
    end(waits, rows[1])
    assert kept(waits) == (0, 1)


def test_the_oldest_behind_a_gate_is_one_that_has_not_ended():
    rows = [row("a", n) for n in range(1, 4)]
    waits = queue(*rows, gate=1)
    end(waits, rows[0])
    assert waits.oldest() is rows[1]


def test_a_gate_is_no_bar_to_what_stands_before_it_or_may_not_be_dropped():
    waits = queue(row("a", 4), row("a", 5), row("b", 6, sheddable=False), gate=5)
    assert waits.open_rows == 2 and len(waits) == 3
    assert drained(waits) == [("a", 4), ("b", 6)]
    waits.set_gate(6)
    assert drained(waits) == [("a", 5)]


def test_what_a_gate_let_go_is_counted_as_what_may_go_until_it_ends():
    first, second = row("a", 4), row("a", 5)
    waits = queue(first, second, gate=4)
    assert waits.bytes == 0
    waits.set_gate(5)
    assert not first.gated and second.gated and waits.bytes == first.held.size
    end(waits, first)
    assert waits.bytes == 0 and waits.open_rows == 0 and len(waits) == 1
    waits.set_gate(None)
    assert not second.gated and waits.bytes == second.held.size
