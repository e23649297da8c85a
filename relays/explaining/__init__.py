"""Why somebody may or may not: the same checks that relays make, asked before anything is sent."""

from relays.explaining.tree import Tree, tree_here, tree_of
from relays.explaining.verdicts import (
    Asker,
    Explanation,
    Hop,
    Target,
    asker_of,
    explain_action,
    explain_publish,
    explain_subscribe,
)

__all__ = [
    "Asker", "Explanation", "Hop", "Target", "Tree", "asker_of", "explain_action", "explain_publish",
    "explain_subscribe", "tree_here", "tree_of",
]
