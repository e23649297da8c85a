"""What a reader counts."""

import random
from types import SimpleNamespace

import pytest

from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.benching.marks import PROBE, Records
from relays.benching.tally import Latencies, Tally

RECORDS = Records(200)


def message(number=0, at_s=1.0, *, origin="zeek-1", severity=Severity.LOW, content=None, withheld=None):
    content = RECORDS.make(number, at_s) if content is None else content
    return SimpleNamespace(
        origin=origin, content=content, severity=severity, withheld=withheld or {}, path=("plant", "hq")
    )


def test_percentiles_are_right_to_two_percent():
    values = [random.Random(7).lognormvariate(2, 1.5) for _ in range(5_000)]
    found = Latencies()
    for value in values:
        found.add(value)
    for share in (0.5, 0.9, 0.99, 1.0):
        exact = sorted(values)[max(0, round(len(values) * share) - 1)]
        assert found.percentile(share) == pytest.approx(exact, rel=0.02)
    assert found.max_ms == max(values) and found.count == 5_000


def test_what_no_clock_can_tell_is_counted_too():
    found = Latencies()
    for value in (0.0, 0.0001, 3_600_000.0):
        found.add(value)
    assert found.percentile(0.5) <= 0.001 and found.percentile(1.0) == 3_600_000.0


def test_every_severity_counts_and_all_of_them_together():
    tally = Tally(RECORDS.run, "zeek-1")
    for number in range(4):
        tally.take(message(number, 1.0, severity=Severity.CRITICAL if number % 2 else Severity.LOW), 1.010)
    tally.take(message(4, 1.0, severity=Severity.LOW), 1.100)
    said = tally.report()
    assert said["records"] == tally.records == 5 and said["path"] == ["plant", "hq"] and said["last_s"] == 1.1
    assert said["p50_ms"] == pytest.approx(10, rel=0.02) and said["max_ms"] == pytest.approx(100)
    assert {name: each["records"] for name, each in said["severities"].items()} == {"low": 3, "critical": 2}


def test_a_probe_says_that_something_arrives_and_is_not_counted():
    tally = Tally(RECORDS.run, "zeek-1")
    tally.take(message(PROBE), 2.0)
    assert tally.reached and tally.records == 0
    assert tally.report()["p50_ms"] is None


@pytest.mark.parametrize("other", [
    message(origin="zeek-2"), message(content=Records(200).make(0, 1.0)), message(content={"rule": "scan"}),
])
def test_what_is_not_of_this_run_is_not_counted(other):
    tally = Tally(RECORDS.run, "zeek-1")
    tally.take(other, 2.0)
    assert not tally.reached and tally.records == 0 and not tally.withheld


def test_what_the_reader_may_not_see_is_named_by_its_label():
    tally = Tally(RECORDS.run, "zeek-1")
    tally.take(message(content={}, withheld={Label.GREEN: 1, Label.AMBER: 2}), 2.0)
    assert tally.withheld == "amber" and not tally.reached


def test_what_was_published_by_a_clock_that_went_back_took_no_time():
    tally = Tally(RECORDS.run, "zeek-1")
    tally.take(message(0, 5.0), 4.0)
    assert tally.report()["max_ms"] == 0.0
