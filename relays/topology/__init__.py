"""Topology files: read, prove, draw. The validator is imported when a file is read, never by the model."""

from relays.topology.asserts import load_proven
from relays.topology.graph import draw, mermaid
from relays.topology.lint import lint
from relays.topology.loader import load
from relays.topology.model import Topology
from relays.topology.problems import Problem, TopologyErrors

__all__ = ["Problem", "Topology", "TopologyErrors", "draw", "lint", "load", "load_proven", "mermaid"]
