from fabric.protocol.dedup import Dedup
from fabric.protocol.wire import Direction

A, B, C = (bytes([n]) * 16 for n in range(3))
UP, DOWN = Direction.UP, Direction.DOWN


def test_what_was_never_added_was_not_seen():
    assert not Dedup().seen(A, UP, 0)


def test_a_repeat_is_known_until_its_time():
    seen = Dedup()
    seen.add(A, UP, 100)
    assert seen.seen(A, UP, 99)
    assert not seen.seen(A, UP, 100)


def test_the_same_id_in_the_other_direction_is_another():
    # An action climbs to the turn relay and comes down again through the same relays.
    seen = Dedup()
    seen.add(A, UP, 100)
    assert not seen.seen(A, DOWN, 50)


def test_beyond_the_bound_the_oldest_is_forgotten_first():
    seen = Dedup(seen_max=2)
    for id_ in (A, B, C):
        seen.add(id_, UP, 100)
    assert [seen.seen(id_, UP, 50) for id_ in (A, B, C)] == [False, True, True]
    assert len(seen) == 2


def test_a_sweep_forgets_what_is_over_and_nothing_else():
    seen = Dedup()
    seen.add(A, UP, 100)
    seen.add(B, UP, 200)
    seen.sweep(150)
    assert len(seen) == 1 and seen.seen(B, UP, 150)


def test_a_sweep_does_bounded_work():
    seen = Dedup()
    for n in range(10):
        seen.add(n.to_bytes(16), UP, 1)
    seen.sweep(2, steps_max=4)
    assert len(seen) == 6
