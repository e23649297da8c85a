"""What a message costs where there is more of everything: more hops, more relays, more routes.

Microseconds of processor time in the relays that a message passes. Hops are real relays in a row, their sockets and
disks included. The other two are the cores alone, which are the same as in production: a tree in the simulator, whose
depth stays while it gets broader, and one relay that knows of so many subscriptions below it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.links.node import Node
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Ack, Data, Direction, Intro, Item, Role, Routes
from scripts.comparison.figures import Figure, Window
from scripts.comparison.measuring import Streaming, house_with_ends, until_it_arrives
from scripts.comparison.processes import Failed
from scripts.comparison.records import ALL
from tests.conversation import Conversation
from tests.simulation.world import World
from tests.support import EVERYTHING, MINUTE_MS, Authority, entropy, verified

HOPS, RELAYS, ROUTES = (1, 2, 4, 8), (10, 100, 1_000), (10, 100, 1_000, 10_000)
UNIT = "us/message"
# Messages of a window in a core; the virtual time between two of them, and until the last has arrived.
_MESSAGES, _GAP_MS, _LAST_MS = 200, 10, 1_000
# Until everybody in a tree has a parent, at most, and until all know who is below.
_WHOLE_MS, _SETTLE_MS = 10 * MINUTE_MS, 5_000
_ENTRIES_TOGETHER, _CREDENTIALS_TOGETHER = 64, 16
_TOPIC = "detections.zeek.conn"


def figures(share: float) -> tuple[Figure, ...]:
    """One for each size. `share`: of the largest, up to which it goes; the smallest are there anyway."""
    return tuple(
        Figure(name_of(what, size), UNIT, "less")
        for what, sizes in (("hops", HOPS), ("relays", RELAYS), ("routes", ROUTES))
        for size in sizes_up_to(sizes, share)
    )


def name_of(what: str, size: int) -> str:
    return f"{what} {size}"


def sizes_up_to(sizes: tuple[int, ...], share: float) -> tuple[int, ...]:
    return tuple(size for size in sizes if size <= max(sizes[0], sizes[-1] * share))


class Growth:
    """The cost of a message for each size, one after the other."""

    does = (
        "hops: relays in a row, messages that share no envelope; relays: the cores of three hops in a tree of so many; "
        "routes: the core of a relay below which so many subscribe to something else, and one to this"
    )

    def __init__(self, folder: Path, share: float) -> None:
        self._folder, self._share = folder, share
        self._number = 0

    def window(self, seconds: float) -> Window:
        """`seconds` of messages for each number of hops; the rest takes as long as it takes."""
        costs: dict[str, float] = {}
        for what, sizes, cost in (
            ("hops", HOPS, partial(self._of_hops, seconds)), ("relays", RELAYS, of_relays),
            ("routes", ROUTES, of_routes),
        ):
            for size in sizes_up_to(sizes, self._share):
                costs[name_of(what, size)] = cost(size)
        return Window(costs)

    def _of_hops(self, seconds: float, hops: int) -> float:
        """All relays together."""
        self._number += 1
        with chain(self._folder / f"{hops} hops, {self._number}", hops) as side:
            cpu_us = side.window(seconds).cpu_us
            return sum(us for name, us in cpu_us.items() if name not in ("publisher", "reader"))


@contextmanager
def growth(folder: Path, *, share: float) -> Iterator[Growth]:
    folder.mkdir()
    yield Growth(folder, share)


# -- hops -----------------------------------------------------------------------------------------------------


def topology(hops: int) -> str:
    """r0, the root, above r1, above r2 ..."""
    relays = "\n".join(
        f'r{n} = {{ segment = "s{n}", clearance = "red", listen = "127.0.0.1:PORT-r{n}"'
        + (f', parent = "r{n - 1}" }}' if n else " }")
        for n in range(hops)
    )
    return f"""
fabric = "bench"
organisation = "acme"
defaults = {{ label = "green" }}

[relays]
{relays}

[roles]
sensor  = {{ publish = ["detections.>"] }}
analyst = {{ subscribe = ["detections.>"] }}

[points]
sensor-p   = {{ relay = "r{hops - 1}", role = "sensor",  clearance = "red" }}
analyst-hq = {{ relay = "r0", role = "analyst", clearance = "red" }}
"""


@contextmanager
def chain(folder: Path, hops: int) -> Iterator[Streaming]:
    """Messages over so many relays, each in an envelope of its own."""
    with house_with_ends(
        folder, topology(hops), "scripts.comparison.fabric_ends", read=(ALL, "stream"), publish=("singles",)
    ) as (house, reader, publisher):
        side = Streaming("", {name: house.pid(name) for name in house.relays}, publisher, reader)
        until_it_arrives(side)
        yield side


# -- cores ----------------------------------------------------------------------------------------------------


class Timed:
    """What cores take while they do what they are asked to. `clock`: of this thread's processor time, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self.took_s = 0.0
        self._clock = clock

    def watch(self, core: Node) -> None:
        """From here on this core's time counts, too. Its signatures are not looked up among those that others checked.
        """
        core.roots = RootCache()
        for name in ("read", "step"):
            setattr(core, name, self._timed(getattr(core, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            began_s = self._clock()
            try:
                return function(*args)
            finally:
                self.took_s += self._clock() - began_s

        return timed


def of_relays(count: int) -> float:
    """A message from a leaf to the root, in a tree of so many relays and three levels."""
    world = World(1, watch=False)
    world.relay("hq")
    regions = max(1, isqrt(count - 1))
    for n in range(count - 1):
        world.relay(f"r{n}", "hq" if n < regions else f"r{n % regions}")
    leaf = f"r{count - 2}"
    passed = [leaf, world.nodes[leaf].dials[0][0], "hq"]
    world.point("sensor", leaf, EVERYTHING)
    world.point("analyst", "hq", EVERYTHING)
    if not world.run_until(lambda: all(world.relay_of(name) for name in world.nodes if name != "hq"), _WHOLE_MS):
        raise Failed(f"a tree of {count} relays did not become whole")
    world.attach("analyst", "detections.>")
    world.run(_SETTLE_MS)
    timed = Timed()
    for name in passed:
        timed.watch(world.nodes[name].core)

    def took_s(messages: int) -> float:
        """What these relays took for so many, and for whatever else they do in the time of `_MESSAGES`."""
        before_s, had = timed.took_s, len(world.nodes["analyst"].delivered)
        for number in range(messages):
            world.publish("sensor", topic=_TOPIC, sequence=had + number)
            world.run(_GAP_MS)
        world.run((_MESSAGES - messages) * _GAP_MS + _LAST_MS)
        arrived = len(world.nodes["analyst"].delivered) - had
        if arrived != messages:
            raise Failed(f"{arrived} of {messages} messages arrived in a tree of {count} relays")
        return timed.took_s - before_s

    took_s(_MESSAGES // 10)
    return (took_s(_MESSAGES) - took_s(0)) / _MESSAGES * 1e6


def of_routes(count: int) -> float:
    """A message for one of so many who subscribe, each to something of its own. They are below one child."""
    authority = Authority("bench")
    hq, plant = (authority.issue(name, NodeKind.RELAY) for name in ("hq", "plant"))
    sensor = authority.issue("sensor", grants=EVERYTHING)
    talk = Conversation(Relay(hq.credential, hq.signer, authority.key, b"h" * 16, entropy("hq"), ()))
    child = talk.connect(plant, Role.CHILD)
    talk.say(child, Intro([plant.credential.raw]))
    told = [sign_attachment(plant.credential, plant.signer, b"s" * 16, "hq", 1, False, ())]
    readers = [authority.issue(f"reader-{n}", grants=EVERYTHING) for n in range(count)]
    for begin in range(0, count, _CREDENTIALS_TOGETHER):
        talk.say(child, Intro([each.credential.raw for each in readers[begin : begin + _CREDENTIALS_TOGETHER]]))
    for n, reader in enumerate(readers):
        pattern = f"intel.feed-{n}.>"
        told.append(
            sign_attachment(reader.credential, reader.signer, b"s" * 16, "plant", 1, False, (pattern,))
        )
    for number, begin in enumerate(range(0, len(told), _ENTRIES_TOGETHER), 1):
        talk.say(child, Routes(number, number == 1, told[begin : begin + _ENTRIES_TOGETHER], []))
    known = sum(1 for _ in talk.core.routes.all()) if isinstance(talk.core, Relay) else 0
    if known != count + 1:
        raise Failed(f"a relay knows {known} of {count + 1} routes")
    source = talk.connect(sensor, Role.POINT)
    talk.say(source, Intro([sensor.credential.raw]))
    messages = [verified(sensor, kind=Kind.INTEL, topic="intel.feed-0.new", sequence=n) for n in range(_MESSAGES)]
    timed = Timed()
    timed.watch(talk.core)
    took_us = []
    for message in messages:
        before_s = timed.took_s
        talk.say(source, Data(message.header.lane, talk.now_ms, [Item(Direction.UP, 0, [], [], message.raw)]))
        took_us.append((timed.took_s - before_s) * 1e6)
        talk.say(child, Ack([message.id]))
    if len(talk.items(child)) != _MESSAGES:
        raise Failed("not every message went to who subscribes to it")
    return statistics.mean(took_us)
