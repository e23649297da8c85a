"""When something happened: what is read, and what is not believed."""

import pytest

from relays.gateways.mapping.times import time_ms
from tests.unit.gateways.mapping_support import mapped

NOW_MS = 1_773_144_000_000


@pytest.mark.parametrize(("value", "unit", "at_ms"), [
    ("2026-03-10T12:00:00Z", "", NOW_MS), ("2026-03-10 13:00:00.25+01:00", "", NOW_MS + 250),
    ("2026-03-10t11:59:60z", "", NOW_MS - 1_000), ("2026-03-10T12:00:00.123456789-00:30", "", NOW_MS + 1_800_123),
    (NOW_MS // 1000, "", NOW_MS), (NOW_MS, "", NOW_MS), (NOW_MS * 1000, "", NOW_MS), (NOW_MS * 1_000_000, "", NOW_MS),
    (1773144000.25, "", NOW_MS + 250), ("1773144000", "", NOW_MS), (NOW_MS, "us", NOW_MS // 1000), (5, "s", 5_000),
    ("2026-03-10T12:00:00", "", None), ("2026-13-10T12:00:00Z", "", None), ("2026-03-10T12:00:00+99:99", "", None),
    ("yesterday", "", None), ("9" * 200, "", None), (True, "", None), ([], "", None), (1e300, "", None),
    (2**63, "s", None),
    (float("nan"), "", None), ("0001-01-01T00:00:00+23:00", "", -62135679600000),
])
def test_times_are_read_or_are_none(value, unit, at_ms):
    assert time_ms(value, unit) == at_ms


@pytest.mark.parametrize("value", [0, 315_532_800, NOW_MS + 31_000, "2099-01-01T00:00:00Z", "soon", {}])
def test_a_time_that_cannot_be_is_a_field_and_not_believed(value):
    found = mapped('time = "ts"', {"ts": value}, now_ms=NOW_MS)
    assert found.at_ms is None and found.content == {"ts": value}
    assert found.notes[0].startswith("ts: not believed, ")


def test_a_clock_that_is_a_little_ahead_is_believed():
    assert mapped('time = { field = "ts", unit = "ms" }', {"ts": NOW_MS + 9_000}, now_ms=NOW_MS).at_ms == NOW_MS + 9_000
    assert mapped('time = "ts"', {}, now_ms=NOW_MS).notes == ()
