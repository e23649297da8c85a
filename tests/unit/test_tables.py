"""A table where it fits, and its rows as lines where the terminal is too narrow for one."""

import re

import pytest

from relays.terminal import Cell, Screen, Table


@pytest.mark.parametrize("columns", [20, 30, 40, 80, 120])
def test_nothing_that_counts_is_cut_off(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table("relay", "state", "address", "drops", folded=("drops",))
    table.row("plant-1", Cell("up"), "192.0.2.17:7710", "not_ready 3")
    table.row("plant-2", Cell("down"), "192.0.2.18:7710", "")
    Screen().table(table)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for word in ("plant-1", "up", "192.0.2.17:7710", "plant-2", "down", "192.0.2.18:7710"):
        assert word in text, text
    assert "…" not in text and all(len(line) <= columns or columns < 26 for line in text.splitlines())
    assert bool(re.search(r"  address\s+192\.0\.2\.17:7710", text)) == (columns <= 40)


def test_what_stands_below_another_is_aligned(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table("relay", "at", "address", "empty")
    table.row("plant-1", "2026-03-02 07:00Z", "192.0.2.17:7710", "")
    Screen().table(table)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert [line.rstrip() for line in text.splitlines()] == [
        "plant-1", "  at       2026-03-02 07:00Z", "  address  192.0.2.17:7710"
    ]
