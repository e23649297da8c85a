"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import FabricError
from fabric.protocol.base.sizes import format_size, parse_size


@given(st.integers(1, 1_023), st.sampled_from(["KB", "MB", "GB", "TB"]))
def test_what_is_written_is_read_as_the_same(count, unit):
    assert format_size(parse_size(f"{count}{unit}")) == f"{count}{unit}"


@pytest.mark.parametrize("text", ["", "2", "GB", "2 GB", "2gb", "-2GB", "2.5GB", "2GiB", "٢GB", "2GB\n", "1234567MB"])
def test_what_is_none_is_refused(text):
    with pytest.raises(FabricError):
        parse_size(text)


def test_in_the_largest_unit_that_says_it():
    sizes = (1, 2**20, 2**31, 3 * 2**40, 2**30 + 2**29)
    assert [format_size(n) for n in sizes] == ["1 bytes", "1MB", "2GB", "3TB", "1.5GB"]
