"""What a message costs whoever reads it: bounded for all its parts together, whatever its shape."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import BODY_BYTES_MAX, BODY_ELEMENTS_MAX, FIELD_NAMES_CHARS_MAX
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.parts import build_parts, read_records
from fabric.protocol.vocabulary.tlp import Label
from tests.properties.reading_shapes import SHAPES, Message, wide

# What a reader may need besides the content: objects of msgpack are up to some 70 times what they were, and names are
# text. Measured: 36 MB.
_PEAK_BYTES_MAX = 80_000_000


@pytest.fixture(scope="module")
def costs():
    done = subprocess.run(
        [sys.executable, "-m", "tests.properties.reading_cost"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_costs_a_reader_more_than_a_message_may(costs, name):
    peak_bytes, refused, names_chars = costs[name]
    assert peak_bytes < _PEAK_BYTES_MAX, f"{peak_bytes:,} bytes"
    assert refused in ([], [Code.BAD_BODY.name, Code.TOO_LARGE.reason])
    assert names_chars <= FIELD_NAMES_CHARS_MAX


def test_what_is_too_much_is_too_much_in_all_parts_together():
    for one, two in (
        ([{"a": "x" * (BODY_BYTES_MAX // 2)}], [{"b": "x" * (BODY_BYTES_MAX // 2)}]),
        ([{"a": [0] * (BODY_ELEMENTS_MAX // 2)}], [{"b": [0] * (BODY_ELEMENTS_MAX // 2)}]),
        ([{"a" * 60_000: wide(66)}], [{"b" * 60_000: wide(66)}]),
    ):
        for rows in (one, two):
            message = Message(rows)
            assert not isinstance(read_records(message, message.parts), Reject)
        message = Message(one, two)
        assert read_records(message, message.parts) == Reject(Code.BAD_BODY, Code.TOO_LARGE.reason)
        with pytest.raises(FabricError) as refused:  # and nobody who follows the rules publishes it
            rules = FieldLabels(dict.fromkeys(one[0], Label.GREEN), Label.AMBER)
            build_parts([{**one[0], **two[0]}], rules, Label.GREEN, bytes)
        assert refused.value.code is Code.TOO_LARGE


def test_what_is_withheld_costs_nothing():
    message = Message(*[[{str(p): "x" * 1_900_000}] for p in range(3)])
    assert not isinstance(read_records(message, [message.parts[0], None, None]), Reject)


VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=300), inner, max_size=6),
    max_leaves=40,
)


@settings(max_examples=40, deadline=None)
@given(record=st.dictionaries(st.text(max_size=40) | st.integers(0, 9), VALUES, max_size=8))
def test_every_field_has_the_name_that_rules_have_for_it(record):
    def leaves(value, name):
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield from leaves(item, f"{name}.{key}")
        elif isinstance(value, list) and any(item and isinstance(item, dict | list) for item in value):
            yield from (n for item in value if item and isinstance(item, dict | list) for n in leaves(item, name))
            yield from (name for item in value if not isinstance(item, dict | list) or item == [])
        else:
            yield name

    message = Message([record])
    (reading,) = read_records(message, message.parts)
    assert reading.content == record
    assert set(reading.labels) == {name for key, value in record.items() for name in leaves(value, str(key))}
