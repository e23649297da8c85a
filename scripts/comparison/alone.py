"""The rows of Message Fabric alone: no peer does the same, so each figure has a target, or is there to be seen growing.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from scripts.comparison import crowd, fanout
from scripts.comparison.rows import Plan


class Sizes(NamedTuple):
    """How much there is of everything."""

    targets: int = 500
    relays: int = 20
    idle: int = 5_000
    coming: int = 500

    def scaled(self, share: float) -> Sizes:
        """So much of each, one at least."""
        return Sizes(*(max(1, round(size * share)) for size in self))


def plans_alone(sizes: Sizes) -> tuple[Plan, ...]:
    tree = partial(fanout.fanout, relays=sizes.relays, points=sizes.targets)
    below = f"one action to {sizes.targets:,} control points below {sizes.relays:,} relays, until all results are back"
    return (
        Plan("fanout", f"{below}, by the command and by a program that is connected", fanout.FIGURES, tree),
        Plan(
            "fanout-approved", f"{below}, from the second of two approvals on", fanout.CONNECTED,
            partial(tree, approved=True),
        ),
        Plan(
            "connections", f"{sizes.idle:,} control points that subscribe at one relay, while nothing happens",
            (crowd.MEMORY, crowd.SHARE, crowd.STAYED), partial(crowd.idle, points=sizes.idle), warm_up=False,
        ),
        Plan(
            "connect", f"{sizes.coming:,} control points come to one relay at once", (crowd.ATTACHED,),
            partial(crowd.coming, points=sizes.coming),
        ),
    )
