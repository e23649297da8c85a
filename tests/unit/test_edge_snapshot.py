"""A record as it was when it was published, and how large it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.publishing.snapshot import Snapshots, snapshot
from fabric.protocol.base.codec import pack, shapes_of
from fabric.protocol.base.errors import Code, FabricError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=20,
)


CONTENTS = st.dictionaries(st.text(max_size=300), VALUES, max_size=6)
FEW = st.dictionaries(st.sampled_from(["a", "b", "1"]), st.text(max_size=3) | st.integers(0, 1) | VALUES, max_size=3)


@settings(deadline=None)
@given(CONTENTS)
def test_it_is_the_same_and_its_size_is_never_less_than_it_takes(content):
    for record, size, _ in (snapshot(content), Snapshots().of(content)):
        assert pack(record) == pack(content) and size >= len(pack(record))
        assert size <= 5 * len(pack(record)) + 64 + 10 * len(pack(record))


@settings(deadline=None)
@given(st.lists(FEW | CONTENTS, max_size=12))
def test_what_is_remembered_of_others_changes_nothing(contents):
    snapshots = Snapshots()
    for content in contents + contents:
        record, size, keys = snapshots.of(content)
        assert pack(record) == pack(content) and size >= len(pack(record)) and record is not content
        shapes = shapes_of([record])
        assert keys is None or shapes == {keys: 1}
        plain = shapes is not None and not any(isinstance(value, bytes) for value in record.values())
        assert (keys is not None) == plain and (keys is None or snapshots.of(content).keys is keys)


def test_so_many_are_remembered_and_no_long_ones():
    snapshots = Snapshots()
    for n in range(1_000):
        snapshots.of({f"n{n}": n})
    for content in ({"n" * 9_000: 1}, {f"n{n}": n for n in range(300)}, {"a": [1]}):
        assert snapshots.of(content).keys is None
    assert len(snapshots._known) <= 256


def test_keys_that_are_only_equal_are_told_apart():
    snapshots = Snapshots()
    snapshots.of({"1": 1})
    for wrong in ({1: 1}, {True: 1}, {b"1": 1}):
        with pytest.raises(FabricError) as raised:
            snapshots.of(wrong)
        assert raised.value.code is Code.BAD_INPUT
    assert type(snapshots.of({"1": True}).record["1"]) is bool


def test_what_its_program_changes_afterwards_is_not_in_it():
    content = {"a": {"b": [1, {"c": 2}]}, "d": (bytearray(b"x"),)}
    record = snapshot(content).record
    content["a"]["b"][1]["c"] = 3
    content["a"]["b"].append(4)
    content["d"][0][0] = 65
    assert record == {"a": {"b": [1, {"c": 2}]}, "d": [b"x"]}


def test_what_contains_itself_or_is_no_map_is_left_to_who_refuses_it():
    content = {}
    content["me"] = content
    assert snapshot(content).size > 0 and Snapshots().of(content).size > 0
    for wrong in ([], None, {1: 2}):
        for take in (snapshot, Snapshots().of):
            with pytest.raises(FabricError) as raised:
                take(wrong)
            assert raised.value.code is Code.BAD_INPUT
