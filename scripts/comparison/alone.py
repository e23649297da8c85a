"""The rows of Message Fabric alone: no peer does the same, so each figure has a target, or is there to be seen growing.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from scripts.comparison import backlog, crowd, fanout, growth, opening, proving, start
from scripts.comparison.rows import Plan


class Sizes(NamedTuple):
    """How much there is of everything."""

    targets: int = 500
    relays: int = 20
    idle: int = 5_000
    coming: int = 500
    backlog: int = 1_000_000

    opened: int = 1_000_000
    proven: int = 1_000
    growth: float = 1.0  # the share of its largest sizes

    def scaled(self, share: float) -> Sizes:
        """So much of each, one at least."""
        counts = {name: max(1, round(size * share)) for name, size in self._asdict().items()}
        return Sizes(**{**counts, "growth": self.growth * share})


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
        Plan(
            "backlog", f"{sizes.backlog:,} records that wait at a relay while its parent is away, until it has them",
            backlog.FIGURES, partial(backlog.backlog, records=sizes.backlog), rounds_max=1, warm_up=False,
        ),
        Plan(
            "open", f"a relay's start with {sizes.opened:,} messages on its disk, each in an envelope of its own",
            opening.FIGURES, partial(opening.opening, rows=sizes.opened), warm_up=False,
        ),
        Plan(
            "lint", "what it costs to prove what of a large topology gets where", (proving.LINT, proving.FLOWS),
            partial(proving.proving, relays=sizes.proven),
        ),
        Plan(
            "growth", "what a message costs the relays that it passes, with more hops, more relays and more routes",
            growth.figures(sizes.growth), partial(growth.growth, share=sizes.growth), rounds_max=1, warm_up=False,
        ),
        Plan(
            "start", "fabric --help, and a relay until it serves", (start.HELP, start.RELAY), start.starting,
            warm_up=False,
        ),
    )
