"""`fabric bench`: what it shows, and what it says of whom it did not reach."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.cli.messages import bench
from tests.identities import made
from tests.unit.test_command_lines import ends

TOPOLOGY = """
fabric = "small"
[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:7700" }
[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }
[points]
zeek-1    = { relay = "hq", role = "sensor",  clearance = "amber" }
analyst-1 = { relay = "hq", role = "analyst", clearance = "amber" }
analyst-2 = { relay = "hq", role = "analyst", clearance = "amber" }
"""
READERS = ("--to", "analyst-1", "--to", "analyst-2")
ARGS = ("bench", "--as", "zeek-1", *READERS, "--topic", "detections.test", "--for", "2s")


class Point:
    def __init__(self, who):
        self.identity = SimpleNamespace(id=who)

    def on_notice(self, tell):
        self.tell = tell

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Reader:
    def __init__(self, id_, records, reached=True, withheld=""):
        self.id, self.records, self.reached, self.withheld = id_, records, reached, withheld
        self.ended = []
        self.error = None

    def check(self):
        if self.error is not None:
            raise self.error

    def end(self, count):
        self.ended.append(count)

    def report(self):
        of = {"records": self.records, "p50_ms": 1.5, "p99_ms": 20.25, "max_ms": 1_300.0}
        return {**of, "last_s": 101.0, "path": ["plant", "hq"], "cpu_s": 0.01, "severities": {"low": of, "high": of}}


class Publisher:
    """One whose relay held 1,000 of 1,000."""

    published, held, refused, first_error, held_up = 1_000, 1_000, 0, None, {}
    began_s, took_s, cpu_s = 100.0, 2.0, 0.05
    stop = None

    def __init__(self, point, topic, records, options):
        self.given = (topic, options)
        Publisher.last = self

    def probe(self, severity, reached, timeout_s):
        self.probed = severity
        return reached()

    def run(self, seconds, rate, severities, tell):
        self.ran = (seconds, rate, list(severities))
        tell()
        if self.stop is not None:
            raise self.stop


@pytest.fixture
def readers(tmp_path, monkeypatch):
    """Those that there are; what the command starts is these."""
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path))
    made(tmp_path, TOPOLOGY)
    found = [Reader("analyst-1", 1_000), Reader("analyst-2", 1_000)]

    @contextmanager
    def reading(identities, topic, run, publisher):
        assert (topic, publisher) == ("detections.test", "zeek-1")
        assert [id_ for id_, _ in identities] == ["analyst-1", "analyst-2"]
        yield found

    monkeypatch.setattr(bench, "ControlPoint", Point)
    monkeypatch.setattr(bench, "Publisher", type("Fake", (Publisher,), {}))
    monkeypatch.setattr(bench, "reading", reading)
    return found


def test_a_table_of_all_readers_and_severities(readers, monkeypatch, capsys):
    args = (*ARGS, "--rate", "500", "--severity", "low", "--severity", "4", "--size", "300")
    assert ends(monkeypatch, *args, "--label", "green") == 0
    out = capsys.readouterr().out
    assert "zeek-1 published 1,000 records of 300 bytes on detections.test" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["analyst-1", "all", "1,000", "1,000", "1.5", "20.2", "1,300.0", "0", "2"] in rows
    assert ["high", "1,000", "1.5", "20.2", "1,300.0"] in rows
    assert "zeek-1: 1,000 held in 2.0 s, 500/s; 50 us of processor time each" in out
    assert "analyst-2: over plant hq; 10 us of processor time each" in out
    made_ = bench.Publisher.last
    assert made_.ran == (2.0, 500.0, ["low", "high"]) and made_.probed == "low"
    assert made_.given == ("detections.test", {"label": "green", "ttl": "62s"})
    assert [each.ended for each in readers] == [[1_000], [1_000]]


def test_as_json_it_is_one_object(readers, monkeypatch, capsys):
    assert ends(monkeypatch, *ARGS, "--json", "--label", "green") == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["published"], found["held"], found["refused"], found["not_held"]) == (1_000, 1_000, 0, 0)
    assert found["held_per_s"] == 500.0 and found["cpu_us"] == 50.0
    first = found["readers"][0]
    assert (first["reader"], first["records_per_s"], first["lost"], first["hops"]) == ("analyst-1", 1_000.0, 0, 2)


def test_what_was_lost_makes_it_partly(readers, monkeypatch, capsys):
    readers[1].records = 990
    assert ends(monkeypatch, *ARGS, "--json") == 3
    assert [each["lost"] for each in json.loads(capsys.readouterr().out)["readers"]] == [0, 10]


def test_what_was_refused_or_not_held_makes_it_partly_too(readers, monkeypatch, capsys):
    for numbers in ({"published": 1_010, "refused": 10}, {"published": 1_010}):
        for name, value in numbers.items():
            monkeypatch.setattr(bench.Publisher, name, value)
        assert ends(monkeypatch, *ARGS) == 3
        monkeypatch.setattr(bench.Publisher, "refused", 0)
    out = capsys.readouterr().out
    assert "10 refused" in out and "10 not held" in out


def test_what_held_it_up_is_named(readers, monkeypatch, capsys):
    monkeypatch.setattr(bench.Publisher, "held_up", {Code.RATE_EXCEEDED: None})
    assert ends(monkeypatch, *ARGS, "--label", "green") == 0
    assert "zeek-1: held up at times: E406 the rate is above what is granted" in capsys.readouterr().out


def test_who_was_not_reached_is_named_with_what_to_look_at(readers, monkeypatch, capsys):
    readers[1].reached = False
    assert ends(monkeypatch, *ARGS, "--json") == 6
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == Code.TIMED_OUT.label and "reached analyst-2 within" in error["detail"]
    assert error["next"].endswith("fabric explain publish detections.test --as zeek-1")
    assert ends(monkeypatch, *ARGS, "--label", "green", "--json") == 6
    shown = json.loads(capsys.readouterr().err)["error"]["next"]
    assert shown.endswith("fabric explain publish detections.test --label green --as zeek-1")


def test_who_may_not_see_it_is_named_with_the_label(readers, monkeypatch, capsys):
    readers[0].reached, readers[0].withheld = False, "amber"
    assert ends(monkeypatch, *ARGS, "--json") == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == Code.WITHHELD.label and error["detail"] == "analyst-1 may not see what is amber"


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        (FabricError(Code.SUBSCRIBE_DENIED, "analyst-2: detections.test"), "subscribe detections.test --as analyst-2"),
        (FabricError(Code.PUBLISH_DENIED, "detections.test"), "publish detections.test --as zeek-1"),
    ],
)
def test_what_is_denied_comes_with_the_next_command(readers, monkeypatch, capsys, error, next_step):
    readers[0].error = error
    assert ends(monkeypatch, *ARGS) == 5
    assert f"fabric explain {next_step}" in capsys.readouterr().err


def test_where_nothing_is_held_it_says_why(readers, monkeypatch, capsys):
    monkeypatch.setattr(bench.Publisher, "held", 0)
    monkeypatch.setattr(bench.Publisher, "first_error", FabricError(Code.SEVERITY_DENIED, "low"))
    assert ends(monkeypatch, *ARGS, "--severity", "low") == 5
    assert "--severity low" in capsys.readouterr().err


def test_ctrl_c_shows_what_was_measured_until_then(readers, monkeypatch, capsys):
    monkeypatch.setattr(bench.Publisher, "stop", KeyboardInterrupt())
    assert ends(monkeypatch, *ARGS) == 130
    assert "1,000 held" in capsys.readouterr().out


@pytest.mark.parametrize("more", [["--for", "0s"], ["--for", "2h"], ["--size", "10"], ["--rate", "0"],
                                  ["--severity", "awful"], ["--to", "analyst-1"] * 17, ["--severity", "low"] * 17])
def test_what_has_no_sense_is_refused(readers, monkeypatch, capsys, more):
    assert ends(monkeypatch, *ARGS, *more, "--json") == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "E908"
