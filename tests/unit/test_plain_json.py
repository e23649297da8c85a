"""JSON of others: one reading, bounds, and faults that say where."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.plain_json import FAULTS_MAX, Bounds, Faults, below, check_plain, parse_ijson

SMALL = Bounds(40, 8, 3)


def fault(document, bounds=SMALL):
    faults = Faults()
    assert check_plain(document, "it", bounds, faults) == (not faults)
    return faults.detail


@pytest.mark.parametrize(("document", "said"), [
    ({"a": {"b": {"c": {}}}}, "it.a.b.c: more than 3 levels"), ([0] * 8, "it: more than 8 values"),
    (["x" * 41], "it: more than 40 bytes"), ({"x" * 41: 1}, "it: more than 40 bytes"),
    ({"a": [1, b""]}, "it.a[1]: neither text nor number, nor of them"), ({7: 1}, "it: a name that is no text"),
    ({"a": "\ud800"}, "it.a: text that is not Unicode"), ({"\ud800": 1}, "it: a name that is no text"),
    ([float("inf")], "it[0]: a number that JSON does not have"), ([2**64], "it[0]: an integer beyond 64 bits"),
    ([-(2**63) - 1], "it[0]: an integer beyond 64 bits"), (object(), "it: neither text nor number, nor of them"),
])  # fmt: skip
def test_what_is_not_plain_is_said_with_its_path(document, said):
    assert fault(document) == said


@pytest.mark.parametrize("document", [None, True, 1.5, 2**64 - 1, "", {"a": [{}, ()]}, {"ä" * 20: None}])
def test_what_is_plain_passes(document):
    assert fault(document) == ""


@pytest.mark.parametrize("text", [
    "", "{", "[1,]", "NaN", "[Infinity]", "1e999", '{"a": 1, "a": 2}', '{"b": {"a": 1, "a": 1}}', "[" * 100_000,
    "9" * 5_000, "{} {}", "'a'",
])  # fmt: skip
def test_text_with_another_reading_is_no_json(text):
    with pytest.raises(ValueError, match="^.{5,80}$"):
        parse_ijson(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=20,
)


@given(JSON)
def test_json_is_read_as_it_was_written(document):
    assert parse_ijson(json.dumps(document)) == document
    assert fault(document, Bounds(10**6, 10**6, 100)) == ""


@given(st.text(max_size=200), st.lists(st.text(max_size=60) | st.integers(0, 10**9), max_size=9))
def test_a_path_is_printable_and_short_whatever_the_names_are(text, steps):
    path = "it"
    for step in [*steps, text]:
        path = below(path, step)
    assert path.isprintable() and len(path) <= 160 and path.startswith("it")


def test_names_that_could_be_taken_for_two_are_quoted():
    assert below("a", "b.c") == "a['b.c']" and below("a", "\x1b[2J") == "a['\\x1b[2J']" and below("", "a") == "a"
    assert below("target", "slpf:rule_number") == "target.slpf:rule_number" and below("a", 3) == "a[3]"


def test_faults_are_told_in_order_and_not_without_end():
    faults = Faults()
    assert not faults and faults.reject() is None
    for number in range(FAULTS_MAX + 3):
        faults.add(f"a[{number}]", "text")
    assert faults.reject().code is Code.BAD_ACTION
    assert faults.detail.split("; ") == [f"a[{n}]: text" for n in range(FAULTS_MAX)] + ["and 3 more"]
