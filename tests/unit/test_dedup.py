from fabric.protocol.custody.dedup import Dedup
from fabric.protocol.wire.frames import Direction

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


def action(n):
    return n.to_bytes(16)


def test_a_flood_of_other_messages_makes_it_forget_no_action():
    seen = Dedup(seen_max=10)
    seen.add_action(A, DOWN, 100, "soar-1")
    for n in range(1_000):
        seen.add(action(n), DOWN, 100)
    assert seen.seen(A, DOWN, 99) and not seen.seen(A, DOWN, 100) and not seen.seen(A, UP, 50)
    assert len(seen) == 11


def test_whoever_requests_much_leaves_room_for_the_actions_of_others():
    seen, n = Dedup(actions_max=100), 0
    while not seen.full_of_actions("eve"):
        seen.add_action(action(n), UP, 100, "eve")
        n += 1
    assert n == 80
    while not seen.full_of_actions("mallory"):
        seen.add_action(action(n), UP, 100, "mallory")
        n += 1
    assert n == 96 and not seen.full_of_actions("soar-1")
    assert all(seen.seen(action(k), UP, 99) for k in range(n)), "nobody's is forgotten before its time"


def test_where_an_action_turns_it_is_one_in_both_directions():
    seen, n = Dedup(actions_max=100), 0
    while not seen.full_of_actions("eve"):
        seen.add_action(action(n), UP, 100, "eve")
        assert not seen.seen(action(n), DOWN, 99)
        seen.add_action(action(n), DOWN, 90 + n % 20, "eve")
        n += 1
    assert n == len(seen) == 80
    assert all(seen.seen(action(k), direction, 99) for k in range(n) for direction in (UP, DOWN))
    seen.sweep(200)
    assert len(seen) == 0 and not seen.full_of_actions("eve")


def test_when_their_time_is_over_there_is_room_again():
    seen = Dedup(actions_max=10)
    for n in range(8):
        seen.add_action(action(n), UP, 100 + n, "eve")
    assert seen.full_of_actions("eve")
    seen.sweep(103)
    assert not seen.full_of_actions("eve") and len(seen) == 4 and seen.seen(action(4), UP, 103)


def test_an_action_that_comes_again_is_remembered_for_the_longer_time_and_counts_once():
    seen = Dedup(actions_max=10)
    for until_ms in (100, 300, 200):
        seen.add_action(A, UP, until_ms, "eve")
    seen.sweep(250)
    assert seen.seen(A, UP, 250) and len(seen) == 1
    seen.sweep(300)
    assert len(seen) == 0
