"""Documents of STIX: each object that can be read, whatever is beside it."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.stix.document import Document, read_document


def outcome(text):
    """(value, or None for a fault) of each item, and the words of the last fault."""
    items = list(Document(text).items())
    assert all(item.text in text for item in items)
    assert all(item.fault is None or item.fault.code is Code.BAD_INPUT for item in items)
    faults = [item.fault.detail for item in items if item.fault is not None]
    return [item.value if item.fault is None else None for item in items], faults[-1] if faults else ""


@pytest.mark.parametrize(("text", "values"), [
    ('{"type": "bundle", "objects": [{"a": 1}, {"b": []}]}', [{"a": 1}, {"b": []}]), ('{"objects": []}', []),
    ("[]", []),
    ('[{"a": 1}]', [{"a": 1}]), ('[1, "x"]', [1, "x"]), (' {"type": "x", "id": "y"} ', [{"type": "x", "id": "y"}]),
    ('{"type": "observed-data", "objects": {"0": {}}}', [{"type": "observed-data", "objects": {"0": {}}}]),
])
def test_bundles_lists_and_single_objects(text, values):
    assert outcome(text) == (values, "")


@pytest.mark.parametrize(("text", "values", "why"), [
    ('{"objects": [{"a": 1}, {"b', [{"a": 1}, None], "ends in the middle"),
    ('{"objects": [{"a": 1}', [{"a": 1}, None], "ends in the middle"),
    ('{"objects": [{"a": 1},', [{"a": 1}, None], "ends in the middle"),
    ('{"objects": [{"a": 1}]', [{"a": 1}, None], "ends in the middle"),
    ('{"objects": [{"a": 1}], "x"', [{"a": 1}, None], "ends in the middle"),
    ('{"objects": [{"a": 1}], "objects": [{"b": 2}]}', [{"a": 1}, None], "twice"),
    ('[{"a": 1} {"b": 2}]', [{"a": 1}, None], "not JSON"), ('[{"a": 1}] x', [{"a": 1}, None], "behind its end"),
    ('{"a": 1, "a": 2}', [None], "twice"), ("", [None], "no JSON object"), ("<html>", [None], "no JSON object"),
    ("{", [None], "ends in the middle"),
    ('[{"a": NaN}, {"b": 1}]', [None, {"b": 1}], "JSON has not"),
    ('[{"a": {"b": 1, "b": 2}}, {}]', [None, {}], "twice"),
    (f'[{{"a": {"9" * 5_000}}}, {{}}]', [None, {}], "longer number"),
    (f'[{"[" * 9_000}{"]" * 9_000}, {{}}]', [None, {}], "too deep"),
    ('[{"a": "]"x}, {}]', [None, {}], "not JSON"),
])
def test_what_cannot_be_read_hinders_nothing_before_it_and_where_it_ends_nothing_after_it(text, values, why):
    found, said = outcome(text)
    assert found == values
    assert why in said


def test_what_is_beside_the_objects():
    document = Document('{"more": true, "objects": [{}], "next": "7"}')
    assert list(document.items()) == list(document.items())
    assert document.members == {"more": True, "next": "7"}


def test_a_byte_order_mark_and_what_is_no_text():
    assert [item.value for item in read_document(b'\xef\xbb\xbf[{"a": 1}]').items()] == [{"a": 1}]
    with pytest.raises(FabricError) as raised:
        read_document(b"\xff\xfe[]")
    assert raised.value.code is Code.BAD_INPUT


@settings(max_examples=20)
@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5)), max_size=5), st.data())
def test_wherever_it_is_cut_what_was_whole_before_is_read(objects, data):
    text = json.dumps({"id": "bundle--1", "objects": objects, "type": "bundle"})
    cut = data.draw(st.integers(0, len(text) - 1))
    values, why = outcome(text[:cut])
    assert values[:-1] == objects[: len(values) - 1]
    assert values[-1] is None and why
    assert outcome(text) == (objects, "")


def test_no_text_takes_more_time_than_one_of_its_length():
    pieces = ["{x},", '{"a":', "[", '"\\"', "{},", "{}x", "]", '{"a":NaN},', "1,", "\\"]
    began_s = time.process_time()
    for piece in pieces:
        for head in ("[", '{"objects":['):
            text = head + piece * (20_000 // len(piece))
            assert sum(item.fault is not None for item in Document(text).items()) <= 101
    assert time.process_time() - began_s < 0.1 * len(pieces)
