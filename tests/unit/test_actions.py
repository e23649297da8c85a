import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.vocabulary.openc2 import (
    ACTIONS,
    ActionSpec,
    End,
    Status,
    action_covers,
    action_matches,
    check_action_pattern,
    class_of,
    parse_action,
    read_spec,
    split_topic,
    topic_of,
)
from fabric.protocol.vocabulary.target_types import TARGETS
from fabric.protocol.vocabulary.targets import Target
from fabric.protocol.vocabulary.topics import check_topic


def test_the_vocabulary_is_openc2s():
    assert len(ACTIONS) == 20
    assert len(TARGETS) == 18
    assert {class_of(action) for action in ACTIONS} == {"investigate", "contain", "remediate", "other"}
    assert [int(status) for status in Status] == [102, 200, 400, 401, 403, 404, 500, 501, 503]
    assert list(End) == ["completed", "failed", "refused", "expired", "unroutable", "unknown", "ready"]


def test_the_class_follows_from_the_action():
    assert class_of("query") == "investigate"
    assert class_of("deny") == "contain"
    assert class_of("allow") == "remediate"
    assert class_of("cancel") == class_of("x-deny") == class_of("nonsense") == "other"


def test_a_spec_says_what_it_is():
    spec = parse_action("deny", "ipv4_net=203.0.113.9")
    assert spec == ActionSpec("deny", Target("ipv4_net", "203.0.113.9"))
    assert spec == read_spec("deny", {"ipv4_net": "203.0.113.9/32"})
    assert spec.topic == "deny.ipv4_net"
    assert spec.text == "deny ipv4_net=203.0.113.9"
    assert parse_action("query", "features").text == "query features"
    assert parse_action("x-park", "x-crane=7").topic == "x-park.x-crane"


@pytest.mark.parametrize("action", ["", "Deny", "block", "deny ", "x-", "x-a.b", "x-" + "a" * 63, "*"])
def test_unknown_actions_are_refused(action):
    refused = parse_action(action, "ipv4_net=203.0.113.9")
    assert (refused.code, refused.detail) == (Code.BAD_ACTION, "action: the action is not known")


@pytest.mark.parametrize("action", [None, 7, ["deny"], {"deny": 1}, b"deny"])
def test_nor_is_what_is_no_text(action):
    assert read_spec(action, {"ipv4_net": "203.0.113.9"}).detail == "action: the action is not known"


def test_every_fault_is_told_at_once():
    refused = read_spec("block", {"file": {"hashes": {"md5": "x", "sha256": 7}, "size": 1}})
    assert refused.detail.split("; ") == [
        "target.file.size: not one of name, path, hashes", "target.file.hashes.md5: 32 hex digits",
        "target.file.hashes.sha256: 64 hex digits, as text", "action: the action is not known",
    ]


def test_a_refusal_does_not_repeat_the_value():
    assert "10.66.66.66" not in str(parse_action("deny", "ipv4_net=10.66.66.66/99"))


def test_every_spec_makes_a_topic():
    for action in (*ACTIONS, "x-" + "a" * 62):
        for target in (*TARGETS, "x-" + "b" * 62, "slpf:rule_number", "x-acme:crane"):
            topic = topic_of(action, target)
            assert check_topic(topic) is None and split_topic(topic) == (action, target)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("deny ipv4_net", ["deny ipv4_net"], ["deny uri", "allow ipv4_net"]),
        ("deny *", ["deny ipv4_net", "deny x-crane"], ["allow ipv4_net"]),
        ("* uri", ["deny uri", "x-park uri"], ["deny file"]),
        ("x-park x-crane", ["x-park x-crane"], ["x-park device"]),
        ("delete slpf:rule_number", ["delete slpf:rule_number"], ["delete x-a:rule_number", "delete rule_number"]),
        ("* *", ["deny ipv4_net", "x-park x-crane"], []),
        ("*", ["deny ipv4_net", "x-park x-crane"], []),
    ],
)
def test_patterns_match_what_they_say(pattern, yes, no):
    assert check_action_pattern(pattern) is None
    assert all(action_matches(pattern, *text.split()) for text in yes)
    assert not any(action_matches(pattern, *text.split()) for text in no)


@pytest.mark.parametrize(
    "pattern", ["", " ", "deny", "deny  *", "deny * *", "block *", "de* uri", "* ip", "* " * 99]
)
def test_a_broken_pattern_is_refused_and_allows_nothing(pattern):
    assert isinstance(check_action_pattern(pattern), Reject)
    assert not action_matches(pattern, "deny", "ipv4_net")
    assert not action_covers("*", pattern)


def test_a_grant_covers_what_it_allows_wholly():
    assert action_covers("*", "deny *")
    assert action_covers("deny *", "deny ipv4_net")
    assert action_covers("* *", "*")
    assert not action_covers("deny ipv4_net", "deny *")
    assert not action_covers("deny *", "*")
