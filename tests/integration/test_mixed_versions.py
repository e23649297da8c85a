"""A tree in which one relay and one sensor are of a later version, and others come that speak nothing else."""

import json
import queue
from contextlib import ExitStack

import pytest

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Ping
from tests.future import fields_of
from tests.integration import later
from tests.integration.harness import house_in, wait_for
from tests.integration.intruder import Intruder
from tests.integration.recipes import Shell, blocks_of

TOPOLOGY = """
fabric = "mixed"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq  = { segment = "hq",  clearance = "red", listen = "127.0.0.1:PORT-hq" }
mid = { segment = "mid", clearance = "red", listen = "127.0.0.1:PORT-mid", parent = "hq" }
low = { segment = "low", clearance = "red", listen = "127.0.0.1:PORT-low", parent = "mid" }
far = { segment = "far", clearance = "red", listen = "127.0.0.1:PORT-far", parent = "hq" }

[roles]
sensor = { publish = ["detections.>"] }
wall   = { execute = ["deny domain_name"] }
soar   = { subscribe = ["detections.>"], request = [{ action = "deny *", to = "role=wall" }] }

[points]
zeek-l  = { relay = "low", role = "sensor", clearance = "red" }
zeek-hq = { relay = "hq",  role = "sensor", clearance = "red" }
fw-l    = { relay = "low", role = "wall",   clearance = "red", backups = ["hq"] }
soar-hq = { relay = "hq",  role = "soar",   clearance = "red" }

[[approval]]
when = { action = "deny domain_name", to = "all" }
require = 0
"""
# hq and low are of today; mid, between them, and whatever is started so are not.
LATER = ("1", "9")
ONLY_LATER = ("2", "9")


class Tree:
    def __init__(self, house, stack):
        self.house = house
        beginning = house.start("up", "-d", "--dev", "--json", "--only", "hq", "--only", "low", str(house.file))
        wait_for(lambda: house.state("hq").get("ready"), "hq")
        self.relay("mid", *LATER)
        beginning.wait().expect(0)
        self.wall = stack.enter_context(house.point("fw-l"))
        self.wall.on_action("deny", "domain_name")(lambda action: {"done": action.target.text})
        self.soar = stack.enter_context(house.point("soar-hq"))
        self.wall.wait_ready()
        self.events = queue.SimpleQueue()
        self.soar.on_message("detections.>", self.events.put)

    def relay(self, name, *versions):
        return self.house.start(*versions, "relay", str(self.house.folder / "ids" / name), program=later.PROGRAM)

    def publish(self, as_, n, *versions):
        """By a command, of a later version where one is named."""
        arguments = ("publish", "detections.mixed", json.dumps({"n": n}), "--as", as_, "--json")
        program = later.PROGRAM if versions else ""
        return self.house.start(*versions, *arguments, program=program).wait()

    def next_event(self):
        return self.events.get(timeout=20)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("mixed"), TOPOLOGY) as house, ExitStack() as stack:
        yield Tree(house, stack)
        house.assert_logs_clean()


def test_an_event_of_a_later_sensor_passes_relays_of_both_versions_unharmed(tree):
    done = tree.publish("zeek-l", 1, *LATER)
    (said,) = done.expect(0).lines
    event = tree.next_event()
    # Its id is the hash of the header with all that a later version put there, and its parts have the signed digests.
    assert (event.id, event.content, event.path) == (said["id"], {"n": 1}, ("low", "mid", "hq"))


def test_an_action_goes_down_past_a_later_relay_and_its_result_comes_back(tree):
    outcomes = list(tree.soar.request("deny", "domain_name=x.example", to="role=wall", wait_ms=15_000))
    assert [(each.target, each.end.value) for each in outcomes] == [("fw-l", "completed")]


def test_status_names_what_each_relay_runs_and_who_speaks_more(tree):
    hq, mid, low = tree.house.fresh_state("hq"), tree.house.state("mid"), tree.house.state("low")
    assert (hq["protocol"], mid["protocol"], low["protocol"]) == ([1, 1], [1, 9], [1, 1])
    peers = [(each["protocol"], each["names"]) for each in hq["peers_speak"]]
    assert peers == [([1, 1], ["soar-hq"]), ([1, 9], ["mid"])]
    (line,) = [line for line in tree.house.cli("status", "mixed").out.splitlines() if "protocol 1 to 9" in line]
    assert line.strip() == "hq: protocol 1 to 9 at mid"


def test_who_speaks_later_versions_only_is_turned_away_and_both_sides_are_told_why(tree):
    house = tree.house
    relay = tree.relay("far", *ONLY_LATER)
    refused = json.loads(relay.wait_line('"refused"'))
    assert (refused["by"], refused["code"]) == ("hq", "E105") and "speaks 2 to 9, who listens 1" in refused["why"]
    point = tree.publish("zeek-hq", 2, *ONLY_LATER).expect(1)
    assert point.error["code"] == "E105" and "speaks 2 to 9, who listens 1" in point.error["detail"], point.error
    wait_for(lambda: house.state("hq").get("refusals", {}).get("versions", 0) >= 2, "both are counted")
    assert "speaks 2 to 9, who listens 1" in house.state("hq")["refusals"]["last"]
    by = wait_for(lambda: house.state("far")["refusals"]["by"], "the state of the one that is refused")
    assert by["hq"]["code"] == "E105" and "speaks 2 to 9, who listens 1" in by["hq"]["detail"]
    relay.stop()
    tree.publish("zeek-hq", 3).expect(0)
    assert tree.next_event().content == {"n": 3}


def test_what_is_no_frame_of_this_version_ends_that_connection_and_no_other(tree):
    before = tree.house.state("hq")["pid"]
    with Intruder(tree.house.identity("zeek-hq")) as me:
        me.say(pack([*fields_of(encode_frame(me.hello(version_max=9))), "later"]))
        assert me.answer() == "welcome"
        me.say(encode_frame(Ping(0))[:-1] + pack(7), pack([23, "later"]))
        assert me.answer() is Code.UNKNOWN_FRAME and me.answer() == "cut"
    tree.publish("zeek-hq", 4).expect(0)
    assert tree.next_event().content == {"n": 4}
    after = tree.house.fresh_state("hq")
    assert (after["pid"], after["children"]) == (before, ["mid"]) and "soar-hq" in after["points"]
    assert after["counters"]["refused:unknown_frame"] == 1


def test_the_recipe_of_the_readme_upgrades_a_relay(tree, tmp_path):
    (upgrade,) = blocks_of("Upgrade a running tree")
    before = tree.house.pid("low")
    ran = Shell(tree.house, tmp_path, {"plant-2": "low", "enterprise": "mixed"}).run(f"set -e\n{upgrade}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert tree.house.pid("low") != before and "protocol 1 to 9 at mid" in ran.stdout


def test_below_the_floor_nobody_is_spoken_to_and_it_can_be_lowered_again(tree):
    """hq speaks version 1 only. Whoever signs a floor speaks it: the command is of a later version."""
    house = tree.house
    house.start(*LATER, "authority", "floor", "2", "mixed", program=later.PROGRAM).wait().expect(0)
    lowest = "and 2 is the lowest that the fabric allows"
    wait_for(lambda: house.state("hq")["children"] == [] and lowest in house.state("hq")["refusals"]["last"], "at hq")
    why = wait_for(lambda: house.state("mid")["refusals"]["by"].get("hq"), "what mid is told")
    assert why["code"] == "E105" and lowest in why["detail"]
    wait_for(lambda: house.state("low")["parent_link"] == "down", "low is alone")
    status = house.cli("status", "mixed").expect(3)
    assert "protocol 2 is the lowest that is allowed: at every relay" in status.out and "E105" in status.out
    house.cli("authority", "floor", "2", "mixed", "--json").expect(1)
    house.cli("authority", "floor", "0", "mixed").expect(0)
    wait_for(lambda: "mid" in house.state("hq")["children"], "mid is back", 40)
    tree.publish("zeek-l", 5).expect(0)
    assert tree.next_event().content == {"n": 5}
