"""Approval policies with real processes: a fabric that runs takes them, and what needs an approval is not executed."""

from pathlib import Path

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import POLICIES
from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import house_in, wait_for

HOUSE = """
fabric = "asks"
organisation = "acme"
defaults = { label = "green", ttl = { action = "10s" } }

[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }
ot = { segment = "ot", clearance = "red", listen = "127.0.0.1:PORT-ot", parent = "hq" }

[roles]
wall = { execute = ["deny ipv4_net"] }
soar = { request = [{ action = "deny ipv4_net", to = "role=wall" }] }
lead = { approve = [{ class = "contain", to = "all" }] }

[points]
fw-1   = { relay = "ot", role = "wall", clearance = "amber" }
soar-1 = { relay = "hq", role = "soar", clearance = "amber" }
lead-1 = { relay = "hq", role = "lead", clearance = "amber" }

[[approval]]
when = { class = "contain" }
"""


def changed(house, text):
    """The file with this instead of what its approval says, and its policies signed."""
    before = house.file.read_text()
    asks = '[[approval]]\nwhen = { class = "contain" }\n'
    house.file.write_text(before[: before.index("[[approval]]")] + asks + text)
    return house.cli("authority", "policies", str(house.file), "--json").expect(0).lines[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("asks"), HOUSE + "require = 0\n") as house:
        house.up()
        house.wait_whole()
        yield house


def test_a_fabric_that_runs_takes_policies_and_asks_by_them_until_there_are_others(house):
    done: list[object] = []
    with house.point("fw-1") as wall, house.point("soar-1") as soar:
        wall.on_action("deny", "ipv4_net")(done.append)

        def act():
            """How it ended; None while the firewall is not known yet."""
            try:
                *_, last = soar.request("deny", "ipv4_net=192.0.2.1", to="role=wall")
            except FabricError as error:
                assert error.code is Code.NOBODY
                return None
            return last

        assert wait_for(act, "the firewall is known").end == "completed" and len(done) == 1
        signed = changed(house, 'require = 1\nfrom = ["lead"]\nwithin = "2s"\n')
        assert signed["changed"] and signed["rules"] == ["approval-1"]
        version = signed["version"]
        wait_for(lambda: all(house.state(relay)["policies"] == version for relay in ("hq", "ot")), "all have it")
        kept = ids_folder("asks", house.home) / "fw-1" / POLICIES
        held = act()
        assert (held.end, held.code) == ("expired", Code.APPROVAL_DUE.label) and len(done) == 1, "nobody approved it"
        assert kept.stat().st_size > 0
        lifted = changed(house, "require = 0\n")
        assert lifted["rules"] == [] and lifted["version"] > version
        wait_for(lambda: act().end == "completed", "it runs again")
    assert not house.cli("authority", "policies", str(house.file), "--json").expect(0).lines[0]["changed"]


def test_explain_says_who_is_to_approve_and_a_file_that_no_fabric_could_keep_is_refused(house, tmp_path: Path):
    changed(house, 'require = 1\nfrom = ["lead"]\nwithin = "5m"\n')
    asked = ("explain", "act", "deny", "ipv4_net=192.0.2.1", "--to", "role=wall", "--as", "soar-1", "--json")
    (said,) = house.cli(*asked).expect(0).lines
    assert said["class"] == "contain" and said["approval"] == {
        "rule": "approval-1", "require": 1, "from": ["lead"], "within_ms": 300_000, "escalate": None
    }
    with pytest.raises((AssertionError, FabricError)):
        changed(house, 'require = 9\nfrom = ["lead"]\n')
    house.assert_no_faults()
