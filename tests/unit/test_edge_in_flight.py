"""How much may be on its way to the relay at a time."""

import pytest

from fabric.edge.publishing.in_flight import URGENT_MAX, InFlight
from fabric.protocol.base.limits import LANE_QUOTA_BYTES
from fabric.protocol.vocabulary.severity import Lane


class Core:
    """`full`: pairs of a lane and a size for which there is no space."""

    def __init__(self):
        self.custody = self
        self.held_back, self.put_off_by = 0, ""
        self.bytes, self.no_space = {}, set()

    def held_back_bytes(self, lane, topic):
        return self.bytes.get((lane, topic), 0)

    def full(self, lane, size):
        return (lane, size) in self.no_space


@pytest.fixture
def core():
    return Core()


@pytest.fixture
def made(core):
    return InFlight(core)


def put(made, count):
    for n in range(len(made), count):
        made.put(n.to_bytes(4), ["draft"])


def test_what_is_on_its_way_is_known_until_it_is_not(made):
    made.put(b"one", ["a", "b"])
    made.put(b"two", ["c"])
    assert len(made) == 2 and made.pop(b"one") == ["a", "b"] and made.pop(b"one") == ()
    assert made.end() == [["c"]] and len(made) == 0


def test_few_envelopes_are_on_their_way_or_few_records_and_what_is_urgent_does_not_wait_for_that(made):
    put(made, 15)
    assert made.has_room(Lane.LOW, 10, 5_000)
    put(made, 16)
    assert not made.has_room(Lane.LOW, 10, 256) and made.has_room(Lane.LOW, 10, 255)
    assert made.has_room(Lane.URGENT, 10, 5_000) and made.has_room_alone(Lane.LOW, 10)
    put(made, URGENT_MAX)
    assert not made.has_room(Lane.URGENT, 10, 5_000) and not made.has_room_alone(Lane.LOW, 10)


def test_what_waits_for_a_reader_takes_no_place_of_what_can_go(made, core):
    put(made, 300)
    assert not made.is_held_back and not made.has_room(Lane.LOW, 10, 300)
    core.held_back, core.put_off_by = 290, "anna"
    assert made.is_held_back and made.has_room(Lane.LOW, 10, 300)


def test_with_an_outbox_its_space_is_the_bound(made, core):
    made.durable = True
    put(made, 2 * URGENT_MAX)
    core.no_space = {(Lane.LOW, 10), (Lane.URGENT, 1)}
    assert not made.has_room(Lane.LOW, 10, 0) and made.has_room(Lane.HIGH, 10, 5_000)
    assert not made.has_room_alone(Lane.URGENT, 0), "even of what is empty"
    assert made.has_room_alone(Lane.URGENT, 2)


def test_of_a_topic_that_waits_for_a_reader_nothing_more_goes_and_with_an_outbox_half_a_lane(made, core):
    core.bytes[Lane.LOW, "detections.slow"] = 1
    assert made.holds_back(Lane.LOW, "detections.slow") and not made.holds_back(Lane.LOW, "detections.fast")
    made.durable = True
    assert not made.holds_back(Lane.LOW, "detections.slow")
    core.bytes[Lane.LOW, "detections.slow"] = LANE_QUOTA_BYTES // 2 + 1
    assert made.holds_back(Lane.LOW, "detections.slow")
