"""What `topology flows` says can arrive does when relays run the topology, and what it says cannot never does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fabric.protocol.base.limits import SESSION_GRACE_MS
from fabric.protocol.vocabulary.tlp import Label
from relays.topology.flow import CLIMBING, Flow, Flows
from relays.topology.holding import own
from relays.topology.loader import load
from relays.topology.model import Topology
from relays.topology.starts import Start
from tests.simulation.flowing import LATER, Held, Voices, arrangements, topology_of, world_of

# Of one file; one with more is looked at as far as that.
TREES_MAX = 400


def nodes_of(topology: Topology) -> list[str]:
    return [*topology.relays, *topology.points]


def predicted(topology: Topology, flows: Flows, *, still: bool) -> dict[tuple[str, Label], set[str]]:
    """By who says it and with which label, of every control point and of one more at each relay.

    `still`: nobody leaves.
    """
    found: dict[tuple[str, Label], set[str]] = {}
    for label in Label:
        for point in topology.points:
            found[point, label] = {
                node for node in nodes_of(topology)
                if node != point and can(flows.between(point, node, label), still)
            }
        for relay in topology.relays.values():
            later = [Start(relay.id, None, own(relay), own(relay))]
            found[f"{LATER}{relay.id}", label] = {
                node for node in nodes_of(topology) if flows.first(later, node, label) is not None
            }
    return found


def can(flow: Flow, still: bool = True) -> bool:
    return flow.way is not None and not (still and flow.way.follows)


def seen(topology: Topology, held: Held) -> dict[tuple[str, Label], set[str]]:
    known = nodes_of(topology)
    return {key: {node for node in nodes if node in known and node != key[0]} for key, nodes in held.by.items()}


@pytest.mark.parametrize("seed", range(7))
def test_in_a_tree_exactly_what_can_arrive_does(seed: int, tmp_path: Path) -> None:
    topology = topology_of(seed, tmp_path, backups=False)
    world, held = world_of(topology, seed)
    voices = Voices(world, topology)
    voices.speak()
    for _ in range(4):
        world.run(2_000)
        voices.answer()
    world.run(5_000)
    arrived = seen(topology, held)
    for (origin, label), nodes in predicted(topology, Flows(topology), still=True).items():
        assert arrived.get((origin, label), set()) == nodes, (origin, label.short)


def _stays(topology: Topology, flow: Flow) -> bool:
    """Whether it is possible while nobody moves, too."""
    return flow.target in topology.points or (flow.way is not None and flow.way.carrier == CLIMBING)


@pytest.mark.parametrize("circles", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_of_every_parent_the_answer_is_that_of_each(seed: int, circles: bool, tmp_path: Path) -> None:
    """Never is never in any tree that the file allows, always is in each of them, and at times in some.

    At times may be for a moment only: where relays back each other up in a circle, while one of them has no parent, and
    for a relay that stands above the place which whoever a message is for takes next.
    """
    topology = topology_of(seed, tmp_path, circles=circles)
    trees = [Flows(tree) for tree in arrangements(topology, TREES_MAX)]
    flows = Flows(topology)
    for source, target in [(a, b) for a in topology.points for b in nodes_of(topology) if a != b]:
        for label in Label:
            flow = flows.between(source, target, label)
            got = [can(tree.between(source, target, label)) for tree in trees]
            if flow.reaches == "never":
                assert not any(got), (source, target, label)
            elif flow.reaches == "always":
                assert all(got), (source, target, label)
            elif can(flow) and _stays(topology, flow) and not circles and len(trees) < TREES_MAX:
                assert any(got), (source, target, label, flow)


@pytest.mark.parametrize("seed", range(4))
def test_what_cannot_arrive_never_does_while_parents_die_and_nodes_move(seed: int, tmp_path: Path) -> None:
    topology = topology_of(seed, tmp_path, circles=bool(seed % 2))
    world, held = world_of(topology, seed)
    voices, chosen = Voices(world, topology), random.Random(seed)
    links = [
        (node.id, above) for node in [*topology.relays.values(), *topology.points.values()]
        for above in [getattr(node, "parent", None) or getattr(node, "relay", None), *node.backups] if above
    ]
    for _ in range(3):
        voices.speak()
        parted = chosen.sample(links, min(len(links), 3))
        for node, above in parted:
            world.part(node, above, told=chosen.random() < 0.7)
        if world.nodes[name := chosen.choice(list(topology.relays))].alive:
            world.crash(name, chosen.randint(100, 8_000))
        for _ in range(4):
            world.run(chosen.randint(500, 4_000))
            voices.answer()
        for node, above in parted:
            world.join(node, above)
        world.run(chosen.randint(500, 15_000))
        voices.answer()
    world.run(30_000)
    possible = predicted(topology, Flows(topology), still=False)
    for key, nodes in seen(topology, held).items():
        assert nodes <= possible[key], (key, nodes - possible[key])


SCOPED = """
fabric = "acme"
[relays]
hq  = { clearance = "green", listen = "127.0.0.1:7700" }
mid = { clearance = "amber", listen = "127.0.0.1:7701", parent = "hq" }
low = { clearance = "amber", listen = "127.0.0.1:7702", parent = "mid" }
[roles]
firewall = { execute = ["deny ipv4_net"] }
soar = { request = [{ action = "deny *", to = "role=firewall", scope = "mid" }] }
[points]
fw = { role = "firewall", relay = "mid", clearance = "amber" }
soar-1 = { role = "soar", relay = "low", clearance = "amber" }
"""


def test_a_result_goes_past_where_its_action_turned_when_nobody_is_there_to_take_it(tmp_path: Path) -> None:
    path = tmp_path / "scoped.toml"
    path.write_text(SCOPED)
    topology = load(path)
    world, held = world_of(topology, 1)
    voices = Voices(world, topology)
    voices.speak()
    world.run(1_000)
    assert world.nodes["fw"].delivered
    world.switch_off("soar-1")
    world.run(SESSION_GRACE_MS + 60_000)
    voices.answer()
    world.run(10_000)
    flows = Flows(topology)
    for label in (Label.CLEAR, Label.GREEN, Label.AMBER):
        flow = flows.between("fw", "hq", label)
        assert ("hq" in held.by["fw", label]) == (flow.reaches == "sometimes") == (label <= Label.GREEN)
        assert flow.way is None or flow.way.follows
