"""What relays and control points did is in their logs, and who rewrites one is found out."""

from pathlib import Path

import pytest

from fabric.audit.segments import segments
from fabric.protocol.audit.records import read_records
from tests.integration.harness import house_in, wait_for

TOPOLOGY = """
fabric = "audited"
organisation = "acme"
defaults = { label = "amber", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "red", listen = "127.0.0.1:PORT-hq" }
plant = { segment = "plant", clearance = "red", listen = "127.0.0.1:PORT-plant", parent = "hq" }

[roles]
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny *", to = "role=firewall" }] }

[points]
fw-1   = { relay = "plant", role = "firewall", clearance = "red" }
soar-1 = { relay = "hq",    role = "soar",     clearance = "red" }
"""
VALUE = "203.0.113.77"


def audit(house, what, who, *more):
    return house.cli("audit", what, "--as", f"{house.fabric}/{who}", "--json", *more)


def shown(house, who, *more):
    return audit(house, "show", who, "--last", "1000", *more).expect(0).lines


def act(house):
    """The id of an action that fw-1 executed."""
    house.cli("act", "deny", f"ipv4_net={VALUE}", "--to", "role=firewall", "--as", "soar-1").expect(0)
    return house.cli("actions", "--as", "soar-1", "--last", "1", "--json").lines[0]["id"]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("audited"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        wall = house.start("edge", "run", "--as", "fw-1", "--on", "deny ipv4_net", "--exec", "echo '{\"done\": 1}'")
        wall.wait_line("ready for")
        yield house
        wall.stop().expect(0)


def folder_of(house, relay) -> Path:
    return house.folder / "audit" / relay


def test_an_action_is_in_the_logs_of_all_who_had_it_without_what_it_was_about(house):
    id_ = act(house)
    told = {who: [entry["kind"] for entry in shown(house, who, "--action", id_)] for who in ("hq", "plant")}
    assert told["hq"][:3] == ["action.taken", "action.turned", "action.handed"]
    assert told["plant"] == ["action.taken", "action.handed"]
    wait_for(lambda: "action.resolved" in [e["kind"] for e in shown(house, "hq", "--action", id_)], "it is resolved")
    told = {who: [entry["kind"] for entry in shown(house, who, "--action", id_)] for who in ("fw-1", "soar-1")}
    assert told == {"fw-1": ["action.taken", "action.begun", "action.ended"], "soar-1": ["action.requested"]}
    for who in ("hq", "plant", "fw-1", "soar-1"):
        assert {"link.opened", "log.started"} <= {entry["kind"] for entry in shown(house, who)}
        assert audit(house, "verify", who).expect(0).lines[0]["whole"]
    exported = audit(house, "export", "hq").expect(0).lines
    assert {event["class_uid"] for event in exported} == {3002, 6003} and VALUE not in str(exported)
    every_byte = b"".join(path.read_bytes() for path in house.folder.rglob("*.log") if "audit" in path.parts[-3:])
    assert every_byte and VALUE.encode() not in every_byte


def test_a_log_survives_kill_9_and_goes_on(house):
    before = audit(house, "verify", "plant").lines[0]["last"]
    house.wait_restarted("plant", house.kill_relay("plant"))
    found = audit(house, "verify", "plant").expect(0).lines[0]
    assert found["whole"] and found["last"] > before
    assert [entry["kind"] for entry in shown(house, "plant")].count("log.started") == 2


def test_verify_names_the_first_entry_that_was_altered(house):
    (segment,) = segments(folder_of(house, "plant"))
    data = segment.path.read_bytes()
    at = data.index(b"fw-1")
    try:
        segment.path.write_bytes(data[:at] + b"fw-9" + data[at + 4 :])
        done = audit(house, "verify", "plant").expect(1)
        (flaw,) = done.lines[0]["flaws"]
        assert flaw["what"] == "hash" and done.error["code"] == "E948"
        assert f"entry {flaw['entry']:,}:" in done.error["detail"]
    finally:
        segment.path.write_bytes(data)


def test_a_parent_counter_signs_and_its_log_tells_a_log_that_was_rewritten(house):
    """Last: the log of `plant` is not what it was afterwards."""
    house.down()
    house.up()
    house.wait_whole()
    wait_for(lambda: shown(house, "plant", "--kind", "log.witnessed"), "hq has counter-signed a head of plant")
    before = audit(house, "verify", "plant", "--against", f"{house.fabric}/hq").expect(0).lines[0]
    assert before["whole"] and before["witnessed_by"] == "hq" and before["head"] >= before["witnessed_to"] > 0
    assert shown(house, "hq", "--kind", "head.taken")[-1]["who"] == "plant"
    house.down()
    # Somebody with the folder takes away what was done there, and the heads that say so.
    (segment,) = segments(folder_of(house, "plant"))
    data = segment.path.read_bytes()
    segment.path.write_bytes(data[: [record.ends for record in read_records(data)][4]])
    (segment.path.parent / "signed").unlink()
    assert audit(house, "verify", "plant").expect(0).lines[0]["last"] == 5
    done = audit(house, "verify", "plant", "--against", f"{house.fabric}/hq").expect(1)
    assert {flaw["what"] for flaw in done.lines[0]["flaws"]} == {"tail"} and done.error["code"] == "E948"
    # And the relay above says it by itself as soon as both run.
    house.up()
    house.wait_whole()
    wait_for(lambda: "plant" in house.state("hq").get("rewritten", {}), "hq has noticed", 40)
    assert shown(house, "hq", "--kind", "head.refused")[-1]["code"] == "E226"
    assert "plant" in house.cli("status", house.fabric).out
    house.assert_logs_clean(VALUE)
