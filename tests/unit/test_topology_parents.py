"""Which relays are above which, by every parent that a file allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from relays.topology.loader import load
from relays.topology.parents import Parents, way_to

RELAYS = """
fabric = "acme"
[relays]
hq   = { clearance = "red", listen = "127.0.0.1:7700" }
east = { clearance = "red", listen = "127.0.0.1:7701", parent = "hq", backups = ["west"] }
west = { clearance = "red", listen = "127.0.0.1:7702", parent = "hq", backups = ["east"] }
cell = { clearance = "red", listen = "127.0.0.1:7703", parent = "east", backups = ["west"] }
[roles]
any = { subscribe = [">"] }
[points]
here = { role = "any", relay = "cell", clearance = "red", backups = ["hq"] }
near = { role = "any", clearance = "red" }
"""


@pytest.fixture
def topology(tmp_path: Path):
    path = tmp_path / "t.toml"
    path.write_text(RELAYS)
    return load(path)


def test_where_points_can_be(topology):
    parents = Parents(topology)
    assert parents.places(topology.points["here"]) == ("cell", "hq")
    assert parents.places(topology.points["near"]) == ("hq", "east", "west", "cell")


def test_up_and_down_by_the_shortest_way_and_around_circles(topology):
    parents = Parents(topology)
    up = parents.up("cell", parents.all)
    assert set(up) == {"cell", "east", "west", "hq"} and way_to(up, "hq") == ("cell", "east", "hq")
    assert way_to(parents.up("cell", {"cell", "west", "hq"}), "hq") == ("cell", "west", "hq")
    assert set(parents.up("cell", parents.all, last="cell")) == {"cell"}
    assert parents.up("cell", {"east", "hq"}) == {}
    down = parents.down("hq", parents.all)
    assert tuple(reversed(way_to(down, "cell"))) == ("cell", "east", "hq")
    assert set(parents.down("west", parents.all)) == {"west", "east", "cell"}


def test_what_always_gets_there_and_by_which_way_it_does_not(topology):
    parents = Parents(topology)
    assert parents.hindrance("cell", "hq", parents.all) == ()
    assert parents.hindrance("cell", "east", parents.all) == ("cell", "west", "hq")
    assert parents.hindrance("cell", "hq", parents.all - {"west"}) == ("cell", "west")
    assert parents.hindrance("cell", "cell", parents.all) == ()
    assert parents.always_above("cell") == parents.always_above("cell") == {"cell", "hq"}
    assert parents.hindrance("cell", "hq", parents.all - {"cell"}) == ("cell",)
