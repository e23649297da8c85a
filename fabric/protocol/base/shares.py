"""Bounded room that is shared (SPEC 10): nobody holds more of it than what is left, or a few times that.

Guarantees: a room is never exceeded, and however many holders take all that they may, a newcomer finds some room left.
Of a `Shared` room, what is taken out is taken in turns among the sources, of each the oldest first. The caller says
whose an entry is: the peer's from which it came, never a name that the peer made up.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
H = TypeVar("H", bound=Hashable)

# So many times what is left, where what a holder has soon goes away by itself: alone four fifths of the room, two of
# them four ninths each, and whoever comes while others fill the room finds a fifth of it free.
LARGE_SHARE: Final = 4
# All whom one issuer vouches for together: four times as much, so that one of them which takes its own share leaves
# room to the others, and they together, however many the issuer makes, leave a seventeenth to everybody else.
ISSUER_SHARE: Final = 4 * LARGE_SHARE


def beyond_share(held: int, more: int, left: int, times: int = 1) -> bool:
    """Whether `more` is too much for who holds `held` of a room in which `left` is free, before it is taken in.

    `times`: how often what is left one holder may have. Once, it is half of the room alone, a third each for two.
    """
    return more > left or held + more > times * left


class Holdings(Counter[H]):
    """How much each holder has. Who has nothing is not in it."""

    def add(self, holder: H, amount: int) -> None:
        """A negative amount is given back."""
        self[holder] += amount
        if not self[holder]:
            del self[holder]


class Shared(Generic[K, V]):
    """A map of at most `entries_max` entries. Each belongs to a source, and the sources share the room."""

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
        if self._source.get(key) != source and beyond_share(had, 1, self._max - others):
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
