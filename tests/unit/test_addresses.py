"""What this machine's own addresses are, from what a kernel wrote."""

import ipaddress
import socket
import struct
import sys

import pytest

from fabric.edge.discovery import addresses
from fabric.edge.discovery.addresses import own_addresses, parse_if_inet6, parse_interfaces, sources


def entry(name, address, family=socket.AF_INET):
    head = struct.pack("16sHH", name.encode(), family, 0) + ipaddress.ip_address(address).packed
    return head.ljust(addresses._IFREQ_BYTES, b"\0")


def test_every_address_of_every_interface_is_read():
    raw = entry("lo", "127.0.0.1") + entry("eth0", "10.1.0.7") + entry("eth0:1", "10.2.0.7")
    assert parse_interfaces(raw) == [
        (name, ipaddress.ip_address(address))
        for name, address in (("lo", "127.0.0.1"), ("eth0", "10.1.0.7"), ("eth0:1", "10.2.0.7"))
    ]


def test_what_is_no_ipv4_address_or_cut_off_is_left_out():
    assert parse_interfaces(entry("eth0", "10.1.0.7", socket.AF_PACKET) + entry("eth0", "10.1.0.7")[:-1]) == []


INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe8000000000000000000000000000ab 02 40 20 80     eth0
20010db8000000000000000000000007 02 40 00 80     eth0
20010db8000000000000000000000008 02 40 00 c0     eth0
20010db8000000000000000000000009 02 40 00 88     eth0
fd000000000000000000000000000002 03 40 00 80     wg0

"""


def test_ipv6_addresses_that_are_in_use_beyond_their_link():
    assert parse_if_inet6(INET6) == [
        ("lo", ipaddress.ip_address("::1")), ("eth0", ipaddress.ip_address("2001:db8::7")),
        ("wg0", ipaddress.ip_address("fd00::2")),
    ]


def test_where_one_would_send_from():
    assert sources(["127.0.0.9:7700", "no port", "host.invalid:1", "127.0.0.1:99999999"]) == [
        ipaddress.ip_address("127.0.0.1")
    ]


def test_elsewhere_the_candidates_tell(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert own_addresses(["127.0.0.9:7700", "127.0.0.8:7700"]) == (ipaddress.ip_address("127.0.0.1"),)
    assert own_addresses() == ()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")
def test_this_machine_has_the_one_that_all_have():
    found = own_addresses()
    assert ipaddress.ip_address("127.0.0.1") in found
    assert found == own_addresses() and all(not a.is_link_local for a in found if a.version == 6)


def test_a_machine_that_will_not_say_is_asked_the_other_way(monkeypatch):
    def refuse():
        raise OSError

    monkeypatch.setattr(addresses, "_of_ipv4", refuse)
    assert own_addresses(["127.0.0.9:7700"]) == (ipaddress.ip_address("127.0.0.1"),)
