"""The changes of routes that a peer has yet to be told (SPEC 7.6), in turns among those whose routes they are.

Guarantees: of one node and session only the latest is said; each source holds a share of what waits, and loses its own
oldest beyond it; neither many changes of one source nor withdrawals that somebody invented keep a newcomer's attachment
waiting for more than a frame. Knows no table: what a key stands for is looked up when its change is sent.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from fabric.protocol.base.limits import ROUTES_WAITING_MAX, WITHDRAWALS_MAX
from fabric.protocol.base.shares import Shared
from fabric.protocol.routes.attachments import Attachment, RouteKey

# None: what the table has. A number: it is withdrawn since this epoch.
Said = Attachment | int | None


class Rank(IntEnum):
    """What goes first. Of a frame each rank has a part of its own, so that none waits for ever."""

    ATTACHED = 0
    WITHDRAWN = 1  # of a session that was known here
    UNKNOWN = 2  # of a session that was never heard of here


# The part of a frame: a half, a quarter, an eighth. What is left goes to the first rank that still has something.
_PART = {Rank.ATTACHED: 2, Rank.WITHDRAWN: 4, Rank.UNKNOWN: 8}
_MOST = {Rank.ATTACHED: ROUTES_WAITING_MAX, Rank.WITHDRAWN: WITHDRAWALS_MAX, Rank.UNKNOWN: WITHDRAWALS_MAX}


class Change(NamedTuple):
    """What a peer is to be told of one session. `source` is the child or control point that said it."""

    key: RouteKey
    said: Said
    source: str


class Changes:
    """What one peer has yet to be told."""

    def __init__(self) -> None:
        # In order of rank, each made when there is something of it: nearly all peers are never told anything.
        self._waiting: dict[Rank, Shared[RouteKey, Said]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return any(self._waiting.values())  # asked of every link several times a second

    def __contains__(self, key: RouteKey) -> bool:
        return any(key in waiting for waiting in self._waiting.values())

    def say(self, key: RouteKey, said: Said, source: str, *, known: bool = True) -> None:
        """Instead of what was to be said of this key. `known`: whether a withdrawal is of what was known here."""
        for waiting in self._waiting.values():
            waiting.pop(key)
        withdrawal = Rank.WITHDRAWN if known else Rank.UNKNOWN
        self._of(withdrawal if isinstance(said, int) else Rank.ATTACHED).push(key, said, source)

    def _of(self, rank: Rank) -> Shared[RouteKey, Said]:
        if rank not in self._waiting:
            made: Shared[RouteKey, Said] = Shared(_MOST[rank])
            self._waiting = dict(sorted([*self._waiting.items(), (rank, made)]))
        return self._waiting[rank]

    def say_again(self, key: RouteKey, said: Said, source: str) -> None:
        """Unless there is something newer to be said of it."""
        if key not in self:
            self.say(key, said, source)

    def take(self, count: int) -> list[Change]:
        """For one frame."""
        taken: list[Change] = []
        for rank, waiting in self._waiting.items():
            taken += map(Change._make, waiting.take(count // _PART[rank]))
        for waiting in self._waiting.values():
            taken += map(Change._make, waiting.take(count - len(taken)))
        return taken

    def clear(self) -> None:
        self._waiting.clear()
