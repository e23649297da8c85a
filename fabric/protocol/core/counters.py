"""What a node counts, by reason: "refused:bad_digest".

Guarantee: reasons come from tables, never from a peer, so there are few.
"""

from __future__ import annotations

from collections import Counter


class Counters(Counter[str]):
    """Since the node began."""

    def count(self, what: str, reason: str, by: int = 1) -> None:
        self[f"{what}:{reason}"] += by
