"""What can go wrong, by name. A fault begins when a story calls it, and ends by itself or when the story ends.

`FAULTS` is the whole list. Some last for a whole story, some happen once in it, the others now and then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from fabric.protocol.base.errors import Reject
from fabric.protocol.envelope.header import decode_header
from fabric.protocol.envelope.layout import decode_envelope, encode_envelope
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Data, Item
from tests.simulation.approvals import Approvals
from tests.simulation.executor import POINTS
from tests.simulation.forging import WAYS, forge
from tests.simulation.world import SimNode, World
from tests.support import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

# By how much a machine's clock may be wrong: within the skew, beyond it, and far beyond.
_CLOCKS_MS = (0, 2 * SECOND_MS, -20 * SECOND_MS, 10 * MINUTE_MS, -HOUR_MS, HOUR_MS, 365 * DAY_MS, -365 * DAY_MS)
# The root's clock is the fabric's: what lives for seconds must not run out by how far that jumps.
_ROOT_CLOCKS_MS = (0, 10 * SECOND_MS, -10 * SECOND_MS)
# A link that takes less than what is critical alone, while many small low ones wait for their share of it.
_NARROW_BYTES_PER_S, _NARROW_WAY_MS = 40_000, 1_000
_NARROW_MS = 12 * SECOND_MS
_FLOOD_BYTES = 100
_CRITICAL_EVERY_MS, _LOW_EVERY_MS = 25, 100
# So long a relay is cut off, and as often something is published below it.
_BACKLOG_MS, _BACKLOG_EVERY_MS = 12 * SECOND_MS, 250
# What must be low of all that was sent: less than the sixteenth that it is owed, since the begin is not steady.
_LOW_SHARE = 24


class Story(Protocol):
    """What a fault may know of the story that it disturbs."""

    world: World
    chosen: random.Random
    mine: list[str]  # the faults in it
    relays: list[str]
    sensors: list[str]
    durable: list[str]  # control points with an outbox
    parents: dict[str, list[str]]  # of relays and control points, in order of preference
    starved: list[str]  # what a fault found to be wrong itself
    approvals: Approvals | None  # where some actions need them
    executors: list[str]  # control points with a ledger

    def sent_bytes(self, sender: str, receiver: str, low: bool) -> int: ...

    def publish(self, sensor: str, **fields: object) -> None: ...


Fault = Callable[[Story], None]


def _loss(story: Story) -> None:
    story.world.network.loss = story.chosen.choice([0.01, 0.03, 0.06])


def _copies(story: Story) -> None:
    story.world.network.copies = 0.03


def _reorder(story: Story) -> None:
    story.world.network.ordered = False
    story.world.network.delay_ms = (1, story.chosen.choice([30, 120]))


def _clock(story: Story) -> None:
    """Every machine's clock but the root's is wrong from the start; some are put right, or wrong, while it runs."""
    for name, node in story.world.nodes.items():
        if name != story.relays[0] and story.chosen.random() < 0.4:
            node.wall_ms = node.ahead_ms = story.chosen.choice(_CLOCKS_MS)


def _clock_step(story: Story) -> None:
    node = story.world.nodes[story.chosen.choice([name for name in story.world.nodes if name != story.relays[0]])]
    node.wall_ms = story.chosen.choice(_CLOCKS_MS)


def _root_clock_step(story: Story) -> None:
    """The fabric's time jumps, for everybody, by less than the skew."""
    story.world.nodes[story.relays[0]].wall_ms = story.chosen.choice(_ROOT_CLOCKS_MS)


def _crash(story: Story) -> None:
    """After a few more effects, wherever that is: before a commit, after it, between two frames."""
    name = story.chosen.choice([*story.relays, *story.durable])
    if story.world.nodes[name].alive:
        story.world.doom(name, story.chosen.randint(0, 40), story.chosen.choice([20, 300, 3_000, 15_000]))


def _some_link(story: Story) -> tuple[str, str]:
    """Two ends of a connection that a relay has with a parent of its own."""
    name = story.chosen.choice(story.relays[1:])
    peers = [peer for peer, _ in story.world.nodes[name].dials] or [story.relays[0]]
    return name, story.chosen.choice(peers)


def _partition(story: Story) -> None:
    a, b = _some_link(story)
    story.world.part(a, b, told=story.chosen.random() < 0.5)
    story.world.after(story.chosen.choice([500, 5_000, 30_000]), lambda: story.world.join(a, b))


def _oneway(story: Story) -> None:
    a, b = _some_link(story)
    if story.chosen.random() < 0.5:
        a, b = b, a
    story.world.network.cut(a, b, back=False)
    story.world.after(story.chosen.choice([500, 5_000, 20_000]), lambda: story.world.join(a, b))


def _flap(story: Story) -> None:
    a, b = _some_link(story)
    for n in range(story.chosen.randint(3, 12)):
        story.world.after(n * story.chosen.randint(100, 1_500), lambda: story.world.cut(a, b))


def _delay(story: Story) -> None:
    a, b = _some_link(story)
    story.world.network.be_late(a, b, story.chosen.choice([300, 3_000]))
    story.world.after(story.chosen.randint(1_000, 15_000), lambda: story.world.join(a, b))


def _disk_full(story: Story) -> None:
    """A relay takes nothing in for a while, and goes on with what it holds."""
    node = story.world.nodes[story.chosen.choice(story.relays)]
    node.disk.full = True

    def empty() -> None:
        node.disk.full = False

    story.world.after(story.chosen.choice([1_000, 10_000]), empty)


def _disk_flips(story: Story) -> None:
    """A relay crashes, and finds a row of its disk damaged."""
    name = story.chosen.choice(story.relays)
    node = story.world.nodes[name]
    if node.alive:
        story.world.crash(name, story.chosen.choice([20, 3_000]))
        row = node.disk.flip(story.chosen)
        if row is not None:
            node.quarantined.append((row.id, row.direction))


def _narrow(story: Story) -> None:
    """Less goes through a link than is published below it; some of that is critical, some low. Nothing may starve."""
    world, chosen = story.world, story.chosen
    sensor = chosen.choice(story.sensors)
    child = world.relay_of(sensor)
    parent = world.relay_of(child) if child else ""
    if not parent:
        return
    world.network.be_narrow(child, parent, _NARROW_BYTES_PER_S, _NARROW_WAY_MS)
    before = [0, 0]

    def begin() -> None:
        before[:] = [story.sent_bytes(child, parent, low) for low in (False, True)]

    def flood(severity: Severity, size: int) -> None:
        story.publish(sensor, severity=severity, pad=chosen.randbytes(size), ttl_ms=MINUTE_MS)

    for severity, size, every_ms in (
        (Severity.CRITICAL, _FLOOD_BYTES, _CRITICAL_EVERY_MS), (Severity.LOW, 0, _LOW_EVERY_MS),
    ):
        for at_ms in range(0, _NARROW_MS, every_ms):
            world.after(at_ms, lambda severity=severity, size=size: flood(severity, size))

    def judge() -> None:
        high, low = (story.sent_bytes(child, parent, low) - before[low] for low in (False, True))
        waits = any(
            row.held.lane == 4 and row.held.message.header.origin == sensor
            for row in world.nodes[child].core.outboxes["^"].rows()
        ) if world.nodes[child].alive and world.relay_of(child) == parent else False
        if waits and _STEADY.issuperset(story.mine) and low < high // _LOW_SHARE:
            story.starved.append(f"{child} sent {high} bytes of higher lanes, and {low} of the low one that waited")
        world.join(child, parent)

    world.after(_NARROW_MS // 3, begin)  # when the pace has found out
    world.after(_NARROW_MS, judge)


def _liar(story: Story) -> SimNode:
    """One relay, the same in a whole story."""
    return story.world.nodes[story.relays[1 + story.chosen.randrange(len(story.relays) - 1)]]


def _strip(story: Story) -> None:
    """A relay takes out parts that its peers may hold."""
    chosen = story.chosen

    def lie(_: SimNode, __: SimNode, payload: bytes) -> list[bytes]:
        frame = decode_frame(payload)
        if not isinstance(frame, Data) or chosen.random() < 0.5:
            return [payload]
        return [encode_frame(frame._replace(items=[_stripped(item) for item in frame.items]))]

    _liar(story).lies = lie


def _stripped(item: Item) -> Item:
    envelope = decode_envelope(item.envelope)
    assert not isinstance(envelope, Reject)
    header = decode_header(envelope.header)
    assert not isinstance(header, Reject)
    parts = tuple([
        None if entry.label > Label.CLEAR else part for part, entry in zip(envelope.parts, header.manifest, strict=True)
    ])
    return item._replace(envelope=encode_envelope(envelope._replace(parts=parts)))


def _replay(story: Story) -> None:
    """A relay says again, to anybody, what it or others said before."""
    chosen, heard = story.chosen, []  # type: ignore[var-annotated]

    def lie(_: SimNode, __: SimNode, payload: bytes) -> list[bytes]:
        if payload[1] != 5:
            return [payload]
        heard.append(payload)
        del heard[:-200]
        return [payload, chosen.choice(heard)] if chosen.random() < 0.3 else [payload]

    _liar(story).lies = lie


def _revoke(story: Story) -> None:
    """The authority revokes a control point, or a relay without which everybody has a way; the root gets the list."""
    needed = {
        parent for name, parents in story.parents.items() for parent in parents
        if name in story.relays or len(parents) == 1
    }
    relays = [name for name in story.relays[1:] if name not in needed]
    points = [name for name in story.parents if name not in story.relays and name != "archive"]
    if relays and story.chosen.random() < 0.4:
        points = relays
    name = story.chosen.choice([name for name in points if name not in story.world.revoked])
    story.world.revoke(name, story.relays[0])


def _backlog(story: Story) -> None:
    """A relay is cut off, takes in what is published below it, and crashes with most of that asleep, or once more."""
    world, chosen = story.world, story.chosen
    sensor = chosen.choice(story.sensors)
    cut_off = world.relay_of(sensor)
    if cut_off in ("", story.relays[0]):
        return
    parents = list(story.parents[cut_off])
    for parent in parents:
        world.part(cut_off, parent, told=chosen.random() < 0.5)
    for at_ms in range(0, _BACKLOG_MS, _BACKLOG_EVERY_MS):
        severity = chosen.choice([Severity.LOW, Severity.LOW, Severity.CRITICAL])
        ttl_ms = chosen.choice([_BACKLOG_MS, HOUR_MS, HOUR_MS])
        world.after(at_ms, lambda s=severity, t=ttl_ms: story.publish(sensor, severity=s, ttl_ms=t))
    for at_ms in chosen.sample(range(_BACKLOG_MS // 4, _BACKLOG_MS), chosen.randint(1, 3)):
        world.after(at_ms, lambda: world.doom(cut_off, chosen.randint(0, 5), chosen.choice([20, 300, 3_000])))

    def join() -> None:
        for parent in parents:
            world.join(cut_off, parent)

    world.after(_BACKLOG_MS + chosen.choice([0, 5_000]), join)


def _drain(story: Story) -> None:
    """Somebody stops a relay for a while, and lets those below it move first."""
    chosen = story.chosen
    name = chosen.choice([name for name in story.relays if any(name in p for p in story.parents.values())])
    if story.world.nodes[name].alive and not story.world.nodes[name].drains and name not in story.world.revoked:
        story.world.drain(name, chosen.choice([2_000, 20_000]), chosen.choice([300, 3_000, 15_000]))


def _approvals(_: Story) -> None:
    """Some actions need approvals: those who ask, approve and execute are in the tree from the start."""


def _policies(story: Story) -> None:
    """The authority replaces the policies, some seconds before or after somebody was to decide by the old ones."""
    if story.approvals is not None and story.chosen.random() < 0.3:
        story.approvals.replace(story.relays[0])


def _kills(story: Story) -> None:
    """Whoever executes dies: before it is on disk what it took, began or did, or after, or anywhere between."""
    chosen = story.chosen
    node = story.world.nodes[chosen.choice(story.executors)]
    node.down_ms = chosen.choice([20, 300, 3_000, 15_000])
    if node.alive and node.executor is not None and chosen.random() < 0.8:
        node.executor.dies_at = chosen.choice(POINTS)
    elif node.alive:
        story.world.doom(node.name, chosen.randint(0, 40), node.down_ms)


def _forge(story: Story) -> None:
    """Somebody changes the program of a relay where actions turn, with an executor right below it."""
    if story.approvals is not None:
        chosen = story.approvals.chosen
        relay = chosen.choice([story.relays[0], *story.parents["plc-1"]])
        forge(story.world, relay, chosen.choice(list(WAYS)), story.executors)


ALWAYS: dict[str, Fault] = {
    "loss": _loss, "copies": _copies, "reorder": _reorder, "clock": _clock, "strip": _strip, "replay": _replay,
    "approvals": _approvals, "forge": _forge,
}
NOW_AND_THEN: dict[str, Fault] = {
    "crash": _crash, "partition": _partition, "oneway": _oneway, "flap": _flap, "delay": _delay, "clock": _clock_step,
    "full": _disk_full, "flips": _disk_flips, "drain": _drain, "time": _root_clock_step,
    "kills": _kills, "policies": _policies,
}
ONCE: dict[str, Fault] = {"narrow": _narrow, "revoke": _revoke, "backlog": _backlog}
# A flood is much to tell.
SELDOM = frozenset({"narrow"})
# In the order in which they came to be: a story of former ones goes on to be the same.
LATER = ("approvals", "kills", "policies", "forge")
FAULTS = (*(n for n in dict.fromkeys([*ALWAYS, *NOW_AND_THEN, *ONCE]) if n not in LATER), *LATER)
# Beside these whatever was approved is to be executed: nothing is lost, nobody is away, nobody forgets.
HARMLESS = frozenset({"approvals", "copies", "narrow"})
# Beside these a link's share can be told: nothing else stops it, or is sent on it again.
_STEADY = frozenset({"narrow", "clock", "strip"})
# Of these a relay lies: what its peers say of ends may not be so.
LIES = frozenset({"replay", "strip", "forge"})
# With these a message may be taken for younger than it is, within what the signed bound allows.
UNCERTAIN = frozenset({"reorder", "delay", "narrow", "replay", "strip", "copies", "oneway"})
