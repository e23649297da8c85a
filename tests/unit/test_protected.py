"""What is never blocked."""

import ipaddress

import pytest

from relays.handlers.protected import Protected, addresses_of

OWN = [ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8:7::1")]
NAMES = {"hq.example.com": ["198.51.100.1", "2001:db8:1::1"]}


def protected(*relays, never=(), resolve=lambda host: NAMES.get(host) or addresses_of(host)):
    networks = [ipaddress.ip_network(each) for each in never]
    return Protected(networks, lambda: relays, lambda: OWN, resolve)


@pytest.mark.parametrize(
    ("network", "why"),
    [("0.0.0.0/0", "wider than /8"), ("128.0.0.0/1", "wider than /8"), ("::/0", "wider than /16"),
     ("2000::/3", "wider than /16"), ("127.0.0.1", "loopback"), ("127.0.0.0/8", "loopback"), ("::1", "loopback"),
     ("fe80::/64", "neighbours"), ("ff02::/16", "neighbours"), ("192.0.2.0/24", "address of this machine"),
     ("192.0.2.7", "address of this machine"), ("2001:db8:7::/48", "address of this machine"),
     ("10.9.0.0/16", "the relay"), ("10.9.9.1", "the relay"), ("2001:db8:9::/48", "the relay"),
     ("198.51.100.0/24", "the relay"), ("2001:db8:1::1", "the relay"), ("172.16.0.5", "told never"),
     ("172.16.0.0/12", "told never"), ("203.0.113.9", ""), ("10.9.9.2", ""),
     ("2001:db8:2::/48", ""), ("10.8.0.0/16", "")],
)
def test_what_touches_what_is_needed_is_protected(network, why):
    guard = protected("10.9.9.1:7700", "[2001:db8:9::1]:7700", "hq.example.com:7700", never=["172.16.0.0/24"])
    said = guard.why_not(ipaddress.ip_network(network))
    assert why in said and bool(said) == bool(why)


def test_a_relay_s_name_counts_as_it_was_last_known_and_who_is_no_relay_any_more_does_not():
    known = dict(NAMES)
    relays = ["hq.example.com:7700"]
    guard = Protected([], lambda: relays, list, lambda host: known.get(host, []))
    network = ipaddress.ip_network("198.51.100.1")
    assert guard.why_not(network)
    known.clear()
    assert guard.why_not(network), "nobody resolves it at the moment"
    relays[:] = ["10.9.9.1:7700"]
    assert not guard.why_not(network)


def test_addresses_and_names():
    assert addresses_of("10.0.0.1") == ["10.0.0.1"] and addresses_of("fe80::1%eth0") == ["fe80::1"]
    assert "127.0.0.1" in addresses_of("localhost") and addresses_of("no such name") == []
    assert addresses_of("x" * 300) == []
