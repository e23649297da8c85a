"""Questions about who somebody is, and their answers, as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import ANSWER_BYTES_MAX, ASK_BYTES_MAX
from fabric.protocol.enrolment.recipients import (
    MEMBERS_NAMED_MAX,
    Found,
    Wanted,
    decode_found,
    decode_wanted,
    encode_found,
    encode_wanted,
)

NAME = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
NAMES = st.lists(NAME, max_size=MEMBERS_NAMED_MAX)


@given(NAMES, st.text(max_size=256), st.sampled_from(["", "deny.ipv4_net"]), NAMES)
def test_a_question_is_read_as_it_was_written(ids, to, topic, organisations):
    wanted = Wanted(tuple(ids), to, topic, tuple(organisations))
    raw = encode_wanted(wanted)
    assert decode_wanted(raw) == wanted and len(raw) <= ASK_BYTES_MAX


def test_whose_they_are_is_on_the_wire_where_it_is_said():
    assert encode_wanted(Wanted(("a",), "role=lead")) == pack([1, ["a"], "role=lead", ""])
    assert encode_wanted(Wanted((), "role=lead", "", ("acme", "m*"))) == pack([1, [], "role=lead", "", ["acme", "m*"]])


@given(NAMES, st.lists(st.binary(max_size=8_192), max_size=20), NAMES)
def test_an_answer_has_what_fits_in_order(members, credentials, unknown):
    raw = encode_found(members, credentials, unknown)
    told = decode_found(raw)
    assert len(raw) <= ANSWER_BYTES_MAX
    assert told.members == tuple(members) and told.unknown == tuple(unknown)
    assert list(told.credentials) == credentials[: len(told.credentials)]
    assert told.credentials or not credentials, "the largest credential fits beside the most names"


def test_too_many_are_cut_to_one_more_than_can_be_named():
    told = decode_found(encode_found([f"n{i}" for i in range(40)], [b"c"] * 40, [f"u{i}" for i in range(40)]))
    assert list(map(len, told)) == [MEMBERS_NAMED_MAX] * 3


@pytest.mark.parametrize("value", [
    7, [], [1], [1, [], ""], [1, [], 7, ""], [1, "lead-1", "", ""], [1, [7], "", ""], [1, ["Lead 1"], "", ""],
    [2, [], "", ""], [1, [], "x" * 1_025, ""], [1, ["a"] * 18, "", ""], [1, [[]], "", ""], [1, [], "", "x" * 257],
    [1, [], "", "", "acme"], [1, [], "", "", [7]], [1, [], "", "", ["x"] * 18], [1, [], "", "", ["x" * 65]],
])
def test_what_is_no_question_is_refused(value):
    assert decode_wanted(pack(value)).code is Code.MALFORMED


@pytest.mark.parametrize("value", [
    None, [1, [], []], [1, ["../x"], [], []], [1, [], ["text"], []], [1, [], [b"x" * 8_193], []],
    [1, [], [b"x"] * 18, []], [1, [], [], [7]], [3, [], [], []],
])
def test_what_is_no_answer_is_refused(value):
    assert decode_found(pack(value)).code is Code.MALFORMED


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw):
    decode_found(raw)
    decode_wanted(raw)


def test_what_later_versions_append_is_ignored():
    assert decode_wanted(pack([1, ["a"], "", "", ["acme"], "more"])) == Wanted(("a",), "", "", ("acme",))
    assert decode_found(pack([1, ["a"], [b"c"], ["u"], 9])) == Found(("a",), (b"c",), ("u",))
