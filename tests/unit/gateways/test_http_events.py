"""What is written for who reads, held against the letter of the standard; and what readers send, whatever it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.topics import check_pattern
from relays.gateways.http.asked import read_asked
from relays.gateways.http.events import EventId, alive, event, read_id, with_id

ENDS = "\r\n\0\x85\u2028\x0b"
VALUES = st.recursive(
    st.text(st.sampled_from("a:" + ENDS) | st.characters()) | st.integers() | st.none() | st.floats() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=9,
)
RUN = "0123456789abcdef"


@given(st.dictionaries(st.text(st.sampled_from("a" + ENDS)), VALUES, max_size=4))
def test_nothing_in_an_event_ends_it_or_begins_another(data):
    lines = re.split("\r\n|\r|\n", with_id(EventId(RUN, 7), event("", data)).decode())
    assert lines[0] == f"id: {RUN}-7" and lines[1].startswith("data: {") and lines[2:] == ["", ""]
    assert lines[1].isascii() and lines[1].isprintable()


def test_a_comment_is_no_event_and_may_say_an_id():
    assert alive(None) == b": alive\n\n"
    assert alive(EventId(RUN, 3)) == f"id: {RUN}-3\n: alive\n\n".encode()


@given(st.integers(0, 10**15 - 1))
def test_an_id_is_read_as_it_was_written(number):
    assert read_id(str(EventId(RUN, number))) == EventId(RUN, number)


@given(st.text(st.sampled_from("0123456789abcdef-\u0660 +_\n") | st.characters(), max_size=40))
def test_what_is_no_id_reads_as_none(text):
    found = read_id(text)
    assert found is None or str(found) == text


@pytest.mark.parametrize("text", [
    f"{RUN}-{'9' * 1_000_000}", f"{RUN}-01", f"{RUN}--1", f"{RUN.upper()}-1", f"{RUN}-1\n", f" {RUN}-1", "1",
    f"{RUN}-\u0661",
])
def test_what_is_nearly_an_id_is_none(text):
    assert read_id(text) is None


PAIRS = st.tuples(st.sampled_from(["topic", "last_event_id", "x"]) | st.text(max_size=3),
                  st.sampled_from(["a.>", "a.*", "a"]) | st.text(max_size=300))


@given(st.lists(PAIRS, max_size=5), st.lists(st.text(max_size=9), max_size=2))
def test_whatever_is_asked_is_patterns_or_an_error_with_a_number(pairs, ids):
    try:
        asked = read_asked(pairs, ids)
    except FabricError as error:
        assert error.code in (Code.USAGE, Code.BAD_TOPIC) and error.next_step
        assert error.detail.isprintable()
        return
    assert all(check_pattern(topic) is None for topic in asked.topics)
    assert set(asked.topics) == {value for name, value in pairs if name == "topic"}
    assert asked.last in ("", *ids, *(value for _, value in pairs))


def test_the_header_is_newer_than_the_address_and_too_much_is_too_much():
    assert read_asked([("last_event_id", "a")], ["b"]).last == "b"
    assert read_asked([("last_event_id", "a")], []).last == "a" and read_asked([], []).last == ""
    for pairs, ids in (
        ([("topic", f"a.{n}") for n in range(65)], []), ([("last_event_id", "a")] * 2, []), ([], ["a", "b"]),
    ):
        with pytest.raises(FabricError) as raised:
            read_asked(pairs, ids)
        assert raised.value.code is Code.USAGE
