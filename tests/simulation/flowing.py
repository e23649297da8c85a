"""Small topologies from a seed, and what of everything that can be said in them gets where when relays run them.

Nothing here asks `relays.topology.flow`: who holds a part is seen from outside, in the frames that nodes are sent.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

from fabric.protocol.access.permissions import CANCEL
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import Grants, PublishGrant
from fabric.protocol.vocabulary.fetching import FETCH
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.topology.holding import widest
from relays.topology.loader import load
from relays.topology.model import Topology
from tests.simulation.finding import Parts
from tests.simulation.world import Observer, SimNode, World
from tests.support import MINUTE_MS, derive

ROLES = """
[roles]
sensor = { publish = ["detections.>"] }
feed = { publish = [{ topic = "intel.>", organisations = ["guest"], communities = ["isac"] }] }
analyst = { subscribe = ["detections.>"] }
reader = { subscribe = ["intel.>"] }
firewall = { execute = ["deny ipv4_net"], subscribe = ["intel.>"] }
edr = { execute = ["scan device"], publish = [{ topic = "detections.>", organisations = ["*"] }] }
soar = { request = [{ action = "deny *", to = "role=firewall" }], subscribe = ["detections.>"] }
"""
NAMES = ("sensor", "feed", "analyst", "reader", "firewall", "edr", "soar", "local", "hunter")
# Part of a name in the world: a control point at each relay that the topology does not have.
LATER = "later-"


def topology_of(
    seed: int, folder: Path, *, relays: int = 5, points: int = 7, backups: bool = True, circles: bool = False
) -> Topology:
    """A tree with clearances, organisations, scopes and, with `backups`, other places to be.

    `circles`: some may back each other up.
    """
    chosen, seals = random.Random(seed), random.Random(seed)
    names = [f"r{n}" for n in range(relays)]
    parents = {name: names[chosen.randrange(n)] for n, name in enumerate(names) if n}
    lines = ['fabric = "acme"', 'organisation = "acme"', "[relays]"]
    for n, name in enumerate(names):
        more = f', parent = "{parents[name]}"' if n else ""
        if n and (others := _others(chosen, name, names if circles else names[:n], parents) if backups else []):
            more += f", backups = {list_of(others)}"
        lines.append(
            f'{name} = {{ clearance = "{_clearance(chosen, top=n == 0)}", listen = "127.0.0.1:{7700 + n}"'
            f'{_organisation(chosen)}{", carries_sealed = true" if seals.random() < 0.3 else ""}{more} }}'
        )
    lines.append(ROLES)
    scope, other = chosen.choice(names), chosen.choice(names)
    lines += [
        f'local = {{ request = [{{ action = "deny *", to = "role=firewall", scope = "{scope}" }}] }}',
        f'hunter = {{ request = [{{ action = "scan *", to = "all", scope = "{other}" }}, '
        f'{{ action = "deny *", to = "role=firewall", severity_max = "low" }}], subscribe = ["intel.>"] }}',
        "[points]",
    ]
    for n in range(points):
        role, at = chosen.choice(NAMES), chosen.choice(names)
        more = _organisation(chosen)
        if backups and chosen.random() < 0.3:
            more += f", backups = {list_of([chosen.choice([name for name in names if name != at])])}"
        lines.append(
            f'p{n} = {{ role = "{role}", relay = "{at}", clearance = "{_clearance(chosen)}"{more} }}'
        )
    path = folder / f"{seed}.toml"
    path.write_text("\n".join(lines) + "\n")
    return load(path)


def list_of(names: list[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _clearance(chosen: random.Random, *, top: bool = False) -> str:
    return Label.RED.short if top and chosen.random() < 0.7 else chosen.choice(list(Label)[1:]).short


def _organisation(chosen: random.Random) -> str:
    """What a node is to others: of which organisation, in a community, a client of somebody."""
    own, other = chosen.choice([("acme", "guest"), *[("guest", "acme")] * (chosen.random() < 0.4)])
    said = f', organisation = "{own}"' + (', communities = ["isac"]' if chosen.random() < 0.2 else "")
    return said + (f', client_of = ["{other}"]' if chosen.random() < 0.2 else "")


def _others(chosen: random.Random, name: str, names: list[str], parents: Mapping[str, str]) -> list[str]:
    def is_below(other: str) -> bool:
        while other != name and other in parents:
            other = parents[other]
        return other == name

    fit = [other for other in names if not is_below(other) and other != parents[name]]
    return chosen.sample(fit, min(len(fit), chosen.choice([0, 0, 1, 1, 2])))


def arrangements(topology: Topology, most: int) -> Iterator[Topology]:
    """The topology with every node at one of its parents, for each choice that is a tree; the first of them."""
    relays = [relay for relay in topology.relays.values() if relay.parent]
    points = list(topology.points.values())
    places = [(node.parent, *node.backups) for node in relays] + [(node.relay, *node.backups) for node in points]

    def arranged() -> Iterator[Topology]:
        for choice in product(*places):
            above = {relay.id: name for relay, name in zip(relays, choice, strict=False)}
            if not _is_tree(above):
                continue
            at = {point.id: name for point, name in zip(points, choice[len(relays):], strict=True)}
            yield replace(
                topology,
                relays={r.id: replace(r, parent=above.get(r.id), backups=()) for r in topology.relays.values()},
                points={p.id: replace(p, relay=at[p.id], backups=()) for p in points},
            )

    yield from islice(arranged(), most)


def _is_tree(above: Mapping[str, str | None]) -> bool:
    for name in above:
        seen, at = {name}, above[name]
        while at in above:
            if at in seen:
                return False
            seen.add(at)
            at = above[at]
    return True


class Held(Observer):
    """Who was sent which part: (origin, label) -> nodes, in the order in which they were."""

    def __init__(self) -> None:
        self.by: dict[tuple[str, Label], dict[str, None]] = {}
        self._parts: Parts[tuple[str, Label]] = Parts()

    def published(self, node: SimNode, message: Verified) -> None:
        for entry, part in zip(message.header.manifest, message.envelope.parts, strict=True):
            if part is not None:
                self._parts.add(part, (node.name, entry.label))

    def sent(self, sender: SimNode, receiver: SimNode, payload: bytes) -> None:
        for key in self._parts.within(payload):
            self.by.setdefault(key, {})[receiver.name] = None


def world_of(topology: Topology, seed: int) -> tuple[World, Held]:
    """Relays that run it, and at each one control point more."""
    world, held = World(seed, answers=False), Held()
    world.observers.append(held)
    for relay in topology.relays.values():
        world.relay(
            relay.id, relay.parent or "", relay.clearance, organisation=relay.organisation, backups=relay.backups,
            communities=relay.communities, client_of=relay.client_of, carries_sealed=relay.carries_sealed,
        )
    for point in topology.points.values():
        world.point(
            point.id, point.relay or "", topology.grants_of(point.id), point.clearance, {"role": point.role},
            point.organisation, point.backups, communities=point.communities, client_of=point.client_of,
        )
        role = topology.role_of(point.id)
        world.attach(point.id, *role.subscribe, executes=bool(role.execute))
    for relay in topology.relays.values():
        later = Grants(publish=(PublishGrant("detections.>"),))
        world.point(f"{LATER}{relay.id}", relay.id, later, organisation=relay.organisation)
    world.run(10_000)
    return world, held


class Voices:
    """Everybody says everything that the grants allow, with every label; targets answer with every label, too."""

    def __init__(self, world: World, topology: Topology) -> None:
        self._world = world
        self._topology = topology
        self._number = 0
        self._answered: dict[tuple[str, bytes], None] = {}

    def speak(self) -> None:
        for name in [*self._topology.points, *(f"{LATER}{relay}" for relay in self._topology.relays)]:
            for label in Label:
                self._say_all(name, label)

    def answer(self) -> None:
        for name in self._topology.points:
            for delivery in list(self._world.nodes[name].delivered):
                key = (name, delivery.message.id)
                if delivery.message.header.kind is Kind.ACTION and key not in self._answered:
                    self._answered[key] = None
                    self._answer(name, delivery)

    def _say_all(self, name: str, label: Label) -> None:
        grants = self._world.nodes[name].member.credential.grants
        for grant in grants.publish:
            kind = Kind.INTEL if grant.pattern.startswith("intel") else Kind.EVENT
            # In a message of which everybody may know: above that, what is for nobody's eyes is on no way either.
            point = self._topology.points.get(name)
            wide = widest(self._topology, point) if point is not None else Audience((self._organisation(name),))
            everybody = [self._world.nodes[each].member for each in (name, *self._topology.points) if each != name]
            self._say(
                name, Label.CLEAR, kind=kind, topic=grant.pattern.replace(">", "x"), rules={"number": label},
                organisations=wide.organisations, communities=wide.communities,
                sealed_to=[self._world.nodes[name].member, *everybody] if label is Label.RED else (),
            )
        for severity in (Severity.LOW, Severity.HIGH) if grants.request else ():
            self._ask(name, label, "deny.ipv4_net", "all", severity)
            self._ask(name, label, "scan.device", "all", severity)
            self._ask(name, label, FETCH, "all", severity)
        if grants.request:
            self._ask(name, label, CANCEL, "all", Severity.LOW, correlation=derive("nothing", self._number))

    def _ask(self, name: str, label: Label, topic: str, to: str, severity: Severity, **fields: bytes) -> None:
        self._say(name, label, kind=Kind.ACTION, topic=topic, to=to, severity=severity, **fields)

    def _answer(self, name: str, delivery: Delivery) -> None:
        about = delivery.message.header
        for label in Label:
            if label >= about.label:
                self._say(
                    name, label, kind=Kind.RESULT, topic=about.topic, to=about.origin, severity=about.severity,
                    correlation=delivery.message.leaf, state=State.RUNNING, organisations=about.audience.organisations,
                )

    def _say(self, name: str, label: Label, **fields: object) -> None:
        self._number += 1
        own = {"organisations": (self._organisation(name),)}
        self._world.publish(
            name, label=label, records=[{"number": self._number, "targets": [name]}], sequence=self._number,
            ttl_ms=MINUTE_MS, **{**own, **fields},
        )

    def _organisation(self, name: str) -> str:
        return self._world.nodes[name].member.credential.organisation
