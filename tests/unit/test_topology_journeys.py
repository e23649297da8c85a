"""What of whose is for whom, and where it turns."""

from __future__ import annotations

from pathlib import Path

from fabric.protocol.trust.credentials import ApproveGrant, PublishGrant, RequestGrant
from relays.topology.journeys import climbs, journeys_of
from relays.topology.loader import load
from relays.topology.model import RoleSpec

HEAD = """
fabric = "acme"
[relays]
hq = { clearance = "red", listen = "127.0.0.1:7700" }
ot = { clearance = "red", listen = "127.0.0.1:7701", parent = "hq" }
"""


def told(tmp_path: Path, text: str) -> list[tuple[str, str, str, str, str]]:
    path = tmp_path / "t.toml"
    path.write_text(HEAD + text)
    return [
        (j.carrier, " ".join(p.id for p in j.sources), " ".join(p.id for p in j.receivers), j.turn, j.past)
        for j in journeys_of(load(path))
    ]


def test_intel_by_organisation_of_who_says_it(tmp_path: Path) -> None:
    assert told(tmp_path, """
[roles]
feed = { publish = ["intel.ipv4.>", "detections.>"] }
reader = { subscribe = ["intel.>"] }
other = { subscribe = ["intel.domain.>", "detections.>"] }
[points]
f-1 = { role = "feed", relay = "hq", clearance = "red" }
f-2 = { role = "feed", relay = "hq", clearance = "red", organisation = "guest" }
r-1 = { role = "reader", relay = "ot", clearance = "red" }
o-1 = { role = "other", relay = "ot", clearance = "red" }
""") == [("as intel", "f-1", "r-1", "", ""), ("as intel", "f-2", "r-1", "", "")]


def test_a_scope_is_where_it_turns_for_who_is_below_it_and_the_root_for_others(tmp_path: Path) -> None:
    found = told(tmp_path, """
[roles]
firewall = { execute = ["deny ipv4_net"] }
soar = { request = [{ action = "deny *", to = "role=firewall", scope = "ot" }] }
[points]
soar-1 = { role = "soar", relay = "ot", clearance = "red" }
fw-1 = { role = "firewall", relay = "ot", clearance = "red" }
""")
    assert list(dict.fromkeys(found)) == [
        ("as an action", "soar-1", "fw-1", "ot", ""), ("as a result", "fw-1", "soar-1", "ot", ""),
        ("as an action", "soar-1", "fw-1", "", "ot"), ("as a result", "fw-1", "soar-1", "", "ot"),
    ]


def test_who_may_cancel_others_actions_does_so_where_those_turn(tmp_path: Path) -> None:
    found = told(tmp_path, """
[roles]
edr = { execute = ["scan device"] }
plant = { request = [{ action = "scan *", to = "all", scope = "ot" }] }
boss = { request = [{ action = "cancel command", to = "all" }] }
[points]
boss-1 = { role = "boss", relay = "hq", clearance = "red" }
edr-1 = { role = "edr", relay = "ot", clearance = "red" }
""")
    assert ("as an action", "boss-1", "edr-1", "ot", "") in found


def test_what_climbs_by_itself() -> None:
    assert climbs(RoleSpec("a", publish=(PublishGrant("intel.>"),)))
    assert climbs(RoleSpec("b", request=(RequestGrant("deny *", "all"),)))
    assert climbs(RoleSpec("c", approve=(ApproveGrant("contain", "all"),)))
    assert not climbs(RoleSpec("d", subscribe=(">",), execute=("deny *",)))
    assert not climbs(RoleSpec("e", publish=(PublishGrant("resolutions.x"),)))
