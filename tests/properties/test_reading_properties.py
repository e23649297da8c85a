"""What a message costs whoever reads it: bounded for all its parts together, whatever its shape."""

import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import (
    BODY_BYTES_MAX,
    BODY_DEPTH_MAX,
    BODY_ELEMENTS_MAX,
    ENVELOPE_BYTES_MAX,
    FIELD_NAMES_CHARS_MAX,
    PARTS_MAX,
    RECORDS_MAX,
    SALT_BYTES,
)
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.layout import Encoding, PartEntry, part_digest
from fabric.protocol.envelope.parts import build_parts, read_records
from fabric.protocol.vocabulary.tlp import Label

# What a reader may need besides the content: objects of msgpack are up to some 70 times what they were, and names are
# text. Measured: 62 MB.
_PEAK_BYTES_MAX = 120_000_000


class Message:
    """What a publisher that follows no rules makes of these rows, one part each."""

    def __init__(self, *parts_of_rows: list[object]) -> None:
        self.records = len(parts_of_rows[0])
        self.manifest, self.parts = [], []
        for rows in parts_of_rows:
            packed = pack(rows)
            content = len(packed).to_bytes(4) + packed
            part = bytes(SALT_BYTES) + zlib.compress(content, 9)
            self.manifest.append(PartEntry(Label.GREEN, 0, int(Encoding.ZLIB), len(content), part_digest(part)))
            self.parts.append(part)
        assert sum(map(len, self.parts)) < ENVELOPE_BYTES_MAX, "it goes into one message"


def nested(levels: int, key: str, inner: object) -> object:
    for _ in range(levels):
        inner = {key: inner}
    return inner


def wide(fields: int, inner: object = 0) -> dict[str, object]:
    return {str(n): inner for n in range(fields)}


# Each shape is one that costs far more than it takes on the wire.
SHAPES = {
    "one long name above many fields": lambda: Message([{"k" * 1_000_000: wide(40_000)}]),
    "names that grow at each level": lambda: Message([nested(BODY_DEPTH_MAX - 3, "k" * 10_000, wide(20_000))]),
    "one field below many long names": lambda: Message([{"k" * 900_000 + str(n): {"x": 0} for n in range(2)}]),
    "many maps with nothing in them": lambda: Message([wide(90_000, {})]),
    "many maps with one field": lambda: Message([wide(49_000, {"a": 0})]),
    "the widest record": lambda: Message([wide(99_000)]),
    "the most records": lambda: Message([wide(96) for _ in range(RECORDS_MAX)]),
    "the deepest": lambda: Message([{"a": [nested(28, "a", 0) for _ in range(3_400)]}]),
    "the most elements in each part": lambda: Message(*[[{str(p): [{}] * 190_000}] for p in range(PARTS_MAX)]),
    "the most content in each part": lambda: Message(*[[{str(p): "x" * 1_900_000}] for p in range(PARTS_MAX)]),
}


def cost(message: Message) -> tuple[object, int]:
    tracemalloc.start()
    try:
        result = read_records(message, message.parts)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_costs_a_reader_more_than_a_message_may(name):
    result, peak_bytes = cost(SHAPES[name]())
    assert peak_bytes < _PEAK_BYTES_MAX, f"{peak_bytes:,} bytes"
    if isinstance(result, Reject):
        assert result == Reject(Code.BAD_BODY, Code.TOO_LARGE.reason)
    else:
        assert sum(len(path) for reading in result for path in reading.labels) <= FIELD_NAMES_CHARS_MAX


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


@settings(max_examples=80, deadline=None)
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
