"""Names in a selector that no node has: most often a typing error, which selects nobody."""

from __future__ import annotations

from fabric.protocol.base.errors import Reject
from fabric.protocol.vocabulary.selectors import parse_selector
from relays.explaining.tree import Tree

# Of the names that there are, as many as fit into a sentence.
_NAMES_SHOWN = 12


def unknown_names(selector: str, tree: Tree) -> str:
    """In words; empty where every name is somebody's, the selector cannot be read, or nobody is known here."""
    read = parse_selector(selector)
    if isinstance(read, Reject) or not tree.points:
        return ""
    there = dict.fromkeys(name for placed in tree.points.values() for name in placed.credential.attributes())
    missing = [name for name in read.names if name not in there]
    if not missing:
        return ""
    return f"nobody who is known here has {' or '.join(missing)} (there is {', '.join(list(there)[:_NAMES_SHOWN])})"
