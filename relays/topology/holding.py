"""Who may hold what of a message, asked of a topology as relays ask it of credentials: the one place that does.

Guarantees: the answer is `may_hold`, and of what is sealed `may_carry`, the functions that every relay asks. What
somebody publishes has an audience between `own`, which it gets where nobody chooses another, and `widest`; that of
actions, of their results and of approvals is `own` of the action's requester.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from fabric.protocol.trust.credentials import names_cover
from fabric.protocol.vocabulary.tlp import Audience, Label, may_carry, may_hold
from relays.topology.model import PointSpec, RelaySpec, Topology

Node = RelaySpec | PointSpec
# Whoever it is: what is sealed has recipients.
_SOMEBODY: Final = ("somebody",)


def own(node: Node) -> Audience:
    """Its organisation, and nobody else."""
    return Audience((node.organisation,))


def widest(topology: Topology, point: PointSpec) -> Audience:
    """All organisations and communities of the file that one of its grants, or another, lets a point address."""
    grants = topology.roles[point.role].publish
    to_organisations = [pattern for grant in grants for pattern in grant.to_organisations]
    to_communities = [pattern for grant in grants for pattern in grant.to_communities]
    if not to_organisations and not to_communities:
        return own(point)
    organisations = dict.fromkeys(node.organisation for node in topology.nodes)
    communities = dict.fromkeys(name for node in topology.nodes for name in node.communities)
    others = [name for name in organisations if name != point.organisation and names_cover(to_organisations, (name,))]
    return Audience(
        (point.organisation, *others), tuple(name for name in communities if names_cover(to_communities, (name,)))
    )


def holds(node: Node, label: Label, audience: Audience) -> bool:
    """Whether the node may hold content with this label under this audience."""
    return may_hold(node, label, audience)


def passes(node: Node, label: Label, audience: Audience, *, sealed: bool) -> bool:
    """Whether the node may have it in its hands. `sealed`: what is RED of it is, as events and intel are, and a relay
    may carry what it cannot read."""
    if holds(node, label, audience):
        return True
    return sealed and label is Label.RED and may_carry(node, replace(audience, recipients=_SOMEBODY))


def rule_against(node: Node, label: Label) -> str:
    """Of a node that may not hold it: by which rule, as people name it."""
    if label > node.clearance:
        return f"clearance {node.clearance.short}"
    return f"organisation {node.organisation}"


def first_refusal(
    path: Iterable[RelaySpec], label: Label, audience: Audience, *, sealed: bool = False
) -> RelaySpec | None:
    """The first relay on a path that may not have the label under this audience in its hands, as `passes` says."""
    return next((relay for relay in path if not passes(relay, label, audience, sealed=sealed)), None)
