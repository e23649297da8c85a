"""STIX patterns: what of one can be blocked, against what the reference parser makes of it."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stix2 import patterns as reference
from stix2.pattern_visitor import create_pattern_object

from relays.gateways.stix.patterns import PATTERN_CHARS_MAX, read_pattern
from relays.gateways.stix.values import VALUE_KINDS, VALUES_MAX, plain_value

SHA256 = "ef537f25c895bfa782526529a9b63d97aa631564d5d789c2b765448c8635fb6c"


@pytest.mark.parametrize(("text", "kind", "values"), [
    ("[ipv4-addr:value = '198.51.100.7']", "ipv4", {"ipv4": ("198.51.100.7",)}),
    ("[ipv4-addr:value='198.51.100.7/32' OR ipv4-addr:value = '192.0.2.1']", "ipv4",
     {"ipv4": ("192.0.2.1", "198.51.100.7")}),
    ("[ipv4-addr:value = '192.0.2.1'] OR [ipv4-addr:value = '192.0.2.2']", "ipv4",
     {"ipv4": ("192.0.2.1", "192.0.2.2")}),
    ("[ipv6-addr:value = '2001:DB8:0::1']", "ipv6", {"ipv6": ("2001:db8::1",)}),
    ("[domain-name:value IN ('Evil.Example', 'b.example.')]", "domain", {"domain": ("b.example", "evil.example")}),
    ("[domain-name:value = 'bücher.example']", "domain", {"domain": ("xn--bcher-kva.example",)}),
    ("[url:value = 'http://x.example/it\\'s?a=\\\\b']", "url", {"url": ("http://x.example/it's?a=\\b",)}),
    ("[email-addr:value = 'Eve@x.example']", "email", {"email": ("eve@x.example",)}),
    (f"[file:hashes.'SHA-256' = '{SHA256.upper()}' OR file:hashes.MD5 = '{'a' * 32}']", "file",
     {"sha256": (SHA256,), "md5": ("a" * 32,)}),
    ("[domain-name:value = 'x.example' OR ipv4-addr:value = '192.0.2.1']", "indicator",
     {"domain": ("x.example",), "ipv4": ("192.0.2.1",)}),
])
def test_what_one_of_several_equalities_names_can_be_blocked(text, kind, values):
    create_pattern_object(text)  # the reference parser reads it
    assert read_pattern(text) == (kind, values)


@pytest.mark.parametrize(("text", "kind"), [
    ("[ipv4-addr:value = '192.0.2.1' AND ipv4-addr:value = '192.0.2.2']", "ipv4"),
    ("[ipv4-addr:value = '192.0.2.1'] AND [ipv4-addr:value = '192.0.2.2']", "ipv4"),
    ("[ipv4-addr:value = '192.0.2.1'] FOLLOWEDBY [ipv4-addr:value = '192.0.2.2']", "ipv4"),
    ("[ipv4-addr:value != '192.0.2.1']", "ipv4"), ("[NOT ipv4-addr:value = '192.0.2.1']", "ipv4"),
    ("[ipv4-addr:value NOT = '192.0.2.1']", "ipv4"), ("[ipv4-addr:value > '192.0.2.1']", "ipv4"),
    ("[ipv4-addr:value = '192.0.2.0/24']", "ipv4"), ("[ipv4-addr:value ISSUBSET '192.0.2.0/24']", "ipv4"),
    ("[domain-name:value LIKE '%.evil.example']", "domain"), ("[domain-name:value MATCHES '^evil']", "domain"),
    ("[domain-name:value = '*.evil.example']", "domain"), ("[domain-name:value = 'localhost']", "domain"),
    ("[domain-name:value = 'a b.example']", "domain"), ("[url:value = 'http://x.example/ a']", "url"),
    ("[url:value = 'http://x.example/\n192.0.2.9']", "url"), ("[url:value = 'http://*.example/']", "url"),
    ("[url:value = 'http:///']", "url"), ("[url:value = 'http://?']", "url"), ("[url:value = 'http://com/']", "url"),
    ("[url:value = 'http://corp.example\\\\@x.example/']", "url"),
    ("[url:value = 'http://corp.example@x.example/']", "url"),
    ("[ipv4-addr:value = '192.0.2.1'] REPEATS 5 TIMES", "ipv4"),
    ("[ipv4-addr:value = '192.0.2.1'] WITHIN 9 SECONDS", "ipv4"),
    ("([ipv4-addr:value = '192.0.2.1'])", "ipv4"), ("[ipv4-addr:value = '192.0.2.1' OR ipv4-addr:value = 'x']", "ipv4"),
    ("[file:name = 'a.exe']", "file"), ("[file:hashes.MD5 = 'abc']", "file"), ("[file:hashes.TLSH = 'abc']", "file"),
    ("[email-message:subject MATCHES '^x']", "email"), ("[process:name = 'x']", "indicator"),
    ("[ipv4-addr:value = '192.0.2.1' OR network-traffic:dst_port = 80]", "indicator"),
    ("[ipv4-addr:value IN ('192.0.2.1', 5)]", "ipv4"), ("[ipv4-addr:value = '192.0.2.1", "ipv4"),
    ("[ipv4-addr:value = '192.0.2.1'", "ipv4"), ("[ipv4-addr:value = '192.0.2.1']]", "ipv4"),
    ("[ipv4-addr:value = '192.0.2.1'] OR", "ipv4"), ("[x = 'ipv4-addr:value']", "indicator"), ("", "indicator"),
    ("[ipv6-addr:value = 'fe80::1%eth0']", "ipv6"), ("[ipv4-addr:value = '010.0.0.1']", "ipv4"),
    ("[file:hashes.MD5 = '٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣']", "file"),
])
def test_nothing_is_blocked_for_a_pattern_that_says_more(text, kind):
    assert read_pattern(text) == (kind, {})


_TEXTS = st.sampled_from(["192.0.2.1", "192.0.2.0/24", "x.example", "*.x.example", "it's", "2001:db8::1", "\\", SHA256,
    "é.example", " "])
_PATHS = st.sampled_from([
    "ipv4-addr:value", "ipv6-addr:value", "domain-name:value", "url:value", "file:hashes.'SHA-256'", "file:name",
    "process:name", "email-message:from_ref.value", "file:hashes.MD5",
])


def _quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_COMPARED = st.one_of(
    st.builds("{} = {}".format, _PATHS, _TEXTS.map(_quoted)),
    st.builds("{} {} {}".format, _PATHS, st.sampled_from(["!=", "LIKE", "MATCHES", "NOT =", "IN"]),
        _TEXTS.map(_quoted)),
    st.builds("{} IN ({})".format, _PATHS, st.lists(_TEXTS.map(_quoted), min_size=1, max_size=3).map(", ".join)),
    st.builds("{} = 5".format, _PATHS),
)
_PATTERNS = st.recursive(
    st.builds("[{}]".format,
        st.lists(_COMPARED, min_size=1, max_size=3).map(" OR ".join) | st.builds("{} AND {}".format, _COMPARED,
            _COMPARED)),
    lambda inner: st.builds("{} {} {}".format, inner, st.sampled_from(["OR", "OR", "AND", "FOLLOWEDBY"]), inner)
    | st.builds("({})".format, inner) | st.builds("{} REPEATS 2 TIMES".format, inner), max_leaves=3,
)


def _equalities(node):
    """(path, text) of each, where the pattern is nothing but these, joined by OR; else raises."""
    if isinstance(node, reference.OrBooleanExpression | reference.OrObservationExpression):
        return [each for operand in node.operands for each in _equalities(operand)]
    if isinstance(node, reference.ObservationExpression):
        return _equalities(node.operand)
    if isinstance(node, reference.EqualityComparisonExpression) and not node.negated:
        return [(str(node.lhs), node.rhs.value)]
    if isinstance(node, reference.InComparisonExpression) and not node.negated:
        return [(str(node.lhs), each.value) for each in node.rhs.value]
    raise AssertionError(type(node))


@settings(max_examples=30)
@given(_PATTERNS | st.text("[]()'\\ =OR:,-a9.", max_size=40))
@example("[ipv4-addr:value = '192.0.2.1' OR domain-name:value = 'x.example']")
def test_the_reference_parser_finds_nothing_in_it_but_these_values(text):
    found = read_pattern(text).values
    if not found:
        return
    expected = {}
    for _, value in _equalities(create_pattern_object(text)):
        kinds = [kind for kind in VALUE_KINDS if plain_value(kind, value) in found.get(kind, ())]
        assert kinds, value
        for kind in kinds[:1]:
            expected.setdefault(kind, set()).add(plain_value(kind, value))
    assert {kind: set(values) for kind, values in found.items()} == expected


def test_an_endless_pattern_costs_no_time_to_speak_of():
    pieces = ["'", "\\", "[", "a:", "a-", "a:'", "OR ", "file:hashes.'", "'\\'", "(", "a",
        "ipv4-addr:value='192.0.2.1' OR "]
    began_s = time.process_time()
    for piece in pieces:
        text = (piece * (PATTERN_CHARS_MAX // len(piece)))[:PATTERN_CHARS_MAX]
        assert not read_pattern(text).values
    assert time.process_time() - began_s < 0.1 * len(pieces)


def test_as_many_values_as_one_may_have():
    def named(count):
        each = (f"ipv4-addr:value = '192.0.{n // 250}.{n % 250}'" for n in range(count))
        return read_pattern(f"[{' OR '.join(each)}]")

    assert len(named(VALUES_MAX).values["ipv4"]) == VALUES_MAX
    assert named(VALUES_MAX + 1) == ("ipv4", {})
