"""Effects that end, in a story, as a checker knows them: what is up at each executor, until when, and who holds it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fabric.protocol.envelope.verify import Verified
from tests.simulation.checkers import Broken
from tests.simulation.reverts import REVERTED
from tests.simulation.world import Observer, SimNode, World

_SLACK_MS = 100


@dataclass(slots=True)
class _Up:
    """An effect that one action has on one executor."""

    variant: str
    began_ms: int
    duration_ms: int
    released: bool = False


@dataclass(slots=True)
class _Device:
    """What one may be asked for at one executor. `up`: variants that a handler made, and nothing undid since."""

    timed: dict[bytes, _Up] = field(default_factory=dict)
    at_work: dict[bytes, None] = field(default_factory=dict)
    up: dict[str, None] = field(default_factory=dict)
    for_good: bool = False  # somebody asked for it without an end: nothing is promised of its end from then on


class EffectPromises(Observer):
    """An effect ends, never before its time unless it is released, and never while another lease holds it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._asked: dict[bytes, tuple[str, str, int]] = {}  # action -> device, variant, duration
        self._devices: dict[tuple[str, str], _Device] = defaultdict(_Device)
        self._cancelled: dict[bytes, None] = {}
        self.reverts = 0

    def asked(self, action: Verified, device: str, args: dict[str, Any]) -> None:
        if action.header.topic in REVERTED:
            self._asked[action.id] = device, str(args.get("how", "")), args.get("duration", 0)

    def cancelled(self, action: Verified) -> None:
        """From now on it may end at any time."""
        self._cancelled[action.id] = None
        for device in self._devices.values():
            if action.id in device.timed:
                device.timed[action.id].released = True

    def _of(self, node: SimNode, id_: bytes) -> tuple[_Device, str, int] | None:
        if id_ not in self._asked:
            return None
        name, variant, duration_ms = self._asked[id_]
        return self._devices[node.name, name], variant, duration_ms

    def began(self, node: SimNode, action: Verified) -> None:
        found = self._of(node, action.id)
        if found is None:
            return
        device, variant, duration_ms = found
        device.at_work[action.id] = None
        device.up[variant] = None
        if duration_ms:
            device.timed[action.id] = _Up(variant, self.world.now_ms, duration_ms, action.id in self._cancelled)
        else:
            device.for_good = True

    def did(self, node: SimNode, id_: bytes) -> None:
        found = self._of(node, id_)
        if found is not None:
            found[0].at_work.pop(id_, None)

    def restarted(self, node: SimNode, quarantined: Sequence[Any]) -> None:
        for (name, _), device in self._devices.items():
            if name == node.name:
                device.at_work.clear()

    def reverted(self, node: SimNode, id_: bytes) -> None:
        found = self._of(node, id_)
        if found is None:
            raise Broken(f"{node.name} reverted what nobody asked for")
        device, variant, _ = found
        self.reverts += 1
        now_ms, what = self.world.now_ms, f"{node.name} reverted what it did"
        mine = device.timed.get(id_)  # it may have died before it called the handler, and the next one cannot know
        if mine is not None and not mine.released and now_ms < mine.began_ms + mine.duration_ms - _SLACK_MS:
            raise Broken(f"{what}, {mine.began_ms + mine.duration_ms - now_ms} ms too soon")
        if device.at_work:
            raise Broken(f"{what} while a handler of it was at work")
        for other_id, other in device.timed.items():
            left_ms = other.began_ms + other.duration_ms - now_ms
            if other_id != id_ and not other.released and left_ms > _SLACK_MS and not device.for_good:
                raise Broken(f"{what} while another lease held it for {left_ms} ms more")
        device.up.pop(variant, None)

    def left(self) -> list[str]:
        """What should have ended by now, and did not."""
        found = []
        for (node, name), device in self._devices.items():
            if device.up and not device.for_good:
                found.append(f"{sorted(device.up)} of {name} at {node} never ended")
        return found
