"""Where content begins: at a relay, below it, and of many that are alike at a few."""

from __future__ import annotations

from pathlib import Path

import pytest

from relays.topology.flow import Flows
from relays.topology.loader import load

TEXT = """
fabric = "acme"
[relays]
hq   = { clearance = "red", listen = "127.0.0.1:7700" }
east = { clearance = "red", listen = "127.0.0.1:7701", parent = "hq", organisation = "guest" }
west = { clearance = "red", listen = "127.0.0.1:7702", parent = "hq" }
cell = { clearance = "red", listen = "127.0.0.1:7703", parent = "east", backups = ["west"] }
[roles]
sensor = { publish = ["detections.>"] }
[points]
s-1 = { role = "sensor", relay = "cell", clearance = "red" }
s-2 = { role = "sensor", relay = "cell", clearance = "red" }
s-3 = { role = "sensor", relay = "cell", clearance = "red" }
s-4 = { role = "sensor", relay = "cell", clearance = "amber", backups = ["hq"] }
"""


@pytest.fixture
def starts(tmp_path: Path):
    path = tmp_path / "t.toml"
    path.write_text(TEXT)
    return Flows(load(path)).starts


def told(starts):
    return [(s.relay, s.point.id if s.point else "", *s.own.organisations, s.guest) for s in starts]


def test_a_relay_stands_for_who_is_there_now_or_later(starts):
    assert told(starts.at("east")) == [("east", "", "guest", "")]
    assert told(starts.at("cell")) == [
        ("cell", "", "acme", ""), ("cell", "s-1", "acme", ""), ("cell", "s-2", "acme", ""), ("cell", "s-4", "acme", ""),
    ]


def test_a_control_point_is_wherever_it_can_be(starts):
    assert told(starts.at("s-3")) == told(starts.below("s-3")) == [("cell", "s-3", "acme", "")]
    assert [s.relay for s in starts.at("s-4")] == ["cell", "hq"]


def test_what_a_backup_brings_comes_in_where_it_is(starts):
    assert [(s.relay, s.guest) for s in starts.below("west")] == [("west", ""), *[("west", "cell")] * 4]
    assert {(s.relay, s.guest) for s in starts.below("east")} == {("east", ""), ("cell", "")}
