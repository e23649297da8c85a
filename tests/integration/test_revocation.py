"""Somebody must go: how soon it is in force four hops away, at a relay that was away, and at a door with pins."""

import json
import os
import shutil
import signal
import threading
import time
from contextlib import suppress

import pytest

from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import Code, FabricError
from relays.process.drain import Draining, drain_path, write_draining
from tests.integration.harness import House, house_in, wait_for

TOPOLOGY = """
fabric = "gone"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq     = { segment = "hq",     clearance = "red",   listen = "127.0.0.1:PORT-hq", admission = "pinned" }
region = { segment = "region", clearance = "amber", listen = "127.0.0.1:PORT-region", parent = "hq" }
plant  = { segment = "plant",  clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "region" }
cell   = { segment = "cell",   clearance = "amber", listen = "127.0.0.1:PORT-cell", parent = "plant" }
line   = { segment = "line",   clearance = "amber", listen = "127.0.0.1:PORT-line", parent = "cell" }

[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }
fw      = { execute = ["deny ipv4_net"] }
soar    = { request = [{ action = "deny ipv4_net", to = "role=fw" }] }

[points]
analyst = { relay = "hq",     role = "analyst", clearance = "red", kind = "operator" }
leaf-1  = { relay = "line",   role = "sensor",  clearance = "amber" }
leaf-2  = { relay = "line",   role = "sensor",  clearance = "amber" }
leaf-3  = { relay = "line",   role = "sensor",  clearance = "amber" }
quiet   = { relay = "region", role = "sensor",  clearance = "amber" }
guest   = { relay = "region", role = "sensor",  clearance = "amber" }
soar-1  = { relay = "hq",     role = "soar",    clearance = "amber" }
soar-2  = { relay = "hq",     role = "soar",    clearance = "amber" }
fw-line = { relay = "line",   role = "fw",      clearance = "amber" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=fw" }
require = 0
"""
ALL = {"hq", "region", "plant", "cell", "line"}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("gone"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        yield house


def revoke(house: House, *ids: str, wait: str = "20s", code: int = 0):
    """(the list, relay -> ms after which it was in force, or None)"""
    done = house.cli("revoke", *ids, "--fabric", "gone", "--why", "a test", "--wait", wait, "--json").expect(code)
    return done.lines[0], {line["relay"]: line["after_ms"] for line in done.lines[1:]}


class Publishing:
    """A control point that publishes until it is refused; when that was, by this machine's clock."""

    def __init__(self, house: House, id_: str) -> None:
        self.cut_ms = 0
        self.code: Code | None = None
        self._point = house.point(id_)
        self._point.connect()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                self._point.publish("detections.leaf", {"n": 1})
                time.sleep(0.005)
        except FabricError as error:
            self.cut_ms, self.code = time.time_ns() // 1_000_000, error.code

    def wait_cut(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive(), "it goes on publishing"
        with suppress(FabricError):
            self._point.close()


def test_it_is_in_force_everywhere_and_said_relay_by_relay(house, capsys):
    leaf = Publishing(house, "leaf-1")
    house.wait_connected("line", "leaf-1")
    said, after_ms = revoke(house, "leaf-1")
    leaf.wait_cut()
    assert leaf.code is Code.REVOKED
    assert set(after_ms) == ALL and None not in after_ms.values()
    issued_ms = said["until_ms"] - 30 * 86_400_000
    with capsys.disabled():
        print(f"\nin force after {after_ms} ms; the leaf knew after {leaf.cut_ms - issued_ms} ms")
    shown = house.cli("authority", "show", "gone").expect(0).out
    assert "leaf-1: a test" in shown, "why is kept where the authority is"
    house.assert_logs_clean("a test")


def test_who_waits_for_lines_to_send_hears_at_once_that_it_is_revoked(house):
    """Not with the next line, which may be hours away."""
    log = house.work / "quiet.log"
    log.touch()
    sender = house.start("send", str(log), "--as", "quiet", "--topic", "detections.leaf", "--follow", "--json")
    house.wait_connected("region", "quiet")
    revoke(house, "quiet")
    assert sender.wait(20).expect(5).error["code"] == "E205"


def test_a_relay_that_was_away_has_the_list_before_it_takes_anything(house, capsys):
    """Its child is away too; the revoked one is the first to knock when it comes back."""
    write_draining(drain_path("gone", "line", house.home), Draining(gone=True))
    os.kill(house.pid("line"), signal.SIGKILL)
    said, after_ms = revoke(house, "leaf-2", wait="1s", code=3)
    assert after_ms["line"] is None and set(after_ms) == ALL, "who was not reached is named"
    began_ms = time.time_ns() // 1_000_000
    house.cli("drain", "line", "--back", "--fabric", "gone").expect(0)
    state = wait_for(
        lambda: (s := house.state("line")).get("revocations") == said["version"] and s, "the list at line", 30
    )
    after = state["applied"]["line"][1] - began_ms
    with capsys.disabled():
        print(f"\na relay that was away: in force {after} ms after it was started again")
    refused = house.cli("publish", "detections.x", "{}", "--as", "leaf-2", "--json").expect(5)
    assert refused.error["code"] == "E205"
    house.wait_whole()
    again, after_ms = revoke(house, "guest")
    assert set(after_ms) == ALL and None not in after_ms.values() and again["version"] > said["version"]


def test_a_revoked_requester_commands_nothing_any_more(house):
    handler = house.work / "handler"
    handler.write_text("#!/bin/sh\ncat > /dev/null\necho '{}'\n")
    handler.chmod(0o755)
    edge = house.start("edge", "run", "--as", "fw-line", "--on", "deny ipv4_net", "--exec", str(handler), "--json")
    try:
        house.wait_connected("line", "fw-line")
        act = ("act", "deny", "ipv4_net=192.0.2.9", "--to", "role=fw", "--label", "green", "--json")
        wait_for(lambda: house.cli(*act, "--as", "soar-2").code == 0, "the firewall to be selected", 30)
        revoke(house, "soar-1")
        assert house.cli(*act, "--as", "soar-1").expect(5).error["code"] == "E205"
        house.cli(*act, "--as", "soar-2").expect(0)
        revoke(house, "fw-line")
        house.cli(*act, "--as", "soar-2").expect(4)  # nobody is selected
    finally:
        edge.stop(signal.SIGKILL)


def test_a_list_is_not_rolled_back(house):
    path = house.folder / "revocations"
    old = path.read_bytes()
    said, _ = revoke(house, "leaf-3")
    newest = path.read_bytes()
    path.write_bytes(old)
    wait_for(lambda: house.state("hq")["counters"].get("refused:stale_list"), "the older list to be refused")
    wait_for(lambda: house.state("line")["revocations"] == said["version"], "the newest at the last relay")
    path.write_bytes(newest)


def test_what_is_no_list_changes_nothing(house):
    path = house.folder / "revocations"
    good = path.read_bytes()
    before = house.fresh_state("hq")["revocations"]
    path.write_bytes(good[:-7])
    wait_for(lambda: house.state("hq")["counters"].get("refused:malformed"), "the cut list to be refused")
    path.write_bytes(good)
    assert house.fresh_state("hq")["revocations"] == before
    house.wait_whole()


def test_a_stranger_does_not_get_through_a_door_with_pins(house):
    """Its own credential is good; the relay has not pinned its key, so that it cannot even say HELLO."""
    assert "door test passed" in house.logs()["hq.log"]
    hq = house.identity("hq")
    stranger = load_identity(house.folder / "ids" / "fw-line")
    assert stranger.credential.curve_key.hex() not in (hq.folder / "pins").read_text()
    copied = house.work / "astray"
    shutil.copytree(house.folder / "ids" / "leaf-3", copied)
    document = json.loads((copied / "identity.json").read_text())
    dial = house.identity("analyst").relay
    document["relay"] = {"id": "hq", "address": dial.address, "curve_key": dial.curve_key.hex()}
    (copied / "identity.json").write_text(json.dumps(document))
    refused = house.cli("publish", "detections.x", "{}", "--as", str(copied), "--json").expect(5)
    assert refused.error["code"] == "E201"
    assert house.fresh_state("hq")["gate"].get("unknown_key", 0) >= 1
    with house.point("analyst"):
        pass


def test_nobody_to_revoke_and_nothing_to_sign(house):
    assert house.cli("revoke", "--fabric", "gone", "--json").expect(2).error["code"] == "E908"
    assert house.cli("revoke", "nobody", "--fabric", "gone", "--json").expect(1).error["code"] == "E904"
    assert house.cli("revoke", "../x", "--unknown", "--fabric", "gone", "--json").expect(1).error["code"] == "E904"
    before = house.state("hq")["revocations"]
    house.cli("revoke", "--renew", "--fabric", "gone", "--wait", "20s").expect(0)
    assert house.fresh_state("hq")["revocations"] > before
