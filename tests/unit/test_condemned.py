"""Links that ended here: what is still in their pipes is counted, and told once."""

from relays.process.condemned import Condemned, Cut


def test_frames_of_a_link_that_ended_are_too_late_until_it_is_cut():
    links = Condemned(250)
    assert not links.takes(7, [])
    links.add(7, 1_000)
    assert links.takes(7, []) and links.takes(7, []) and not links.takes(8, [])
    assert links.due(1_249) == [] and links.wakes_ms() == [1_250]
    assert links.due(1_250) == [Cut(7, 2)] and links.due(2_000) == [] and links.wakes_ms() == []
    assert not links.takes(7, [])


def test_also_in_the_turn_in_which_it_ends():
    links = Condemned(250)
    assert links.takes(7, [(3, "x"), (7, "x")]) and not links.takes(8, [(3, "x"), (7, "x")])
    links.add(7, 0)
    assert links.due(250) == [Cut(7, 1)]


def test_one_whose_peer_leaves_is_forgotten():
    links = Condemned(250)
    links.add(7, 0)
    links.takes(7, [])
    assert links.forget(7) == 1 and links.forget(7) == 0 and links.due(9_999) == []
