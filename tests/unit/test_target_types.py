"""The types of targets of OpenC2 1.0 (3.4.1): what is read of each, in which spelling, and the path of what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.vocabulary.plain_json import Faults
from fabric.protocol.vocabulary.target_types import (
    TARGETS,
    TEXT_TYPES,
    WRONG,
    is_extension,
    is_target_type,
    read_value,
)

MD5, SHA1, SHA256 = "D" * 32, "E" * 40, "F" * 64


def read(type_, value):
    faults = Faults()
    found = read_value(type_, value, f"target.{type_}", faults)
    assert (found is WRONG) == bool(faults)
    return faults.detail.replace(f"target.{type_}", "it") if found is WRONG else found


@pytest.mark.parametrize(("type_", "value"), [
    ("artifact", {"mime_type": "application/pdf", "payload": {"bin": "YWI="}, "hashes": {"sha256": SHA256}}),
    ("artifact", {"payload": {"url": "https://a.example/b"}}), ("command", "743f2ab8-e9d2-4b91-8e63-10d5b9f1a2c7"),
    ("device", {"hostname": "laptop-7", "idn_hostname": "bücher", "device_id": "9BCE 84"}),
    ("domain_name", "a.example"),
    ("email_addr", "a@b.c"), ("features", []), ("features", ["versions", "profiles", "pairs", "rate_limit"]),
    ("file", {"name": "a.exe", "path": "C:\\Temp", "hashes": {"md5": MD5, "sha1": SHA1, "sha256": SHA256}}),
    ("idn_domain_name", "bücher.example"), ("idn_email_addr", "ö@bücher.example"), ("ipv4_net", "203.0.113.0/24"),
    ("ipv6_net", "2001:db8::/64"), ("ipv4_connection", {"protocol": "tcp", "src_addr": "10.0.0.0/8", "src_port": 0,
                                                        "dst_addr": "203.0.113.9", "dst_port": 65_535}),
    ("ipv6_connection", {"dst_addr": "2001:db8::1"}), ("iri", "https://bücher.example"), ("uri", "urn:a"),
    ("mac_addr", "00:00:5e:00:53:01"), ("properties", ["a", "b"]),
    ("process", {"pid": 0, "name": "sh", "cwd": "/", "executable": {"path": "/bin/sh"},
                 "parent": {"pid": 1, "parent": {"name": "init"}}, "command_line": "sh -c 'a b'"}),
    ("x-crane", None), ("x-acme:crane", {"a": [1, {"b": 2.5}], "c": "x"}), ("slpf:rule_number", 1234),
])  # fmt: skip
def test_what_openc2_defines_is_read_as_it_stands(type_, value):
    assert read(type_, value) == value
    assert list(read(type_, value)) == list(value) if isinstance(value, dict) else True


def test_every_type_has_a_test_above():
    (mark,) = test_what_openc2_defines_is_read_as_it_stands.pytestmark
    assert {type_ for type_, _ in mark.args[1]} >= set(TARGETS) and len(TARGETS) == 18
    assert {type_ for type_, value in mark.args[1] if isinstance(value, str)} == set(TEXT_TYPES)


@pytest.mark.parametrize(("type_", "value", "one"), [
    ("file", {"hashes": {"sha1": SHA1.lower()}, "name": "a"}, {"name": "a", "hashes": {"sha1": SHA1}}),
    ("features", ["pairs", "versions", "pairs"], ["versions", "pairs"]), ("properties", ["b", "a"], ["a", "b"]),
    ("ipv4_connection", {"dst_addr": "203.0.113.9/32", "protocol": "udp"},
     {"protocol": "udp", "dst_addr": "203.0.113.9"}),
    ("artifact", {"payload": {"bin": "YWI"}, "mime_type": "Text/HTML"},
     {"mime_type": "text/html", "payload": {"bin": "YWI="}}),
    ("x-crane", {"b": 1.0, "a": (2, -0.0)}, {"a": [2, 0], "b": 1}), ("x-crane", 2.0**60, 2**60),
    ("device", {"hostname": "Laptop-7."}, {"hostname": "laptop-7"}),
])  # fmt: skip
def test_two_spellings_are_one_value(type_, value, one):
    assert repr(read(type_, value)) == repr(one)


@pytest.mark.parametrize(("type_", "value", "said"), [
    ("file", {}, "it: at least one of name, path, hashes"), ("file", "a.exe", "it: a map of name, path, hashes"),
    ("file", {"size": 1}, "it.size: not one of name, path, hashes"),
    ("file", {"name": ""}, "it.name: text that is not empty"),
    ("file", {"name": 7}, "it.name: text that is not empty, as text"),
    ("file", {"hashes": {}}, "it.hashes: at least one of md5, sha1, sha256"),
    ("file", {"hashes": {"sha256": "x"}}, "it.hashes.sha256: 64 hex digits"),
    ("file", {"name": "a\nb", "path": "\u202e"},
     "it.name: characters that are not allowed; it.path: characters that are not allowed"),
    ("artifact", {"payload": {"bin": "YWI=", "url": "a:b"}}, "it.payload: exactly one of bin, url"),
    ("artifact", {"payload": {"bin": "a+b/", }, "mime_type": "pdf"},
     "it.mime_type: a media type, e.g. application/pdf; it.payload.bin: base64url"),
    ("process", {"pid": -1}, "it.pid: a whole number from 0 to 9,007,199,254,740,991"),
    ("process", {"pid": True}, "it.pid: a whole number from 0 to 9,007,199,254,740,991"),
    ("process", {"parent": {"parent": {"executable": {"hashes": {"md5": 5}}}}},
     "it.parent.parent.executable.hashes.md5: 32 hex digits, as text"),
    ("ipv4_connection", {"dst_port": 65_536, "protocol": "gre", "src_addr": "::1"},
     "it.protocol: icmp or tcp or udp or sctp; it.src_addr: an IPv4 network without host bits, e.g. 203.0.113.0/24; "
     "it.dst_port: a whole number from 0 to 65,535"),
    ("ipv4_connection", {"dst_port": "443"}, "it.dst_port: a whole number from 0 to 65,535"),
    ("features", ["speed", 1], "it[0]: versions or profiles or pairs or rate_limit; "
                               "it[1]: versions or profiles or pairs or rate_limit"),
    ("features", ["pairs"] * 11, "it: a list of up to 10 of versions, profiles, pairs, rate_limit"),
    ("features", {}, "it: a list of up to 10 of versions, profiles, pairs, rate_limit"),
    ("properties", [], "it: a list of one name at least"),
    ("properties", ["a", "b", "a"], "it[2]: a name that comes twice"),
    ("ipv4_net", ["203.0.113.9"], "it: an IPv4 network without host bits, e.g. 203.0.113.0/24, as text"),
    ("x-crane", {"a": ["\x1b[2J"]}, "it.a[0]: characters that are not allowed"),
    ("x-crane", {"\x1b": 1}, "it: a name with characters that are not allowed"),
    ("x-crane", "x" * 2_049, "it: more than 2,048 bytes"), ("x-crane", [0] * 256, "it: more than 256 values"),
    ("x-crane", [[[[[[[[[1]]]]]]]]], "it[0][0][0][0][0][0][0][0]: more than 8 levels"),
    ("device", {"hostname": "a b", "device_id": "x" * 2_049}, "it: more than 2,048 bytes"),
])  # fmt: skip
def test_what_is_not_of_its_type_is_told_with_its_path(type_, value, said):
    assert read(type_, value) == said


@pytest.mark.parametrize("type_", ["slpf:rule_number", "x-acme:crane", "x-plc", "x-" + "a" * 62, "a" * 16 + ":b"])
def test_extensions_have_a_namespace(type_):
    assert is_extension(type_) and is_target_type(type_)


@pytest.mark.parametrize("type_", [
    "", "ipv5_net", "IPV4_NET", "x-", "x-a:b:c", "x-a.b", "x-" + "a" * 63, ":a", "a:", "a" * 17 + ":b", "a b:c", "é:a",
])  # fmt: skip
def test_and_other_names_are_none(type_):
    assert not is_target_type(type_)
    assert read(type_, "1") == "it: a type of target that is not known"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=3)
    | st.sampled_from(["a", "tcp", "203.0.113.9", MD5.lower(), "versions", 443]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["name", "path", "hashes", "md5", "pid", "parent", "dst_port", "protocol", "payload", "bin"])
        | st.text(max_size=5) | st.integers(), inner, max_size=3), max_leaves=12,
)


@given(st.sampled_from([*TARGETS, "x-crane", "slpf:rule_number"]), ANY)
def test_what_was_read_is_read_as_itself_and_nothing_is_raised(type_, value):
    found = read(type_, value)
    faults = Faults()
    if read_value(type_, value, "", faults) is not WRONG:
        assert repr(read(type_, found)) == repr(found)
