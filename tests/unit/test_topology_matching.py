"""Patterns that meet, whom a request selects, and which rules are about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.protocol.trust.credentials import PublishGrant, RequestGrant
from relays.topology.loader import load
from relays.topology.matching import (
    able,
    by_organisation,
    carries,
    executors,
    is_about,
    patterns_overlap,
    publishes_to,
    selected,
)
from relays.topology.model import RoleSpec

TEXT = """
fabric = "acme"
[relays]
hq = { clearance = "red", listen = "127.0.0.1:7700" }
ot = { clearance = "red", listen = "127.0.0.1:7701", parent = "hq" }
[roles]
firewall = { execute = ["deny ipv4_net"] }
edr = { execute = ["scan *"] }
[points]
fw-hq = { role = "firewall", relay = "hq", clearance = "red" }
fw-ot = { role = "firewall", relay = "ot", clearance = "red", organisation = "guest" }
fw-any = { role = "firewall", clearance = "red" }
edr-ot = { role = "edr", relay = "ot", clearance = "red" }
"""


@pytest.fixture
def topology(tmp_path: Path):
    path = tmp_path / "t.toml"
    path.write_text(TEXT)
    return load(path)


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ("a.>", "a.b", True),
        ("a.>", "a", False),
        ("*.b", "a.*", True),
        (">", "a", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b.c", False),
        ("a.>", "*.*.c", True),
        ("a", "a", True),
        ("x.>", "y.>", False),
    ],
)
def test_patterns_that_share_a_topic(a: str, b: str, overlap: bool) -> None:
    assert patterns_overlap(a, b) is patterns_overlap(b, a) is overlap


def test_what_patterns_can_carry() -> None:
    assert carries("intel.>", "intel") and not carries("intel.>", "event")
    assert carries("detections.>", "event") and not carries("detections.>", "intel")
    assert all(carries(pattern, kind) for pattern in (">", "*.x") for kind in ("intel", "event"))


def test_who_is_selected_who_is_able_and_who_is_below_the_scope(topology):
    def names(points):
        return [point.id for point in points]

    assert names(selected(topology, "segment=ot")) == ["fw-ot", "edr-ot"]
    assert names(selected(topology, "segment=hq")) == ["fw-hq", "fw-any"]  # the segment of the nearest is the root's
    assert names(selected(topology, "no selector (")) == []
    assert names(able(topology, RequestGrant("deny *", "all"))) == ["fw-hq", "fw-ot", "fw-any"]
    assert names(executors(topology, RequestGrant("deny *", "all", scope="ot"))) == ["fw-ot", "fw-any"]
    assert by_organisation(topology.points.values()).keys() == {"acme", "guest"}


def test_nobody_publishes_resolutions():
    everything, auditor = RoleSpec("a", publish=(PublishGrant(">"),)), RoleSpec("b", subscribe=("resolutions.>",))
    assert not publishes_to(everything, auditor, "event")
    assert publishes_to(everything, RoleSpec("c", subscribe=("*.x",)), "event")


@pytest.mark.parametrize(
    ("when", "granted", "about"),
    [
        ('class = "contain"', "deny *", True),
        ('class = "contain"', "scan *", False),
        ('class = "investigate"', "*", True),  # a grant for everything is one for any class
        ('class = "contain"', "x-isolate *", True),
        ('action = "deny ipv4_net"', "deny *", True),
        ('action = "deny ipv4_net"', "scan *", False),
    ],
)
def test_a_rule_is_about_a_grant_for_any_action_of_its_class_or_pattern(
    tmp_path: Path, when: str, granted: str, about: bool
) -> None:
    path = tmp_path / "t.toml"
    path.write_text(TEXT + f"""
[classes]
x-isolate = "contain"
[[approval]]
when = {{ {when} }}
require = 1
from = ["edr"]
within = "10m"
""")
    topology = load(path)
    (rule,) = topology.approvals
    assert is_about(topology, rule, RequestGrant(granted, "all")) is about
