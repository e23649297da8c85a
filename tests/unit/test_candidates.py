import pytest

from fabric.protocol.links.candidates import Candidates
from fabric.protocol.links.link import Link
from fabric.protocol.links.uplink import STABLE_MS, Uplink
from tests.support import T0


def link(number):
    return Link(number, bytes(32), bytes(16), T0)


@pytest.fixture
def uplink():
    return Uplink(("hq", "spare"), lambda: 0.0)


def test_a_parent_can_be_chosen_as_long_as_a_connection_to_it_is_here(uplink):
    candidates, first = Candidates(uplink), link(1)
    assert uplink.choice(T0) == ""
    candidates.add("hq", first, T0)
    assert uplink.choice(T0) == "hq" and candidates.to("hq") is first
    candidates.drop(link(2))
    assert uplink.choice(T0) == "hq", "another link was dropped"
    candidates.drop(first)
    assert uplink.choice(T0) == ""


def test_the_newest_connection_takes_the_place_of_the_one_before(uplink):
    candidates, first, second = Candidates(uplink), link(1), link(2)
    assert candidates.take_over("hq") is None
    candidates.add("hq", first, T0)
    assert candidates.take_over("hq") is first
    candidates.add("hq", second, T0 + STABLE_MS)
    candidates.drop(first)
    assert candidates.to("hq") is second and uplink.choice(T0 + STABLE_MS) == "hq"
