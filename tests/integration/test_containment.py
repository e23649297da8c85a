"""What the fabric is for, from end to end: a plant detects, two of three leads approve, four firewalls in two segments
are to contain, one of them is away and comes back too late; it is resolved, ends by itself, and is all in the logs."""

import json
import signal

from tests.integration.harness import House, house_in, wait_for

TOPOLOGY = """
fabric = "containment"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq      = { segment = "hq",      clearance = "red", listen = "127.0.0.1:PORT-hq" }
plant-1 = { segment = "plant-1", clearance = "red", listen = "127.0.0.1:PORT-plant-1", parent = "hq" }
plant-2 = { segment = "plant-2", clearance = "red", listen = "127.0.0.1:PORT-plant-2", parent = "hq" }

[roles]
sensor   = { publish = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
auditor  = { subscribe = ["resolutions.>"] }
lead     = { approve = [{ class = "contain", to = "role=firewall" }] }

[roles.soar]
subscribe = ["detections.>"]
request = [{ action = "deny ipv4_net", to = "role=firewall" }]

[points]
zeek-1    = { relay = "plant-1", role = "sensor",   clearance = "red" }
fw-1      = { relay = "plant-1", role = "firewall", clearance = "red" }
fw-2      = { relay = "plant-1", role = "firewall", clearance = "red" }
fw-3      = { relay = "plant-2", role = "firewall", clearance = "red" }
fw-4      = { relay = "plant-2", role = "firewall", clearance = "red" }
soar-1    = { relay = "hq",      role = "soar",     clearance = "red" }
auditor-1 = { relay = "hq",      role = "auditor",  clearance = "red" }
anna      = { relay = "hq",      role = "lead",     clearance = "red", kind = "operator" }
ben       = { relay = "plant-1", role = "lead",     clearance = "red", kind = "operator" }
cleo      = { relay = "plant-2", role = "lead",     clearance = "red", kind = "operator" }

[[approval]]
when = { class = "contain" }
require = 2
from = ["lead"]
within = "2m"
"""
FIREWALLS = ("fw-1", "fw-2", "fw-3", "fw-4")
LOGS = ("hq", "plant-1", "plant-2", "fw-1", "fw-2", "fw-3", "soar-1", "anna", "cleo")
# A rule is a file while it is in force; `ran` has a line for each time that it was made.
HANDLER = """#!/bin/sh
case $FABRIC_PHASE in
revert) rm -f "{folder}/rule" ;;
*) echo >> "{folder}/ran"; : > "{folder}/rule" ;;
esac
echo '{{"rule": 1}}'
"""


def firewall(house: House, id_: str):
    """One that is ready."""
    folder = house.work / id_
    folder.mkdir(exist_ok=True)
    handler = folder / "handler"
    handler.write_text(HANDLER.format(folder=folder))
    handler.chmod(0o700)
    running = house.start(
        "edge", "run", "--as", id_, "--on", "deny ipv4_net", "--exec", str(handler), "--reverts", "--json"
    )
    running.wait_line("ready")
    return running


def blocking(house: House) -> set[str]:
    return {id_ for id_ in FIREWALLS if (house.work / id_ / "rule").exists()}


def runs(house: House, id_: str) -> int:
    ran = house.work / id_ / "ran"
    return len(ran.read_text().splitlines()) if ran.exists() else 0


def test_detected_approved_contained_resolved_reverted_and_audited(tmp_path):
    with house_in(tmp_path, TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        walls = {id_: firewall(house, id_) for id_ in FIREWALLS}
        soar = house.start("subscribe", "detections.>", "--as", "soar-1", "--json")
        auditor = house.start("subscribe", "resolutions.>", "--as", "auditor-1", "--json")
        house.wait_routes("hq", 6)
        walls.pop("fw-4").stop(signal.SIGKILL)
        wait_for(lambda: "fw-4" not in house.state("plant-2").get("points", ["fw-4"]), "fw-4 is away")

        house.cli("publish", "detections.zeek.conn", "--as", "zeek-1", '{"from": "203.0.113.9"}').expect(0)
        seen = json.loads(soar.wait_line("203.0.113.9"))["content"]["from"]
        soar.stop()
        asked = house.start(
            "act", "deny", f"ipv4_net={seen}", "--to", "role=firewall", "--as", "soar-1", "--ttl", "5s",
            "--arg", "duration=8s", "--watch", "--json",
        )
        asked.wait_line('"approval"')
        (account,) = house.cli("actions", "--as", "soar-1", "--open", "--json").expect(0).lines
        id_ = account["id"]
        assert not blocking(house)
        house.cli("approve", id_, "--yes", "--as", "anna").expect(0)
        assert not blocking(house)
        assert "2 of 2 (anna, cleo)" in house.cli("approve", id_, "--yes", "--as", "cleo").expect(0).out

        ends = {line["target"]: line["state"] for line in asked.wait().expect(3).lines if line.get("end")}
        assert ends == {"fw-1": "completed", "fw-2": "completed", "fw-3": "completed", "fw-4": "expired"}
        assert blocking(house) == {"fw-1", "fw-2", "fw-3"}
        resolution = json.loads(auditor.wait_line(id_))["content"]
        assert resolution["outcome"] == "partly" and resolution["by"] == "hq"
        assert resolution["targets"] == {"completed": ["fw-1", "fw-2", "fw-3"], "expired": ["fw-4"]}
        auditor.stop()

        walls["fw-4"] = firewall(house, "fw-4")
        wait_for(lambda: not blocking(house), "the effects end by themselves")
        assert [runs(house, id_) for id_ in FIREWALLS] == [1, 1, 1, 0]
        (*_, account) = house.cli("action", id_, "--as", "soar-1", "--watch", "--json").expect(3).lines
        assert {target: effect["effect"] for target, effect in account["effects"].items()} == {
            "fw-1": "reverted", "fw-2": "reverted", "fw-3": "reverted"
        }
        assert not account["open"] and not account["effects_due"]

        for wall in walls.values():
            wall.stop().expect(0)
        house.down()
        for log in LOGS:
            house.cli("audit", "verify", "--as", log).expect(0)
        for child, parent in (("plant-1", "hq"), ("plant-2", "hq"), ("fw-1", "plant-1"), ("fw-3", "plant-2")):
            house.cli("audit", "verify", "--as", child, "--against", parent).expect(0)
        house.assert_logs_clean("203.0.113.9")
