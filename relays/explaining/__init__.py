"""Why somebody may or may not: the same checks that relays make, asked before anything is sent."""

from relays.explaining.sample import Field, Sample, matched_rules, sample_of
from relays.explaining.selecting import unknown_names
from relays.explaining.tree import Tree, tree_here, tree_of
from relays.explaining.verdicts import (
    Asker,
    Explanation,
    Hop,
    Target,
    asker_of,
    explain_action,
    explain_publish,
    explain_relabel,
    explain_subscribe,
)

__all__ = [
    "Asker", "Explanation", "Field", "Hop", "Sample", "Target", "Tree", "asker_of", "explain_action", "explain_publish",
    "explain_relabel", "explain_subscribe", "matched_rules", "sample_of", "tree_here", "tree_of", "unknown_names",
]
