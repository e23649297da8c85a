"""The header that CEF and LEEF share."""

import pytest

from relays.gateways.syslog.bars import Header

HEADER = Header("X", r"\d", "version", "vendor", "product")


@pytest.mark.parametrize(("text", "fields", "rest"), [
    ("X:1|a|b|more", {"version": "1", "vendor": "a", "product": "b"}, "more"),
    (r"X: 1|a\|b|c\\|", {"version": "1", "vendor": "a|b", "product": "c\\"}, ""),
    (r"X:1|a\n||", {"version": "1", "vendor": r"a\n", "product": ""}, ""),
    ("X:1|a|b", {"version": "1", "vendor": "a", "product": "b"}, ""),
])
def test_a_header_and_where_it_ends(text, fields, rest):
    found, at = HEADER.read(text)
    assert found == fields and text[at:] == rest


@pytest.mark.parametrize("text", ["X:1|a", "X:12|a|b|", "Y:1|a|b|", "X:1|a|b\\", ""])
def test_what_is_no_header_is_none(text):
    assert HEADER.read(text) is None
