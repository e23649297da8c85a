"""Who may hold what of a message, asked of a topology as relays ask it of credentials: the one place that does.

Guarantees: the answer is `may_hold`, the function that every relay asks. The audience is the one that a message gets
where nobody chooses another: the organisation of its origin; of results and approvals it is that of the action's.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabric.protocol.vocabulary.tlp import Audience, Label, may_hold
from relays.topology.model import PointSpec, RelaySpec

Node = RelaySpec | PointSpec


def holds(node: Node, label: Label, organisation: str) -> bool:
    """Whether the node may hold content with this label whose audience is this organisation."""
    return may_hold(node, label, Audience((organisation,)))


def rule_against(node: Node, label: Label) -> str:
    """Of a node that may not hold it: by which rule, as people name it."""
    if label > node.clearance:
        return f"clearance {node.clearance.short}"
    return f"organisation {node.organisation}"


def first_refusal(path: Iterable[RelaySpec], label: Label, organisation: str) -> RelaySpec | None:
    """The first relay on a path that may not hold the label, when the audience is the organisation."""
    return next((relay for relay in path if not holds(relay, label, organisation)), None)
