"""Three machines that only reach their neighbours, each with the bundle of its relay and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from relays.authority import init_authority, make_identities
from relays.topology.loader import load
from tests.integration.harness import ROOT, begin, wait_for
from tests.integration.hosts import Host, can_make_hosts, hosts

# hq - dmz - plant in a row. The plant may not dial out: dmz dials it.
TOPOLOGY = """
fabric = "spread"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "red",   listen = "10.99.0.1:7700" }
dmz   = { segment = "dmz",   clearance = "green", listen = "10.99.0.2:7700", parent = "hq" }
plant = { segment = "plant", clearance = "amber", listen = "10.99.1.2:7700", parent = "dmz", dial = "child" }

[roles]
sensor   = { publish = ["detections.>"] }
analyst  = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny ipv4_net", to = "role=firewall" }] }

[points]
analyst-1 = { relay = "hq",    role = "analyst",  clearance = "red", kind = "operator" }
soar-1    = { relay = "hq",    role = "soar",     clearance = "red" }
zeek-1    = { relay = "plant", role = "sensor",   clearance = "amber" }
fw-1      = { relay = "plant", role = "firewall", clearance = "amber" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""
ROW = ("hq", "dmz", "plant")
HANDLER = "#!/bin/sh\ncat > /dev/null\necho '{\"rule\": 7}'\n"


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    if not can_make_hosts():
        pytest.skip("network namespaces need root and iproute2")
    folder = tmp_path_factory.mktemp("spread")
    office = folder / "office"
    file = folder / "spread.toml"
    file.write_text(TOPOLOGY)
    topology = load(file)
    make_identities(topology, init_authority("spread", office), office)
    with hosts(folder, ROW) as made:
        for name, host in made.items():
            bundle(host, file, office, folder / "bundles" / name)
            for point in (p.id for p in topology.points.values() if p.relay == name):
                shutil.copytree(office / "spread" / "ids" / point, host.home / "spread" / "ids" / point)
        relays = {name: host.start(str(folder / "bundles" / name / "start")) for name, host in made.items()}
        for name, host in made.items():
            wait_for(lambda host=host, name=name: is_up(host, name), f"{name} up", 30)
        yield made
        for running in relays.values():
            done = running.stop()
            assert done.code == 0 and "Traceback" not in done.err, done.err


def bundle(host: Host, file: Path, office: Path, output: Path) -> None:
    """Made where the authority is, by the command; it holds this relay's secrets and nobody else's."""
    output.parent.mkdir(exist_ok=True)
    begin(office, "bundle", host.name, str(file), "-o", str(output), "--json").wait().expect(0)
    held = b"".join(path.read_bytes() for path in output.iterdir())
    for secret in office.rglob("secret.json"):
        for key in json.loads(secret.read_text()).values():
            assert (key.encode() in held) == (secret.parent.name == host.name)
    assert json.loads((office / "spread" / "authority" / "key.json").read_text())["seed"].encode() not in held


def is_up(host: Host, relay: str) -> bool:
    try:
        state = json.loads((host.home / "spread" / "run" / f"{relay}.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(state["ready"]) and state["parent_link"] != "down"


def test_neighbours_reach_each_other_and_nobody_else(machines):
    assert machines["dmz"].reaches("10.99.0.1", 7700)
    assert machines["dmz"].reaches("10.99.1.2", 7700)
    assert not machines["hq"].reaches("10.99.1.2", 7700)
    assert not machines["plant"].reaches("10.99.0.1", 7700)
    assert not machines["plant"].reaches("10.99.0.2", 7700), "the plant cannot even reach its parent's door"


def test_a_plant_s_event_climbs_to_hq_without_what_the_dmz_may_not_see(machines):
    reader = machines["hq"].fabric("subscribe", "detections.>", "--as", "analyst-1", "--json", "--count", "1",
                                   "--timeout", "30s")
    reader.wait_line('"subscribed"')
    machines["plant"].run(
        "publish", "detections.zeek.conn", "--as", "zeek-1", "--label", "green", "--field-label", "id.orig_h=amber",
        '{"id.orig_h": "10.1.0.7", "rule": "port scan"}',
    ).expect(0)
    (message,) = reader.wait().expect(0).lines
    assert message["content"] == {"rule": "port scan"} and message["withheld"] == {"amber": 1}
    assert message["path"] == ["plant", "dmz", "hq"]


def test_an_action_comes_down_to_the_plant_and_its_result_goes_back(machines, tmp_path):
    handler = tmp_path / "handler"
    handler.write_text(HANDLER)
    handler.chmod(0o755)
    wall = machines["plant"].fabric("edge", "run", "--as", "fw-1", "--on", "deny ipv4_net", "--exec", str(handler),
                                    "--json")
    wall.wait_line('"ready"')
    done = wait_for(
        lambda: (d := machines["hq"].run("act", "deny", "ipv4_net=203.0.113.9", "--to", "role=firewall", "--as",
                                         "soar-1", "--json")).code != 4 and d,
        "fw-1's route at hq",
    )
    (outcome,) = done.expect(0).lines
    assert (outcome["target"], outcome["end"], outcome["result"]) == ("fw-1", "completed", {"rule": 7})
    wall.stop()


def test_each_machine_can_say_how_its_relay_is(machines):
    (state,) = machines["dmz"].run("status", "--json").expect(0).lines
    assert state["relay"] == "dmz" and state["state"] == "up" and state["children"] == ["plant"]
    assert "203.0.113.9" not in json.dumps(state)


def test_nothing_of_it_is_in_the_checkout(machines):
    assert not (ROOT / "spread").exists()
