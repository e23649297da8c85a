"""The trees that are attacked, and what the processes of their relays take.

A tree is made anew for every row, so no row inherits memory, queues or clocks of the one before. In each, honest
control points share a relay with the attacker: the one under attack. Where the attacker is a relay, its own process is
stopped for good, and the attacker comes with its keys.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.attacks import interruption
from tests.integration.family import kill_for_good
from tests.integration.harness import House, house_in, wait_for

# What a login shell gives: few enough for a stranger to use them up.
DESCRIPTORS = 1_024
_ROLES = """
[roles]
sensor   = { publish = [{ topic = "detections.>", severity_max = "critical" }] }
analyst  = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
guest    = {}
loud     = { publish = [{ topic = "detections.>", rate = 1 }] }

[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""
_HEAD = """
fabric = "attack"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }
"""
_MID = _HEAD + """
[relays]
hq  = { segment = "hq",  clearance = "red",   listen = "127.0.0.1:PORT-hq" }
mid = { segment = "mid", clearance = "amber", listen = "127.0.0.1:PORT-mid", parent = "hq" }
#low
""" + _ROLES + """
[roles.soar]
request = [{ action = "deny ipv4_net", to = "role=firewall" }]

[points]
sensor = { relay = "mid", role = "sensor",   clearance = "amber" }
wall   = { relay = "mid", role = "firewall", clearance = "amber" }
guest  = { relay = "mid", role = "guest",    clearance = "amber" }
loud   = { relay = "mid", role = "loud",     clearance = "amber" }
lurker = { relay = "mid", role = "analyst",  clearance = "amber" }
reader = { relay = "hq",  role = "analyst",  clearance = "red" }
soar   = { relay = "hq",  role = "soar",     clearance = "red" }
"""
_LOW = _MID.replace(
    "#low", 'low = { segment = "low", clearance = "amber", listen = "127.0.0.1:PORT-low", parent = "mid" }'
) + """
[points.sensor-low]
relay = "low"
role = "sensor"
clearance = "amber"

[points.wall-low]
relay = "low"
role = "firewall"
clearance = "amber"
"""
# The relay under attack is dialled by its parent. With the parent gone it has its backup, the root.
_CELL = _HEAD + """
[relays]
hq   = { segment = "hq",   clearance = "red",   listen = "127.0.0.1:PORT-hq" }
boss = { segment = "boss", clearance = "amber", listen = "127.0.0.1:PORT-boss", parent = "hq" }

[relays.cell]
segment = "cell"
clearance = "amber"
listen = "127.0.0.1:PORT-cell"
parent = "boss"
dial = "child"
backups = ["hq"]
""" + _ROLES + """
[roles.soar]
request = [{ action = "deny ipv4_net", to = "role=firewall", scope = "cell" }]

[points]
sensor = { relay = "cell", role = "sensor",   clearance = "amber" }
wall   = { relay = "cell", role = "firewall", clearance = "amber" }
reader = { relay = "cell", role = "analyst",  clearance = "amber" }
soar   = { relay = "cell", role = "soar",     clearance = "amber" }
far    = { relay = "hq",   role = "sensor",   clearance = "amber" }
"""


@dataclass(frozen=True)
class Plan:
    """A tree's topology, the relay under attack, and the relay that is the attacker's, if one is."""

    name: str
    topology: str
    target: str
    bad: str = ""


MID = Plan("a sensor two hops from its reader", _MID, "mid")
LOW = Plan("a relay with a bad child", _LOW, "mid", "low")
CELL = Plan("a relay with a bad parent", _CELL, "cell", "boss")
_WHOLE_S = 20.0
_FAULT = "stopped by a fault of its own"
_ASSERTION = "Assertion failed"
_LINE_MAX = 120


class Tree:
    def __init__(self, house: House, plan: Plan) -> None:
        self.house, self.plan = house, plan
        self.relays = tuple(relay for relay in house.relays if relay != plan.bad)
        self.pids = {relay: house.pid(relay) for relay in self.relays}

    @property
    def target_pid(self) -> int:
        return self.pids[self.plan.target]

    def is_whole(self) -> bool:
        """Every honest relay says so itself, now, and has an honest parent."""
        now_ms = time.time_ns() // 1_000_000
        states = [self.house.state(relay) for relay in self.relays]
        return all(
            state.get("ready") and now_ms - state["at_ms"] < 2_500 and not state["draining"]
            and state["parent_link"] != "down" and state["parent_now"] in ("", *self.relays)
            for state in states
        )

    def becomes_whole(self) -> bool:
        with suppress(AssertionError):
            wait_for(self.is_whole, "all honest relays up", _WHOLE_S)
            return True
        return False

    def survived(self) -> bool:
        """Every honest relay is the process that it was when the tree came up."""
        return all(
            os.path.exists(f"/proc/{pid}") and self.house.state(relay).get("pid") == pid
            for relay, pid in self.pids.items()
        )

    def faults(self) -> list[str]:
        """What relays say that ended them: the error, and where; or which assertion of a library did not hold."""
        found = []
        for name, text in self.house.logs().items():
            for line in text.splitlines():
                if _FAULT in line:
                    with suppress(ValueError):
                        said = json.loads(line)
                        found.append(f"{said.get('relay', '')}: {said.get('error', '')} at {said.get('at', '')}")
                elif line.startswith(_ASSERTION):
                    found.append(f"{name}: {line[:_LINE_MAX]}")
        return list(dict.fromkeys(found))

    def peak_mb(self) -> float:
        """The most memory that any honest relay's process has had so far, by the kernel's account."""
        return max((_peak_mb(pid) for pid in self.pids.values()), default=0.0)

    def cpu_s(self) -> float:
        """Of the relay under attack so far; 0 when its process is gone."""
        try:
            fields = Path(f"/proc/{self.target_pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def tree_of(plan: Plan) -> Iterator[Tree]:
    """The tree, whole but for the attacker's own relay. Raises AssertionError in words when it does not come up."""
    with ExitStack() as stack:
        stack.callback(interruption.release)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="attack-"))
        house = stack.enter_context(house_in(Path(folder), plan.topology))
        stack.callback(interruption.hold)  # on the way out this is first, and the release last
        with _descriptors(DESCRIPTORS):
            house.up()
        house.wait_whole()
        if plan.bad:
            kill_for_good(house, plan.bad)
        tree = Tree(house, plan)
        wait_for(tree.is_whole, "the tree without its bad relay", _WHOLE_S * 2)
        yield tree


@contextmanager
def _descriptors(count: int) -> Iterator[None]:
    """Who is started meanwhile may have so many open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
