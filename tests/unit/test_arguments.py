"""A hostile program signs what no requester's side would: a target that is a command, arguments without an end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.acting.handlers import read_action
from fabric.edge.messages import Action
from fabric.edge.requesting.request import request_arguments
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ARGS_BYTES_MAX, ARGS_DEPTH_MAX, ARGS_ELEMENTS_MAX
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.vocabulary.arguments import check_args
from fabric.protocol.vocabulary.openc2 import ACTIONS, TARGETS, parse_action
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, Authority, verified

SOAR = Authority("arguments").issue("soar-1", grants=EVERYTHING)


def executed(action="deny", target_type="ipv4_net", value="203.0.113.9", args=None):
    """What an executor makes of a body that was signed as it is."""
    body = {"action": action, "target": {target_type: value}, "args": {} if args is None else args}
    message = verified(SOAR, kind=Kind.ACTION, topic=f"{action}.{target_type}", to="all", records=[body],
                       label=Label.GREEN)
    return read_action(Delivery(message, 5, ("hq",)))


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
    assert isinstance(executed(target_type=target_type, value=asked.target_value), Action)
    assert isinstance(found, Action) == (value == asked.target_value)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_of_openc2_passes_both_sides(action):
    _, record = request_arguments(action, "features", "all", {"duration": 60})
    assert isinstance(executed(action, "features", record["target"]["features"], record["args"]), Action)


def nested(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value


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
