"""What a sink counts and says: seldom enough for a log, soon enough for whoever reads it."""

from __future__ import annotations

from relays.gateways.kinds import Outtake


class Tally:
    """Said at the first, and whenever it has doubled. `words`: what they are."""

    def __init__(self, words: str) -> None:
        self._words = words
        self._count = 0
        self._next = 1

    def add(self, count: int, outtake: Outtake) -> None:
        """So many more."""
        self._count += count
        if count and self._count >= self._next:
            self._next = 2 * self._count
            outtake.note(f"{self._count:,} {self._words}")
