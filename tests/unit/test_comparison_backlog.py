"""How fast a backlog leaves, from what a relay says of itself once a second."""

import pytest

from relays.topology.loader import load
from scripts.comparison.backlog import _TOPOLOGY, Backlog, Held, envelopes_per_s
from scripts.comparison.processes import Failed
from tests.integration.harness import with_free_ports


def test_what_is_between_the_first_and_the_last_second_counts():
    course = [Held(0, 900), Held(1_000, 900), Held(2_000, 700), Held(3_000, 400), Held(4_000, 100), Held(5_000, 0)]
    assert envelopes_per_s(course) == pytest.approx(300.0)


@pytest.mark.parametrize("midst", [[], [Held(2_000, 450)], [Held(2_000, 450), Held(2_100, 440)]])
def test_where_it_is_over_soon_the_first_and_the_last_second_count_in_full(midst):
    course = [Held(0, 900), Held(1_000, 900), *midst, Held(3_000, 0)]
    assert envelopes_per_s(course) == pytest.approx(450.0)


class House:
    """Whose plant holds one less at each look, down to `least`."""

    def __init__(self, least):
        self.at_ms, self.held, self._least = 0, 3, least

    def state(self, relay):
        assert relay == "plant"
        self.at_ms += 1_000
        self.held = max(self._least, self.held - 1)
        return {"at_ms": self.at_ms, "held": self.held}


def course_of(house, full):
    backlog = Backlog.__new__(Backlog)
    backlog._house = house
    return backlog._until_empty(full)


def test_it_is_over_when_the_relay_holds_nothing():
    assert course_of(House(0), Held(0, 3)) == [Held(0, 3), Held(1_000, 2), Held(2_000, 1), Held(3_000, 0)]


def test_nothing_that_waits_and_nothing_that_leaves_are_failures(monkeypatch):
    monkeypatch.setattr("scripts.comparison.backlog._STALL_S", 0.1)
    with pytest.raises(Failed, match="nothing waits"):
        course_of(House(0), Held(0, 0))
    with pytest.raises(Failed, match="still holds 1 envelopes"):
        course_of(House(1), Held(0, 3))


def test_the_reader_is_one_who_loses_nothing(tmp_path):
    file = tmp_path / "bench.toml"
    file.write_text(with_free_ports(_TOPOLOGY))
    assert load(file).grants_of("analyst-hq").keep.waits
