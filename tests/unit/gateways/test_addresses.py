"""Addresses as declarations write them: each has one reading, and what has none is none."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relays.gateways.addresses import Address, read_address


@pytest.mark.parametrize(("text", "transports", "listens", "found"), [
    ("127.0.0.1:8443", (), True, ("", "127.0.0.1", 8443)), ("[::]:0", (), True, ("", "::", 0)),
    ("[2001:DB8:0::1]:9", (), False, ("", "2001:db8::1", 9)),
    ("kafka.example:9093", (), False, ("", "kafka.example", 9093)),
    ("udp://0.0.0.0:514", ("udp", "tcp"), True, ("udp", "0.0.0.0", 514)),
    ("tls://siem.example:6514", ("tls",), False, ("tls", "siem.example", 6514)),
])  # fmt: skip
def test_an_address_is_read(text, transports, listens, found):
    assert read_address(text, transports, listens=listens) == found


@pytest.mark.parametrize(("text", "transports", "listens"), [
    ("", (), False), ("127.0.0.1", (), True), (":80", (), False), ("127.0.0.1:65536", (), True),
    ("a.example:0", (), False), ("a.example:80", (), True), ("127.0.0.256:80", (), True), ("[127.0.0.1]:80", (), True),
    ("[:::]:80", (), False), ("::1:80", (), False), ("udp://a:1", (), False), ("a:1", ("udp",), False),
    ("http://a:1", ("udp",), False), ("UDP://a:1", ("udp",), False), ("a:1\n", (), False), ("a:\u0661", (), False),
    ("user@a:1", (), False), ("a/b:1", (), False), ("a b:1", (), False), ("[::1%eth0]:80", (), True),
])  # fmt: skip
def test_what_is_none_is_none(text, transports, listens):
    assert read_address(text, transports, listens=listens) is None


HOSTS = st.ip_addresses().map(str) | st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)


@given(st.sampled_from(["", "udp", "tls"]), HOSTS, st.integers(1, 65_535))
def test_what_is_written_is_read_again(transport, host, port):
    address = Address(transport, host, port)
    assert read_address(str(address), (transport,) if transport else ()) == address


@given(st.text(st.sampled_from("[]:/.a1f") | st.characters(), max_size=40))
def test_who_listens_has_an_ip_address_whatever_is_written(text):
    address = read_address(text, listens=True)
    assert address is None or ipaddress.ip_address(address.host) and 0 <= address.port <= 65_535
