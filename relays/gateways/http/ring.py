"""The newest messages, for readers that come again: one bounded ring, and a numbering of its own for each token.

Guarantees: so many items of so many bytes at most, the oldest go first. An item has a number for each track that may
see it, without a gap: a number tells nothing of what its reader may not see. What went before a reader took it is
counted. Not thread-safe.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from fabric.protocol.vocabulary.tlp import Label

ITEMS_MAX: Final = 20_000
BYTES_MAX: Final = 64 << 20
# What an item takes besides its bytes: itself and its texts, and a place in each track that has it.
_ITEM_BYTES: Final = 512
_PLACE_BYTES: Final = 8


class Item(NamedTuple):
    """`texts`: what is written of it for who is cleared for a label. `until_s`: when it expires, by a steady clock.
    `is_for_all`: whatever a reader asks for."""

    topic: str
    texts: Mapping[Label, bytes]
    until_s: float = math.inf
    is_for_all: bool = False

    @property
    def size(self) -> int:
        """Bytes; what several labels have alike is one text."""
        return sum(map(len, {id(text): text for text in self.texts.values()}.values())) + _ITEM_BYTES


class Track:
    """What one token may see, numbered from 1. `clearance`: which text of an item is for it."""

    def __init__(self, clearance: Label) -> None:
        self.clearance = clearance
        self._held: deque[Item] = deque()
        self._next = 1

    @property
    def newest(self) -> int:
        """The number of the newest item, held or not; 0 before there was one."""
        return self._next - 1

    @property
    def first(self) -> int:
        """The number of the oldest that is held, or of the next one."""
        return self._next - len(self._held)

    def after(self, number: int) -> Iterator[tuple[int, Item]]:
        """Those that are held and come after this one, with their numbers."""
        skipped = max(0, number + 1 - self.first)
        first = self.first
        for index in range(skipped, len(self._held)):  # an index is found from the nearer end
            yield first + index, self._held[index]

    def _add(self, item: Item) -> None:
        self._held.append(item)
        self._next += 1

    def _drop_oldest(self) -> None:
        self._held.popleft()


class Ring:
    """Items in the order in which they came."""

    def __init__(self, items_max: int = ITEMS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._held: deque[tuple[Item, Sequence[Track], int]] = deque()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    def __len__(self) -> int:
        return len(self._held)

    def add(self, item: Item, tracks: Sequence[Track]) -> None:
        """For those who may see it; nobody's is not kept."""
        if not tracks:
            return
        size = item.size + _PLACE_BYTES * len(tracks)
        for track in tracks:
            track._add(item)
        self._held.append((item, tracks, size))
        self._bytes += size
        while len(self._held) > self._items_max or (self._bytes > self._bytes_max and len(self._held) > 1):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, tracks, size = self._held.popleft()
        self._bytes -= size
        for track in tracks:  # the oldest of the ring is the oldest of each track that has it
            track._drop_oldest()
