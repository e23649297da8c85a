"""Many control points at one relay: they come, and they are there."""

import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from scripts.comparison import crowd
from scripts.comparison.processes import Failed


def test_all_that_come_at_once_are_attached(tmp_path):
    with crowd.coming(tmp_path / "ours", points=3) as side:
        found = side.window(1.0)
    assert found.values["attached"] > 0
    assert list(found.cpu_us) == ["hq", "control points"]


class Ends:
    """Those who come, as a program says it: so many are attached, and so many are lost each time."""

    def __init__(self, attached, lost):
        self._answers = {"come": {"attached": attached, "took_s": 1.0}, "stay": {"lost": lost}}
        self.asked = []

    def ask(self, *words, takes_s=0.0):
        self.asked.append(words[:2])
        return self._answers[words[0]]


@pytest.fixture
def ends(monkeypatch):
    made = Ends(3, 0)

    @contextmanager
    def relay(folder, count):
        yield SimpleNamespace(pid=lambda name: os.getpid()), made

    monkeypatch.setattr(crowd, "_relay", relay)
    return made


def test_who_is_idle_stays(tmp_path, ends):
    with crowd.idle(tmp_path, points=3) as side:
        found = side.window(0.1)
    assert found.values["stayed"] == 100.0 and "and not" not in side.does
    assert ends.asked == [("come", 3), ("stay", 0.1)]


def test_those_who_never_came_and_those_who_were_lost_did_not_stay(tmp_path, ends):
    ends._answers = {"come": {"attached": 7}, "stay": {"lost": 2}}
    with crowd.idle(tmp_path, points=10) as side:
        assert side.window(0.1).values["stayed"] == pytest.approx(50.0)
    assert "no more than 7 were attached" in side.does
    ends._answers["come"]["attached"] = 0
    with pytest.raises(Failed, match="none of them"), crowd.idle(tmp_path, points=10):
        pass


def test_no_more_come_than_there_are_descriptors_for(tmp_path, ends, monkeypatch):
    monkeypatch.setattr(crowd, "raise_limit", lambda: 204)
    with crowd.idle(tmp_path, points=3) as side:
        assert "2 and not 3, since a process here has no more descriptors" in side.does
    assert ends.asked == [("come", 2)]
