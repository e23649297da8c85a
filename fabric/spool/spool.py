"""What a node holds, on disk: SQLite in WAL mode, one transaction a turn, fsync before it returns.

Guarantees: what `commit` returned from survives kill -9 and power loss; one process per file; a row whose checksum
does not match is set aside in the table `quarantine` and reported, and everything else goes on; a disk that fills up
stops intake (`intake_allowed`) while there is still room to drain, with a ballast file to delete as the last reserve.
Refuses to go on after a failed write or fsync: nobody knows what is on the disk then, so every later call raises
SPOOL_FAILED, and the process starts again from what is there.

However much there is, it opens in seconds: of rows that wait for the uplink only, a bounded number is read at the
start, and the others sleep until it is their turn (`wake`).

A message is one row from `Put` to its last `Done`; until then the destinations that have it are rows of `done`.
Wire strings are values in here, never paths or SQL.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from fabric.files import make_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Op, Put
from fabric.protocol.custody.asleep import Asleep, ReadersAsleep
from fabric.protocol.wire.frames import Direction
from fabric.spool.damaged import Damaged
from fabric.spool.database import Database
from fabric.spool.expiry import Expiry
from fabric.spool.file import take_lock
from fabric.spool.loading import Loading
from fabric.spool.numbers import Numbers
from fabric.spool.reserve import Reserve
from fabric.spool.statements import LEASE, statements_of

# Intake stops while this much is free: the queue drains, and its deletes need room in the WAL.
_FREE_BYTES_MIN = 64 * 2**20
_BALLAST_BYTES = 8 * 2**20


class Spool:
    """`free_bytes_min`: how much of the disk stays free; below it `intake_allowed` is false.

    `awake_max`: how many rows of each lane that wait for the uplink only are read at the start; None: all.
    `ballast_bytes`: the last reserve; 0 where nothing is taken in that would have to drain.
    """

    def __init__(
        self, path: Path, free_bytes_min: int = _FREE_BYTES_MIN, awake_max: int | None = None,
        ballast_bytes: int = _BALLAST_BYTES,
    ) -> None:
        self._awake_max = awake_max
        try:
            if not path.parent.is_dir():  # somebody's own folder keeps the mode that they gave it
                make_private(path.parent)
            self._lock = take_lock(path)
        except OSError as error:
            raise FabricError(Code.SPOOL_FAILED, f"{path}: {error.strerror}") from error
        try:
            self._db = Database(path)
            self._reserve = Reserve(path, self._db, free_bytes_min, ballast_bytes)
        except FabricError:
            os.close(self._lock)
            raise
        except (OSError, sqlite3.Error) as error:
            os.close(self._lock)
            raise FabricError(Code.SPOOL_FAILED, f"{path}: {error}") from error
        self._begin()

    def _begin(self) -> None:
        """Nothing was read yet."""
        self._numbers = Numbers(self._awake_max)
        self._loading = Loading(self._db, self._numbers, self._awake_max)
        self._expiry = Expiry(self._db, self._numbers.sleepers)

    def commit(self, ops: Sequence[Op]) -> None:
        """All of them, or none, and on disk when this returns. Raises FabricError(SPOOL_FAILED)."""
        with self._db.or_broken():
            statements = statements_of(ops, self._numbers, self._db.row)
            try:
                self._db.transact(statements)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._reserve.spend():
                    raise
                # Rolled back whole. The reserve is for exactly this: room for the deletes that drain the queue.
                self._db.transact(statements)

    def load(self, now_ms: int) -> list[Op]:
        """Everything, in the order in which a core must take it: who signed before what they signed."""
        try:
            return list(self._loading.everything(now_ms))
        except sqlite3.DatabaseError:
            self._db.salvage()
            self._begin()
            return list(self._loading.everything(now_ms))

    def wake(self) -> list[Op]:
        """The next of the rows that sleep, when most of what was read of their lane has ended. Mostly none.

        The credentials of their signers come first: a core may have forgotten them since.
        """
        numbers = self._numbers.backlog.due()
        if not numbers:
            return []
        with self._db.or_broken():
            try:
                return self._loading.with_signers(list(self._loading.read(numbers)))
            except sqlite3.DatabaseError:
                self._db.salvage()
                return self._loading.with_signers(list(self._loading.read(numbers)))

    def wake_reader(self, reader: str, queues: Sequence[int]) -> list[Op]:
        """The next rows that sleep in these queues of a reader; awake from now on for whoever else waits for them."""
        sleepers = self._numbers.sleepers
        numbers = sleepers.due(reader, queues)
        with self._db.or_broken():
            try:
                woken = list(self._loading.read(list(numbers)))
            except sqlite3.DatabaseError:
                self._db.salvage()
                woken = list(self._loading.read(list(numbers)))
        by_number = {self._numbers.number_of(put): put for put in woken}
        for n, queue in numbers.items():
            put = by_number.get(n)
            names = [name for name, _ in put.destinations] if put is not None else []
            sleepers.woke(n, queue, dict.fromkeys([reader, *names]))
        return self._loading.with_signers([self._loading.wanted(n, put) for n, put in by_number.items()])

    def answer(self, id_: bytes) -> bytes:
        """What was kept as the answer to this action; empty where nothing is."""
        with self._db.or_broken():
            return self._loading.answer(id_)

    @property
    def last_number(self) -> int:
        """Of the rows that there are, or were."""
        return self._numbers.last

    def number_of(self, put: Put) -> int:
        """Of the row of a message that was read."""
        return self._numbers.number_of(put)

    @property
    def asleep(self) -> Asleep:
        """What sleeps, now and later: it changes while rows wake."""
        return self._numbers.backlog.asleep

    @property
    def readers_asleep(self) -> ReadersAsleep:
        """What sleeps for readers, now and later."""
        return self._numbers.sleepers.asleep

    @property
    def damaged(self) -> Damaged:
        """What was set aside since the start."""
        return self._db.damaged

    @property
    def quarantined(self) -> list[str]:
        """What was set aside, in words."""
        return self.damaged.words()

    @property
    def leases_set_aside(self) -> list[str]:
        """The ids of their actions, in hex, since the start."""
        return self.damaged.names(f"kept {LEASE}")

    def set_aside(self, ids: Sequence[tuple[bytes, Direction]]) -> None:
        """Quarantine messages whose rows are sound and whose content the core does not believe."""
        with self._db.or_broken():
            for id_, direction in ids:
                n = self._numbers.forget(id_, direction)
                found = self._db.execute("SELECT n, meta, body, sum FROM messages WHERE n = ?", (n,)).fetchone()
                self._db.quarantine("messages", "n", [found])
                self._db.damaged.add([f"messages {n}: {id_.hex()} does not verify"])

    def sweep(self, now_ms: int) -> None:
        """Forget some of what no longer matters; bounded work a call."""
        self._expiry.sweep(now_ms)

    def intake_allowed(self) -> bool:
        """Whether there is room for more."""
        return self._reserve.intake_allowed()

    def close(self) -> None:
        """Everything is on disk already; this only tidies up."""
        self._db.close()
        os.close(self._lock)
