"""Who may hold what of a message, asked of a topology as relays ask it of credentials: the one place that does.

Guarantees: the answer is `may_hold`, the function that every relay asks. Whom what somebody publishes, or requests, is
for, is said here too; results and approvals have the audience of their action.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabric.protocol.vocabulary.tlp import Audience, Label, may_hold
from relays.topology.model import PointSpec, RelaySpec

Node = RelaySpec | PointSpec


def audience_of(node: Node) -> Audience:
    """That of what a node says where it chooses none, and the only one that it can: its organisation."""
    return Audience((node.organisation,))


def holds(node: Node, label: Label, audience: Audience) -> bool:
    """Whether the node may hold content with this label for this audience."""
    return may_hold(node, label, audience)


def rule_against(node: Node, label: Label) -> str:
    """Of a node that may not hold it: by which rule, as people name it."""
    if label > node.clearance:
        return f"clearance {node.clearance.short}"
    return f"organisation {node.organisation}"


def first_refusal(path: Iterable[RelaySpec], label: Label, audience: Audience) -> RelaySpec | None:
    """The first relay on a path that may not hold the label for this audience."""
    return next((relay for relay in path if not holds(relay, label, audience)), None)
