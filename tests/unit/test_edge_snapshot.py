"""A record as it was when it was published, and how large it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.publishing.snapshot import snapshot
from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, FabricError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=300), VALUES, max_size=6))
def test_it_is_the_same_and_its_size_is_never_less_than_it_takes(content):
    record, size = snapshot(content)
    assert pack(record) == pack(content) and size >= len(pack(record))
    assert size <= 5 * len(pack(record)) + 64 + 10 * len(pack(record))


def test_what_its_program_changes_afterwards_is_not_in_it():
    content = {"a": {"b": [1, {"c": 2}]}, "d": (bytearray(b"x"),)}
    record, _ = snapshot(content)
    content["a"]["b"][1]["c"] = 3
    content["a"]["b"].append(4)
    content["d"][0][0] = 65
    assert record == {"a": {"b": [1, {"c": 2}]}, "d": [b"x"]}


def test_what_contains_itself_or_is_no_map_is_left_to_who_refuses_it():
    content = {}
    content["me"] = content
    assert snapshot(content)[1] > 0
    for wrong in ([], None, {1: 2}):
        with pytest.raises(FabricError) as raised:
            snapshot(wrong)
        assert raised.value.code is Code.BAD_INPUT
