"""An action from its asking to its resolution, with real processes: progress, cancelling, and who hears of its end."""

import json

import pytest

from tests.integration.harness import TOPOLOGY as WHOLE
from tests.integration.harness import House, house_in

SLOW, NEXT = "192.0.2.61", "192.0.2.62"
# It says how far it is, and stays there.
HANDLER = """#!/bin/sh
cat > /dev/null
echo '{"progress": 0.4, "note": "40 of 100"}' > "$FABRIC_PROGRESS"
sleep 600
"""
TOPOLOGY = WHOLE.replace("[roles]\n", '[roles]\nauditor = { subscribe = ["resolutions.>"] }\n').replace(
    "[points]\n", '[points]\naudit-1 = { relay = "hq", role = "auditor", clearance = "amber" }\n'
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("lifecycle"), TOPOLOGY) as house:
        house.up()
        yield house


def asked(house: House, address: str):
    return house.start("act", "deny", f"ipv4_net={address}", "--to", "id=fw-m", "--as", "soar-hq", "--label", "green",
                       "--ttl", "60s", "--json", "--watch")


def test_what_runs_says_how_far_it_is_and_is_cancelled_like_what_waits_for_it(house, tmp_path):
    script = tmp_path / "handler"
    script.write_text(HANDLER)
    script.chmod(0o755)
    audit = house.start("subscribe", "resolutions.>", "--as", "audit-1", "--json", "--count", "4")
    wall = house.start("edge", "run", "--as", "fw-m", "--on", "deny ipv4_net", "--exec", str(script), "--at-once", "1",
                       "--json")
    wall.wait_line('"ready"')
    house.wait_connected("hq", "audit-1")

    first = asked(house, SLOW)
    running = json.loads(first.wait_line('"running"'))
    assert (running["target"], running["progress"], running["note"]) == ("fw-m", 0.4, "40 of 100")
    second = asked(house, NEXT)
    second.wait_line('"accepted"')
    ids = [line["id"] for line in house.cli("actions", "--as", "soar-hq", "--open", "--json").expect(0).lines]
    assert len(ids) == 2, "the newest first"

    assert "fw-m: it was waiting" in house.cli("cancel", ids[0][:16], "--as", "soar-hq").expect(0).out
    end = second.wait().expect(1).lines[-1]
    assert (end["state"], end["code"]) == ("refused", "E723")
    assert "fw-m: it was running" in house.cli("cancel", ids[1][:16], "--as", "soar-hq").expect(0).out
    end = first.wait().expect(1).lines[-1]
    assert (end["state"], end["code"], end["result"]) == ("failed", "E723", {"error": "cancelled"})

    resolved = [line["content"] for line in audit.wait().expect(0).lines]
    told = {each["action"]: (each["about"], each["outcome"], each["targets"]) for each in resolved}
    assert told[ids[0]] == ("deny ipv4_net", "refused", {"refused": ["fw-m"]})
    assert told[ids[1]] == ("deny ipv4_net", "failed", {"failed": ["fw-m"]})
    assert [each["about"] for each in resolved].count("cancel command") == 2
    assert all(each["by"] == "hq" and each["requester"] == "soar-hq" for each in resolved)
    shown = house.cli("action", ids[1][:16], "--as", "soar-hq", "--json").expect(1).lines[0]
    assert shown["resolution"] == "failed" and [w["state"] for w in shown["words"]] == ["running", "failed"]
    wall.stop()


def test_nobody_else_cancels_it_and_what_is_not_there_is_said(house):
    done = house.cli("cancel", "4f1c", "--as", "soar-hq")
    assert done.code == 1 and "E939" in done.err and "fabric actions" in done.err
    done = house.cli("cancel", "ab" * 32, "--as", "soar-hq")
    assert done.code == 1 and "E724" in done.err, "the relay's own word"


def test_steps_stop_after_the_one_that_failed_and_name_the_others(house, tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    for script, code in ((good, 0), (bad, 3)):
        script.write_text(f"#!/bin/sh\ncat > /dev/null\nexit {code}\n")
        script.chmod(0o755)
    walls = [
        house.start("edge", "run", "--as", id_, "--on", "deny ipv4_net", "--exec", str(script), "--json")
        for id_, script in (("fw-m", bad), ("fw-p", good))
    ]
    for wall in walls:
        wall.wait_line('"ready"')
    ask = ("act", "deny", "ipv4_net=192.0.2.63", "--to", "role=firewall", "--as", "soar-hq", "--label", "green",
           "--json")
    done = house.cli(*ask, "--batch", "1", "--stop-on", "failed")
    assert [line.get("target") for line in done.lines if "end" in line] in (["fw-m"], ["fw-p", "fw-m"])
    if done.lines[-1].get("not_begun"):
        assert done.lines[-1] == {"not_begun": ["fw-p"], "stopped_by": {"target": "fw-m", "end": "failed"}}
    done = house.cli(*ask, "--batch", "1", "--pause", "0s").expect(3)
    assert sorted(line["target"] for line in done.lines if "end" in line) == ["fw-m", "fw-p"]
    assert "step 2 of 2" in done.err
    (only, rest) = house.cli(*ask, "--limit", "1").lines
    assert only["target"] not in rest["not_begun"] and rest["stopped_by"] is None
    for wall in walls:
        wall.stop()
