"""Which relays content can pass in a topology, up and down: those that may hold it (`holding`), by every parent.

`sealed`: what is RED of it is sealed, and relays that carry what they cannot read pass it on.
"""

from __future__ import annotations

from typing import Final

from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.topology.holding import Node, passes
from relays.topology.model import Topology
from relays.topology.parents import Parents, Trace

# In place of a label: whoever it is may hold it. For the way that content would take if no rule stopped it.
ANY: Final = None


def may(node: Node, label: Label | None, audience: Audience, *, sealed: bool = False) -> bool:
    """Whether the node may have the label, or anything, in its hands."""
    return label is ANY or passes(node, label, audience, sealed=sealed)


class Walks:
    """The ways through one topology, each walked once: labels and audiences are few."""

    def __init__(self, topology: Topology, parents: Parents) -> None:
        self._topology = topology
        self._parents = parents
        self._cleared: dict[tuple[Label | None, Audience, bool], frozenset[str]] = {}
        self._up: dict[tuple[str, Label | None, Audience, str, bool], Trace] = {}
        self._down: dict[tuple[str, Label | None, Audience, str, bool], Trace] = {}

    def cleared(self, label: Label | None, audience: Audience, *, sealed: bool) -> frozenset[str]:
        """The relays that may have the label for this audience in their hands."""
        key = (label, audience, sealed)
        if key not in self._cleared:
            self._cleared[key] = frozenset(
                relay.id for relay in self._topology.relays.values() if may(relay, label, audience, sealed=sealed)
            )
        return self._cleared[key]

    def up(self, start: str, label: Label | None, audience: Audience, last: str = "", *, sealed: bool) -> Trace:
        """What is reached upward from there; `last` is passed by none."""
        key = (start, label, audience, last, sealed)
        if key not in self._up:
            self._up[key] = self._parents.up(start, self.cleared(label, audience, sealed=sealed), last)
        return self._up[key]

    def down(self, top: str, label: Label | None, audience: Audience, without: str, *, sealed: bool) -> Trace:
        """What is reached downward from there, by no way through `without`."""
        key = (top, label, audience, without, sealed)
        if key not in self._down:
            self._down[key] = self._parents.down(top, self.cleared(label, audience, sealed=sealed) - {without})
        return self._down[key]
