"""Control points that name no relay, with real processes: the nearest, the next while it is away, and after a move."""

import json
import shutil
import time
from contextlib import contextmanager

import pytest

from relays.authority import init_authority, make_identities, open_authority, revoke
from relays.topology.loader import load
from tests.integration.family import bring_back, kill_for_good
from tests.integration.harness import house_in, wait_for
from tests.integration.hosts import Host, can_make_hosts, ip

# This machine is 127.0.0.1: the cell serves it most closely, then the plant; the office is another place.
TOPOLOGY = """
fabric = "roam"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq     = { clearance = "red", listen = "127.0.3.1:PORT-hq" }
plant  = { clearance = "amber", listen = "127.0.1.1:PORT-plant", parent = "hq", serves = ["127.0.0.0/16"] }
cell   = { clearance = "green", listen = "127.0.2.1:PORT-cell", parent = "hq", serves = ["127.0.0.0/24"] }
office = { clearance = "amber", listen = "127.0.4.1:PORT-office", parent = "hq", serves = ["127.0.4.0/24"] }

[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }

[points]
laptop  = { role = "sensor", clearance = "amber" }
analyst = { relay = "hq", role = "analyst", clearance = "red", kind = "operator" }
"""
FAILOVER_S = 12
# Less than the 6.5 s in which silence tells that the old relay is out of reach.
MOVE_S = 6


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path, TOPOLOGY) as made:
        made.up()
        made.wait_whole()
        yield made


def at(house, relay, timeout_s=20):
    wait_for(lambda: "laptop" in house.state(relay).get("points", []), f"the laptop at {relay}", timeout_s)


def test_it_is_at_the_nearest_and_at_the_next_while_that_is_away_and_goes_back(house):
    with house.point("analyst") as analyst, house.point("laptop") as laptop:
        coming = analyst.subscribe("detections.>")
        analyst.wait_ready()
        at(house, "cell")
        laptop.publish("detections.x", {"n": 0})
        kill_for_good(house, "cell")
        at(house, "plant", FAILOVER_S)
        laptop.publish("detections.x", {"n": 1})
        bring_back(house, "cell")
        at(house, "cell", 60)
        laptop.publish("detections.x", {"n": 2})
        assert [next(coming).content["n"] for _ in range(3)] == [0, 1, 2]
    house.assert_logs_clean()


def test_a_new_directory_moves_it_and_is_there_at_the_next_start(house):
    with house.point("laptop"):
        at(house, "cell")
        house.file.write_text(house.file.read_text().replace("127.0.4.0/24", "127.0.0.1/32"))
        make_identities(load(house.file), open_authority("roam", house.home), house.home)
        (house.folder / "ids" / "laptop" / "directory").unlink()  # it is to come through the fabric
        at(house, "office", 30)
        wait_for((house.folder / "ids" / "laptop" / "directory").exists, "the directory in the folder")
    assert house.state("plant")["directory"] == house.state("hq")["directory"]
    with house.point("laptop"):
        at(house, "office")
    house.assert_logs_clean()


def test_a_relay_that_is_revoked_is_left_and_not_ranked_any_more(house):
    with house.point("laptop") as laptop:
        at(house, "cell")
        revoke(open_authority("roam", house.home), ["cell"], house.home)
        at(house, "plant", 30)
        laptop.publish("detections.x", {"n": 1})


def test_what_is_forged_in_the_folder_is_ignored(house):
    other = init_authority("roam", house.work / "elsewhere")
    topology = house.work / "elsewhere" / "topology.toml"
    topology.write_text(house.file.read_text())
    make_identities(load(topology), other, house.work / "elsewhere")
    shutil.copy(house.work / "elsewhere" / "roam" / "directory", house.folder / "ids" / "laptop" / "directory")
    with house.point("laptop") as laptop:
        laptop.publish("detections.x", {"n": 1})
        at(house, "cell", 30)  # by the root, which has the right one


# -- `fabric nearest` -----------------------------------------------------------------------------------------


def test_the_command_says_the_order_and_why(house):
    rows = house.cli("nearest", "--as", "laptop", "--json").expect(0).lines
    assert [(row["place"], row["relay"], row["network"], row["cleared_for_less"]) for row in rows[:2]] == [
        (1, "cell", "127.0.0.0/24", True), (2, "plant", "127.0.0.0/16", False)
    ]
    assert {row["relay"] for row in rows[2:]} == {"hq", "office"}
    assert all(0 < row["round_trip_ms"] < 1_000 and row["dialled"] and row["left_out"] is None for row in rows)
    revoke(open_authority("roam", house.home), ["plant"], house.home)
    text = house.cli("nearest", "--as", "laptop").expect(0).out
    assert "cleared for green only" in text and "revoked" in text and "127.0.0.1" in text
    assert "names hq" in house.cli("nearest", "--as", "analyst").expect(0).out
    kill_for_good(house, "cell")
    wait_for(lambda: house.cli("nearest", "--as", "laptop").code == 3, "the first does not answer")
    house.down()
    text = house.cli("nearest", "--as", "laptop").expect(69).out
    assert text.count("not answering") == 3


def test_without_a_directory_the_command_says_what_to_do(tmp_path):
    with house_in(tmp_path, TOPOLOGY) as house:
        make_identities(load(house.file), init_authority("roam", house.home), house.home)
        (house.folder / "directory").unlink()
        own = house.folder / "ids" / "laptop" / "directory"
        raw = own.read_bytes()
        own.unlink()
        done = house.cli("nearest", "--as", "laptop", "--json").expect(1)
        assert done.error["code"] == "E905" and "fabric up" in done.error["next"]
        own.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        assert house.cli("nearest", "--as", "laptop", "--json").expect(5).error["code"] == "E223"


# -- from one segment to another ------------------------------------------------------------------------------

SEGMENTS = """
fabric = "move"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq    = { clearance = "red", listen = "127.0.0.1:7700" }
west  = { clearance = "amber", listen = "10.98.1.1:7700", parent = "hq", serves = ["10.98.1.0/24"] }
east  = { clearance = "amber", listen = "10.98.2.1:7700", parent = "hq", serves = ["10.98.2.0/24"] }

[roles]
analyst = { subscribe = ["detections.>"] }

[points]
laptop = { role = "analyst", clearance = "amber", kind = "operator" }
"""


@contextmanager
def segments(folder):
    """A site with a relay in each of two segments, and a laptop with a cable to the first."""
    site, laptop = Host("site", folder), Host("laptop", folder)
    try:
        for host in (site, laptop):
            ip("netns", "add", host.netns)
            ip("-n", host.netns, "link", "set", "lo", "up")
        for n in (1, 2):
            ip("-n", site.netns, "link", "add", f"seg{n}", "type", "bridge")
            ip("-n", site.netns, "addr", "add", f"10.98.{n}.1/24", "dev", f"seg{n}")
            ip("-n", site.netns, "link", "set", f"seg{n}", "up")
        plug(site, laptop, 1)
        yield site, laptop
    finally:
        for host in (laptop, site):
            host.destroy()


def plug(site, laptop, segment):
    ip("-n", site.netns, "link", "add", f"port{segment}", "type", "veth", "peer", "name", "eth0", "netns", laptop.netns)
    ip("-n", site.netns, "link", "set", f"port{segment}", "master", f"seg{segment}", "up")
    ip("-n", laptop.netns, "addr", "add", f"10.98.{segment}.9/24", "dev", "eth0")
    ip("-n", laptop.netns, "link", "set", "eth0", "up")


def test_a_machine_that_moves_to_another_segment_is_soon_at_the_relay_there(tmp_path):
    if not can_make_hosts():
        pytest.skip("network namespaces need root and iproute2")
    with segments(tmp_path) as (site, laptop):
        file = tmp_path / "move.toml"
        file.write_text(SEGMENTS)
        make_identities(load(file), init_authority("move", site.home), site.home)
        shutil.copytree(site.home / "move" / "ids" / "laptop", laptop.home / "move" / "ids" / "laptop")
        site.run("up", "-d", str(file)).expect(0)
        state = site.home / "move" / "run"
        for relay in ("west", "east"):
            wait_for(lambda relay=relay: is_up(state / f"{relay}.json"), f"{relay} up", 30)
        reading = laptop.fabric("-v", "subscribe", "detections.>", "--as", "laptop")
        reading.wait_line("subscribed to")
        assert relays_of(reading)[-1] == "west"
        took_s = []
        for here, there, name in ((1, 2, "east"), (2, 1, "west")):
            ip("-n", site.netns, "link", "del", f"port{here}")
            began = time.monotonic()
            plug(site, laptop, there)
            wait_for(lambda name=name: relays_of(reading)[-1] == name, f"the laptop at {name}", 30)
            took_s.append(time.monotonic() - began)
            time.sleep(1)
        print("moved to the nearest relay within", ", ".join(f"{s:.1f} s" for s in took_s))
        assert max(took_s) < MOVE_S
        reading.stop()
        site.run("down", "move").expect(0)


def is_up(path):
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return state["ready"] and state["parent_link"] == "up"


def relays_of(running):
    """Where it said that it was connected, in order."""
    lines = [line for line in running.err if "connected" in line and "relay=" in line.replace('"relay": "', "relay=")]
    return [line.replace('"relay": "', "relay=").split("relay=")[1].split('"')[0].split()[0] for line in lines]
