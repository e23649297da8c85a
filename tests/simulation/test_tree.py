"""Whole trees from a seed: what is promised holds under loss, delay, broken links and crashes."""

import random
from collections import Counter
from typing import Any

import pytest

from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, PublishGrant, RequestGrant
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.simulation.checkers import GOES_TO, Promises, carries, reached_by
from tests.simulation.world import NO_ENDS, SimNode, World
from tests.support import MINUTE_MS

SENSOR = Grants(publish=(PublishGrant("detections.>"),))
ANALYST = Grants(subscribe=("detections.>",))
FIREWALL = Grants(execute=("deny ipv4_net",))
SOAR = Grants(request=(RequestGrant("deny *", "role=firewall"),))


def tree(world: World, branches: int, levels: int) -> list[str]:
    """Relays `r`, `r-0`, `r-0-2`...; the names of the lowest level."""
    world.relay("r")
    level = ["r"]
    for _ in range(levels):
        below = []
        for parent in level:
            for i in range(branches):
                world.relay(f"{parent}-{i}", parent, dial="child" if i == 1 else "parent")
                below.append(f"{parent}-{i}")
        level = below
    return level


def big(seed: int, levels: int = 4) -> World:
    """Each fourth of the leaves has a sensor that publishes five records; one analyst at the root."""
    world = World(seed, loss=0.05)
    leaves = tree(world, 4, levels)
    world.point("analyst", "r", ANALYST)
    world.attach("analyst", "detections.>")
    sensors = [world.point(f"sensor-{i}", leaf, SENSOR).name for i, leaf in enumerate(leaves[::4])]
    world.run(5_000)
    for sequence in range(5):
        for sensor in sensors:
            world.publish(sensor, records=[{"sensor": sensor, "number": sequence}], sequence=sequence)
        world.run(200)
    arrived = world.run_until(lambda: len(world.nodes["analyst"].delivered) == 5 * len(sensors), 60_000)
    assert arrived, f"{len(world.nodes['analyst'].delivered)} of {5 * len(sensors)}"
    relays = [node for node in world.nodes.values() if node.name.startswith("r")]
    # The last acknowledgements may be lost too, and come with the next try.
    world.run_until(lambda: not any(len(node.core.custody) for node in relays), 60_000)
    return world


def test_341_relays_with_loss_come_to_the_end_and_a_seed_repeats_itself():
    first = big(7)
    assert sum(name.startswith("r") for name in first.nodes) == 341
    got = Counter((content["sensor"], content["number"]) for _, content in first.records("analyst"))
    assert len(got) == 320 and set(got.values()) == {1}
    for node in first.nodes.values():
        if node.name.startswith("r"):
            assert len(node.core.custody) == 0, f"{node.name} still holds something"
    once, again, other = big(7, 2), big(7, 2), big(8, 2)
    assert (again.trace, again.frames) == (once.trace, once.frames)
    assert other.trace != once.trace


@pytest.mark.parametrize("seed", range(12))
def test_everybody_reads_what_every_hop_may_hold_and_not_one_field_more(seed):
    """A chain of relays with clearances from the seed; the watchers look into every frame and every disk."""
    chosen = random.Random(seed)
    world = World(seed, loss=0.05)
    labels = list(Label)
    chain = ["r0"]
    clearances = [chosen.choice(labels[1:]) for _ in range(5)]
    world.relay("r0", clearance=clearances[0])
    for depth, clearance in enumerate(clearances[1:], 1):
        chain.append(f"r{depth}")
        world.relay(chain[-1], chain[-2], clearance, dial=chosen.choice(["parent", "child"]))
    readers = {name: world.point(f"reader-{name}", name, ANALYST, chosen.choice(labels[1:])) for name in chain}
    for reader in readers.values():
        world.attach(reader.name, "detections.>")
    world.point("sensor", chain[-1], SENSOR)
    world.run(8_000)
    records = [{"clear": n, "green": n, "amber": f"a-{n}", "strict": f"s-{n}", "red": f"r-{n}"} for n in range(3)]
    rules = {"green": Label.GREEN, "amber": Label.AMBER, "strict": Label.AMBER_STRICT, "red": Label.RED}
    world.publish("sensor", records=records, rules=rules, label=Label.CLEAR)
    world.run(40_000)
    for depth, name in enumerate(chain):
        lowest = min([*clearances[depth:], readers[name].member.credential.clearance])
        wanted = [
            {field: value for field, value in record.items() if rules.get(field, Label.CLEAR) <= lowest}
            for record in records
        ]
        assert [content for _, content in world.records(f"reader-{name}")] == wanted, name


PARTNERS: list[dict[str, Any]] = [
    {"organisation": "acme"}, {"organisation": "msp"}, {"organisation": "msp", "communities": ("isac",)},
    {"organisation": "client", "client_of": ("msp",)}, {"organisation": "client", "client_of": ("acme", "msp")},
    {"organisation": "below", "client_of": ("client",)}, {"organisation": "bank", "communities": ("isac", "fs")},
]
FEED = Grants(publish=(PublishGrant("intel.>", to_organisations=("msp", "bank"), to_communities=("isac",)),))
AUDIENCES: list[dict[str, Any]] = [
    {}, {"organisations": ("acme", "msp")}, {"organisations": ("acme", "msp"), "communities": ("isac",)},
    {"communities": ("isac",)}, {"organisations": ("acme", "bank"), "recipients": ("feed", "r0", "r1", "reader-r1")},
]


def partners(seed: int) -> tuple[World, dict[str, list[str]]]:
    """A tree of several organisations with a reader at each relay, and each relay's way up, itself first."""
    chosen = random.Random(seed)
    world = World(seed, loss=0.05)
    up: dict[str, list[str]] = {}
    for n in range(8):
        name, parent = f"r{n}", f"r{chosen.randrange(n)}" if n else ""
        who = PARTNERS[0] if n < 2 else chosen.choice(PARTNERS)
        world.relay(name, parent, chosen.choice([Label.RED, Label.RED, Label.AMBER, Label.GREEN]) if n else Label.RED,
                    **who, carries_sealed=n % 2 == 0)
        up[name] = [name, *up.get(parent, [])]
        world.point(f"reader-{name}", name, Grants(subscribe=("intel.>",)), Label.RED, **who)
        world.attach(f"reader-{name}", "intel.>")
    world.point("feed", chosen.choice(["r0", "r1"]), FEED)
    world.observers.append(Promises(world, {}, "r0", 1_500))
    return world, up


def may_have(node: SimNode, label: Label, audience: Audience, *, sealed: bool = False) -> bool:
    credential = node.member.credential
    if sealed and label is Label.RED and carries(credential, audience):
        return True
    return label <= credential.clearance and not reached_by(credential, audience).isdisjoint(GOES_TO[label])


@pytest.mark.parametrize("seed", range(12))
def test_partners_read_what_they_and_every_hop_may_hold_and_nothing_else(seed):
    """Of several organisations, clients and a community; by the checkers' own statement of Traffic Light Protocol."""
    world, up = partners(seed)
    world.run(8_000)
    rules = {"green": Label.GREEN, "amber": Label.AMBER, "strict": Label.AMBER_STRICT, "red": Label.RED}
    sent = []
    readers = [world.nodes[name].member for name in ("feed", "reader-r1", "reader-r4", "reader-r6")]
    sealed = {"organisations": ("acme", "msp", "bank"), "sealed_to": readers}
    for n, audience in enumerate([*AUDIENCES, sealed]):
        for label in (Label.CLEAR, Label.GREEN, Label.AMBER, *([Label.RED] if audience is sealed else [])):
            record = {"n": len(sent), **{name: f"{name}-{len(sent)}" for name in rules}}
            fields = rules if label < Label.RED else {}
            sent.append((record, fields, label, audience is sealed, world.publish(
                "feed", kind=Kind.INTEL, topic=f"intel.x{n}", records=[record], rules=fields, label=label,
                sequence=len(sent), **audience,
            ).header.audience))
    world.run(60_000)
    assert world.broken is None
    start = world.relay_of("feed")
    for name, above in up.items():
        hops = [world.nodes[hop] for hop in (*up[start], *above, f"reader-{name}")]
        wanted = []
        for record, fields, envelope, is_sealed, audience in sent:
            if all(may_have(hop, envelope, audience, sealed=is_sealed) for hop in hops):
                wanted.append({
                    field: value for field, value in record.items()
                    if all(may_have(hop, fields.get(field, envelope), audience, sealed=is_sealed) for hop in hops)
                })
        got = sorted((content for _, content in world.records(f"reader-{name}")), key=lambda content: content["n"])
        assert got == wanted, name


@pytest.mark.parametrize("seed", range(8))
def test_what_was_held_arrives_once_though_relays_crash_and_links_break(seed):
    chosen = random.Random(seed)
    world = World(seed, loss=0.05)
    leaves = tree(world, 2, 3)
    relays = list(world.nodes)
    world.point("analyst", "r", ANALYST)
    world.attach("analyst", "detections.>")
    for i, leaf in enumerate(leaves):
        world.point(f"sensor-{i}", leaf, SENSOR)
    world.run(5_000)
    for number in range(60):
        world.publish(f"sensor-{number % len(leaves)}", records=[{"number": number}], sequence=number,
                      ttl_ms=10 * MINUTE_MS)
        if number % 6 == 3:
            world.crash(chosen.choice(relays[1:]), chosen.randint(50, 3_000))
        elif number % 6 == 5:
            child = chosen.choice(relays[1:])
            world.cut(child, child.rpartition("-")[0])
        world.run(chosen.randint(20, 400))
    assert world.run_until(lambda: len(world.nodes["analyst"].delivered) >= 60, 120_000)
    world.come_to_rest(60_000)
    got = Counter(content["number"] for _, content in world.records("analyst"))
    assert got == Counter(range(60))


def test_a_root_that_crashes_gives_its_subscribers_what_it_holds_for_them():
    world = World(3, loss=0.02)
    leaves = tree(world, 2, 2)
    world.point("analyst", "r", ANALYST)
    world.attach("analyst", "detections.>")
    world.point("sensor", leaves[0], SENSOR)
    world.run(5_000)
    for number in range(40):
        world.publish("sensor", records=[{"number": number}], sequence=number, ttl_ms=10 * MINUTE_MS)
        if number in (10, 25):
            world.crash("r", 2_000)
        world.run(300)
    world.come_to_rest(90_000)
    got = Counter(content["number"] for _, content in world.records("analyst"))
    assert set(got) == set(range(40))
    # The analyst's core keeps its memory, so what the relay sends again is known.
    assert set(got.values()) == {1}


def settle(world: World, names: list[str]) -> None:
    """Until the root knows all of them."""
    root = world.nodes["r"].core
    assert isinstance(root, Relay)
    known = world.run_until(lambda: all(root.routes.executor(name) for name in names), 60_000)
    assert known, f"{len(root.routes)} routes at the root"


def firewalls(world: World, leaves: list[str]) -> list[str]:
    names = []
    for i, leaf in enumerate(leaves):
        names.append(world.point(f"fw-{i}", leaf, FIREWALL, tags={"role": "firewall"}).name)
        world.attach(names[-1], executes=True)
    return names


def ask(world: World, sequence: int = 0, ttl_ms: int = 30_000, to: str = "role=firewall"):
    return world.publish("soar", kind=Kind.ACTION, topic="deny.ipv4_net", records=[{"value": "192.0.2.1"}],
                         severity=Severity.HIGH, to=to, ttl_ms=ttl_ms, sequence=sequence)


def ends(world: World, action) -> dict[str, list[str]]:
    """What the requester was told of each target, in order, without the list of who was selected."""
    told: dict[str, list[str]] = {}
    for (_, content), delivery in zip(world.records("soar"), world.nodes["soar"].delivered, strict=True):
        if delivery.message.header.correlation == action.leaf and content["end"] not in NO_ENDS:
            for target in content["targets"]:
                told.setdefault(target, []).append(content["end"])
    return told


@pytest.mark.parametrize("seed", range(6))
def test_an_action_is_executed_once_at_each_target_and_each_end_is_told(seed):
    chosen = random.Random(seed)
    world = World(seed, loss=0.08)
    leaves = tree(world, 3, 2)
    names = firewalls(world, leaves)
    world.point("soar", "r", SOAR)
    settle(world, names)
    world.run(1_000)
    actions = []
    for sequence in range(5):
        actions.append(ask(world, sequence))
        if sequence % 2:
            world.cut(chosen.choice(leaves), "r-0")
        world.run(chosen.randint(100, 2_000))
    world.come_to_rest(60_000)
    for action in actions:
        assert ends(world, action) == {name: [str(End.COMPLETED)] for name in names}
    for name in names:
        assert Counter(world.nodes[name].executed) == Counter(action.id for action in actions)


def test_an_action_that_no_time_is_left_for_is_never_executed_and_said_to_be():
    world = World(5)
    leaves = tree(world, 2, 1)
    names = firewalls(world, leaves)
    world.point("soar", "r", SOAR)
    settle(world, names)
    world.run(1_000)
    for leaf in leaves:
        world.crash(leaf, 20_000)
    world.run(10)
    action = ask(world, ttl_ms=5_000)
    world.run(60_000)
    assert all(world.nodes[name].executed == [] for name in names)
    told = ends(world, action)
    assert set(told) == set(names)
    assert all(end in (["expired"], ["unknown"], ["unroutable"]) for end in told.values()), told


@pytest.mark.parametrize("seed", range(6))
def test_relays_that_crash_never_make_a_target_run_twice(seed):
    """With crashes an end may be unknown; what was executed was so once, and no end contradicts it."""
    chosen = random.Random(seed)
    world = World(seed, loss=0.05)
    leaves = tree(world, 2, 2)
    relays = list(world.nodes)
    names = firewalls(world, leaves)
    world.point("soar", "r", SOAR)
    settle(world, names)
    world.run(1_000)
    actions = []
    for sequence in range(8):
        actions.append(ask(world, sequence, ttl_ms=10_000))
        world.run(chosen.randint(0, 40))
        world.crash(chosen.choice([*leaves, "r-0", "r-1"]), chosen.randint(10, 4_000))
        world.run(chosen.randint(500, 4_000))
    assert world.run_until(lambda: not any(world.nodes[name].core.resolutions.unresolved for name in relays), 120_000)
    world.come_to_rest(120_000)
    for name in names:
        assert set(Counter(world.nodes[name].executed).values()) <= {1}
    for action in actions:
        for target, told in ends(world, action).items():
            executed = action.id in world.nodes[target].executed
            assert told, target
            if not executed:
                assert "completed" not in told
            elif told[-1] != "completed":
                assert told[-1] == "unknown", f"{target} executed it and is said to be {told}"


def test_empty_and_foreign_selectors_reach_nobody():
    world = World(1)
    leaves = tree(world, 2, 1)
    names = firewalls(world, leaves)
    world.point("soar", "r", SOAR)
    settle(world, names)
    world.run(1_000)
    for sequence, to in enumerate(["", "role=edr", "id=fw-9", "not all"]):
        action = ask(world, sequence, to=to)
        world.run(3_000)
        told = [content["end"] for _, content in world.records("soar")]
        assert told[-2:] == ["nobody", "resolved"], (to, told)
        assert ends(world, action) == {}
    assert all(world.nodes[name].executed == [] for name in names)


def test_what_travels_says_which_way_it_came():
    world = World(2)
    world.relay("r")
    world.relay("mid", "r")
    world.relay("low", "mid", dial="child")
    world.point("analyst", "r", ANALYST)
    world.attach("analyst", "detections.>")
    world.point("sensor", "low", SENSOR)
    world.run(4_000)
    world.publish("sensor")
    world.run(4_000)
    (delivery,) = world.nodes["analyst"].delivered
    assert isinstance(delivery, Delivery)
    assert delivery.hops == ("low", "mid", "r")
