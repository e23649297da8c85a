"""Which rows of a spool were set aside, in words for a log.

Guarantees: every row is counted, however many there are. A badly damaged disk has more of them than anybody reads or a
starting process should keep: the first are named, the others counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# As many rows as the spool keeps of those that it set aside.
NAMED_MAX: Final = 1_000


class Damaged:
    """Damaged rows since it was last taken: each counted in `rows`, the first ones named."""

    def __init__(self) -> None:
        self._named: list[str] = []
        self.rows = 0

    def add(self, words: Iterable[str]) -> None:
        """One line for each row."""
        for line in words:
            self.rows += 1
            if len(self._named) < NAMED_MAX:
                self._named.append(line)

    def words(self) -> list[str]:
        more = self.rows - len(self._named)
        return [*self._named, f"{more} more rows"] if more else list(self._named)

    def names(self, kind: str) -> list[str]:
        """Of the rows that were named, those of this kind, without it."""
        return [line[len(kind):].partition(":")[0] for line in self._named if line.startswith(kind)]

    def take(self) -> tuple[list[str], int]:
        """In words, and how many they are; from now on it is empty."""
        words, rows = self.words(), self.rows
        self._named, self.rows = [], 0
        return words, rows
