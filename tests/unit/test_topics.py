import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.topics import (
    TopicIndex,
    advice_on,
    check_pattern,
    check_topic,
    covers,
    kind_of_topic,
    matches,
    meant_by,
)

BROKEN = ["", ".", "a.", ".a", "a..b", "a b", "a/b", "ä", "a\n", "a.b\n", "x" * 257, ".".join("a" * 17)]


@pytest.mark.parametrize("topic", ["a", "detections.zeek.conn", "A_1-b.c", ".".join("a" * 16), "x" * 256])
def test_good_topics_are_topics_and_patterns(topic):
    assert check_topic(topic) is None
    assert check_pattern(topic) is None
    assert matches(topic, topic)


@pytest.mark.parametrize("topic", [*BROKEN, "*", ">", "a.*", "a.>"])
def test_bad_topics_are_refused(topic):
    assert check_topic(topic).code is Code.BAD_TOPIC
    assert not matches(">", topic)


@pytest.mark.parametrize("pattern", ["*", ">", "a.*.c", "*.*", "a.>", "*.>"])
def test_good_patterns_pass(pattern):
    assert check_pattern(pattern) is None


@pytest.mark.parametrize("pattern", [*BROKEN, ">.a", "a.>.b", "fire*", "**", "a.>>", "a.*>"])
def test_bad_patterns_are_refused_and_match_and_cover_nothing(pattern):
    assert check_pattern(pattern).code is Code.BAD_TOPIC
    assert not matches(pattern, "a.b")
    assert not covers(pattern, "a.b")
    assert not covers(">", pattern)


def test_a_refusal_does_not_repeat_what_it_refuses():
    assert "secret" not in str(check_topic("secret topic"))


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a.b", ["a.b"], ["a", "a.b.c", "a.c", "A.b"]),
        ("a.*", ["a.b", "a.c"], ["a", "a.b.c"]),
        ("*.b", ["a.b"], ["b", "a.c"]),
        ("a.>", ["a.b", "a.b.c"], ["a", "b.a"]),
        ("*.>", ["a.b", "a.b.c"], ["a"]),
        (">", ["a", "a.b.c"], []),
    ],
)
def test_a_star_is_one_token_and_the_rest_is_one_or_more(pattern, yes, no):
    assert all(matches(pattern, topic) for topic in yes)
    assert not any(matches(pattern, topic) for topic in no)


@pytest.mark.parametrize(
    ("grant", "yes", "no"),
    [
        ("a.b", ["a.b"], ["a.*", "a.>", "a", "*.b"]),
        ("a.*", ["a.b", "a.*"], ["a.>", "*.b", "a.b.c", "*.*"]),
        ("a.>", ["a.b", "a.*", "a.>", "a.b.>", "a.*.*"], ["a", "*.b", ">", "*.>"]),
        ("*.>", ["a.>", "*.b", "*.*.>"], [">", "*", "a"]),
        (">", ["a", "*", ">", "a.>"], []),
    ],
)
def test_a_grant_covers_what_it_matches_wholly(grant, yes, no):
    assert all(covers(grant, pattern) for pattern in yes)
    assert not any(covers(grant, pattern) for pattern in no)


def test_intel_descends_and_everything_else_climbs():
    assert kind_of_topic("intel") == kind_of_topic("intel.ipv4.block") == "intel"
    assert kind_of_topic("intelligence.x") == kind_of_topic("detections.intel") == "event"


def test_the_index_answers_in_the_order_of_adding_and_each_once():
    index: TopicIndex[str] = TopicIndex()
    index.add("a.>", "late-name")
    index.add("a.b", "second")
    index.add("*.b", "late-name")
    index.add(">", "third")
    index.add("c", "never")
    assert index.match("a.b") == ["late-name", "second", "third"]
    assert index.match("c.d.e") == ["third"]
    assert index.match("not a topic") == []


def test_the_index_forgets_what_is_discarded_and_only_that():
    index: TopicIndex[int] = TopicIndex()
    index.add("a.b", 1)
    index.add("a.b", 1)
    index.add("a.b.c", 2)
    assert index.match("a.b") == [1]
    index.discard("a.b", 9)
    index.discard("a.*", 1)
    index.discard("a.b", 1)
    assert index.match("a.b") == []
    assert index.match("a.b.c") == [2]
    index.discard("a.b.c", 2)
    assert index._root.below == {}


def test_the_answer_is_the_callers_to_change():
    index: TopicIndex[int] = TopicIndex()
    index.add("a", 1)
    index.match("a").append(2)
    assert index.match("a") == [1]


def test_a_broken_pattern_in_the_index_is_the_callers_fault():
    with pytest.raises(FabricError) as caught:
        TopicIndex().add("a.>.b", 1)
    assert caught.value.code is Code.BAD_TOPIC


@pytest.mark.parametrize(
    ("text", "meant"),
    [("detections/#", "detections.>"), ("a/+/b", "a.*.b"), ("#", ">"), ("/a/b", "a.b"), ("a.**", "a.>"),
     ("a.b.", "a.b"), ("a.#.b", ""), ("fire*", ""), ("a..b", ""), ("a", ""), ("x y", ""), ("", ""), ("a/" * 5_000, "")],
)
def test_what_somebody_means_who_writes_as_for_another_bus(text, meant):
    assert meant_by(text) == meant
    assert not meant or check_pattern(meant) is None


@given(st.text(max_size=40))
def test_advice_is_never_to_write_what_is_refused_too(text):
    found = re.search(r"write '([^']+)'", advice_on(text))
    assert found is None or check_pattern(found[1]) is None
    topic = re.search(r"write '([^']+)'", advice_on(text, is_topic=True))
    assert topic is None or check_topic(topic[1]) is None
