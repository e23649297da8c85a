"""One relay's clock is an hour or a year off: nothing valid is dropped, nothing expired is executed, and it is said."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import House, house_in, wait_for
from tests.integration.machines import Machine

# mid is the one whose clock is wrong.
TOPOLOGY = """
fabric = "clocks"
organisation = "acme"
defaults = { label = "green", ttl = { event = "10m", action = "30s", result = "1h" } }

[relays]
hq   = { segment = "hq",   clearance = "red",   listen = "127.0.0.1:PORT-hq" }
mid  = { segment = "mid",  clearance = "amber", listen = "127.0.0.1:PORT-mid",  parent = "hq" }
leaf = { segment = "leaf", clearance = "amber", listen = "127.0.0.1:PORT-leaf", parent = "mid" }

[roles]
sensor   = { publish = ["detections.>"] }
analyst  = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny ipv4_net", to = "role=firewall" }] }

[points]
sensor-l = { relay = "leaf", role = "sensor",   clearance = "amber" }
sensor-m = { relay = "mid",  role = "sensor",   clearance = "amber" }
fw-l     = { relay = "leaf", role = "firewall", clearance = "amber" }
fw-m     = { relay = "mid",  role = "firewall", clearance = "amber" }
soar     = { relay = "hq",   role = "soar",     clearance = "red" }
analyst  = { relay = "hq",   role = "analyst",  clearance = "red", kind = "operator" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""
# An hour, and a year and a day: longer than credentials last.
OFF = ["+3600", "-3600", "+31622400", "-31622400"]


@cache
def library() -> str:
    """What the command of that name would preload: a process of its own would stand between us and the relay."""
    done = subprocess.run(["faketime", "-f", "+0s", "printenv", "LD_PRELOAD"], capture_output=True, text=True)
    return done.stdout.strip()


@contextmanager
def wrong_clock(folder: Path, off_s: str) -> Iterator[tuple[House, Machine]]:
    """The house with hq and leaf up, and the machine of mid, which is not started."""
    with house_in(folder, TOPOLOGY) as house:
        house.start("up", "--dev", "--json", "--only", "hq", "--only", "leaf", str(house.file))
        wait_for(lambda: house.state("hq").get("ready") and house.state("leaf").get("ready"), "hq and leaf")
        yield house, Machine(house, "mid", folder / "machine", {
            "LD_PRELOAD": library(), "FAKETIME": f"{off_s}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        })


def executed_by(point, done):
    @point.on_action("deny", "ipv4_net")
    def deny(action):
        done.append(action.target.value)
        return {}


def ends_of(soar, target, to, ttl="30s"):
    try:
        return [(o.target, str(o.end)) for o in soar.request("deny", f"ipv4_net={target}", to=to, ttl=ttl)]
    except FabricError as error:
        assert error.code is Code.NOBODY  # its route is still climbing
        return []


@pytest.mark.skipif(shutil.which("faketime") is None, reason="a wrong clock needs faketime (the package of that name)")
@pytest.mark.parametrize("off_s", OFF)
def test_a_wrong_clock_drops_nothing_and_executes_nothing_late(tmp_path, off_s):
    executed: list[str] = []
    with wrong_clock(tmp_path, off_s) as (house, mid), house.point("analyst") as analyst:
        messages = analyst.subscribe("detections.>", timeout_s=100)
        with house.point("sensor-l") as below, house.point("fw-l") as wall, house.point("soar") as soar:
            executed_by(wall, executed)
            # These wait at leaf: they are the first that a relay hears that has yet to learn what time it is.
            held = [below.publish_later("detections.app", {"n": n}) for n in range(50)]
            mid.start()
            wait_for(lambda: mid.state().get("parent_link") == "up", "mid at hq", 30)
            wait_for(lambda: house.state("leaf").get("parent_link") == "up", "leaf at mid", 30)
            with house.point("sensor-m") as beside:
                held += [beside.publish_later("detections.app", {"n": n}) for n in range(50, 100)]
                # Back from its disk, with a wrong idea of the time again, and nobody above to tell it better.
                mid.kill()
                held += [below.publish_later("detections.app", {"n": n}) for n in range(100, 200)]
                with house.frozen(house.pid("hq")):
                    mid.start()
                    wait_for(lambda: mid.state().get("ready"), "mid alone", 30)
                    if "3600" in off_s:  # a year off, it can believe nobody's credential before it knows the time
                        wait_for(lambda: mid.state()["counters"].get("received"), "what leaf sends to mid", 30)
                for future in held:
                    future.result(30)
            assert sorted(next(messages).content["n"] for _ in range(200)) == list(range(200))

            wait_for(lambda: ends_of(soar, "192.0.2.1", "id=fw-l") == [("fw-l", "completed")], "an action by fw-l", 30)
            executed.clear()
            with house.frozen(int(mid.state()["pid"])):
                late = soar.request("deny", "ipv4_net=192.0.2.2", to="id=fw-l", ttl="1s", wait_ms=4_000)
                ends = [(outcome.target, str(outcome.end)) for outcome in late]
            assert ends == [("fw-l", "unknown")], "it was sent, and nobody can say more"
            # What follows it went the same way after it.
            assert ends_of(soar, "192.0.2.3", "id=fw-l") == [("fw-l", "completed")]
            assert [target for target in executed if "192.0.2.2" in target] == []

        wait_for(lambda: mid.state().get("clock_suspect"), "the alarm in the state")
        dropped = {key: n for key, n in mid.state()["counters"].items() if "future" in key or key == "ended:expired"}
        assert set(dropped) <= {"ended:expired"}, dropped
        lines = [json.loads(line) for line in mid.log().splitlines()]
        assert any(line["event"] == "clock suspect" and abs(line["ahead_ms"]) > 3_000_000 for line in lines)
        shown = mid.fabric("status")
        assert "clock" in shown.out, shown.out + shown.err
        assert "Traceback" not in mid.log()
    house.assert_logs_clean()
