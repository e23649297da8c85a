"""Links that have ended here and are cut soon: their peers are told why first, and what they still send is discarded.

Guarantees: what was in the pipe of a link that ended is never read, so it is answered and logged once, with the link's
end, and not frame by frame; how many frames those were is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Cut(NamedTuple):
    """A link whose time is over, and the frames of it that came after its end."""

    link: int
    late_frames: int


class Condemned:
    """`after_ms`: how long a peer has to read why, before its connection is cut."""

    def __init__(self, after_ms: int) -> None:
        self._after_ms = after_ms
        self._cut_at_ms: dict[int, int] = {}
        self._late: dict[int, int] = {}

    def add(self, link: int, now_ms: int) -> None:
        self._cut_at_ms[link] = now_ms + self._after_ms

    def takes(self, link: int, ended: Sequence[tuple[int, object]]) -> bool:
        """Whether a frame of this link comes too late. `ended`: the links that ended in this turn so far."""
        late = link in self._cut_at_ms or (bool(ended) and any(link == other for other, _ in ended))
        if late:
            self._late[link] = self._late.get(link, 0) + 1
        return late

    def forget(self, link: int) -> int:
        """It was cut, or its peer left; how many of its frames were late."""
        self._cut_at_ms.pop(link, None)
        return self._late.pop(link, 0)

    def due(self, now_ms: int) -> list[Cut]:
        """Those to cut now, which are forgotten."""
        if not self._cut_at_ms:
            return []
        links = [link for link, at_ms in self._cut_at_ms.items() if now_ms >= at_ms]
        return [Cut(link, self.forget(link)) for link in links]

    def wakes_ms(self) -> list[int]:
        return list(self._cut_at_ms.values())
