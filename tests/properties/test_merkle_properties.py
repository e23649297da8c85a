"""A burst of any size: every path leads to the one root, and nothing else does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.limits import PATH_MAX
from fabric.protocol.envelope.layout import climb, merkle
from tests.support import derive

LEAVES = [derive(n) for n in range(1024)]
STRANGER = derive("stranger")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 127, 128, 1023, 1024])
def test_every_leaf_climbs_to_the_root(count):
    leaves = [derive(n) for n in range(count)]
    root, paths = merkle(leaves)
    assert all(climb(leaf, path) == root for leaf, path in zip(leaves, paths, strict=True))
    assert max(map(len, paths)) <= PATH_MAX


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 64), st.data())
def test_another_leaf_or_another_path_does_not(count, data):
    leaves = [derive(n) for n in range(count)]
    root, paths = merkle(leaves)
    one = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(0, count - 1).filter(lambda n: n != one))
    assert climb(derive("stranger"), paths[one]) != root
    if leaves[other] not in paths[one]:
        assert climb(leaves[other], paths[one]) != root
    path = list(paths[one])
    at = data.draw(st.integers(0, len(path) - 1))
    path[at] = derive("stranger")
    assert climb(leaves[one], path) != root
    assert climb(leaves[one], paths[one][:-1]) != root


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1024), st.data())
def test_of_any_number_every_leaf_climbs_and_a_stranger_with_any_path_does_not(count, data):
    leaves = LEAVES[:count]
    root, paths = merkle(leaves)
    assert len(paths) == count
    assert all(climb(leaf, path) == root for leaf, path in zip(leaves, paths, strict=True))
    # The shortest tree that holds them: no path is longer than its height, so none is longer than the limit.
    assert max(map(len, paths)) == (count - 1).bit_length() <= PATH_MAX
    assert all(climb(STRANGER, path) != root for path in paths)
    if count > 1:
        one, other = data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True))
        # Only a sibling of the lowest level shares what is above; its own path begins with the other leaf.
        assert climb(leaves[one], paths[other]) != root
        assert root != merkle([*leaves[:one], STRANGER, *leaves[one + 1 :]])[0]
