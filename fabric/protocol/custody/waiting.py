"""Readers that are full and lose nothing, so that others wait (SPEC 7.5): since when, and how often they were refused.

Guarantees: a reader that takes nothing for longer than it may be waited for is waited for no more, until it takes
something. Knows one entry for each session that is full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fabric.protocol.trust.credentials import name_ok

# What was under way when a reader was full is refused like what was refused first, also if it reads meanwhile: else the
# later would be before the earlier.
_PAUSE_MS: Final = 200
_WAITS: Final = " waits"


def waits_for(reader: str) -> str:
    """The detail of a BUSY that says whom a message waits for."""
    return reader + _WAITS


def reader_of(detail: str) -> str:
    """The reader that a BUSY names; empty: it is busy with something else."""
    name = detail.removesuffix(_WAITS)
    return name if name != detail and name_ok(name) else ""


@dataclass(slots=True)
class _Full:
    since_ms: int
    idle_since_ms: int  # it took nothing since
    refused: int = 0


class Waiting:
    """The sessions of this relay that are full and wait. Whether one is full now is for its owner to say."""

    def __init__(self) -> None:
        self._full: dict[str, _Full] = {}  # by destination

    def filled(self, destination: str, now_ms: int) -> None:
        self._full[destination] = _Full(now_ms, now_ms)

    def refused(self, destination: str) -> None:
        """One more message was not taken; one that is offered again counts again."""
        self._full[destination].refused += 1

    def read(self, destination: str, now_ms: int) -> None:
        """It took something."""
        full = self._full.get(destination)
        if full is not None:
            full.idle_since_ms = now_ms

    def forget(self, destination: str) -> None:
        """It has room, or is no more."""
        self._full.pop(destination, None)

    def is_full(self, destination: str) -> bool:
        return destination in self._full

    def pauses(self, destination: str, now_ms: int) -> bool:
        full = self._full.get(destination)
        return full is not None and now_ms - full.since_ms < _PAUSE_MS

    def is_over(self, destination: str, ms: int, now_ms: int) -> bool:
        """Whether it had its time and took nothing."""
        full = self._full.get(destination)
        return full is not None and now_ms - full.idle_since_ms > ms

    def full(self) -> Iterator[tuple[str, int, int]]:
        """Each session with since when it is full, and how often something was refused because of it."""
        return ((destination, full.since_ms, full.refused) for destination, full in self._full.items())
