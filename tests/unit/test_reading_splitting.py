"""Bytes into lines: bounded, and as UTF-8 whatever the file is written in."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code
from relays.reading.splitting import LINE_BYTES_MAX, Splitter

CODECS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"]
BOMS = {"utf-16-be": b"\xfe\xff", "utf-32-be": b"\0\0\xfe\xff"}


def split(data, cuts=()):
    splitter = Splitter()
    pieces, at = [], 0
    for cut in [*sorted(cuts), len(data)]:
        pieces += splitter.feed(data[at:cut])
        at = max(at, cut)
    rest = splitter.rest()
    return pieces + ([rest] if rest else [])


@given(
    st.lists(st.text(st.characters(blacklist_characters="\n\0", blacklist_categories=["Cs"])), min_size=1),
    st.sampled_from(CODECS), st.lists(st.integers(0, 400)), st.booleans(),
)
def test_lines_come_as_they_were_written_however_they_are_cut(lines, codec, cuts, ends):
    text = "\n".join(lines) + ("\n" if ends else "")
    if text.startswith("\ufeff"):
        return
    data = BOMS.get(codec, b"") + text.encode(codec)
    pieces = split(data, [cut for cut in cuts if cut < len(data)])
    assert [piece.data.decode() for piece in pieces if piece.data] == [line for line in lines if line]
    assert sum(piece.size for piece in pieces) == len(data) and not any(piece.fault for piece in pieces)


def test_a_newline_is_one_only_where_a_character_begins():
    text = '{"a": "\u0a00\u000a'  # U+0A00 has the byte of a newline in it
    assert [p.data for p in split(b"\xff\xfe" + (text + "x").encode("utf-16-le"))] == ['{"a": "\u0a00'.encode(), b"x"]


def test_a_line_that_is_not_what_the_mark_says_is_named_and_the_next_one_read():
    bad, good = split(b"\xff\xfe" + b"\x00\xd8\n\0" + "{}\n".encode("utf-16-le"))
    assert bad.fault.code is Code.BAD_INPUT and "UTF-16" in bad.fault.detail
    assert (good.data, good.fault) == (b"{}", None)


def test_a_line_without_an_end_takes_no_more_memory_than_the_limit():
    splitter, chunk = Splitter(), b"x" * 262_144
    tracemalloc.start()
    for _ in range(400):
        assert not list(splitter.feed(chunk))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    long, good = splitter.feed(b"\n{}\n")
    assert peak < 4 * LINE_BYTES_MAX
    assert long.fault.code is Code.LINE_TOO_LONG and "104,857,601 bytes" in long.fault.detail
    assert long.data == b"" and long.size == 400 * len(chunk) + 1 and good.data == b"{}"


def test_a_long_line_of_wide_characters_ends_where_it_ends_however_it_is_cut():
    splitter = Splitter()
    pieces = list(splitter.feed(b"\xff\xfe" + b"x\0" * LINE_BYTES_MAX + b"\n"))
    pieces += splitter.feed(b"\0" + "{}\n".encode("utf-16-le"))
    assert [(bool(p.fault), p.data) for p in pieces] == [(True, b""), (False, b"{}")]


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_exact(over):
    (piece,) = split(b"y" * (LINE_BYTES_MAX + over) + b"\n")
    assert (piece.fault is not None) == bool(over)


def test_a_hole_before_a_line_is_not_part_of_it():
    """A writer that does not append leaves one behind when its file is cut short."""
    hole = b"\0" * (2 * LINE_BYTES_MAX)
    pieces = split(hole + b'{"a": 1}\n', [LINE_BYTES_MAX])
    assert [p.data for p in pieces] == [b'{"a": 1}'] and pieces[0].size == len(hole) + 9
