"""A thousand children of a parent that dies, in virtual time: how evenly they come to the next one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fabric.protocol.trust.credentials import Grants, PublishGrant
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import Welcome
from tests.simulation.world import Observer, SimNode, World
from tests.support import MINUTE_MS

BUCKET_MS = 250


@dataclass(frozen=True)
class Herd:
    """`welcomes`: handshakes per bucket since the parent died; `last_ms`: when the last child had its parent."""

    welcomes: dict[int, int]
    last_ms: int

    @property
    def peak_over_mean(self) -> float:
        buckets = max(self.welcomes) - min(self.welcomes) + 1
        return max(self.welcomes.values()) * buckets / sum(self.welcomes.values())


def herd(children: int, within_ms: int = 30_000, calm_ms: int = 10_000) -> Herd:
    """`calm_ms`: how long all of them have their parent before it dies."""
    world = World(1, watch=False)
    world.relay("hq")
    world.relay("east", "hq")
    world.relay("west", "hq")
    names = [f"p-{n}" for n in range(children)]
    for name in names:
        world.point(name, "east", Grants(publish=(PublishGrant("detections.>"),)), backups=("west",))
    assert world.run_until(lambda: all(world.relay_of(name) == "east" for name in names), 60_000)
    world.run(calm_ms)
    welcomed: dict[str, int] = {}
    began_ms = world.now_ms

    class Count(Observer):
        def sent(self, sender: SimNode, receiver: SimNode, payload: bytes) -> None:
            if sender.name == "west" and receiver.name not in welcomed and isinstance(decode_frame(payload), Welcome):
                welcomed[receiver.name] = (world.now_ms - began_ms) // BUCKET_MS

    world.observers.append(Count())
    world.crash("east", 10 * MINUTE_MS)
    assert world.run_until(lambda: all(world.relay_of(name) == "west" for name in names), within_ms)
    return Herd(dict(Counter(welcomed.values())), world.now_ms - began_ms)
