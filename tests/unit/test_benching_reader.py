"""How long a reader waits for what is still to come."""

from types import SimpleNamespace

import pytest

from relays.benching import reader
from relays.benching.reader import QUIET_S, _await


@pytest.fixture
def coming(monkeypatch):
    """A tally that grows while somebody waits: at the times that it is given, and then no more."""

    def install(*at_s):
        now = SimpleNamespace(s=0.0)

        def sleep(seconds):
            now.s += seconds
            tally.records = sum(each <= now.s for each in at_s)

        tally = SimpleNamespace(records=0)
        monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: now.s, sleep=sleep))
        return tally, now

    return install


def test_it_is_over_when_all_are_there(coming):
    tally, now = coming(1.0, 2.0, 4.5)
    _await(tally, 3)
    assert tally.records == 3 and now.s == pytest.approx(4.5, abs=0.1)


def test_it_is_over_when_nothing_more_comes(coming):
    tally, now = coming(1.0, 2.0)
    _await(tally, 3)
    assert tally.records == 2 and now.s == pytest.approx(2.0 + QUIET_S, abs=0.1)


def test_what_is_there_is_not_waited_for(coming):
    tally, now = coming()
    _await(tally, 0)
    assert now.s == 0.0
