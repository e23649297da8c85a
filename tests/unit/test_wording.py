"""What somebody wrote in a file, as a fault shows it."""

import pytest

from relays.wording import closest, shown


@pytest.mark.parametrize(("value", "words"), [
    ("hq", "'hq'"), (True, "'true'"), (7, "'7'"), ("a" * 61, f"'{'a' * 57}...'"), ("a" * 60, f"'{'a' * 60}'"),
    ("line\nE301 forged", r"'line\nE301 forged'"), ("\x1b[2J", r"'\x1b[2J'"), (["a"], "'['a']'"),
], ids=repr)
def test_a_value_is_shown_on_one_line_and_forges_none(value, words):
    assert shown(value) == words


def test_what_is_near_is_suggested_and_nothing_else():
    assert closest("segmnt", ["segment", "relay"]) == " (did you mean 'segment'?)"
    assert closest("RELAY", ["segment", "relay"]) == " (did you mean 'relay'?)"
    assert closest("zzz", ["segment", "relay"]) == closest(7, []) == ""
