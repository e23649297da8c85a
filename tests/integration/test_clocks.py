"""One relay's clock is an hour or a year off: nothing valid is dropped, nothing expired is executed, and it is said."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from fabric.protocol.errors import Code, FabricError
from tests.integration.harness import FABRIC, ROOT, Done, House, Running, house_in, wait_for

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


class Machine:
    """One with a clock and a FABRIC_HOME of its own, for one relay of a house."""

    def __init__(self, house: House, relay: str, off_s: str) -> None:
        self._house, self._relay = house, relay
        self.home = house.work / f"machine-{relay}"
        self.run = self.home / house.fabric / "run"
        self.run.mkdir(parents=True, mode=0o700)
        self._off_s = off_s
        self._process: subprocess.Popen[bytes] | None = None

    def _environment(self) -> dict[str, str]:
        # The house finds, and ends, what has its home in its environment.
        return {**os.environ, "LD_PRELOAD": library(), "FAKETIME": f"{self._off_s}s",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FABRIC_HOME": str(self._house.home), "COLUMNS": "200"}

    def start(self) -> None:
        folder = self._house.folder / "ids" / self._relay
        with (self.run / f"{self._relay}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "relays.run", str(folder), "--home", str(self.home)], cwd=ROOT,
                env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
        (self.run / f"{self._relay}.json").unlink()

    def state(self) -> dict:
        try:
            return dict(json.loads((self.run / f"{self._relay}.json").read_text()))
        except (OSError, ValueError):
            return {}

    def fabric(self, *args: str) -> Done:
        """A command on this machine, by this machine's clock."""
        process = subprocess.Popen(
            [*FABRIC, *args], cwd=ROOT, env={**self._environment(), "FABRIC_HOME": str(self.home)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        return Running(process, args).wait()

    def log(self) -> str:
        return (self.run / f"{self._relay}.log").read_text()


@contextmanager
def wrong_clock(folder: Path, off_s: str) -> Iterator[tuple[House, Machine]]:
    """The house with hq and leaf up, and the machine of mid, which is not started."""
    with house_in(folder, TOPOLOGY) as house:
        house.start("up", "--dev", "--json", "--only", "hq", "--only", "leaf", str(house.file))
        wait_for(lambda: house.state("hq").get("ready") and house.state("leaf").get("ready"), "hq and leaf")
        yield house, Machine(house, "mid", off_s)


def executed_by(point, done):
    @point.on_action("deny", "ipv4_net")
    def deny(action):
        done.append(action.target)
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
                # Back from its disk, with a wrong idea of the time again, and for a while nobody above to tell it better.
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
                late = soar.request("deny", "ipv4_net=192.0.2.2", to="id=fw-l", ttl="2s", wait_ms=4_000)
                ends = [(outcome.target, str(outcome.end)) for outcome in late]
            assert ends == [("fw-l", "unknown")], "by the requester's patience"
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
