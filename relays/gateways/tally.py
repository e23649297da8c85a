"""What a sink counts in its state, and says: seldom enough for a log, soon enough for whoever reads it."""

from __future__ import annotations

from relays.gateways.kinds import Outtake


class Tally:
    """Counted as `reason`; said at the first, and whenever it has doubled. `words`: what they are."""

    def __init__(self, reason: str, words: str) -> None:
        self._reason = reason
        self._words = words
        self._count = 0
        self._next = 1

    def add(self, count: int, outtake: Outtake) -> None:
        """So many more."""
        if not count:
            return
        outtake.count(self._reason, count)
        self._count += count
        if self._count >= self._next:
            self._next = 2 * self._count
            outtake.note(f"{self._count:,} {self._words}")
