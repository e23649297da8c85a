"""What a source rejects is kept, shown, and published once its declaration is right; a sample shows that before."""

import json

import pytest

from tests.integration.harness import House, house_in, wait_for

TOPOLOGY = """
fabric = "letters"
organisation = "acme"
defaults = { label = "green" }
[relays]
hq    = { clearance = "green", listen = "127.0.0.1:PORT-hq" }
plant = { clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }
[roles]
sensor  = { publish = [{ topic = "detections.>", severity_max = "high" }] }
analyst = { subscribe = ["detections.>"] }
[points.zeek-1]
relay = "plant"
role = "sensor"
clearance = "amber"
[points.zeek-1.sources.conn]
kind = "file"
path = "FOLDER/conn.log"
topic = "detections.{kind}"
severity = { field = "sev", table = { "1" = "high", "9" = "critical", "*" = "low" } }
labels = { "id.orig_h" = "amber", "*" = "green" }
rename = { "id.orig_h" = "src_ip" }
drop = ["password"]
[points.analyst-1]
relay = "plant"
role = "analyst"
clearance = "amber"
kind = "operator"
"""
GOOD = {"kind": "dns", "sev": 1, "id.orig_h": "10.1.0.7", "password": "hunter2"}
NAMELESS = {"sev": 2, "id": {"orig_h": "10.1.0.8"}}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("letters")
    with house_in(folder, TOPOLOGY.replace("FOLDER", str(folder))) as house:
        yield house


def test_a_sample_shows_what_would_become_of_it_without_a_relay(house: House):
    sample = house.work / "sample.log"
    lines = [GOOD, NAMELESS, {**GOOD, "sev": 9}]
    sample.write_text("\n".join([*map(json.dumps, lines), "no json"]) + "\n")
    args = ("source", "test", "conn", str(sample), "--as", "zeek-1", "--topology", str(house.file))
    good, nameless, severe, broken, summary = house.cli(*args, "--json").expect(3).lines
    assert (good["topic"], good["severity"], good["verdict"]) == ("detections.dns", "high", "partly")
    assert {each["field"]: (each["label"], each["stops_before"]) for each in good["fields"]} == {
        "kind": ("green", None), "sev": ("green", None), "src_ip": ("amber", "hq"),
    }
    assert good["dropped"] == ["password"] and good["renamed"] == {"id.orig_h": "src_ip"}
    assert (nameless["line"], nameless["code"], nameless["field"]) == (2, "E750", "kind")
    assert severe["verdict"] == "denied" and (broken["line"], broken["verdict"]) == (4, "rejected")
    assert summary == {"records": 4, "allowed": 0, "partly": 1, "denied": 1, "rejected": 2, "labels_without_field": []}
    shown = house.cli(*args).expect(3).out
    assert "src_ip: goes up to plant, not to hq" in shown and "line 2: rejected: E750" in shown
    assert "hunter2" not in shown
    one = house.cli("source", "test", "conn", json.dumps({"kind": "x"}), *args[4:]).expect(0).out
    assert "detections.x" in one and "no record has a field id.orig_h" in one
    assert house.cli("source", "test", "con", "{}", *args[4:], "--json").expect(2).error["next"] == "write conn"
    assert not (house.folder / "run").exists(), "no relay"


def test_what_was_rejected_is_published_once_when_the_declaration_is_right(house: House):
    house.up()
    house.wait_whole()
    log = house.work / "conn.log"
    log.write_text("".join(json.dumps(each) + "\n" for each in (GOOD, NAMELESS)) + "no json\n")
    as_zeek = ("--as", "letters/zeek-1")
    edge = house.start("edge", "run", *as_zeek, "--json")
    with house.point("analyst-1") as analyst:
        messages = analyst.subscribe("detections.>", timeout_s=30)
        letters = wait_for(
            lambda: len(found := house.cli("deadletter", "list", *as_zeek, "--json").lines) == 2 and found, "letters"
        )
        assert [(each["id"], each["code"], each["label"]) for each in letters] == [
            ("conn/1", "E750", "amber"), ("conn/2", letters[1]["code"], "amber"),
        ]
        assert letters[0]["where"].endswith("conn.log:2") and "10.1.0.8" not in json.dumps(letters)
        (shown,) = house.cli("deadletter", "show", "conn/1", *as_zeek, "--json").lines
        assert shown["raw"] == json.dumps(NAMELESS)
        replay = ("deadletter", "replay", "--all", "--source", "conn", *as_zeek, "--json")
        assert house.cli(*replay).expect(1).lines == [{"published": 0, "rejected": 2, "waiting": 0}]
        better = '{ template = "detections.{kind}", default = "detections.x" }'
        house.file.write_text(house.file.read_text().replace('"detections.{kind}"', better))
        house.down()
        house.up()
        house.wait_whole()
        assert house.cli(*replay).expect(3).lines == [{"published": 1, "rejected": 1, "waiting": 0}]
        (left,) = house.cli("deadletter", "list", *as_zeek, "--json").lines
        assert (left["id"], left["again"]) == ("conn/2", 2)
        assert house.cli("deadletter", "drop", "conn/2", *as_zeek, "--json").expect(0).lines == [{"dropped": 1}]
        found = {}
        for message in messages:
            found[message.topic] = message
            if "detections.x" in found:
                break
    assert found["detections.x"].content == {"sev": 2, "src_ip": "10.1.0.8"}
    assert found["detections.x"].labels["src_ip"].short == "amber"
    assert edge.process.poll() is None, "it was at work all the time"
    edge.stop().expect(0)
