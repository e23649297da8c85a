"""Test records: what they say of themselves, and how large they are."""

import json

import pytest

from relays.benching.marks import PROBE, SIZE_MIN, Mark, Records, mark_of


def test_each_says_that_it_is_no_event():
    content = Records(200).make(7, 1.5)
    assert content["test"] is True and content["note"] == "fabric bench: this is no event"


@pytest.mark.parametrize("size", [SIZE_MIN, 200, 5_000, 100_000])
def test_a_record_is_about_as_large_as_was_asked_for(size):
    records = Records(size)
    for number in (0, 999, 12_345_678):
        assert abs(len(json.dumps(records.make(number, 123_456.789012))) - size) <= 30


def test_no_two_neighbours_are_filled_with_the_same():
    records = Records(5_000)
    fills = {records.make(number, 0.0)["fill"] for number in range(200)}
    assert len(fills) == 200


def test_a_run_knows_its_own_records_and_no_others():
    one, other = Records(200), Records(200)
    assert mark_of(one.make(7, 1.5), one.run) == Mark(7, 1.5)
    assert mark_of(one.make(PROBE, 1.5), one.run) == Mark(PROBE, 1.5)
    assert mark_of(one.make(7, 1.5), other.run) is None


@pytest.mark.parametrize(
    "content",
    [{}, {"test": True}, {"test": True, "run": 1, "n": 2, "at": 3.0}, {"test": True, "run": "r", "n": "2", "at": 3.0},
     {"test": True, "run": "r", "n": 2, "at": "soon"}, {"test": False, "run": "r", "n": 2, "at": 3.0}],
)
def test_what_says_anything_else_is_none(content):
    assert mark_of(content, "r") is None
