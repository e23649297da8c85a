"""A tree with backups everywhere, a few minutes of trouble from a seed, and then quiet: what must be true at the end.

Relays crash and come back from their disks, connections break or fall silent, relays and control points move to their
backups and back, while events, intel, actions and results are on their way.

`python -m tests.simulation.trouble --seed 7 --seeds 100` runs seeds 7 to 106, and names those that ended wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

from fabric.protocol.credentials import Grants, PublishGrant, RequestGrant
from fabric.protocol.envelope import Kind
from fabric.protocol.relay import Relay
from fabric.protocol.sessions import node_of
from fabric.protocol.severity import Severity
from fabric.protocol.verify import Verified
from tests.simulation.world import World
from tests.support import HOUR_MS, MINUTE_MS

SENSOR = Grants(publish=(PublishGrant("detections.>"), PublishGrant("intel.>")))
READER = Grants(subscribe=("detections.>", "intel.>"))
FIREWALL = Grants(execute=("deny ipv4_net",), subscribe=("intel.>",))
SOAR = Grants(request=(RequestGrant("deny *", "role=firewall"),))
QUIET_MS = 5 * MINUTE_MS


@dataclass
class Trouble:
    seed: int
    relays: list[str] = field(default_factory=lambda: ["r"])
    walls: list[str] = field(default_factory=list)
    sensors: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    actions: list[Verified] = field(default_factory=list)
    parted: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chosen = random.Random(self.seed)
        self.world = World(self.seed, loss=self.chosen.choice([0.0, 0.02, 0.05]), watch=False)
        self.numbers = 0

    # -- a tree -----------------------------------------------------------------------------------------

    def build(self) -> None:
        chosen, world = self.chosen, self.world
        world.relay("r")
        for n in range(1, 10):
            parent, dial = chosen.choice(self.relays[-4:]), chosen.choice(["parent", "parent", "child"])
            world.relay(f"n{n}", parent, backups=self._backups(parent), dial=dial)
            self.relays.append(f"n{n}")
        for n in range(3):
            for names, name, grants in (
                (self.walls, f"wall-{n}", FIREWALL), (self.sensors, f"sensor-{n}", SENSOR),
                (self.readers, f"reader-{n}", READER),
            ):
                relay = chosen.choice(self.relays)
                tags = {"role": "firewall"} if grants is FIREWALL else {}
                world.point(name, relay, grants, tags=tags, backups=self._backups(relay))
                names.append(name)
        for name in self.walls:
            world.attach(name, "intel.>", executes=True)
        for name in self.readers:
            world.attach(name, "intel.>")
        world.point("soar", chosen.choice(self.relays), SOAR)
        world.attach("soar")
        world.point("analyst", "r", READER)
        world.attach("analyst", "detections.>")
        world.run(15_000)

    def _backups(self, parent: str) -> list[str]:
        others = [relay for relay in self.relays if relay != parent]
        return self.chosen.sample(others, min(len(others), self.chosen.randint(0, 2)))

    # -- trouble ----------------------------------------------------------------------------------------

    def make(self, steps: int = 40) -> None:
        for _ in range(steps):
            self._talk()
            self._break()
            self.world.run(self.chosen.randint(50, 3_000))
        for pair in self.parted:
            self.world.join(*pair)
        self.world.run(QUIET_MS)

    def _talk(self) -> None:
        chosen = self.chosen
        for _ in range(chosen.randint(0, 3)):
            self.events.append(self._publish())
        if chosen.random() < 0.3:
            self._publish(kind=Kind.INTEL, topic="intel.ipv4")
        if chosen.random() < 0.25:
            self.actions.append(self.world.publish(
                "soar", kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall", severity=Severity.HIGH,
                records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}], ttl_ms=20_000,
                sequence=len(self.actions),
            ))

    def _publish(self, **fields: object) -> int:
        self.numbers += 1
        self.world.publish(self.chosen.choice(self.sensors), records=[{"number": self.numbers}],
                           sequence=self.numbers, ttl_ms=HOUR_MS, **fields)
        return self.numbers

    def _break(self) -> None:
        chosen, world = self.chosen, self.world
        dice = chosen.random()
        if dice < 0.12:
            relay = chosen.choice(self.relays)
            if world.nodes[relay].alive:
                world.crash(relay, chosen.randint(20, 15_000))
        elif dice < 0.3:
            relay = chosen.choice(self.relays[1:])
            dials = [peer for peer, _ in world.nodes[relay].dials]
            self.parted.append((relay, chosen.choice(dials or ["r"])))
            world.part(*self.parted[-1], told=chosen.random() < 0.5)
        elif dice < 0.4 and self.parted:
            world.join(*self.parted.pop(chosen.randrange(len(self.parted))))
        elif dice < 0.5:
            relay = chosen.choice(self.relays)
            for peer, _ in list(world.nodes[relay].links.values())[:1]:
                world.cut(relay, peer)

    # -- what must be true when it is over --------------------------------------------------------------

    def wrong(self) -> list[str]:
        return [*self._lost_relays(), *self._wrong_ways(), *self._held(), *self._events(), *self._ends()]

    def _lost_relays(self) -> list[str]:
        return [f"{relay} has no parent" for relay in self.relays[1:] if not self.world.relay_of(relay)]

    def _wrong_ways(self) -> list[str]:
        """Everybody is known to every relay above, by the right child, and to no other."""
        found = []
        for relay in self.relays:
            core = self.world.nodes[relay].core
            assert isinstance(core, Relay)
            for node in [*self.relays[1:], *self.walls, *self.readers, "soar"]:
                if node == relay:
                    continue
                above = self._above(node)
                wanted = ([node, *above][above.index(relay)],) if relay in above else ()
                ways = {node_of(way) for a in core.routes.of_node(node) if (way := core.routes.via(a))}
                if tuple(ways) != wanted:
                    found.append(f"{relay} looks for {node} at {sorted(ways)}, and it is at {list(wanted)}")
        return found

    def _above(self, node: str) -> list[str]:
        chain: list[str] = []
        while (parent := self.world.relay_of(chain[-1] if chain else node)) and parent not in chain:
            chain.append(parent)
        return chain

    def _held(self) -> list[str]:
        found = []
        for relay in self.relays:
            core = self.world.nodes[relay].core
            assert isinstance(core, Relay)
            for outbox in core.outboxes.values():
                found += [
                    f"{relay} still holds {row.held.message.header.kind.word} for {row.destination[:20]} {row.targets}"
                    for row in outbox.rows()
                ]
            if not len(core.custody) and any(core.custody.lane_bytes):
                found.append(f"{relay} holds nothing and counts {core.custody.lane_bytes} bytes")
        return found

    def _events(self) -> list[str]:
        got = Counter(content["number"] for _, content in self.world.records("analyst"))
        lost = [number for number in self.events if number not in got]
        found = [f"lost events {lost}"] if lost else []
        twice = [number for number, count in got.items() if count > 1]
        return [*found, f"events {twice} came twice"] if twice else found

    def _ends(self) -> list[str]:
        """Executed once at most; every target that was selected has an end, and none that contradicts what it did."""
        found = []
        for wall in self.walls:
            if any(count > 1 for count in Counter(self.world.nodes[wall].executed).values()):
                found.append(f"{wall} executed an action twice")
        selected, ends = self._told()
        for action in self.actions:
            for wall in selected.get(action.leaf, ()):
                executed = action.id in self.world.nodes[wall].executed
                told = ends.get((action.leaf, wall), [])
                allowed = {"completed", "unknown"} if executed else {"expired", "unroutable", "refused", "unknown"}
                if not told or not set(told) <= allowed or len(set(told) - {"unknown"}) > 1:
                    found.append(f"{wall} {'executed' if executed else 'never had'} it, and the requester heard {told}")
        return found

    def _told(self) -> tuple[dict[bytes, list[str]], dict[tuple[bytes, str], list[str]]]:
        selected: dict[bytes, list[str]] = {}
        ends: dict[tuple[bytes, str], list[str]] = {}
        deliveries = self.world.nodes["soar"].delivered
        for (_, content), delivery in zip(self.world.records("soar"), deliveries, strict=True):
            leaf = delivery.message.header.correlation
            if content["end"] == "selected":
                selected[leaf] = list(content["targets"])
                continue
            for target in content["targets"]:
                ends.setdefault((leaf, target), []).append(content["end"])
        return selected, ends


def run(seed: int) -> list[str]:
    """Everything that is wrong at the end."""
    trouble = Trouble(seed)
    trouble.build()
    trouble.make()
    return trouble.wrong()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parsed = parser.parse_args()
    bad = 0
    for seed in range(parsed.seed, parsed.seed + parsed.seeds):
        wrong = run(seed)
        if wrong:
            bad += 1
            print(f"python -m tests.simulation.trouble --seed {seed}", *wrong[:5], sep="\n    ", flush=True)
    print(f"{bad} of {parsed.seeds} seeds ended wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
