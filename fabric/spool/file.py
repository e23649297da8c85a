"""The spool's file: who has it, how it is opened, and what becomes of one that is damaged.

Guarantees: one process per file (a WAL-reset race in SQLite 3.7.0-3.51.2 needs two connections); the settings that the
promise needs were read back; a file that cannot be read is kept beside the new one, never deleted; its files are
private (`fabric.files`).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from fabric.files import check_database, open_database, open_private
from fabric.protocol.base.errors import Code, FabricError

# Between checkpoints the WAL may grow; after one it is cut back to this.
_WAL_BYTES_MAX = 16 * 2**20
# In the header of each of our files, so that nobody's database is taken for one: "MFSP".
APPLICATION_ID = 0x4D465350
# Every table has (key, meta, body, sum), except `done`.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (n INTEGER PRIMARY KEY, meta BLOB, body BLOB, sum INTEGER);
CREATE TABLE IF NOT EXISTS done (n INTEGER, destination TEXT, PRIMARY KEY (n, destination)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (n INTEGER PRIMARY KEY, meta BLOB, body BLOB, sum INTEGER);
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, meta BLOB, body BLOB, sum INTEGER);
CREATE TABLE IF NOT EXISTS quarantine (n INTEGER PRIMARY KEY, source TEXT, meta BLOB, body BLOB, sum INTEGER);
"""


def beside(path: Path, what: str) -> Path:
    """A file of this database's own, whatever its user called it."""
    return path.with_name(f"{path.name}.{what}")


def take_lock(path: Path) -> int:
    """The descriptor that holds this spool's lock until it is closed. Raises ALREADY_RUNNING, without waiting."""
    lock = open_private(beside(path, "lock"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise FabricError(
            Code.ALREADY_RUNNING, f"another process has {path}", "stop the process that already runs"
        ) from None
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    db = open_database(path)
    # A flipped byte in a text must not keep anything else from being read; its checksum tells.
    db.text_factory = lambda text: text.decode(errors="replace")
    return db


def open_or_set_aside(path: Path) -> tuple[sqlite3.Connection, str]:
    """The database, and in words what was wrong with the one that was there, if anything was."""
    try:
        return _open(path), ""
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
    return set_aside(path)


def set_aside(path: Path) -> tuple[sqlite3.Connection, str]:
    """A file that is no sound database is kept beside a new one, and what can be read of it is taken over."""
    number = 1
    while (damaged := beside(path, f"damaged-{number}")).exists():
        number += 1
    # The WAL belongs to its database by name, and goes with it.
    for suffix in ("-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.replace(f"{damaged}{suffix}")
    path.replace(damaged)
    db = _open(path)
    salvaged = _salvage(damaged, db)
    return db, f"{damaged.name}: the file was damaged, {salvaged} rows of it could be read"


def _open(path: Path) -> sqlite3.Connection:
    db = _connect(path)
    try:
        settings = (
            # Before the log is in use: the number is in the file itself from its first moment on.
            ("auto_vacuum", "INCREMENTAL", 2), ("application_id", str(APPLICATION_ID), APPLICATION_ID),
            ("journal_mode", "WAL", "wal"), ("synchronous", "FULL", 2),
            ("mmap_size", "0", 0), ("journal_size_limit", str(_WAL_BYTES_MAX), _WAL_BYTES_MAX),
            # Some builds write zeros over what is deleted, through the WAL: a queue could end only where it fits twice.
            ("secure_delete", "FAST", 2),
        )
        for name, value, wanted in settings:
            db.execute(f"PRAGMA {name} = {value}")
            found = db.execute(f"PRAGMA {name}").fetchone()
            # SQLite built without mmap answers nothing, which is as good as 0.
            if found is not None and found[0] != wanted:
                raise FabricError(Code.SPOOL_FAILED, f"{path}: SQLite would not set {name} to {value}")
        db.executescript(_SCHEMA)
        check_database(path)  # its log was made by name
    except BaseException:
        db.close()
        raise
    return db


def _salvage(damaged: Path, db: sqlite3.Connection) -> int:
    """Copy what can be read: from both ends of each table up to the page that cannot. The number of rows."""
    salvaged = 0
    for table, columns in (("kept", 4), ("seen", 4), ("messages", 4), ("done", 2)):
        marks = ", ".join("?" * columns)
        for order in ("", " DESC"):
            with closing(_connect(damaged)) as source, suppress(sqlite3.DatabaseError):
                for row in source.execute(f"SELECT * FROM {table} ORDER BY 1{order}"):
                    salvaged += db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row).rowcount
    return salvaged


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write on the disk of this folder. Raises OSError."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
