"""What waits to be sealed: places and who waits for one, the shares of lanes in a burst, and what is put aside."""

import threading
from concurrent.futures import Future
from functools import cache

import pytest

from fabric.edge.publishing import lanes
from fabric.edge.publishing.drafts import Draft, Position, Stamp
from fabric.edge.publishing.lanes import BURST_MAX, WAITING_MAX, Lanes
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.interrupting import at_each_place
from tests.support import T0


class Way:
    """To the relay. `full`: lanes of which nothing may go; `slow`: topics that wait for a reader."""

    def __init__(self):
        self.full, self.slow, self.asked = set(), set(), []

    def has_room(self, lane, size, records):
        self.asked.append((lane, size, records))
        return lane not in self.full

    @property
    def is_held_back(self):
        return bool(self.slow)

    def holds_back(self, lane, topic):
        return topic in self.slow


@pytest.fixture
def way():
    return Way()


@pytest.fixture
def made(way):
    return Lanes(way)


@cache
def stamp_of(severity, topic, kind=Kind.EVENT):
    return Stamp(kind, topic, severity, Phase.NONE, 60_000, Label.GREEN)


def draft(n, severity=Severity.LOW, topic="detections.x", source=None, size=10):
    return Draft(stamp_of(severity, topic), {"n": n}, T0, Future(), size, Position(source, str(n)) if source else None)


def urgent(n):
    return Draft(stamp_of(Severity.CRITICAL, "deny.ipv4_net", Kind.ACTION), {"n": n}, T0, Future(), 10)


def add(made, drafts):
    for one in drafts:
        made.add(one, 0.0)


def numbers(drafts):
    return [one.record["n"] for one in drafts]


def test_what_is_urgent_is_taken_first_and_each_lane_in_its_order(made):
    assert not made
    add(made, [draft(1), draft(2, Severity.HIGH), draft(3), urgent(4), draft(5, Severity.HIGH)])
    assert made and numbers(made.take()) == [4, 2, 5, 1, 3]
    assert not made and made.take() == []


def test_of_a_lane_that_is_full_or_left_out_nothing_is_taken(made, way):
    add(made, [draft(1, size=7), draft(2, Severity.HIGH), draft(3, Severity.CRITICAL)])
    way.full = {Lane.LOW}
    assert made.has_more and numbers(made.take({Lane.HIGH})) == [3]
    assert (Lane.LOW, 7, 1) in way.asked, "of what is first in it, with what is under way"
    assert numbers(made.take()) == [2] and not made.has_more and made
    way.full = set()
    assert made.has_more and numbers(made.take()) == [1]


def test_the_lanes_of_a_program_share_a_burst(made):
    """Whoever is urgent next waits for all of it."""
    severities = (Severity.HIGH, Severity.MEDIUM, Severity.LOW)
    for severity in severities:
        add(made, [draft(n, severity, topic=f"detections.t{n}") for n in range(600)])
    taken = made.take()
    assert [one.stamp.severity for one in taken] == [each for each in severities for _ in range(256 // 3)]
    assert made.counts.under_way == len(taken) and made.counts.waiting == 1_800


def test_a_burst_has_all_of_one_stamp_up_to_its_bound_and_of_what_is_urgent_all_stamps(made):
    add(made, [draft(n) for n in range(BURST_MAX + 10)])
    assert numbers(made.take()) == list(range(BURST_MAX)) and len(made.take()) == 10
    actions = [urgent(n) for n in range(300)]
    for n, one in enumerate(actions):
        one.stamp = one.stamp._replace(ttl_ms=1_000 + n)
    add(made, actions)
    assert len(made.take()) == 300


def test_looking_ahead_finds_what_shares_a_stamp_and_passes_none_of_a_source(made):
    add(made, [draft(n, topic=f"detections.t{n}", source="log" if n >= 255 else None) for n in range(257)])
    add(made, [draft(257, topic="detections.t0"), draft(258, topic="detections.t0", source="log")])
    assert numbers(made.take()) == [*range(256), 257]
    assert numbers(made.take()) == [256, 258]


def test_what_is_only_looked_at_keeps_its_place(made, monkeypatch):
    """Else others would take it while it is looked at, and more would wait than may."""
    waits = [draft(n, topic=f"detections.t{n}") for n in range(WAITING_MAX)]
    assert made.add_many(waits, 0.0, lambda: None) == WAITING_MAX
    places = []

    def looked_at(drafts, stamps):
        found = of_first_stamps(drafts, stamps)
        places.append(made._has_place(Lane.LOW))
        return found

    of_first_stamps = lanes._of_first_stamps
    monkeypatch.setattr(lanes, "_of_first_stamps", looked_at)
    assert len(made.take()) == 256 and places == [False]
    assert made._has_place(Lane.LOW) and made.counts.waiting == WAITING_MAX


def test_of_a_topic_that_waits_for_a_reader_nothing_goes_and_it_keeps_its_order_and_its_places(made, way, monkeypatch):
    monkeypatch.setattr(lanes, "WAITING_MAX", 4)
    way.slow = {"detections.slow"}
    add(made, [draft(1, topic="detections.slow"), draft(2), draft(3, topic="detections.slow")])
    assert numbers(made.take()) == [2] and made.counts.waiting == made.counts.under_way == 3
    add(made, [draft(4, topic="detections.slow"), draft(5)])
    with pytest.raises(FabricError):
        made.add(draft(6), 0.0)
    assert made.take({Lane.LOW}) == [] and numbers(made.take()) == [5] and made and not made.has_more
    way.slow = set()
    assert made.has_more, "what was put aside may go"
    add(made, [draft(6)])
    assert numbers(made.take()) == [1, 3, 4, 6] and not made


def test_whoever_adds_waits_for_a_place_or_is_told_that_there_is_none(made, monkeypatch):
    monkeypatch.setattr(lanes, "WAITING_MAX", 2)
    add(made, [draft(1), draft(2)])
    with pytest.raises(FabricError) as refused:
        made.add(draft(3), 0.0)
    assert refused.value.code is Code.BUSY and "low" in refused.value.detail
    made.add(draft(4, Severity.CRITICAL), 0.0)  # another lane has room of its own
    assert made.counts.waiting == made.counts.owed == 3, "what was refused was not taken"
    made.take()
    made.add(draft(5), 0.0)


def test_who_waits_for_a_place_goes_on_when_some_was_taken(made, monkeypatch):
    monkeypatch.setattr(lanes, "WAITING_MAX", 1)
    made.add(draft(1))
    other = threading.Thread(target=made.add, args=(draft(2),))
    other.start()
    while not made._want_room:
        other.join(0.001)
    assert made.counts.owed == 2 and made.counts.waiting == 1
    made.take()
    other.join(10)
    assert made.counts.owed == made.counts.waiting == 2 and not made._want_room and not other.is_alive()


def test_who_is_cancelled_while_it_waits_for_a_place_is_not_added(made, monkeypatch):
    monkeypatch.setattr(lanes, "WAITING_MAX", 1)
    made.add(draft(1))
    cancelled = draft(2)
    cancelled.token.cancel()
    made.add(cancelled)
    assert made.counts.owed == 1 and numbers(made.take()) == [1] and not made


def test_of_many_so_many_are_added_as_have_a_place_in_time_and_before_it_waits_others_are_woken(made, monkeypatch):
    monkeypatch.setattr(lanes, "WAITING_MAX", 3)
    many, woken = [draft(1), draft(2, Severity.HIGH), *(draft(n) for n in range(3, 9))], []
    assert made.add_many(many, 0.0, lambda: woken.append(made.counts.owed)) == 4
    assert woken and set(woken) == {len(many)}, "those that wait for a place are owed too"
    assert made.counts.owed == made.counts.waiting == 4
    assert numbers(made.take()) == [2, 1, 3, 4]


def test_of_large_records_so_many_bytes_wait_and_small_ones_no_longer_have_a_place_then(made, way, monkeypatch):
    monkeypatch.setattr(lanes, "BYTES_MAX", 10_000)
    way.slow = {"detections.slow"}
    large = [draft(n, topic="detections.slow", size=5_000) for n in range(5)]
    assert made.add_many(large, 0.0, lambda: None) == 2
    for one in (large[2], draft(9)):
        with pytest.raises(FabricError) as refused:
            made.add(one, 0.0)
        assert refused.value.code is Code.BUSY and "10000 bytes" in refused.value.detail
    made.add(draft(10, Severity.HIGH, size=50_000), 0.0)  # another lane has room of its own, and the last may be larger
    with pytest.raises(FabricError):
        made.add(draft(11, Severity.HIGH, size=50_000), 0.0)
    assert numbers(made.take()) == [10]
    with pytest.raises(FabricError):
        made.add(large[2], 0.0)  # what is put aside keeps its place
    made.add(draft(11, Severity.HIGH, size=50_000), 0.0)
    way.slow = set()
    assert numbers(made.take()) == [11, 0, 1] and made.add_many(large, 0.0, lambda: None) == 2
    assert made._large_bytes[Lane.LOW] == 10_000
    made.end(FabricError(Code.CLOSED))


def test_who_waits_for_room_of_a_large_record_goes_on_when_one_was_taken(made, monkeypatch):
    monkeypatch.setattr(lanes, "BYTES_MAX", 10_000)
    assert made.add_many([draft(n, size=9_999) for n in range(2)], None, lambda: None) == 2
    other = threading.Thread(target=made.add, args=(draft(2, size=9_999),))
    other.start()
    while not made._want_room:
        other.join(0.001)
    assert numbers(made.take()) == [0, 1]
    other.join(10)
    assert numbers(made.take()) == [2] and made._large_bytes == [0 for _ in Lane]


class Interruption(BaseException):
    pass


def interrupted():
    raise Interruption


@pytest.mark.parametrize("code", [Lanes.add_many, Lanes._put, Lanes._run, Lanes._wait_for_room, Lanes._has_place])
def test_wherever_an_interruption_comes_nothing_that_was_not_added_stays_counted(way, code):
    """Else whoever flushes would wait for it for ever."""
    places = 0
    for run in at_each_place(code.__code__):
        made = Lanes(way)
        many = [draft(1), draft(2, Severity.HIGH), draft(3)]
        try:
            run(lambda made=made, many=many: made.add_many(many, 0.0, lambda: None), interrupted)
        except Interruption:
            places += 1
        if made.counts.without_place:
            assert code is Lanes.add_many and sum(made.counts.without_place.values()) == 0, "as good as gone"
        assert made.counts.owed == sum(map(len, made._queued)) == made.counts.waiting
    assert places > 10


def test_the_end_is_told_to_whoever_adds_and_what_waits_is_given_back(made, way):
    way.slow = {"detections.slow"}
    drafts = [draft(1, topic="detections.slow"), draft(2), draft(3, Severity.HIGH)]
    add(made, drafts[:1])
    assert made.take() == []
    add(made, drafts[1:])
    given_back = made.end(FabricError(Code.CLOSED))
    assert sorted(n for each in given_back for n in numbers(each)) == [1, 2, 3] and not made
    with pytest.raises(FabricError) as refused:
        made.add(draft(4))
    many = [draft(5), draft(6)]
    assert refused.value.code is Code.CLOSED and made.add_many(many, None, lambda: None) == 2
    assert {one.token.exception().code for one in many} == {Code.CLOSED}
