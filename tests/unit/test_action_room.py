"""Room for actions that are not answered: bounded, shared among requesters, closed while a disk has none."""

from fabric.protocol.point.action_room import ActionRoom


def test_one_requester_leaves_room_to_the_next():
    room = ActionRoom(1_000)
    while room.fits("soar-1", 10):
        room.add("soar-1", 10)
    assert room.bytes == 800 and room.fits("soar-2", 200) and not room.fits("soar-2", 201)


def test_nothing_is_beyond_the_bound_and_what_is_given_back_is_free():
    room = ActionRoom(100)
    assert room.fits("soar-1", 80) and not room.fits("soar-1", 101)
    room.add("soar-1", 80)
    assert not room.fits("soar-1", 10)
    room.add("soar-1", -80)
    assert room.bytes == 0 and room.fits("soar-1", 80)
