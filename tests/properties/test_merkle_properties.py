"""A burst of any size: every path leads to the one root, and nothing else does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.envelope import climb, merkle
from fabric.protocol.limits import PATH_MAX
from tests.support import derive


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
