"""The order in which a program reads what waits for it, and when a delivery is done."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.receiving.reader import Reader
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.vocabulary.severity import Phase, Severity, lane_of


@dataclass
class Said:
    id: str


class Told:
    """A batch of this name. One that is not `sound` cannot be read."""

    def __init__(self, name, count, severity=Severity.LOW, first=0, sound=True):
        self.id, self.first, self.count, self.sound = name, first, count, sound
        self.lane = lane_of("event", severity, Phase.NONE)
        self.was_read = 0

    def __len__(self):
        return self.count

    def read(self):
        self.was_read += 1
        return [Said(f"{self.id}.{self.first + i}") for i in range(self.count)] if self.sound else UNREADABLE


UNREADABLE = Reject(Code.BAD_BODY)


class House:
    def __init__(self):
        self.reading = Reader()
        self.done = []
        self.unread = []

    def add(self, name, count, severity=Severity.LOW, **more):
        batch = Told(name, count, severity, **more)
        self.reading.add(batch, lambda problem=None: (self.unread if problem else self.done).append(name))
        return batch

    def take(self, count):
        return [message.id if message else None for message in (self.reading.take() for _ in range(count))]


def test_a_batch_is_done_when_the_program_comes_back_after_its_last_record():
    house = House()
    house.add("a", 2)
    assert house.take(2) == ["a.0", "a.1"] and house.done == []
    assert house.take(1) == [None] and house.done == ["a"]


def test_what_is_urgent_comes_before_the_rest_of_a_batch():
    house = House()
    house.add("low", 3)
    house.add("low-2", 1)
    assert house.take(1) == ["low.0"]
    house.add("now", 2, Severity.CRITICAL)
    assert house.take(6) == ["now.0", "now.1", "low.1", "low.2", "low-2.0", None]
    assert house.done == ["now", "low", "low-2"]


def test_the_least_urgent_does_not_starve():
    house = House()
    house.add("low", 10)
    house.add("now", 1_000, Severity.CRITICAL)
    read = house.take(160)
    assert [n for n, id_ in enumerate(read, 1) if id_.startswith("low")] == list(range(16, 161, 16))


def test_where_it_stopped_is_said_for_each_batch_that_was_begun():
    house = House()
    house.add("low", 3, first=7)
    house.take(1)
    house.add("now", 3, Severity.CRITICAL)
    house.take(2)
    assert house.reading.in_part() == [("now", 2), ("low", 8)]


def test_what_an_earlier_run_read_whole_is_done_at_once():
    house = House()
    house.add("a", 0)
    assert house.done == ["a"] and house.take(1) == [None]


def test_what_waits_is_not_read_before_its_turn():
    house = House()
    low, now = house.add("low", 2), house.add("now", 1, Severity.CRITICAL)
    assert house.take(1) == ["now.0"] and (low.was_read, now.was_read) == (0, 1)


def test_what_cannot_be_read_is_said_when_its_turn_comes_and_the_next_is_read():
    house = House()
    house.add("a", 1)
    house.add("b", 3, sound=False)
    house.add("c", 1)
    assert house.take(1) == ["a.0"] and house.unread == []
    assert house.take(2) == ["c.0", None] and (house.unread, house.done) == (["b"], ["a", "c"])


@given(st.lists(st.one_of(
    st.integers(0, 30), st.tuples(st.integers(1, 5), st.sampled_from([Severity.LOW, Severity.HIGH, Severity.CRITICAL]))
), max_size=40))
def test_everything_is_read_once_in_the_order_of_its_lane_and_done_once(steps):
    house, added, read = House(), [], []
    for n, step in enumerate([*steps, 1_000]):
        if isinstance(step, int):
            read += [id_ for id_ in house.take(step) if id_]
        else:
            house.add(str(n), *step)
            added.append((str(n), *step))
    assert sorted(read) == sorted(f"{name}.{i}" for name, count, _ in added for i in range(count))
    for severity in (Severity.LOW, Severity.HIGH, Severity.CRITICAL):
        own = [f"{name}.{i}" for name, count, s in added if s is severity for i in range(count)]
        assert [id_ for id_ in read if id_ in own] == own
    assert sorted(house.done) == sorted(name for name, _, _ in added)


def test_a_group_is_taken_together_when_the_program_comes_back():
    house = House()
    house.add("a", 2)
    house.add("b", 3)
    assert [said.id for said in house.reading.group(4)] == ["a.0", "a.1", "b.0", "b.1"] and house.done == []
    assert [said.id for said in house.reading.group(4)] == ["b.2"] and house.done == ["a"]
    assert house.reading.group(4) == [] and house.done == ["a", "b"]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 8))
def test_a_group_that_was_not_taken_is_read_again_and_nothing_of_it_is_done(counts, most):
    house = House()
    for number, count in enumerate(counts):
        house.add(f"{number}", count)
    first = [said.id for said in house.reading.group(most)]
    house.reading.put_back()
    assert house.done == [] and house.reading.in_part() == []
    assert [said.id for said in house.reading.group(most)] == first


@given(st.lists(st.one_of(
    st.integers(1, 40), st.tuples(st.integers(0, 40), st.sampled_from([Severity.LOW, Severity.HIGH, Severity.CRITICAL]))
), max_size=30))
def test_a_group_is_what_is_read_one_by_one(steps):
    alone, together = House(), House()
    for n, step in enumerate([*steps, 2_000, 1]):
        if isinstance(step, int):
            assert [said.id for said in together.reading.group(step)] == [id_ for id_ in alone.take(step) if id_]
        else:
            alone.add(str(n), *step)
            together.add(str(n), *step)
    assert sorted(alone.done) == sorted(together.done)


@given(st.integers(1, 6), st.integers(1, 2))
def test_a_record_that_was_not_taken_comes_again_wherever_in_its_batch_it_is(count, at):
    house = House()
    house.add("a", count)
    house.add("b", 2)
    *_, last = house.take(min(at, count))
    house.reading.put_back()
    assert house.done == [] and house.take(1) == [last] != house.take(1)


def test_who_reads_one_after_a_group_is_done_with_all_of_the_group():
    house = House()
    house.add("a", 4)
    house.add("b", 3)
    assert len(house.reading.group(5)) == 5 and house.take(1) == ["b.1"] and house.done == ["a"]
    house.reading.put_back()
    assert house.reading.in_part() == [("b", 1)]
    assert house.take(1) == ["b.1"] and house.reading.group(0) == [] and house.take(1) == ["b.2"]
    house.reading.put_back()
    assert house.reading.in_part() == [("b", 2)]


@given(st.lists(st.one_of(
    st.integers(-3, 20), st.tuples(st.integers(1, 9), st.sampled_from([Severity.LOW, Severity.CRITICAL]))
), max_size=30))
def test_however_it_is_read_what_it_came_back_for_is_done_and_nothing_else(steps):
    """A group of so many; or, below 0, so many one by one."""
    house, sizes, read = House(), {}, []
    for n, step in enumerate(steps):
        if isinstance(step, tuple):
            house.add(str(n), *step)
            sizes[str(n)] = step[0]
            continue
        for most in [step] if step >= 0 else [None] * -step:
            before = list(read)
            found = house.take(1) if most is None else [said.id for said in house.reading.group(most)]
            read += [id_ for id_ in found if id_]
            whole = [name for name, size in sizes.items() if sum(id_.startswith(f"{name}.") for id_ in before) == size]
            assert sorted(house.done) == sorted(whole)
