import pytest
from hypothesis import given
from hypothesis import strategies as st

from relays.reading.place import Mark, Place, place_of

numbers = st.integers(-1, 2**63)
marks = st.builds(Mark, numbers, numbers, numbers, numbers, numbers, numbers, st.text(st.characters(codec="utf-8")))


@given(st.builds(Place, numbers, st.none() | numbers, numbers, st.lists(marks, min_size=1, max_size=8).map(tuple)))
def test_a_place_is_read_again(place):
    assert place_of(place.text()) == place


def test_a_place_of_before_there_were_marks_is_read():
    place = place_of("77 120 3 100 4711")
    assert place.line == 3 and place.since_ns is None and place.marks[0][:4] == (77, 120, 100, 4711)


@pytest.mark.parametrize(
    "text",
    [None, "", "nonsense", "1 2", "1 2 3 4 5 6", "a b c d e", "[", "[2]", "[2,1,1,1,[]]",
     "[3,1,1,1,[[1,1,1,1,1,1,\"\"]]]",
     '[2,1,1,1,[[1]]]', '[2,1,1,1,7]', '[2,null,1,1,[[1,1,1,1,1,1,""]]]', "[" * 10_000, '{"a": 1}'],
)
def test_a_position_that_cannot_be_read_is_none(text):
    assert place_of(text) is None
