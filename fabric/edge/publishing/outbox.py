"""A control point's outbox: what it published, on its own disk until the relay holds it.

Guarantees: the signed bytes, and how far their source was read, are committed together before the first send, and a
retry sends those bytes; what was handled is remembered across restarts. One process and one identity per file. Refuses
a file that is no outbox, and leaves it as it is; and one of somebody else: its messages would be refused one by one,
and its positions would leave out records.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fabric.edge.identity.identity import Identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ready import KeepOwner, KeepPosition, Op
from fabric.protocol.point.point import Point
from fabric.protocol.wire.frames import SESSION_BYTES
from fabric.spool import Owed, Spool
from fabric.spool.named import check_outbox, in_use

_UPKEEP_MS = 1_000
# Names of sources of which the outbox knows how far they were read: a program has one for each file that it follows.
SOURCES_MAX = 16_384
# Batches of which a program took a part before it stopped, at most one a lane each time, and which have not come again
# since. Of older ones the part that was taken is given out once more, should they ever come.
BATCHES_MAX = 256
_BATCH = "batch "


def batch_source(id_: str) -> str:
    """Under this name the outbox keeps how many records of an unfinished batch were taken."""
    return f"{_BATCH}{id_}"


def is_batch(source: str) -> bool:
    """Whether a name is one of these, and no program's."""
    return source.startswith(_BATCH) and len(source) == len(_BATCH) + 2 * ID_BYTES


class EdgeOutbox:
    """The spool of one identity. Every call belongs to the thread that opened it.

    `session`: the same over restarts, so that what waits for a durable reader finds it again.
    """

    def __init__(self, path: Path, identity: Identity, now_ms: int) -> None:
        check_outbox(path)
        try:
            self._spool = Spool(path)
        except FabricError as error:
            raise in_use(path) if error.code is Code.ALREADY_RUNNING else error from error
        self._owed = Owed(self._spool)
        self._upkeep_at_ms = 0
        self._positions: dict[str, str] = {}
        self._batches: dict[str, str] = {}  # the oldest first
        try:
            self._ops = self._spool.load(now_ms)
            self._own(path, identity)
        except BaseException:
            self._spool.close()
            raise

    def _own(self, path: Path, identity: Identity) -> None:
        owners = [op for op in self._ops if isinstance(op, KeepOwner)]
        owner = owners[-1] if owners else KeepOwner(identity.fabric, identity.id, os.urandom(SESSION_BYTES))
        self.session = owner.session
        if not owners:
            self._spool.commit([owner])
        elif owner[:2] != (identity.fabric, identity.id):
            raise FabricError(
                Code.USAGE, f"{path} is the outbox of {owner.fabric}/{owner.node}",
                "name an outbox of this identity's own",
            )
        for op in self._ops:
            if isinstance(op, KeepPosition):
                self._positions_of(op.source)[op.source] = op.position

    def restore(self, core: Point, now_ms: int) -> list[str]:
        """Give the core what is on disk. In words, what was damaged."""
        ops, self._ops = self._ops, []
        self._spool.set_aside(core.restore(ops, now_ms))
        return self._spool.quarantined

    def commit(self, ops: Sequence[Op], now_ms: int) -> None:
        """On disk when this returns, but for ends of rows. Raises FabricError(SPOOL_FAILED)."""
        positions = [op for op in ops if isinstance(op, KeepPosition)]
        self._owed.commit([*ops, *self._left_for_good(positions)], now_ms)
        for op in positions:
            kept = self._positions_of(op.source)
            kept.pop(op.source, None)  # the newest is the last
            if op.position:
                kept[op.source] = op.position

    def _left_for_good(self, positions: Sequence[KeepPosition]) -> list[KeepPosition]:
        """The oldest batches, where these are more than are kept."""
        new = dict.fromkeys(op.source for op in positions if op.position and is_batch(op.source))
        if len(self._batches) + len(new) <= BATCHES_MAX:
            return []
        more = len(self._batches.keys() | new.keys()) - BATCHES_MAX
        oldest = [source for source in self._batches if source not in new][: max(0, more)]
        for source in oldest:
            del self._batches[source]
        return [KeepPosition(source, "") for source in oldest]

    def _positions_of(self, source: str) -> dict[str, str]:
        return self._batches if is_batch(source) else self._positions

    def position(self, source: str) -> str | None:
        """How far this source was read, as it was last committed. Of any thread."""
        return self._positions_of(source).get(source)

    def check_source(self, source: str) -> None:
        """Raises TOO_LARGE for one more source than there may be. Of any thread."""
        if len(self._positions) >= SOURCES_MAX and source not in self._positions:
            raise FabricError(
                Code.TOO_LARGE, f"positions of {SOURCES_MAX} sources are kept", "use the name of an earlier one again"
            )

    def upkeep(self, core: Point, now_ms: int) -> None:
        """Now and then: forget what no longer matters, and stop intake while the disk is short."""
        if now_ms < self._upkeep_at_ms:
            return
        self._upkeep_at_ms = now_ms + _UPKEEP_MS
        self._spool.sweep(now_ms)
        core.custody.open_intake(self._spool.intake_allowed())

    @property
    def due_ms(self) -> int | None:
        return self._owed.due_ms

    def close(self) -> None:
        try:
            self._owed.settle()
        finally:
            self._spool.close()
