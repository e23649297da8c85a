import pytest

from fabric.protocol.base.fields import binary, integer, text
from fabric.protocol.base.limits import NAME_BYTES_MAX
from fabric.protocol.base.shapes import INT_MAX


@pytest.mark.parametrize("value", [0, 1, INT_MAX])
def test_a_number_is_itself(value):
    assert integer(value) == value


@pytest.mark.parametrize("value", [-1, INT_MAX + 1, True, False, 1.0, "1", b"1", None])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError):
        integer(value)


@pytest.mark.parametrize("value", ["", "n" * NAME_BYTES_MAX, "ö" * (NAME_BYTES_MAX // 2)])
def test_text_is_as_long_as_a_name_at_most(value):
    assert text(value) == value


@pytest.mark.parametrize(
    "value", ["n" * (NAME_BYTES_MAX + 1), "ö" * (NAME_BYTES_MAX // 2 + 1), b"text", 7, None, ["a"]]
)
def test_what_is_no_text_or_too_long_is_refused(value):
    with pytest.raises(TypeError):
        text(value)


def test_the_bound_of_text_counts_its_bytes():
    assert text("öö", 4) == "öö"
    with pytest.raises(TypeError):
        text("ööö", 5)


@pytest.mark.parametrize("value", [b"ab", b"abc", b"abcd"])
def test_bytes_are_within_both_bounds(value):
    assert binary(value, 4, 2) == value


@pytest.mark.parametrize("value", [b"a", b"abcde", "abc", bytearray(b"abc"), None, [97, 98]])
def test_what_is_no_bytes_or_out_of_bounds_is_refused(value):
    with pytest.raises(TypeError):
        binary(value, 4, 2)
