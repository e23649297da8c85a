"""How many connections whoever may have: by address, by network, and of what is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relays.gateways.http.connections import Peers, origin_of


@pytest.mark.parametrize(("host", "origin"), [
    ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("2001:db8:1:2::1", "2001:db8:1:2::/64"), ("2001:db8:1:3::1", "2001:db8:1:3::/64"), ("fe80::1%eth0", "fe80::/64"),
    ("::1", "::/64"), ("", ""), ("no address", "no address"),
])  # fmt: skip
def test_whom_a_connection_is_counted_for(host, origin):
    assert origin_of(host) == origin


def fill(peers, host):
    taken = 0
    while peers.come(host):
        taken += 1
    return taken


def test_a_network_of_ipv6_has_what_an_address_has_and_whoever_comes_later_has_a_share():
    peers = Peers(64, 512)
    assert sum(fill(peers, f"2001:db8::{number:x}") for number in range(20)) == 64
    assert [fill(peers, f"192.0.2.{number}") for number in range(14)] == [64] * 6 + [32, 16, 8, 4, 2, 1, 1, 0]
    peers.gone("192.0.2.1")
    assert not peers.come("192.0.2.1") and peers.come("198.51.100.1"), "what is free is for who has none"


def test_who_is_alone_has_half_at_most():
    assert fill(Peers(4_096, 512), "192.0.2.1") == 256


HOSTS = st.sampled_from(["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::"])


@given(st.lists(st.tuples(st.booleans(), HOSTS), max_size=200), st.integers(1, 9), st.integers(1, 9))
def test_whatever_comes_and_goes_the_bounds_hold_and_nothing_is_left_behind(steps, each_max, all_max):
    peers, there = Peers(each_max, all_max), []
    for comes, host in steps:
        if comes:
            left = all_max - len(there)
            own = [origin_of(each) for each in there].count(origin_of(host))
            assert peers.come(host) == (own < min(each_max, left))
            there += [host] if own < min(each_max, left) else []
        elif host in there:
            there.remove(host)
            peers.gone(host)
    assert len(there) <= all_max
    for host in there:
        peers.gone(host)
    assert not peers._open and not peers._total
