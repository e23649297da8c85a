"""Values of OpenC2 that are text: one spelling of each, and nothing else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.vocabulary import text_types

READERS = {
    "ipv4_net": text_types.ipv4_net, "ipv6_net": text_types.ipv6_net, "mac_addr": text_types.mac_addr,
    "domain_name": text_types.domain_name, "idn_domain_name": text_types.idn_domain_name,
    "email_addr": text_types.email_addr, "idn_email_addr": text_types.idn_email_addr, "uri": text_types.uri,
    "iri": text_types.iri, "md5": text_types.hexadecimal(32), "binary": text_types.binary,
    "command_id": text_types.command_id, "mime_type": text_types.mime_type, "anything": text_types.anything,
}


@pytest.mark.parametrize(("name", "value", "read"), [
    ("ipv4_net", "203.0.113.9/32", "203.0.113.9"), ("ipv4_net", "203.0.113.0/24", "203.0.113.0/24"),
    ("ipv6_net", "2001:DB8:0:0::/64", "2001:db8::/64"), ("ipv6_net", "2001:db8::1/128", "2001:db8::1"),
    ("mac_addr", "AA-BB-CC-00-11-22", "aa:bb:cc:00:11:22"),
    ("mac_addr", "aa:bb:cc:00:11:22:33:44", "aa:bb:cc:00:11:22:33:44"),
    ("domain_name", "Evil.Example.", "evil.example"), ("domain_name", "_dmarc.example", "_dmarc.example"),
    ("idn_domain_name", "bücher.example", "bücher.example"), ("email_addr", "Jo@Example.org", "Jo@example.org"),
    ("idn_email_addr", "jö@bücher.example", "jö@bücher.example"),
    ("idn_domain_name", "bu\u0308cher.example", "bücher.example"),
    ("idn_domain_name", "\uff45vil\u3002example\uff0e", "evil.example"),
    ("idn_email_addr", "jo\u0308@bu\u0308cher\uff61example", "jö@bücher.example"),
    ("uri", "https://evil.example/a?b=c", "https://evil.example/a?b=c"),
    ("iri", "https://bücher.example/ä", "https://bücher.example/ä"),
    ("md5", "d41d8cd98f00b204e9800998ecf8427e", "D41D8CD98F00B204E9800998ECF8427E"),
    ("binary", "YWI", "YWI="), ("binary", "YWI=", "YWI="), ("binary", "_-8=", "_-8="), ("binary", "", ""),
    ("command_id", "c-1", "c-1"), ("mime_type", "Application/PDF", "application/pdf"), ("anything", " ", " "),
])
def test_there_is_one_way_to_write_it(name, value, read):
    assert READERS[name](value) == read == READERS[name](read)


@pytest.mark.parametrize(("name", "values"), {
    "ipv4_net": ["", "203.0.113.9/24", "10.0.0.0/255.0.0.0", "203.0.113.256", "203.0.113", "3405803785", "010.0.0.1",
                 "::1", " 10.0.0.1", "10.0.0.1/", "10.0.0.1/33"],
    "ipv6_net": ["203.0.113.9", "fe80::1%eth0", "2001:db8::1/64", ":::"],
    "mac_addr": ["aa:bb:cc:00:11", "aa:bb-cc:00:11:22", "aabb.cc00.1122", "aabbcc001122"],
    "domain_name": ["a..b", "-a.example", "a b", "a" * 64 + ".example", ".".join(["a"] * 128), "bücher.example",
                    "\u212aelvin.example", ""],
    "idn_domain_name": ["a b", "a@b", "a/b", "", "\u2100.example", "a\u3002\u3002b"],
    "email_addr": ["a", "@b.c", "a@", "a b@c.d", "ö@b.c", "a" * 65 + "@b.c"],
    "uri": ["evil", "https://a b", "https://ä", ""], "iri": ["evil", "a:", ""],
    "md5": ["", "d41d8", "g" * 32, "d" * 31 + "\u0660", "0x" + "d" * 30],
    "binary": ["Y", "YWI==", "YWJ", "a+b/", "YW I=", "=", "YWI=YWI="],
    "command_id": ["", "a b", "a\tb", "x" * 37, "\u200b"],
    "mime_type": ["pdf", "application/", "a/b; charset=utf-8", "a b/c"], "anything": [""],
}.items())  # fmt: skip
def test_and_no_other_is_read(name, values):
    assert [value for value in values if READERS[name](value) is not None] == []


@given(st.sampled_from(list(READERS)), st.text(max_size=60) | st.emails() | st.ip_addresses().map(str))
def test_what_was_read_is_read_as_itself(name, value):
    read = READERS[name](value)
    assert read is None or READERS[name](read) == read


@given(st.binary(max_size=40))
def test_bytes_are_read_in_their_own_spelling_and_no_other(raw):
    padded = base64.urlsafe_b64encode(raw).decode()
    assert text_types.binary(padded) == text_types.binary(padded.rstrip("=")) == padded
