"""Effects that somebody asked for without an end (SPEC 9.8): no lease of somebody else ends them.

Pure: what is to be written follows from the step. Guarantees: an effect is kept up for as long as one who asked for it
for good has neither asked for it with a duration since, nor has the target had an action that undoes it. The room is
shared among requesters, and of each the oldest goes first: what is forgotten ends with the next lease on it.
"""

from __future__ import annotations

from typing import Final, TypeVar

from fabric.protocol.base.shares import Shared
from fabric.protocol.core.ledger_ops import KeepForGood

FOR_GOOD_MAX: Final = 32_768
_E = TypeVar("_E")


class ForGood:
    """By effect and requester."""

    def __init__(self, count_max: int = FOR_GOOD_MAX) -> None:
        self._kept: Shared[tuple[bytes, str], KeepForGood] = Shared(count_max)
        self._of_effect: dict[bytes, dict[str, None]] = {}
        self._of_target: dict[bytes, dict[tuple[bytes, str], None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def holds(self, effect: bytes) -> bool:
        """Whether somebody wants it for good."""
        return effect in self._of_effect

    def add(self, kept: KeepForGood) -> list[KeepForGood]:
        """Its requester has it in force without an end."""
        key = kept.effect, kept.requester
        forgotten = self._drop(key)  # as its newest
        while not self._kept.put(key, kept, kept.requester):
            oldest = next((each for each, _, whose in self._kept.items() if whose == kept.requester), None)
            if oldest is None:
                return forgotten
            forgotten += self._drop(oldest)
        self._of_effect.setdefault(kept.effect, {})[kept.requester] = None
        self._of_target.setdefault(kept.target, {})[key] = None
        return [*forgotten, kept]

    def has_an_end(self, effect: bytes, requester: str) -> list[KeepForGood]:
        """This requester asked for it with a duration, and its handler is about to be called."""
        return self._drop((effect, requester))

    def undone(self, target: bytes, by: bytes) -> list[KeepForGood]:
        """An action that undoes others was done there; `by`: its own effect."""
        keys = [key for key in self._of_target.get(target, ()) if key[0] != by]
        return [forgotten for key in keys for forgotten in self._drop(key)]

    def _drop(self, key: tuple[bytes, str]) -> list[KeepForGood]:
        kept = self._kept.pop(key)
        if kept is None:
            return []
        _take(self._of_effect, kept.effect, kept.requester)
        _take(self._of_target, kept.target, key)
        return [kept._replace(since_ms=0)]


def _take(index: dict[bytes, dict[_E, None]], name: bytes, entry: _E) -> None:
    del index[name][entry]
    if not index[name]:
        del index[name]
