"""The order in which a program reads what waits for it, and when a delivery is done."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.reading import Reading
from fabric.protocol.severity import Phase, Severity


@dataclass
class Said:
    id: str
    severity: Severity = Severity.LOW
    kind: str = "event"
    phase: Phase = Phase.NONE


class House:
    def __init__(self):
        self.reading = Reading()
        self.done = []

    def add(self, name, count, severity=Severity.LOW, first=0):
        self.reading.add([Said(f"{name}.{first + i}", severity) for i in range(count)], lambda: self.done.append(name))

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
