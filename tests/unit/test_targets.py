"""A target is one thing, however it is written: typed, shown, in JSON, in Python."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge import Target as ShownTarget
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.plain_json import Faults
from fabric.protocol.vocabulary.target_types import TARGETS
from fabric.protocol.vocabulary.targets import Target, parse_target, read_target

MD5 = "D41D8CD98F00B204E9800998ECF8427E"


def typed(text):
    faults = Faults()
    target = parse_target(text, faults)
    return faults.detail if target is None else target


def document(value, path="target"):
    faults = Faults()
    target = read_target(value, path, faults)
    return faults.detail if target is None else target


@pytest.mark.parametrize(("text", "value", "shown"), [
    ("ipv4_net=203.0.113.9/32", "203.0.113.9", "ipv4_net=203.0.113.9"),
    ("uri=https://a.b/?c=d,e", "https://a.b/?c=d,e", ""),
    ("features", [], ""), ("features=", [], "features"), ("features=pairs,versions", ["versions", "pairs"],
                                                          "features=versions,pairs"),
    ("properties=battery,fan", ["battery", "fan"], ""), ('properties=["a,b"]', ["a,b"], ""),
    ("ipv4_connection=dst_port=443,protocol=tcp,dst_addr=203.0.113.9/32",
     {"protocol": "tcp", "dst_addr": "203.0.113.9", "dst_port": 443},
     "ipv4_connection=protocol=tcp,dst_addr=203.0.113.9,dst_port=443"),
    ('ipv4_connection={"dst_port": 443}', {"dst_port": 443}, "ipv4_connection=dst_port=443"),
    ("file=a b.exe", {"name": "a b.exe"}, ""), ("file=/tmp/a", {"path": "/tmp/a"}, ""),
    ("file=C:\\Temp\\a", {"path": "C:\\Temp\\a"}, ""), ("file=\\\\srv\\a", {"path": "\\\\srv\\a"}, ""),
    ('file={"name": "/tmp/a"}', {"name": "/tmp/a"}, 'file={"name":"/tmp/a"}'),
    ('file={"hashes": {"md5": "' + MD5.lower() + '"}}', {"hashes": {"md5": MD5}},
     'file={"hashes":{"md5":"' + MD5 + '"}}'),
    ('file={"name": "{"}', {"name": "{"}, 'file={"name":"{"}'), ("process=sshd", {"name": "sshd"}, ""),
    ("process=4711", {"pid": 4711}, ""), ('process={"name": "4711"}', {"name": "4711"}, 'process={"name":"4711"}'),
    ("device=Laptop-7", {"hostname": "laptop-7"}, "device=laptop-7"),
    ('device={"device_id": "9BCE"}', {"device_id": "9BCE"}, 'device={"device_id":"9BCE"}'),
    ('artifact={"payload": {"bin": "YWI"}}', {"payload": {"bin": "YWI="}}, 'artifact={"payload":{"bin":"YWI="}}'),
    ("x-plc", "", ""), ("x-crane=north", "north", ""), ("x-crane=7", 7, ""), ('x-crane="7"', "7", ""),
    ("x-crane=1.0", 1, "x-crane=1"), ("x-crane=true", True, ""), ("x-crane=null", None, ""), ("x-crane=[]", [], ""),
    ('x-crane={"b": 1, "a": 2}', {"a": 2, "b": 1}, 'x-crane={"a":2,"b":1}'), ("slpf:rule_number=1234", 1234, ""),
    ('x-crane=" a"', " a", ""), ("x-crane=NaN", "NaN", ""),
])  # fmt: skip
def test_what_is_typed_is_shown_in_one_way_and_read_again_as_the_same(text, value, shown):
    target = typed(text)
    assert target.value == value and type(target.value) is type(value)
    assert target.text == str(target) == (shown or text)
    assert typed(target.text) == target == document(json.loads(json.dumps(target.to_json())))
    assert Target(target.type, value) == target and hash(Target(target.type, value)) == hash(target)


@pytest.mark.parametrize(("text", "said"), [
    ("", "target: the type is not known"), ("=", "target: the type is not known"),
    ("ipv5_net=1", "target: the type is not known"), ("IPV4_NET=203.0.113.9", "target: the type is not known"),
    ("ipv4_net", "target.ipv4_net: no value: write ipv4_net=..."),
    ("process=", "target.process: no value: write process=..."),
    ("ipv4_net=203.0.113.9/24", "target.ipv4_net: an IPv4 network without host bits, e.g. 203.0.113.0/24"),
    ("file=a\nb", "target.file.name: characters that are not allowed"),
    ("file=a\x1b[2J", "target.file.name: characters that are not allowed"),
    ("file=a\u202eexe.txt", "target.file.name: characters that are not allowed"),
    ("file= a", "target.file: a value with spaces around it: write it as JSON"),
    ("file=" + "a" * 2_049, "target.file: more than 2,048 bytes"),
    ("file=" + "a" * 99_999, "target: more than 2,048 bytes"),
    ('file={"name": "a", "name": "b"}', "target.file: a name comes twice"),
    ("file={", "target.file: no JSON: expecting property name enclosed in double quotes at character 2"),
    ("file=[]", "target.file: a map of name, path, hashes"),
    ("artifact=a", "target.artifact: no JSON: expecting value"),
    ("x-crane={", "target.x-crane: no JSON: expecting property name enclosed in double quotes at character 2"),
    ("x-crane=" + "[" * 5_000, "target.x-crane: nested too deep"),
    ("ipv4_connection=dst_port=443,dst_port=80", "target.ipv4_connection: a field comes twice"),
    ("ipv4_connection=tcp", "target.ipv4_connection: write e.g. protocol=tcp,dst_addr=203.0.113.9,dst_port=443"),
    ("ipv4_connection=port=1", "target.ipv4_connection.port: not one of protocol, src_addr, src_port"),
    ("ipv4_connection=dst_port=65536", "target.ipv4_connection.dst_port: a whole number from 0 to 65,535"),
    ("ipv4_connection=dst_port=080", "target.ipv4_connection.dst_port: a whole number from 0 to 65,535"),
    ("features=speed", "target.features[0]: versions or profiles or pairs or rate_limit"),
    ("uri=x:\udcff", "target.uri: text that is not Unicode"), ("command=" + "x" * 37,
                                                               "target.command: a command's id of 1 to 36 characters, "
                                                               "without spaces"),
])  # fmt: skip
def test_what_is_no_target_is_told_with_its_path(text, said):
    found = typed(text)
    assert isinstance(found, str) and found.startswith(said)


@pytest.mark.parametrize("value", [None, 7, "uri", [], {}, {"a": 1, "b": 2}, {7: 1}, {"ipv5": "1"}, {b"uri": "a:b"}])
def test_a_document_has_one_type_that_is_known(value):
    assert document(value).startswith("target: ")


def test_a_program_that_makes_one_hears_every_fault():
    assert ShownTarget is Target
    with pytest.raises(FabricError) as raised:
        Target("file", {"hashes": {"md5": "x"}, "size": 1})
    assert raised.value.code is Code.BAD_ACTION
    assert raised.value.detail.split("; ") == [
        "target.file.size: not one of name, path, hashes", "target.file.hashes.md5: 32 hex digits",
    ]
    for type_ in ("ipv5_net", "", 7, None):
        with pytest.raises(FabricError):
            Target(type_, "1")


def test_it_does_not_change():
    target = typed("file=a.exe")
    target.value["name"] = "b.exe"
    assert target.value == {"name": "a.exe"} and repr(target) == "Target('file', {'name': 'a.exe'})"
    with pytest.raises(AttributeError):
        target.type = "uri"
    assert target != "file=a.exe" and target != typed("file=b.exe") and typed("x-a=1") != typed("x-a=true")


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["a.exe", "/tmp/a", "4711", "{", "protocol=tcp", "a,b", "203.0.113.9", "versions", MD5, "null", "1e5", '"', "a b"]
)
JSON = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        WORDS | st.sampled_from(["name", "path", "hashes", "md5", "pid", "parent", "dst_port", "protocol"]),
        inner, max_size=3), max_leaves=8,
)
TYPES = st.sampled_from([*TARGETS, "x-crane", "slpf:rule_number"])


@given(TYPES, JSON)
def test_every_target_has_one_text_and_comes_back_from_it_and_from_json(type_, value):
    target = document({type_: value})
    if isinstance(target, str):
        return
    assert target.text.isprintable()
    assert typed(target.text) == target, "what is shown is typed again as the same"
    assert document(json.loads(json.dumps(target.to_json()))) == target
    assert repr(document(target.to_json()).value) == repr(target.value), "its one spelling is written in one spelling"


@given(TYPES, WORDS | JSON.map(json.dumps))
def test_what_was_typed_is_shown_so_that_it_can_be_typed_again(type_, text):
    target = typed(f"{type_}={text}")
    if isinstance(target, Target):
        assert typed(target.text) == target and typed(target.text).text == target.text
