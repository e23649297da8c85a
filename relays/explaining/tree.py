"""Who is where, as far as it can be known without asking a relay: from a topology file, or from identities' folders.

Guarantees: everybody is at the relay that they prefer, as while nothing is away. From folders only what their
credentials say is taken, and a relay above without a folder is named as unknown, never left out. A node that a file
declares is judged by the credential that would be issued for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fabric.edge.identity.identity import Identity
from fabric.protocol.base.limits import KEY_BYTES
from fabric.protocol.trust.credentials import Credential, NodeKind
from relays.authority.credentials import identities_here
from relays.authority.identities import point_claim, relay_claim
from relays.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Placed:
    """`above`: the relay that it is at or below; empty for the root."""

    credential: Credential
    above: str


@dataclass(frozen=True, slots=True)
class Climb:
    """The relays from one to the root. `unknown`: the one above them of which nothing is known; empty at the root."""

    relays: tuple[Credential, ...]
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """Every relay and control point of which something is known, by id."""

    relays: Mapping[str, Placed] = field(default_factory=dict)
    points: Mapping[str, Placed] = field(default_factory=dict)

    def climb(self, relay: str) -> Climb:
        way: dict[str, Credential] = {}
        while relay:
            placed = self.relays.get(relay)
            if placed is None or relay in way:
                return Climb(tuple(way.values()), relay)
            way[relay] = placed.credential
            relay = placed.above
        return Climb(tuple(way.values()))


def tree_of(topology: Topology) -> Tree:
    """As the file declares it."""
    points = {}
    for point in topology.points.values():
        relay = topology.relays[point.relay or topology.root.id]
        points[point.id] = Placed(_unsigned(point_claim(topology, point, relay)), relay.id)
    return Tree(
        {relay.id: Placed(_unsigned(relay_claim(topology, relay)), relay.parent or "")
         for relay in topology.relays.values()},
        points,
    )


def _unsigned(claim: Mapping[str, Any]) -> Credential:
    no_key = bytes(KEY_BYTES)
    return Credential(
        **claim, curve_key=no_key, sign_key=no_key, not_before_ms=0, not_after_ms=2**53, serial=0
    )


def tree_here(fabric: str, home: Path | None = None) -> Tree:
    """From the identities of a fabric on this machine. One that cannot be read is as if it were not there."""
    found = [each for each in identities_here(fabric, home) if isinstance(each, Identity)]
    relays = {each.id: Placed(each.credential, str(each.extra.get("parent", "")))
              for each in found if each.credential.kind is NodeKind.RELAY}
    points = {each.id: Placed(each.credential, each.relay.id if each.relay else "")
              for each in found if each.credential.kind in (NodeKind.POINT, NodeKind.OPERATOR)}
    return Tree(relays, points)
