"""An action that two leads must approve: held, seen by them, approved or denied, executed by those it was held for."""

import asyncio
import json
import signal

import pytest

from fabric.edge import ControlPoint as AsyncControlPoint
from tests.integration.harness import House, house_in

TOPOLOGY = """
fabric = "approvals"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "red", listen = "127.0.0.1:PORT-hq" }
plant = { segment = "plant", clearance = "red", listen = "127.0.0.1:PORT-plant", parent = "hq" }

[roles]
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny *", to = "role=firewall" }] }
ot-lead  = { approve = [{ class = "contain", to = "role=firewall" }] }

[points]
fw-1   = { relay = "plant", role = "firewall", clearance = "red" }
fw-2   = { relay = "plant", role = "firewall", clearance = "red" }
soar-1 = { relay = "hq",    role = "soar",     clearance = "red" }
lead-1 = { relay = "plant", role = "ot-lead",  clearance = "red", principal = "anna" }
lead-2 = { relay = "hq",    role = "ot-lead",  clearance = "red", principal = "ben" }

[[approval]]
when = { class = "contain" }
require = 2
from = ["ot-lead"]
within = "2m"
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("approvals"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        walls = [
            house.start("edge", "run", "--as", fw, "--on", "deny ipv4_net", "--exec", "echo '{\"done\": 1}'")
            for fw in ("fw-1", "fw-2")
        ]
        for wall in walls:
            wall.wait_line("ready for")
        yield house
        for wall in walls:
            wall.stop().expect(0)


def asking(house: House, value: str, *more: str):
    """An action that is held, and its id."""
    asked = house.start(
        "act", "deny", f"ipv4_net={value}", "--to", "role=firewall", "--as", "soar-1", "--json", "--watch", *more
    )
    held = json.loads(asked.wait_line('"held"'))
    assert held["approval"]["require"] == 2 and held["approval"]["roles"] == ["ot-lead"]
    (account,) = house.cli("actions", "--as", "soar-1", "--open", "--last", "1", "--json").expect(0).lines
    return asked, account["id"]


def test_two_leads_approve_and_it_is_executed(house: House):
    asked, id_ = asking(house, "192.0.2.1")
    (seen,) = [one for one in house.cli("approvals", "--as", "lead-1", "--json").expect(0).lines if one["id"] == id_]
    assert sorted(seen["targets"]) == ["fw-1", "fw-2"] and seen["requester"] == "soar-1" and seen["approved_by"] == []
    first = house.cli("approve", id_[:12], "--yes", "--as", "lead-1").expect(0)
    assert id_ in first.out and "counted: 1 of 2 (anna)" in first.out
    again = house.cli("approve", id_, "--yes", "--as", "lead-1")
    assert again.code in (0, 1) and "2 of 2" not in again.out
    (second,) = house.cli("approve", id_, "--yes", "--json", "--as", "lead-2").expect(0).lines
    assert second["approved_by"] == ["anna", "ben"]
    done = asked.wait().expect(0)
    assert {line["target"]: line["state"] for line in done.lines if line.get("end")} == {
        "fw-1": "completed", "fw-2": "completed"
    }
    assert "approved by anna, ben" in house.cli("action", id_[:12], "--as", "soar-1").expect(0).out
    assert house.cli("approve", id_, "--yes", "--wait", "2s", "--as", "lead-2").code == 1


def test_one_denies_and_nobody_executes_it(house: House):
    asked, id_ = asking(house, "192.0.2.2")
    house.cli("approve", id_, "--yes", "--as", "lead-1").expect(0)
    house.cli("deny", id_, "--yes", "--why", "it runs the plant", "--as", "lead-2").expect(0)
    done = asked.wait().expect(1)
    denied = [line for line in done.lines if line.get("end") == "refused"]
    assert {(line["code"], line["denied_by"], line["why"]) for line in denied} == {("E419", "ben", "it runs the plant")}
    assert "ben: it runs the plant" in " ".join(house.cli("action", id_, "--as", "soar-1").out.split())


def test_who_stops_waiting_leaves_it_held_and_may_cancel_it(house: House):
    asked, id_ = asking(house, "192.0.2.3")
    stopped = asked.stop(signal.SIGINT)
    assert stopped.code == 130 and "unanswered" in stopped.out
    assert any(one["id"] == id_ for one in house.cli("approvals", "--as", "lead-2", "--json").expect(0).lines)
    house.cli("cancel", id_, "--as", "soar-1")
    waiting = house.cli("approvals", "--as", "lead-2", "--json").expect(0).lines
    assert not any(one["id"] == id_ for one in waiting)


def test_a_dry_run_says_for_what_it_would_be_held(house: House):
    ask = ["act", "deny", "ipv4_net=192.0.2.9", "--to", "role=firewall", "--as", "soar-1", "--dry-run"]
    out = house.cli(*ask).expect(0).out
    assert "would be held: rule approval-1, 2 of ot-lead, within 2m" in out and out.count(": ready") == 2


def test_an_approver_that_watches_sees_it_when_it_comes(house: House):
    watching = house.start("approvals", "--watch", "--as", "lead-1", "--json")
    asked, id_ = asking(house, "192.0.2.4")
    watching.wait_line(id_)
    watching.stop(signal.SIGINT)
    house.cli("deny", id_, "--yes", "--why", "a test", "--as", "lead-1").expect(0)
    asked.wait().expect(1)


def test_the_same_from_python(house: House):
    asked, id_ = asking(house, "192.0.2.5")
    with house.point("lead-1") as point:
        request = next(one for one in point.approvals(timeout_s=10) if one.id == id_)
        assert point.approve(request).approved_by == ("anna",)

    async def second():
        async with AsyncControlPoint(house.identity("lead-2")) as lead:
            found = [one async for one in lead.approvals(timeout_s=2) if one.id == id_]
            return found[0].approved_by, await lead.approve(found[0])

    before, verdict = asyncio.run(second())
    assert before == ("anna",) and verdict.approved_by == ("anna", "ben") and verdict.require == 2
    asked.wait().expect(0)


def test_what_is_held_outlives_its_relay_and_whoever_asked(house: House):
    """Under a key: who asks again learns what was decided while nobody was there."""
    asked, id_ = asking(house, "192.0.2.6", "--key", "incident/6", "--ttl", "20s")
    asked.stop(signal.SIGKILL)
    house.cli("approve", id_, "--yes", "--as", "lead-1").expect(0)
    house.wait_restarted("hq", house.kill_relay("hq"))
    assert "2 of 2 (anna, ben)" in house.cli("approve", id_, "--yes", "--as", "lead-2").expect(0).out
    again = house.cli(
        "act", "deny", "ipv4_net=192.0.2.6", "--to", "role=firewall", "--as", "soar-1", "--json", "--watch",
        "--key", "incident/6", "--ttl", "20s",
    ).expect(0)
    assert {line["target"] for line in again.lines if line.get("state") == "completed"} == {"fw-1", "fw-2"}
