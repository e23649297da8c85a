"""What one end takes, the faces at the other show: real relays, real commands."""

import json
import math
import signal
import subprocess

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.label_watch import WINDOW_RECORDS
from tests.integration.harness import House, house_in, wait_for

TOPOLOGY = """
fabric = "faces"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "10s", result = "1h" } }
[relays]
hq    = { segment = "hq",    clearance = "green", listen = "127.0.0.1:PORT-hq" }
plant = { segment = "plant", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "hq" }
[roles]
sensor  = { publish = ["d.>"] }
analyst = { subscribe = ["d.>"] }
wall    = { execute = ["deny ipv4_net"] }
soar    = { request = [{ action = "deny ipv4_net", to = "role=wall" }] }
[points]
zeek   = { relay = "plant", role = "sensor",  clearance = "amber" }
near   = { relay = "plant", role = "analyst", clearance = "amber" }
far    = { relay = "hq",    role = "analyst", clearance = "green" }
fw-1   = { relay = "hq",    role = "wall",    clearance = "green" }
fw-2   = { relay = "plant", role = "wall",    clearance = "amber" }
soar-1 = { relay = "hq",    role = "soar",    clearance = "green" }
[[approval]]
when = { action = "deny ipv4_net", to = "role=wall" }
require = 0
"""
HOSTS = {"rule": "scan", "hosts": [{"ip": "10.1.0.7", "name": "a"}, {"name": "b"}, {"ip": "10.1.0.8"}]}
AMBER = ("--label", "clear", "--field-label", "hosts.ip=amber")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("faces"), TOPOLOGY) as made:
        made.up()
        yield made


def reading(house: House, who: str, *options: str, count: int = 1):
    running = house.start("subscribe", "d.>", "--as", who, "--count", str(count), "--timeout", "20s", *options)
    running.wait_line("subscribed" if not options else "", 20)
    return running


def test_a_start_logs_no_stranger(house):
    for name, text in house.logs().items():
        if not name.startswith("_"):
            assert "door test passed" in text and "link refused" not in text, name


def test_a_field_in_an_array_goes_as_far_as_its_label(house):
    with house.point("near") as near, house.point("far") as far:
        seen = [near.subscribe("d.hosts", timeout_s=20), far.subscribe("d.hosts", timeout_s=20)]
        house.cli("publish", "d.hosts", json.dumps(HOSTS), "--as", "zeek", *AMBER).expect(0)
        whole, stripped = (next(iter(messages)) for messages in seen)
    assert whole.content == HOSTS and whole.labels["hosts.ip"].short == "amber" and whole.highest_label.short == "amber"
    assert stripped.content == {"rule": "scan", "hosts": [{"name": "a"}, {"name": "b"}]}
    assert [label.short for label in stripped.withheld] == ["amber"]


def test_a_label_that_names_nothing_publishes_nothing(house, tmp_path):
    record = '{"Hosts": [{"IP": "10.1.0.7"}]}'
    error = house.cli("publish", "d.slip", record, "--as", "zeek", *AMBER, "--json").expect(2).error
    assert error["code"] == "E604" and "10.1.0.7" not in json.dumps(error)
    lines = tmp_path / "x.log"
    lines.write_text(f"{record}\n" * 1_200)
    error = house.cli("send", str(lines), "--topic", "d.slip", "--as", "zeek", *AMBER, "--json").expect(2).error
    assert error["code"] == "E604" and "none of 1,000 record(s)" in error["detail"]
    house.cli("publish", "d.slip", record, "--as", "zeek", *AMBER, "--allow-unmatched").expect(0)
    with house.point("zeek") as zeek, pytest.raises(FabricError) as refused:
        zeek.publish("d.slip", json.loads(record), labels={"hosts.ip": "amber"})
    assert refused.value.code is Code.UNMATCHED_LABEL


def test_a_field_that_comes_late_is_waited_for_and_its_absence_counted(house, tmp_path):
    lines = tmp_path / "x.log"
    lines.write_text("".join(f'{{"n": {n}}}\n' for n in range(900)) + json.dumps({"n": 900, **HOSTS}) + "\n")
    done = house.cli("send", str(lines), "--topic", "d.late", "--as", "zeek", *AMBER, "--json").expect(0)
    assert done.lines[-1]["held"] == 901 and done.lines[-1]["without_field"] == {"hosts.ip": 900}
    stream = house.start("send", "-", "--topic", "d.late", "--as", "zeek", *AMBER, stdin=subprocess.PIPE)
    stream.process.stdin.write('{"host": 1}\n')
    stream.process.stdin.flush()
    stream.wait_line("nothing is sent before a record has hosts.ip")
    stream.process.stdin.write(json.dumps(HOSTS) + "\n")
    stream.process.stdin.close()
    assert "2 record(s) held by plant" in stream.wait().expect(0).out
    stream = house.start("send", "-", "--topic", "d.late", "--as", "zeek", *AMBER, "--json", stdin=subprocess.PIPE)
    stream.process.stdin.write('{"host": 1}\n')
    stream.process.stdin.flush()
    assert "hosts.ip" in json.loads(stream.wait_line('"note"'))["note"]
    stream.process.stdin.write(json.dumps(HOSTS) + "\n" + '{"n": 1}\n' * WINDOW_RECORDS + "no JSON\n" * 12)
    stream.process.stdin.close()
    told = [json.loads(line) for line in stream.wait().expect(3).err.splitlines()]
    assert {each["warning"]["field"] for each in told if "warning" in each} == {"hosts.ip"}
    assert len([each for each in told if "line" in each]) == 10 and sum("note" in each for each in told) == 2


def test_whatever_a_message_holds_every_reader_goes_on(house, tmp_path):
    deep = [{"inf": math.inf, "b": b""}]
    content = {"b": b"\x00\xff", "nan": math.nan, "deep": deep, "map": {1: "x", "1": "y"}, "n": 2**64 - 1}
    durable = ("--outbox", str(tmp_path / "near.db"))
    house.cli("subscribe", "d.>", "--as", "near", *durable, "--timeout", "1s").expect(0)  # from now on it waits
    plain, as_json = reading(house, "near", count=2), house.start(
        "subscribe", "d.>", "--as", "far", "--count", "2", "--timeout", "20s", "--json")
    as_json.wait_line("subscribed")
    with house.point("zeek") as zeek:
        zeek.publish("d.odd", content)
        zeek.publish("d.odd", {"last": True})
    assert '"b": {"base64": "AP8="}, "nan": null' in plain.wait().expect(0).out
    told = as_json.wait().expect(0).lines[0]["content"]
    assert told == {"b": {"base64": "AP8="}, "nan": None, "deep": [{"inf": None, "b": {"base64": ""}}],
                    "map": {"1 (number)": "x", "1": "y"}, "n": 2**64 - 1}
    again = ("subscribe", "d.>", "--as", "near", *durable, "--count", "2", "--timeout", "20s", "--json")
    kept = house.cli(*again).expect(0)
    assert [line["content"].get("last") for line in kept.lines] == [None, True]
    error = house.cli("publish", "d.odd", '{"a": {"b": NaN}}', "--as", "zeek", "--json").expect(2).error
    assert error["code"] == "E907" and "a.b" in error["detail"]


def test_two_readers_of_one_identity_get_everything_and_one_that_stops_loses_nothing(house):
    one, two = reading(house, "far", count=300), reading(house, "far", count=2)
    with house.point("zeek") as zeek:
        zeek.publish("d.first", {"n": 0})
        one.wait_line('{"n": 0}')
        for future in [zeek.publish_later(f"d.n{n}", {"n": n}) for n in range(1, 200)]:
            future.result()
    assert two.wait().expect(0).code == 0
    one.stop(signal.SIGINT)
    drops = {key: n for key, n in house.fresh_state("hq")["counters"].items() if key.startswith("ended:")}
    assert drops.keys() <= {"ended:no_interest"}, "who stops reading loses nothing"


def test_whoever_is_meant_and_away_is_named(house):
    act = ("act", "deny", "ipv4_net=192.0.2.1", "--to", "role=wall", "--as", "soar-1", "--json")
    done = house.cli(*act).expect(4)
    assert {line["target"]: line["end"] for line in done.lines} == {"fw-1": "away", "fw-2": "away"}
    with house.point("fw-1") as wall:
        wall.on_action("deny", "ipv4_net")(lambda _: {"done": b"\xff", "load": math.nan})
        wall.wait_ready()
        done = wait_for(lambda: asked if (asked := house.cli(*act)).code == 3 else None, "a wall that is there")
    assert {line["target"]: line["end"] for line in done.lines} == {"fw-1": "completed", "fw-2": "away"}
    assert done.lines[0]["result"] == {"done": {"base64": "/w=="}}
    assert done.lines[0]["code"] == "E715", "what is no number was left out, and named"


def executing(house, wall, handler=lambda _: {"done": True}):
    """This control point executes, and the relay where actions turn has heard so, which is not always its own."""
    wall.on_action("deny", "ipv4_net")(handler)
    dry = ("act", "deny", "ipv4_net=192.0.2.1", "--as", "soar-1", "--dry-run", "--to", f"id={wall.identity.id}")
    wait_for(lambda: house.cli(*dry).code == 0, f"{wall.identity.id} at hq", 20)


def test_an_action_is_for_who_is_away_too_and_each_target_has_an_end(house):
    """With three of four firewalls away `act` printed one `completed`: whoever read that took the block for done."""
    act = ("act", "deny", "ipv4_net=192.0.2.7", "--as", "soar-1", "--json", "--to")
    for name in ("fw-1", "fw-2"):
        with house.point(name) as wall:
            executing(house, wall)
    waits = house.start(*act, "id=fw-2", "--ttl", "60s")
    assert json.loads(waits.wait_line('"held"'))["target"] == "fw-2"
    with house.point("fw-1") as here, house.point("fw-2") as back:
        executing(house, here)
        executing(house, back)
        done = waits.wait().expect(0)
    assert [(line["target"], line["end"]) for line in done.lines] == [("fw-2", "held"), ("fw-2", "completed")]
    with house.point("fw-1") as here:
        executing(house, here)
        done = house.cli(*act, "role=wall", "--ttl", "2s", "--expect", "2").expect(3)
    assert {(line["target"], line["end"], line["by"]) for line in done.lines if line["end"] != "held"} == {
        ("fw-1", "completed", "fw-1"), ("fw-2", "expired", "hq")
    }


def test_a_dry_run_goes_the_whole_way_and_executes_nothing_and_all_or_nobody_begins_nothing(house):
    act = ("act", "deny", "ipv4_net=192.0.2.8", "--as", "soar-1", "--json", "--ttl", "20s", "--to", "role=wall")
    done = []
    for name in ("fw-1", "fw-2"):
        with house.point(name) as wall:
            executing(house, wall)
    with house.point("fw-2") as wall:
        executing(house, wall, lambda action: done.append(action.target.value) or {})
        dry = house.cli(*act, "--dry-run").expect(3)
        assert {(line["target"], line["end"]) for line in dry.lines} == {("fw-1", "away"), ("fw-2", "ready")}
        refused = house.cli(*act, "--require-all").expect(1)
        assert {(line["target"], line["end"], line["code"]) for line in refused.lines} == {
            ("fw-1", "refused", "E927"), ("fw-2", "refused", "E720")
        }
        assert done == []
        with house.point("fw-1") as other:
            executing(house, other)
            house.cli(*act, "--require-all").expect(0)
    assert done == ["192.0.2.8"]
