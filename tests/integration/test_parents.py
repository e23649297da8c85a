"""Parents that die, hang and drain, with real processes: how long it takes, and that nothing is lost or doubled."""

import json
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from fabric.protocol.errors import FabricError
from relays.drain import Draining, drain_path, write_draining
from tests.integration.harness import house_in, wait_for

# Within three heartbeats of 2 s, and as much again for a machine that is busy with other things.
FAILOVER_S = 12

TOPOLOGY = """
fabric = "family"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq   = { segment = "hq",   clearance = "red",   listen = "127.0.0.1:PORT-hq" }
east = { segment = "east", clearance = "amber", listen = "127.0.0.1:PORT-east", parent = "hq" }
west = { segment = "west", clearance = "amber", listen = "127.0.0.1:PORT-west", parent = "hq" }
cell = { segment = "cell", clearance = "amber", listen = "127.0.0.1:PORT-cell", parent = "east", backups = ["west"] }
mine = { clearance = "amber", listen = "127.0.0.1:PORT-mine", parent = "east", dial = "child", backups = ["west"] }

[roles]
sensor   = { publish = ["detections.>"] }
analyst  = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }

[roles.soar]
request = [{ action = "deny ipv4_net", to = "role=firewall" }]

[points]
sensor-c = { relay = "cell", role = "sensor",   clearance = "amber" }
sensor-e = { relay = "east", role = "sensor",   clearance = "amber", backups = ["west"] }
fw-c     = { relay = "cell", role = "firewall", clearance = "amber" }
soar-e   = { relay = "east", role = "soar",     clearance = "amber", backups = ["west"] }
analyst  = { relay = "hq",   role = "analyst",  clearance = "red", kind = "operator" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path, TOPOLOGY) as made:
        made.up()
        made.wait_whole()
        yield made


def parent_of(house, relay):
    return house.state(relay).get("parent_now", "")


def kill_for_good(house, relay):
    """kill -9, and nobody brings it back."""
    write_draining(drain_path(house.fabric, relay, house.home), Draining(gone=True))
    os.kill(house.pid(relay), signal.SIGKILL)


def bring_back(house, relay):
    house.cli("drain", relay, "--back", "--fabric", house.fabric).expect(0)


class Stream:
    """Numbers published by some control points, one after the other, and what a subscriber saw of them."""

    def __init__(self, house, *sensors, pause_s=0.02):
        self.sent = Counter()
        self.seen = Counter()
        self.ages_ms = []
        self._house, self._sensors, self._pause_s = house, sensors, pause_s
        self._stop = threading.Event()

    def __enter__(self):
        self._analyst = self._house.point("analyst")
        self._analyst.__enter__()
        subscription = self._analyst.subscribe("detections.>")
        self._points = [self._house.point(name).__enter__() for name in self._sensors]
        self._threads = [threading.Thread(target=self._read, args=(subscription,), daemon=True)]
        self._threads += [threading.Thread(target=self._write, args=(point,), daemon=True) for point in self._points]
        for thread in self._threads:
            thread.start()
        return self

    def _write(self, point):
        number, futures = 0, []
        while not self._stop.is_set():
            record = f"{point.identity.id} {number}"
            self.sent[record] += 1
            futures.append(point.publish_later("detections.app", {"n": record}))
            number += 1
            time.sleep(self._pause_s)
        for future in futures:
            future.result(30)

    def _read(self, subscription):
        with suppress(FabricError):  # closed at the end, as a program's would be
            for message in subscription:
                self.seen[message.content["n"]] += 1
                self.ages_ms.append(message.age_ms)

    def finish(self):
        """All that was sent is held, and has arrived once."""
        self._stop.set()
        for thread in self._threads[1:]:
            thread.join(60)
            assert not thread.is_alive()
        wait_for(lambda: len(self.seen) == len(self.sent), "all that was published", 30)
        assert self.seen == self.sent

    def __exit__(self, *_):
        self._stop.set()
        for point in self._points:
            point.__exit__(None, None, None)
        self._analyst.__exit__(None, None, None)


def test_a_parent_that_is_killed_under_load_loses_and_doubles_nothing(house):
    with Stream(house, "sensor-c", "sensor-e") as stream:
        time.sleep(1)
        began = time.monotonic()
        kill_for_good(house, "east")
        for child in ("cell", "mine"):
            wait_for(lambda child=child: parent_of(house, child) == "west", f"{child} at west", FAILOVER_S)
        wait_for(lambda: "sensor-e" in house.state("west").get("points", []), "sensor-e at west", FAILOVER_S)
        assert time.monotonic() - began < FAILOVER_S
        bring_back(house, "east")
        for child in ("cell", "mine"):
            wait_for(lambda child=child: parent_of(house, child) == "east", f"{child} back at east", 60)
        stream.finish()
    house.assert_logs_clean()


def test_a_parent_that_hangs_is_left_and_a_command_still_finds_its_target_and_its_answer(house):
    with house.point("fw-c") as wall, house.point("soar-e") as soar:
        @wall.on_action("deny", "ipv4_net")
        def deny(action):
            return {"done": action.target}

        wall.wait_ready()
        house.wait_routes("hq", 2)
        with house.frozen(house.pid("east")):
            wait_for(lambda: parent_of(house, "cell") == "west", "cell at west", 2 * FAILOVER_S)
            wait_for(lambda: "soar-e" in house.state("west").get("points", []), "soar-e at west", FAILOVER_S)
            outcomes = list(soar.request("deny", "ipv4_net=203.0.113.9", to="role=firewall"))
            assert [(outcome.target, str(outcome.end)) for outcome in outcomes] == [("fw-c", "completed")]
        wait_for(lambda: parent_of(house, "cell") == "east", "cell back at east", 60)
    house.assert_logs_clean()


def test_a_relay_is_drained_while_messages_flow_and_nothing_waits(house):
    with Stream(house, "sensor-c", "sensor-e") as stream:
        time.sleep(1)
        done = house.cli("drain", "east", "--json", timeout_s=40).expect(0)
        assert done.lines == [{"relay": "east", "drained": True, "left": [], "held": 0}]
        for child in ("cell", "mine"):
            wait_for(lambda child=child: parent_of(house, child) == "west", f"{child} at west")
        time.sleep(1)
        stream.finish()
        assert max(stream.ages_ms) < 1_000
    states = house.states()
    assert states["east"]["state"] == "drained" and states["hq"]["state"] == "up"
    house.cli("drain", "east", "--back", "--json").expect(0)
    wait_for(lambda: parent_of(house, "cell") == "east", "cell back at east", 60)
    assert house.cli("status", "--json", "--wait", "20s").expect(0)
    house.assert_logs_clean()


def test_who_has_no_backup_is_named(house):
    with house.point("sensor-c"):
        wait_for(lambda: "sensor-c" in house.state("cell").get("points", []), "sensor-c at cell")
        done = house.cli("drain", "cell", "--within", "2s", "--json", timeout_s=40).expect(3)
        assert done.lines == [{"relay": "cell", "drained": True, "left": ["sensor-c"], "held": 0}]
        bring_back(house, "cell")
        wait_for(lambda: "sensor-c" in house.state("cell").get("points", []), "sensor-c back at cell", 30)


def test_what_cannot_be_drained_is_said(house):
    done = house.cli("drain", "nobody", "--json").expect(1)
    assert done.error["code"] == "E914" and "nobody" in done.error["detail"] and "east" in done.error["next"]
    assert house.cli("drain", "east", "--back", "--json").expect(2).error["code"] == "E908"
    assert house.cli("drain", "east", "--within", "soon", "--json").expect(2).error["code"] == "E908"
    assert json.dumps(house.states()["east"])
