"""Lines that are too long for a terminal: broken between words, nothing lost, and nothing broken in a pipe."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from relays import terminal
from relays.terminal import fold

WORDS = st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30), min_size=1, max_size=40)


@given(words=WORDS, columns=st.integers(20, 120), margin=st.integers(0, 6))
def test_every_word_is_there_whole_and_in_its_place(words, columns, margin):
    lines = fold(" " * margin + " ".join(words), columns)
    assert " ".join(lines).split() == " ".join(words).split()
    for line in lines:
        assert cell_len(line) <= columns or len(line.split()) == 1, line


@given(text=st.text(st.characters(exclude_categories=["C"])))
def test_what_fits_or_has_no_bound_stays_as_it_is(text):
    assert fold(text, 0) == [text]
    assert fold(text, max(1, cell_len(text))) == [text]


def test_what_goes_on_stands_below_what_is_said_of_a_name():
    assert fold("  granted by    publish = [one, two, three]", 36) == [
        "  granted by    publish = [one, two,", "                three]"
    ]
    assert fold("error E801 of the file", 16) == ["error E801 of", "  the file"]


def test_a_word_that_is_longer_than_a_line_stands_alone_from_the_first_column():
    token = "mf1-" + "x" * 60
    assert fold(f"  next: fabric join {token} there", 40) == ["  next: fabric join", token, "    there"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_only_a_terminal_is_folded_for(monkeypatch, stream):
    written = stream()
    monkeypatch.setattr("sys.stdout", written)
    monkeypatch.setenv("COLUMNS", "60")
    terminal.say("words " * 30)
    lines = written.getvalue().splitlines()
    assert len(lines) == (1 if stream is io.StringIO else 4)


def test_a_command_with_a_token_stays_one_line_so_that_it_can_be_copied(monkeypatch):
    written = Terminal()
    monkeypatch.setattr("sys.stdout", written)
    monkeypatch.setenv("COLUMNS", "60")
    terminal.say_whole("fabric join mf1-" + "x" * 200, "\x1b[2J")
    command, hostile = written.getvalue().splitlines()
    assert command == "fabric join mf1-" + "x" * 200 and "\x1b" not in hostile


def test_json_is_broken_between_values_and_stays_the_same(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    record = {"rule": "port scan, slow: \"1 a day\"", "id.resp_h": "10.1.0.7", "id.resp_p": 443, "ports": [22, 80, 443]}
    terminal.Screen().json(record)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert len(lines) > 2 and json.loads("".join(lines)) == record
    assert any('"id.resp_p": 443,' in line for line in lines)
