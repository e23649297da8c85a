from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.vocabulary.topics import TopicIndex, check_pattern, covers, matches

# Two letters and four tokens are enough for every way in which two patterns can overlap.
TOPICS = [".".join(tokens) for length in range(1, 6) for tokens in product("ab", repeat=length)]

tokens = st.lists(st.sampled_from(["a", "b", "*"]), max_size=3)
patterns = st.builds(
    lambda head, tail: ".".join([*head, *tail]),
    tokens,
    st.sampled_from([["a"], ["b"], ["*"], [">"]]),
)


@given(patterns, patterns)
def test_covers_is_exactly_matching_all_that_the_other_matches(grant, pattern):
    inside = all(matches(grant, topic) for topic in TOPICS if matches(pattern, topic))
    assert covers(grant, pattern) == inside


@given(patterns, patterns, patterns)
def test_covering_is_passed_on(first, second, third):
    assert covers(first, first)
    if covers(first, second) and covers(second, third):
        assert covers(first, third)


@given(st.lists(st.tuples(st.booleans(), patterns, st.integers(0, 3)), max_size=30), st.sampled_from(TOPICS))
def test_the_index_finds_what_matching_one_by_one_finds(steps, topic):
    index: TopicIndex[int] = TopicIndex()
    kept: dict[tuple[str, int], None] = {}
    for adds, pattern, key in steps:
        if adds:
            index.add(pattern, key)
            kept.setdefault((pattern, key))
        else:
            index.discard(pattern, key)
            kept.pop((pattern, key), None)
        expected = dict.fromkeys(key for pattern, key in kept if matches(pattern, topic))
        assert index.match(topic) == list(expected)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_answered_and_broken_patterns_match_nothing(pattern, topic):
    if check_pattern(pattern) is not None:
        assert not matches(pattern, topic)
        assert not covers(">", pattern)
