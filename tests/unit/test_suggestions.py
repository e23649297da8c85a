"""What somebody typed and nobody knows, and what is said to be there instead."""

import pytest

from fabric.edge.arguments.suggestions import known_instead, near
from fabric.edge.handling.handlers import Handlers
from fabric.edge.identity.identity import find_identity
from fabric.edge.requesting.request import request_arguments
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import ACTIONS
from fabric.protocol.vocabulary.target_types import TARGETS
from relays.authority import authorities, init_authority, open_authority
from tests.unit.test_strays import TOPOLOGY, make_identities, written


def test_the_nearest_is_named_and_where_nothing_is_near_all_are():
    assert known_instead("deny", "ipv4") == "write ipv4_net"
    assert all(action in known_instead("block", "ipv4_net") for action in ACTIONS)
    assert all(target in known_instead("deny", "qqq") for target in TARGETS)


@pytest.mark.parametrize(("typed", "said"), [
    ("203.0.113.9", "write ipv4_net=203.0.113.9"), ("2001:db8::/32", "write ipv6_net=2001:db8::/32"),
])
def test_an_address_without_its_type_gets_it(typed, said):
    assert known_instead("deny", typed) == said


@pytest.mark.parametrize(("action", "target"), [("deny", "ipv4_net"), ("*", "*"), ("x-isolate", "x-vlan")])
def test_nothing_is_said_of_what_is_known(action, target):
    assert known_instead(action, target) == ""


def test_a_word_as_long_as_a_page_costs_no_time():
    assert near("a" * 10_000_000, ACTIONS) == []


@pytest.mark.parametrize(("pattern", "said", "instead"), [
    ("deny ipv4", "deny ipv4: ipv4 is not known", "write ipv4_net"),
    ("block ipv4_net", "block ipv4_net: block is not known", "actions are scan"),
    ("deny ", "deny: it names no target", "'deny *'"),
])
def test_a_pattern_that_cannot_be_read_is_said_as_it_was_typed(pattern, said, instead):
    action, _, target = pattern.partition(" ")
    with pytest.raises(FabricError) as raised:
        Handlers(["*"]).add(action, target, lambda _: None)
    assert raised.value.code is Code.BAD_ACTION
    assert raised.value.detail == said and instead in raised.value.next_step


def test_an_action_that_is_not_known_is_answered_with_those_that_are():
    with pytest.raises(FabricError) as raised:
        request_arguments("block", "ipv4_net=203.0.113.9", "all", None)
    assert "block ipv4_net" in raised.value.detail and "deny" in raised.value.next_step
    with pytest.raises(FabricError) as raised:
        request_arguments("deny", "ipv4_net=10.1.2.3/24", "all", None)
    assert raised.value.next_step == Code.BAD_ACTION.next_step, "the words are known, the value is wrong"


def test_an_identity_that_is_not_here_is_answered_with_those_like_it(tmp_path):
    make_identities(written(tmp_path, TOPOLOGY), init_authority("small", tmp_path), tmp_path)
    for name, instead in (
        ("zeek1", "write zeek-1; else run `fabric up FILE`"), ("smal/zeek-1", "write one of small"),
        ("qqqqqqq", Code.NO_IDENTITY.next_step),
    ):
        with pytest.raises(FabricError) as raised:
            find_identity(name, tmp_path)
        assert raised.value.code is Code.NO_IDENTITY and raised.value.detail == name
        assert instead in raised.value.next_step


def test_an_authority_that_is_not_here_is_answered_with_those_that_are(tmp_path):
    assert authorities(tmp_path) == []
    init_authority("small", tmp_path)
    with pytest.raises(FabricError) as raised:
        open_authority("smal", tmp_path)
    assert raised.value.code is Code.NO_AUTHORITY and raised.value.next_step.startswith("write small; else run")
