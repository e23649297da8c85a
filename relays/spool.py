"""Temporary in-memory spool."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fabric.protocol.ready import Op


class Spool:
    def __init__(self, path: Path) -> None:
        self.quarantined: list[str] = []
    def load(self, now_ms: int) -> Iterator[Op]:
        return iter(())
    def commit(self, ops: Sequence[Op]) -> None: ...
    def sweep(self, now_ms: int) -> None: ...
    def intake_allowed(self) -> bool: return True
    def close(self) -> None: ...
