import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.vocabulary.openc2 import (
    ACTIONS,
    TARGETS,
    ActionSpec,
    End,
    Status,
    action_covers,
    action_matches,
    check_action_pattern,
    class_of,
    parse_action,
)
from fabric.protocol.vocabulary.topics import check_topic


def value(target, action="deny"):
    spec = parse_action(action, target)
    return spec.target_value if isinstance(spec, ActionSpec) else spec.code


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
    assert spec == ActionSpec("deny", "ipv4_net", "203.0.113.9")
    assert spec.topic == "deny.ipv4_net"
    assert spec.text == "deny ipv4_net=203.0.113.9"
    assert parse_action("query", "features").text == "query features"
    assert parse_action("x-park", "x-crane=7").topic == "x-park.x-crane"


@pytest.mark.parametrize(
    ("target", "read"),
    [
        ("ipv4_net=203.0.113.9/32", "203.0.113.9"),
        ("ipv4_net=203.0.113.0/24", "203.0.113.0/24"),
        ("ipv6_net=2001:DB8:0:0::/64", "2001:db8::/64"),
        ("ipv6_net=2001:db8::1/128", "2001:db8::1"),
        ("mac_addr=AA-BB-CC-00-11-22", "aa:bb:cc:00:11:22"),
        ("mac_addr=aa:bb:cc:00:11:22:33:44", "aa:bb:cc:00:11:22:33:44"),
        ("domain_name=Evil.Example.", "evil.example"),
        ("domain_name=_dmarc.example", "_dmarc.example"),
        ("idn_domain_name=bücher.example", "bücher.example"),
        ("email_addr=Jo@Example.org", "Jo@example.org"),
        ("idn_email_addr=jö@bücher.example", "jö@bücher.example"),
        ("uri=https://evil.example/a?b=c", "https://evil.example/a?b=c"),
        ("iri=https://bücher.example/ä", "https://bücher.example/ä"),
        ("ipv4_connection=dst_port=443,protocol=tcp,dst_addr=203.0.113.9/32",
         "protocol=tcp,dst_addr=203.0.113.9,dst_port=443"),
        ("ipv6_connection=src_addr=2001:DB8::1", "src_addr=2001:db8::1"),
        ("file=C:\\Temp\\a b.exe", "C:\\Temp\\a b.exe"),
        ("x-plc", ""),
    ],
)  # fmt: skip
def test_a_target_is_written_in_one_way_only(target, read):
    assert value(target) == read
    again = parse_action("deny", target)
    assert parse_action("deny", again.target) == again


@pytest.mark.parametrize(
    "target",
    [
        "", "=", "ipv4_net", "ipv4_net=", "process=", "ipv5_net=1", "IPV4_NET=203.0.113.9", "x-=1", "x-a:b=1",
        "x-a.b=1", "x-" + "a" * 63 + "=1", "ipv4_net=203.0.113.9/24", "ipv4_net=10.0.0.0/255.0.0.0",
        "ipv4_net=203.0.113.256", "ipv4_net=203.0.113", "ipv4_net=3405803785", "ipv4_net=010.0.0.1",
        "ipv4_net=::1", "ipv4_net= 10.0.0.1", "ipv4_net=10.0.0.1/", "ipv6_net=203.0.113.9",
        "ipv6_net=fe80::1%eth0",
        "mac_addr=aa:bb:cc:00:11", "mac_addr=aa:bb-cc:00:11:22", "mac_addr=aabb.cc00.1122",
        "domain_name=a..b", "domain_name=-a.example", "domain_name=a b",
        "domain_name=" + "a" * 64 + ".example",
        "domain_name=" + ".".join(["a"] * 128), "domain_name=bücher.example",
        "domain_name=\u212aelvin.example",
        "email_addr=a", "email_addr=@b.c", "email_addr=a@", "email_addr=a b@c.d", "email_addr=ö@b.c",
        "uri=evil", "uri=https://a b", "uri=https://ä", "ipv4_connection=dst_port=65536",
        "ipv4_connection=dst_port=443,dst_port=80", "ipv4_connection=port=1", "ipv4_connection=protocol=gre",
        "ipv4_connection=dst_addr=::1", "file=a\nb", "file=a\x1b[2J", "file=a\u202eexe.txt",
        "file=" + "a" * 2_049,
    ],
)  # fmt: skip
def test_what_is_not_of_its_type_is_refused(target):
    assert value(target) is Code.BAD_ACTION


@pytest.mark.parametrize("action", ["", "Deny", "block", "deny ", "x-", "x-a.b", "x-" + "a" * 63, "*"])
def test_unknown_actions_are_refused(action):
    assert value("ipv4_net=203.0.113.9", action) is Code.BAD_ACTION


def test_a_refusal_does_not_repeat_the_value():
    assert "10.66.66.66" not in str(parse_action("deny", "ipv4_net=10.66.66.66/99"))


def test_every_spec_makes_a_topic():
    for action in (*ACTIONS, "x-" + "a" * 62):
        for target in (*TARGETS, "x-" + "b" * 62):
            assert check_topic(ActionSpec(action, target, "1").topic) is None


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("deny ipv4_net", ["deny ipv4_net"], ["deny uri", "allow ipv4_net"]),
        ("deny *", ["deny ipv4_net", "deny x-crane"], ["allow ipv4_net"]),
        ("* uri", ["deny uri", "x-park uri"], ["deny file"]),
        ("x-park x-crane", ["x-park x-crane"], ["x-park device"]),
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
