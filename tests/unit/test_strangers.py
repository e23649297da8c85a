"""Who has a place among the connections when there are more than places."""

from hypothesis import given
from hypothesis import strategies as st

from fabric.transport.strangers import STRANGERS_MAX, Strangers


def test_the_oldest_of_the_host_that_has_most_goes_first():
    strangers = Strangers(64)  # 48 connections, 12 of strangers
    strangers.came(1, "honest")
    for n in range(2, 40):
        strangers.came(n, "flood")
    assert strangers.too_many() == list(range(2, 29))
    assert 1 in strangers and len(strangers) == 12 and strangers.too_many() == []


def test_who_was_accepted_is_never_one_too_many():
    strangers = Strangers(64)
    for n in range(40):
        strangers.came(n, "members")
        strangers.accepted(n)
    for n in range(100, 130):
        strangers.came(n, "strangers")
    cut = strangers.too_many()
    assert len(cut) == 22 and min(cut) >= 100, "what members leave of all, where that is less"


def test_who_is_gone_makes_room():
    strangers = Strangers(1 << 16)
    for n in range(STRANGERS_MAX):
        strangers.came(n, "host")
    assert strangers.too_many() == []
    strangers.gone(0)
    strangers.came(STRANGERS_MAX, "host")
    assert strangers.too_many() == []
    strangers.came(STRANGERS_MAX + 1, "host")
    assert strangers.too_many() == [1]


def test_a_descriptor_that_is_used_again_is_another_connection():
    strangers = Strangers(64)
    strangers.came(1, "one")
    strangers.accepted(1)
    strangers.came(1, "two")
    assert 1 in strangers and len(strangers) == 1


@given(st.lists(st.tuples(st.sampled_from(["came", "accepted", "gone"]), st.integers(0, 60), st.integers(0, 3))))
def test_strangers_are_bounded_and_nobody_is_in_two_places(script):
    strangers = Strangers(64)
    for what, descriptor, host in script:
        if what == "came":
            strangers.came(descriptor, str(host))
        else:
            getattr(strangers, what)(descriptor)
        for cut in strangers.too_many():
            assert cut not in strangers
        assert len(strangers) <= 12
        assert len(strangers) == sum(map(len, strangers._by_host.values()))
