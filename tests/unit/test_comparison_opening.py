"""A relay that opens what waits on its disk: all of it is there, and some of it is awake."""

import pytest

from scripts.comparison import opening
from scripts.comparison.opening import build, open_as_a_relay_does
from scripts.comparison.processes import Failed


def test_all_is_there_and_what_goes_next_is_awake(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "AWAKE_MAX", 5)
    build(tmp_path / "spool.db", 100)
    found = open_as_a_relay_does(tmp_path / "spool.db")
    assert (found["held"], found["awake"], found["damaged"]) == (100, 20, 0), "of each of four lanes five"
    assert found["took"] > 0 and found["woken"] > 0


def test_it_is_opened_whole_each_time(tmp_path):
    with opening.opening(tmp_path / "ours", rows=30) as side:
        assert set(side.window(1.0).values) == {"took", "memory", "woken"}
        side._rows = 31
        with pytest.raises(Failed, match="30 of 31 rows are there"):
            side.window(1.0)
