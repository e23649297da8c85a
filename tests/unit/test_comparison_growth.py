"""What a message costs where there is more of everything."""

import pytest

from relays.topology.loader import load
from scripts.comparison.growth import HOPS, RELAYS, ROUTES, Timed, figures, of_relays, of_routes, sizes_up_to, topology
from tests.integration.harness import with_free_ports


def test_a_share_is_of_the_largest_and_the_smallest_is_there_anyway():
    assert sizes_up_to(RELAYS, 1.0) == RELAYS and sizes_up_to(RELAYS, 0.1) == (10, 100)
    assert sizes_up_to(HOPS, 0.0) == (1,)
    assert [each.name for each in figures(0.01)] == ["hops 1", "relays 10", "routes 10", "routes 100"]
    assert len(figures(1.0)) == len(HOPS + RELAYS + ROUTES)


@pytest.mark.parametrize("hops", HOPS)
def test_relays_stand_in_a_row(tmp_path, hops):
    file = tmp_path / "bench.toml"
    file.write_text(with_free_ports(topology(hops)))
    found = load(file)
    assert [relay.parent for relay in found.relays.values()] == [None, *[f"r{n}" for n in range(hops - 1)]]
    assert found.points["sensor-p"].relay == f"r{hops - 1}" and found.points["analyst-hq"].relay == "r0"


def test_every_message_goes_to_the_one_who_subscribes_to_it(monkeypatch):
    monkeypatch.setattr("scripts.comparison.growth._MESSAGES", 3)
    assert of_routes(70) > 0


def test_every_message_climbs_to_the_root(monkeypatch):
    monkeypatch.setattr("scripts.comparison.growth._MESSAGES", 10)
    assert of_relays(4) != 0


def test_the_time_of_a_core_is_what_it_took_and_no_more():
    now_s = 0.0

    class Core:
        def step(self, event, now_ms):
            nonlocal now_s
            now_s += 2.0
            return event, now_ms

        read = step

    core, timed = Core(), Timed(lambda: now_s)
    timed.watch(core)
    assert core.step("tick", 7) == ("tick", 7)
    now_s += 100.0
    core.read(1, b"")
    assert timed.took_s == 4.0
