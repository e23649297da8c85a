"""One connection to a spool's file: transactions, rows whose checksum matches, and what becomes of the others.

Guarantees: a transaction is on disk, or nothing of it; a row whose checksum does not match is in the table `quarantine`
afterwards, and named in `damaged`; after a failed write every later call within `or_broken` raises SPOOL_FAILED.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fabric.protocol.base.errors import Code, FabricError
from fabric.spool.damaged import NAMED_MAX, Damaged
from fabric.spool.file import open_or_set_aside, set_aside
from fabric.spool.rows import BEGINS_BYTES, is_sound
from fabric.spool.statements import Statement

# In one question: SQLite binds some thousands of values, and a list of these is soon made.
ROWS_AT_ONCE = 500


class Database:
    """`damaged`: what was set aside since the start. Raises OSError, sqlite3.Error or FabricError where it cannot open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._broken = False
        self.damaged = Damaged()
        self._connection, damage = open_or_set_aside(path)
        self.damaged.add([damage] if damage else [])

    # -- write ------------------------------------------------------------------------------------------

    @contextmanager
    def or_broken(self) -> Iterator[None]:
        """What fails in here leaves a file of which nobody knows what is in it."""
        if self._broken:
            raise FabricError(Code.SPOOL_FAILED, f"{self._path}: an earlier write failed")
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self._broken = True
            raise FabricError(Code.SPOOL_FAILED, f"{self._path}: {error}") from error

    def transact(self, statements: Sequence[Statement]) -> None:
        """All of them, or none, and on disk when this returns."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, rows in statements:
                self._connection.executemany(sql, rows)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def transact_if_room(self, statements: Sequence[Statement]) -> bool:
        """False when the disk has none: it can wait, nobody was promised anything."""
        statements = [statement for statement in statements if statement.rows]
        try:
            if statements:
                self.transact(statements)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            return False
        return True

    def shrink(self, pages: int, commits: int) -> bool:
        """Cut off pages that are not used, so many in each commit. False when the disk had no room even for that."""
        try:
            # First the log's own bytes, which need no room to be returned: what follows is written to the log again.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # It has no columns: Python steps such a statement once, which is one page, and a script to its end.
            for _ in range(commits):
                self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            return False
        return True

    @property
    def has_unused_pages(self) -> bool:
        return bool(self._connection.execute("PRAGMA freelist_count").fetchone()[0])

    # -- read -------------------------------------------------------------------------------------------

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """A question."""
        return self._connection.execute(sql, values)

    def row(self, n: int) -> tuple[bytes, bytes]:
        """Meta and body of a message's row; nothing where it cannot be believed."""
        found = self._connection.execute("SELECT meta, body, sum FROM messages WHERE n = ?", (n,)).fetchone()
        meta, body, sum_ = found or (b"", b"", None)
        return (meta, body) if is_sound(meta, body, sum_) else (b"", b"")

    def begins(self, n: int) -> bytes:
        """How a long message begins, without reading it."""
        with self._connection.blobopen("messages", "body", n, readonly=True) as body:
            return body.read(BEGINS_BYTES)

    def sound(self, table: str, where: str = "1") -> list[tuple[Any, bytes, bytes]]:
        """(key, meta, body) of the rows whose checksum matches; the others go to quarantine."""
        key = "name" if table == "kept" else "n"
        sound, bad = [], []
        rows = self._connection.execute(f"SELECT {key}, meta, body, sum FROM {table} WHERE {where} ORDER BY rowid")
        for found in rows:
            name, meta, body, sum_ = found
            if is_sound(meta, body, sum_):
                sound.append((name, meta, body))
            else:
                bad.append(found)
        if bad:
            self.quarantine(table, key, bad)
            # Names of credentials and numbers of messages; nothing that anybody published.
            self.damaged.add(f"{table} {row[0]}: checksum" for row in bad)
        return sound

    # -- damage -----------------------------------------------------------------------------------------

    def quarantine(self, table: str, key: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Set these rows aside: (key, meta, body, sum)."""
        self.transact([
            Statement("INSERT INTO quarantine (source, meta, body, sum) VALUES (?, ?, ?, ?)",
                      [(table, meta, body, sum_) for _, meta, body, sum_ in rows]),
            Statement(f"DELETE FROM {table} WHERE {key} = ?", [(row[0],) for row in rows]),
            Statement("DELETE FROM quarantine WHERE n <= (SELECT max(n) FROM quarantine) - ?",
                      [(NAMED_MAX,)]),
        ])

    def salvage(self) -> None:
        """A page cannot be read: what can be is taken over into a new file, under the same numbers."""
        self._connection.close()
        self._connection, damage = set_aside(self._path)
        self.damaged.add([damage])

    def close(self) -> None:
        """Everything is on disk already; this only tidies up."""
        with suppress(sqlite3.Error):  # the next start reads the WAL
            if not self._broken:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()
