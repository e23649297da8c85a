"""A hostile program signs what no requester's side would: a target that is a command, arguments without an end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.handling.handlers import read_action
from fabric.edge.messages import Action
from fabric.edge.requesting.request import request_arguments
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ARGS_BYTES_MAX, ARGS_DEPTH_MAX, ARGS_ELEMENTS_MAX
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.sealed_parts import Opener
from fabric.protocol.vocabulary.arguments import Times, check_args
from fabric.protocol.vocabulary.openc2 import ACTIONS, parse_action
from fabric.protocol.vocabulary.target_types import TARGETS
from fabric.protocol.vocabulary.targets import Target
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, Authority, verified

SOAR = Authority("arguments").issue("soar-1", grants=EVERYTHING)


def executed(action="deny", target_type="ipv4_net", value="203.0.113.9", args=None):
    """What an executor makes of a body that was signed as it is."""
    body = {"action": action, "target": {target_type: value}, "args": {} if args is None else args}
    message = verified(SOAR, kind=Kind.ACTION, topic=f"{action}.{target_type}", to="all", records=[body],
                       label=Label.GREEN)
    return read_action(Delivery(message, 5, ("hq",)))


@pytest.mark.parametrize("args", [{"duration": 1_000}, {"stop_time": 4_102_444_800_000}])
def test_what_is_sealed_is_not_to_end_by_itself(args):
    """Its target's own disk has it sealed, and so could not say what to revert."""
    def sealed(args):
        body = {"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": args}
        message = verified(
            SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", records=[body], label=Label.GREEN,
            rules=dict.fromkeys(body, Label.RED), recipients=("soar-1",), sealed_to=[SOAR],
        )
        return read_action(Delivery(message, 5, ("hq",)), Opener("soar-1", SOAR.signer).open)

    assert isinstance(executed(args=args), Action) and isinstance(sealed({}), Action)
    found = sealed(args)
    assert isinstance(found, Reject) and found.code is Code.BAD_ACTION
    assert found.detail == f"args.{next(iter(args))}: what is sealed has none"


HOSTILE = [
    ("ipv4_net", "203.0.113.9; rm -rf /"), ("ipv4_net", "$(reboot)"), ("ipv4_net", "203.0.113.9\n0.0.0.0/0"),
    ("ipv4_net", "203.0.113.9/32"), ("ipv4_net", "203.0.113.0/255.255.255.0"), ("ipv4_net", "10.1.2.3/8"),
    ("ipv4_net", ""), ("ipv4_net", " 203.0.113.9"), ("ipv4_net", "2001:db8::1"), ("ipv4_net", "0x7f.1"),
    ("ipv4_net", "9" * 5_000), ("ipv6_net", "fe80::1%eth0"), ("ipv6_net", "2001:DB8::1"),
    ("domain_name", "a.example; id"), ("domain_name", "A.example"), ("domain_name", "-a.example/../.."),
    ("mac_addr", "00-11-22-33-44-55"), ("email_addr", "a@b c"), ("uri", "no uri"), ("uri", "x:\x1b[2J"),
    ("ipv4_connection", "dst_port=99999"), ("file", "/etc/pass\x00wd"), ("file", "evil\u202efdp.exe"),
    ("process", "sshd\r\nkill"), ("device", "x" * 2_049), ("device", ""),
]


@pytest.mark.parametrize(("target_type", "value"), HOSTILE)
def test_a_target_that_is_no_value_of_its_type_never_reaches_a_handler(target_type, value):
    found = executed(target_type=target_type, value=value)
    assert isinstance(found, Reject) and found.code is Code.BAD_ACTION
    assert not value or len(value) < 4 or value not in found.detail, "a detail says where, never what was in it"


@pytest.mark.parametrize("value", [7, None, True, ["203.0.113.9"], {"a": 1}, b"203.0.113.9"])
def test_nor_does_what_is_no_text(value):
    assert executed(value=value).code is Code.BAD_ACTION


@given(
    st.sampled_from(TARGETS),
    st.one_of(st.text(max_size=40), st.ip_addresses().map(str), st.emails(), st.from_regex(r"[a-z0-9.:/=,-]{1,40}")),
)
def test_an_executor_takes_what_a_requester_s_side_writes_and_nothing_else(target_type, value):
    asked = parse_action("deny", f"{target_type}={value}")
    found = executed(target_type=target_type, value=value) if value.isprintable() else None
    if isinstance(asked, Reject):
        assert found is None or isinstance(found, Reject)
        return
    assert executed(target_type=target_type, value=asked.target.value).target == asked.target
    assert isinstance(found, Action) == (value == asked.target.value)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_of_openc2_passes_both_sides(action):
    args = {"response_requested": "complete"} if action == "query" else {"duration": 60}
    _, record = request_arguments(action, "features", "all", args)
    assert isinstance(executed(action, "features", record["target"]["features"], record["args"]), Action)


def nested(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value


# What is no one spelling, though it is equal to Python, or to a reader of JSON.
@pytest.mark.parametrize(("target_type", "value"), [
    ("file", {"hashes": {"md5": "d41d8cd98f00b204e9800998ecf8427e"}}), ("features", ["pairs", "versions"]),
    ("process", {"pid": True}), ("x-acme:crane", 1.0), ("x-acme:crane", {"a": [2.0]}),
    ("ipv4_connection", "protocol=tcp"), ("file", "a.exe"), ("features", ""), ("properties", ["b", "a"]),
])
def test_a_value_in_another_spelling_never_reaches_a_handler(target_type, value):
    found = executed(target_type=target_type, value=value) if ":" not in target_type else executed_extension(value)
    assert isinstance(found, Reject) and found.code is Code.BAD_ACTION


def executed_extension(value):
    body = {"action": "deny", "target": {"x-acme:crane": value}, "args": {}}
    message = verified(SOAR, kind=Kind.ACTION, topic="deny.x-acme.crane", to="all", records=[body], label=Label.GREEN)
    return read_action(Delivery(message, 5, ("hq",)))


def test_the_order_of_names_in_a_map_means_nothing():
    value = {"dst_port": 443, "protocol": "tcp"}
    found = executed(target_type="ipv4_connection", value=value)
    assert found.target.text == "ipv4_connection=protocol=tcp,dst_port=443"
    assert executed_extension({"b": 1, "a": 2}).target.value == {"a": 2, "b": 1}


UNBOUNDED = [
    7, ["a"], "a", None, {"a": b"\x00\xff"}, {"a": float("nan")}, {"a": [float("inf")]}, {7: "a"}, {"a": {7: "b"}},
    {"": 1}, {"n" * 65: 1}, {"a": "x" * (ARGS_BYTES_MAX + 1)}, {"a": {"x" * (ARGS_BYTES_MAX + 1): 1}},
    {"a": ["x" * 1_000] * 17}, {"a": [0] * ARGS_ELEMENTS_MAX}, {str(n): n for n in range(ARGS_ELEMENTS_MAX + 1)},
    nested(ARGS_DEPTH_MAX + 1), nested(20), {"a": "half \ud800"}, {"a": {"\ud800": 1}}, {"a": object()},
]


@pytest.mark.parametrize("args", UNBOUNDED, ids=range(len(UNBOUNDED)))
def test_arguments_without_a_bound_or_a_form_are_refused_at_both_ends(args):
    assert check_args(args).code is Code.BAD_ACTION
    if isinstance(args, dict):
        with pytest.raises(FabricError) as caught:
            request_arguments("deny", "ipv4_net=203.0.113.9", "all", args)
        assert caught.value.code is Code.BAD_ACTION
    if args not in (None, {"a": "half \ud800"}, {"a": {"\ud800": 1}}) and "object" not in repr(args):
        found = executed(args=args)
        assert isinstance(found, Reject), "those that can be signed at all"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1, max_size=16), JSON, max_size=8))
def test_what_passes_is_json_and_read_again_as_the_same(args):
    if check_args(args) is None:
        assert json.loads(json.dumps(args, allow_nan=False)) == args
        found = executed(args=args)
        assert isinstance(found, Action) and found.args == args


@given(st.recursive(st.none() | st.binary() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.none() | st.text() | st.integers(), x), max_leaves=30))
def test_whatever_it_is_it_is_judged_and_nothing_raised(args):
    assert check_args(args) is None or check_args(args).code is Code.BAD_ACTION


# -- times (OpenC2 Language 1.0, 3.3.1.4) ---------------------------------------------------------------------


@pytest.mark.parametrize("args", [
    {}, {"start_time": 1}, {"stop_time": 0}, {"duration": 0}, {"start_time": 5, "stop_time": 5},
    {"start_time": 5, "duration": 1}, {"stop_time": 5, "duration": 9}, {"response_requested": "ack"},
    {"duration": 2**53 - 1, "slpf": {"direction": "ingress"}, "x-acme": None, "comment": "two\nlines"},
])
def test_what_openc2_lets_say_of_times_passes(args):
    assert check_args(args) is None


@pytest.mark.parametrize(("args", "details"), [
    ({"start_time": 1, "stop_time": 9, "duration": 8},
     ["args.duration: two of start_time, stop_time and duration say all"]),
    ({"start_time": 9, "stop_time": 8}, ["args.stop_time: before start_time"]),
    ({"start_time": "now", "stop_time": -1}, ["args.start_time: whole milliseconds since 1970",
                                             "args.stop_time: whole milliseconds since 1970"]),
    ({"duration": 1.5}, ["args.duration: whole milliseconds"]),
    ({"duration": True}, ["args.duration: whole milliseconds"]),
    ({"duration": 2**53}, ["args.duration: whole milliseconds"]),
    ({"response_requested": "later"}, ["args.response_requested: none or ack or status or complete"]),
    ({"response_requested": ["ack"]}, ["args.response_requested: none or ack or status or complete"]),
    ({"a": [1, {"b c": float("nan")}]}, ["args.a[1]['b c']: a number that JSON does not have"]),
    ({"a": 2**64}, ["args.a: an integer beyond 64 bits"]),
])
def test_each_fault_of_the_arguments_has_its_path(args, details):
    assert check_args(args).detail.split("; ") == details


def test_query_features_takes_no_other_argument():
    spec = parse_action("query", "features=versions")
    assert check_args({"response_requested": "complete"}, spec) is None
    for args in ({"response_requested": "none"}, {"duration": 5}, {"x-acme": {}}):
        assert check_args(args, spec).detail.startswith(f"args.{next(iter(args))}: query features takes nothing but")
        assert check_args(args, parse_action("query", "properties=a")) is None


@pytest.mark.parametrize(("args", "times"), [
    ({}, (None, None)), ({"start_time": 5}, (5, None)), ({"stop_time": 5}, (None, 5)), ({"duration": 5}, (None, None)),
    ({"start_time": 5, "duration": 2}, (5, 7)), ({"stop_time": 5, "duration": 2}, (3, 5)),
    ({"start_time": 5, "stop_time": 7}, (5, 7)),
])
def test_the_third_follows_from_two(args, times):
    assert Times.of(args) == times


def test_what_is_over_or_yet_to_come_does_not_begin():
    assert Times(None, None).why_not(100) is None and Times(100, 101).why_not(100) is None
    assert Times(None, 100).why_not(100).code is Code.NOT_NOW
    assert "stop_time" in Times(5, 100).why_not(100).detail and "start_time" in Times(101, None).why_not(100).detail


def test_an_executor_begins_within_the_times_only():
    issued_ms = executed().issued_at_ms
    assert executed(args={"start_time": issued_ms}).deadline_ms == issued_ms + 60_000
    assert executed(args={"start_time": issued_ms, "duration": 50}).deadline_ms == issued_ms + 50
    assert executed(args={"duration": 50}).deadline_ms == issued_ms + 60_000, "it runs from when it is begun"
    for args in ({"start_time": issued_ms + 6}, {"stop_time": issued_ms + 5}, {"start_time": issued_ms, "duration": 5}):
        assert executed(args=args).code is Code.NOT_NOW, "it is five milliseconds old"


def test_an_action_bears_what_its_requester_calls_it():
    _, record = request_arguments("deny", "features", "all", None, "c-1")
    assert record["command_id"] == "c-1"
    with pytest.raises(FabricError, match="command_id"):
        request_arguments("deny", "features", "all", None, "c 1")


@pytest.mark.parametrize("target", ["file=a.exe", {"file": {"name": "a.exe"}}, Target("file", {"name": "a.exe"})])
def test_a_program_gives_a_target_in_any_of_three_ways(target):
    spec, record = request_arguments("delete", target, "all", None)
    assert spec.text == "delete file=a.exe" and record["target"] == {"file": {"name": "a.exe"}}


@pytest.mark.parametrize("target", [{}, {"file": {"name": "a"}, "uri": "a:b"}, {7: "a"}, {"file": {}}, {"ipv4": "1"}])
def test_a_map_that_is_no_target_is_refused_with_its_path(target):
    with pytest.raises(FabricError, match="E706 .*target"):
        request_arguments("deny", target, "all", None)
