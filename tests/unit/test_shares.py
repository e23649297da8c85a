"""Room is shared: who takes much leaves room for whoever comes, and takes turns with him."""

from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.shares import LARGE_SHARE, Holdings, Shared, beyond_share

puts = st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abcde")), max_size=300)


def test_one_alone_has_half_and_a_newcomer_always_finds_room():
    shared = Shared(16)
    assert [shared.put(n, n, "greedy") for n in range(20)] == [True] * 8 + [False] * 12
    assert shared.put(100, "x", "newcomer") and shared.get(100) == "x"
    assert len(shared) == 9


def test_who_has_his_share_loses_his_own_oldest():
    shared = Shared(8)
    shared.put("other's", 0, "other")
    for n in range(100):
        shared.push(n, n, "greedy")
    assert "other's" in shared and list(shared)[1:] == [96, 97, 98, 99]
    assert shared.push("one more", 1, "third") is True


def test_where_there_is_no_room_at_all_nothing_is_taken():
    assert Shared(0).push(1, 1, "a") is False and len(Shared(0)) == 0


def test_sources_take_turns_and_each_goes_by_age():
    shared = Shared(100)
    for n in range(6):
        shared.put(f"a{n}", n, "a")
    shared.put("b0", 0, "b")
    assert [key for key, _, _ in shared.take(4)] == ["a0", "b0", "a1", "a2"]
    assert [key for key, _, _ in shared.take(9)] == ["a3", "a4", "a5"] and not len(shared)


def test_a_key_said_again_is_the_newest_of_whoever_said_it():
    shared = Shared(10)
    for key, source in (("x", "a"), ("y", "a"), ("x", "b")):
        shared.put(key, source, source)
    assert list(shared.items()) == [("y", "a", "a"), ("x", "b", "b")]
    assert shared.pop("x") == "b" and shared.pop("x") is None and shared.get("x") is None
    shared.clear()
    assert len(shared) == 0 and shared.take(3) == []


@given(puts, st.integers(1, 40), st.booleans())
def test_the_bound_holds_and_somebody_new_always_fits(said, room, replace):
    shared = Shared(room)
    for key, source in said:
        before = list(shared)
        added = shared.push(key, source, source) if replace else shared.put(key, source, source)
        assert len(shared) <= room
        if not added and not replace:
            assert list(shared) == before
        counts = {name: sum(source == name for _, _, source in shared.items()) for name in "abcde"}
        assert all(2 * count <= room + 1 for count in counts.values())
    greedy = len({source for _, _, source in shared.items()})
    if greedy < 5 and room > 2 ** greedy + 5:
        assert shared.put("new", 0, "somebody else")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30)), max_size=300), st.integers(1, 500))
def test_of_a_large_share_one_alone_has_four_fifths_and_a_newcomer_finds_room(said, room):
    holdings = Holdings()
    for holder, more in said:
        if not beyond_share(holdings[holder], more, room - holdings.total(), LARGE_SHARE):
            holdings.add(holder, more)
    assert holdings.total() <= room
    assert all(5 * held <= 4 * (room + 30) for held in holdings.values())
    left = room - holdings.total()
    assert not left or not beyond_share(0, 1, left)


def test_who_gave_everything_back_is_not_kept():
    holdings = Holdings()
    holdings.add("a", 2)
    holdings.add("b", 1)
    holdings.add("a", -2)
    assert dict(holdings) == {"b": 1} and holdings["a"] == 0 and "a" not in holdings
