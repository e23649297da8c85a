"""The arithmetic of `scripts/bench`: medians, the ratio of rounds that stand beside each other, and its spread."""

import json

import pytest

from scripts.comparison.figures import (
    LATENCIES,
    RATE,
    Figure,
    NotRun,
    Window,
    latencies,
    lost_notes,
    median_cpu,
    percentile,
    ratios,
    rows_alone,
    rows_of,
)


def windows(*rates, cpu=(), lost=0):
    cpu = cpu or [{}] * len(rates)
    return [Window({"records": rate}, of, lost) for rate, of in zip(rates, cpu, strict=True)]


def test_the_ratio_is_the_median_of_the_rounds_ratios_and_not_that_of_the_medians():
    """The machine was three times as fast in round 2, for both."""
    (row,) = rows_of("stream", (RATE,), windows(100.0, 330.0, 120.0), windows(200.0, 600.0, 200.0))
    assert (row.ours, row.peer) == (120.0, 200.0)
    assert row.ratio == pytest.approx(0.55)
    assert row.spread == pytest.approx((0.5, 0.6))


def test_an_even_number_of_rounds_has_a_median_between_two():
    (row,) = rows_of("stream", (RATE,), windows(10.0, 20.0), windows(10.0, 10.0))
    assert (row.ours, row.peer, row.ratio, row.spread) == (15.0, 10.0, 1.5, (1.0, 2.0))


def test_a_row_for_each_figure_in_their_order():
    ours = [Window(latencies([3.0, 1.0, 2.0]))]
    peer = [Window(latencies([1.0, 1.0, 4.0]))]
    rows = rows_of("idle", LATENCIES, ours, peer)
    assert [(row.figure.name, row.ours, row.peer, row.ratio) for row in rows] == [
        ("p50", 2.0, 1.0, 2.0), ("p99", 3.0, 4.0, 0.75), ("max", 3.0, 4.0, 0.75),
    ]


def test_what_a_row_is_as_json():
    ours = windows(10.0, 30.0, 20.0, cpu=[{"publisher": 1.0}, {"publisher": 9.0}, {"publisher": 2.00049}])
    peer = windows(10.0, 10.0, 10.0, cpu=[{"reader": 4.0}] * 3, lost=2)
    (row,) = rows_of("stream", (RATE,), ours, peer, ["what it is"])
    assert json.loads(json.dumps(row.as_json())) == {
        "row": "stream", "figure": "records", "ours": 20.0, "peer": 10.0, "ratio": 2.0, "spread": [1.0, 3.0],
        "unit": "records/s", "better": "more", "target": None, "met": None,
        "cpu_us_per_record": {"ours": {"publisher": 2.0}, "peer": {"reader": 4.0}},
        "notes": ["what it is", "the peer lost 6 records"],
    }


def test_what_is_not_run_is_named_as_json_too():
    assert NotRun("stream", "nats-py is not installed", "pip install nats-py").as_json() == {
        "row": "stream", "not_run": "nats-py is not installed", "next": "pip install nats-py",
    }


def test_a_peer_that_moved_nothing_has_no_ratio_and_json_can_say_so():
    assert ratios([5.0], [0.0]) == [float("inf")]
    (row,) = rows_of("stream", (RATE,), windows(5.0), windows(0.0))
    assert row.as_json()["ratio"] is None and row.as_json()["spread"] == [None, None]


@pytest.mark.parametrize(
    ("count", "share", "found"),
    [(100, 0.99, 99), (100, 0.5, 50), (101, 0.5, 51), (1, 0.99, 1), (250, 0.99, 248), (10, 1.0, 10), (10, 0.0, 1)],
)
def test_percentiles_by_nearest_rank(count, share, found):
    assert percentile(list(range(count, 0, -1)), share) == found


def test_processor_time_is_the_median_of_each_process():
    found = median_cpu(windows(1.0, 1.0, 1.0, cpu=[{"a": 1.0, "b": 9.0}, {"a": 5.0, "b": 1.0}, {"a": 2.0, "b": 2.0}]))
    assert found == {"a": 2.0, "b": 2.0}


def test_nothing_is_said_of_nothing_lost():
    assert lost_notes("ours", windows(1.0, 2.0)) == []


@pytest.mark.parametrize(
    ("better", "value", "is_met"),
    [("less", 2.0, True), ("less", 2.1, False), ("more", 2.0, True), ("more", 1.9, False)],
)
def test_a_target_is_the_most_or_the_least(better, value, is_met):
    assert Figure("took", "s", better, 2.0).is_met(value) is is_met


def test_without_a_peer_there_is_a_target_and_the_spread_is_that_of_our_own():
    figure = Figure("records", "records/s", "more", 15.0)
    (row,) = rows_alone("drain", (figure,), windows(10.0, 30.0, 20.0, cpu=[{"hq": 1.0}] * 3, lost=1), ["what it is"])
    assert json.loads(json.dumps(row.as_json())) == {
        "row": "drain", "figure": "records", "ours": 20.0, "peer": None, "ratio": None, "spread": [10.0, 30.0],
        "unit": "records/s", "better": "more", "target": 15.0, "met": True,
        "cpu_us_per_record": {"ours": {"hq": 1.0}}, "notes": ["what it is", "ours lost 3 records"],
    }
