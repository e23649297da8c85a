"""Hosts that connect too often are kept out for a moment, and nobody else for them."""

from hypothesis import given
from hypothesis import strategies as st

from fabric.transport.crowds import _HOSTS_MAX, Crowds
from fabric.transport.filters import KEPT_OUT_MAX, NAMELESS


def came(crowds, host, times, now_ms):
    for _ in range(times):
        crowds.came(host, now_ms)


def test_a_herd_that_comes_back_is_let_in_and_a_flood_is_kept_out():
    crowds = Crowds(per_s=100, burst=50)
    came(crowds, "herd", 50, 0)
    assert crowds.kept_out(0) == ()
    came(crowds, "herd", 1, 0)
    assert crowds.kept_out(0) == ("herd",)


def test_it_is_kept_out_for_as_long_as_makes_up_for_what_came():
    crowds = Crowds(per_s=100, burst=50)
    came(crowds, "flood", 150, 0)  # a second's worth too many
    assert crowds.kept_out(1_499) == ("flood",)
    assert crowds.kept_out(1_500) == ()
    came(crowds, "flood", 50, 1_500)
    assert crowds.kept_out(1_500) == (), "what came in half a second is let in at once"
    came(crowds, "flood", 1, 1_500)
    assert crowds.kept_out(1_500) == ("flood",)


def test_nobody_is_kept_out_for_another():
    crowds = Crowds(per_s=100, burst=50)
    came(crowds, "flood", 500, 0)
    came(crowds, "other", 50, 0)
    assert crowds.kept_out(0) == ("flood",)


def test_those_who_go_before_they_are_asked_are_one_host():
    crowds = Crowds(per_s=100, burst=50)
    came(crowds, NAMELESS, 60, 0)
    came(crowds, "other", 50, 0)
    assert crowds.kept_out(0) == (NAMELESS,)


def test_what_is_remembered_is_bounded():
    crowds = Crowds(per_s=1, burst=1)
    for n in range(_HOSTS_MAX + 10):
        came(crowds, f"host-{n}", 2, 0)
    assert len(crowds) == _HOSTS_MAX and len(crowds.kept_out(0)) == KEPT_OUT_MAX


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 30)), max_size=60))
def test_in_the_long_run_no_more_come_than_are_let_in(script):
    crowds, now_ms, let_in = Crowds(per_s=100, burst=50), 0, 0
    for after_ms, times in script:
        now_ms += after_ms
        if "host" not in crowds.kept_out(now_ms):
            came(crowds, "host", times, now_ms)
            let_in += times
    assert let_in <= 50 + 30 + now_ms // 10, "its burst, what came before it was kept out, and its rate"
