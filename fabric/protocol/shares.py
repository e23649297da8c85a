"""Room that peers share (SPEC 10): each source holds at most what is left of it.

Guarantees: the entries never exceed the bound; alone a source may hold half of the room, two of them a third each, and
whoever comes finds room, however many others are greedy; what is taken out is taken in turns among the sources, of each
the oldest first. Whose an entry is the owner says: the peer that it came from, never a name that the peer made up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Shared(Generic[K, V]):
    def __init__(self, entries_max: int) -> None:
        self._max = entries_max
        self._source: OrderedDict[K, str] = OrderedDict()  # in order of arrival
        self._of: OrderedDict[str, OrderedDict[K, V]] = OrderedDict()  # whose turn it is, first

    def __len__(self) -> int:
        return len(self._source)

    def __contains__(self, key: K) -> bool:
        return key in self._source

    def __iter__(self) -> Iterator[K]:
        return iter(self._source)

    def get(self, key: K) -> V | None:
        return self._of[self._source[key]][key] if key in self._source else None

    def items(self) -> Iterator[tuple[K, V, str]]:
        """In order of arrival."""
        for key, source in self._source.items():
            yield key, self._of[source][key], source

    def put(self, key: K, value: V, source: str) -> bool:
        """As the newest of its source; False, and nothing is changed, where that has its share already."""
        had = len(self._of.get(source, ())) - (self._source.get(key) == source)
        others = len(self._source) - (key in self._source)
        if had + 1 > self._max - others:
            return False
        self.pop(key)
        self._source[key] = source
        self._of.setdefault(source, OrderedDict())[key] = value
        return True

    def push(self, key: K, value: V, source: str) -> bool:
        """The same; where there is no room the oldest of its source goes for it. False: one did."""
        if self.put(key, value, source):
            return True
        own = self._of.get(source)
        if own:
            self.pop(next(iter(own)))
            self.put(key, value, source)
        return False

    def pop(self, key: K) -> V | None:
        source = self._source.pop(key, None)
        if source is None:
            return None
        own = self._of[source]
        value = own.pop(key)
        if not own:
            del self._of[source]
        return value

    def take(self, count: int) -> list[tuple[K, V, str]]:
        """So many, one of each source in turn; they are no longer in here."""
        taken: list[tuple[K, V, str]] = []
        while self._of and len(taken) < count:
            source, own = next(iter(self._of.items()))
            key = next(iter(own))
            taken.append((key, own[key], source))
            self.pop(key)
            if source in self._of:
                self._of.move_to_end(source)
        return taken

    def clear(self) -> None:
        self._source.clear()
        self._of.clear()
