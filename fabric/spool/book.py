"""The book of an identity's actions, on its disk: what its programs asked for, and every word that was heard of it.

Guarantees: several processes may read and write it at a time; what a call wrote is on disk when it returns, or nothing
of it is; under a key there is one action; the file is private, and bounded: what is over goes first, and a key longer
than what has none. A file that is damaged, or no book, is left as it is, and every call raises BOOK_FAILED.

It keeps a rollback journal and no write-ahead log: up to SQLite 3.51.2 a log that is reset while another connection
writes can lose what that wrote.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fabric.files import check_database, open_database
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import BODY_BYTES_MAX, BODY_DEPTH_MAX, BODY_ELEMENTS_MAX, TARGETS_MAX
from fabric.protocol.vocabulary.lifecycle import State

NAME = "actions"
# A day has some hundred actions where people ask, and some thousand where a program does.
ACTIONS_MAX = 10_000
KEEP_MS = 30 * 86_400_000
# Actions and words together. Beyond it what handlers returned is left out; at twice as much no word is added.
BYTES_MAX = 67_108_864
# Half of what a person would wait for; a commit takes some milliseconds.
_BUSY_S = 2.0
_APPLICATION_ID = 0x4D464142  # "MFAB"
_ROW_BYTES = 256
_WORD_BYTES = 192
# What is no longer than this holds no result that would be worth leaving out.
_BARE = 1_024
_WORD_BYTES_MAX = BODY_BYTES_MAX + 65_536  # a result, and the code and the reason beside it
_TARGETS_BYTES_MAX = TARGETS_MAX * 80
_SCHEMA = (
    """CREATE TABLE actions (
    n INTEGER PRIMARY KEY, id BLOB UNIQUE, key TEXT UNIQUE, asked_ms INTEGER, until_ms INTEGER,
    envelope BLOB, credential BLOB, targets BLOB, turned_at TEXT DEFAULT '', nobody INTEGER DEFAULT 0,
    resolution TEXT DEFAULT '', arrived INTEGER DEFAULT 0, refused INTEGER DEFAULT 0, why TEXT DEFAULT '',
    closed INTEGER DEFAULT 0, bytes INTEGER
    )""",
    "CREATE INDEX sizes ON actions (closed, until_ms, bytes)",
    """CREATE TABLE words (
    n INTEGER PRIMARY KEY, action INTEGER, target TEXT, state INTEGER, by TEXT, at_ms INTEGER, last_ms INTEGER,
    said BLOB, UNIQUE (action, target, state, by)
    )""",
    "CREATE TABLE reader (one INTEGER PRIMARY KEY CHECK (one = 1), session BLOB, is_kept INTEGER)",
)
_COLUMNS = (
    "n, id, key, asked_ms, until_ms, envelope, credential, targets, turned_at, nobody, resolution, arrived, refused, "
    "why, closed"
)


class Entry(NamedTuple):
    """An action. `id`: its leaf; `until_ms`: nothing is awaited after it; `closed`: nothing is awaited any more."""

    n: int
    id: bytes
    key: str
    asked_ms: int
    until_ms: int
    envelope: bytes
    credential: bytes
    targets: tuple[str, ...] | None = None
    turned_at: str = ""
    nobody: bool = False
    resolution: str = ""
    arrived: bool = False  # a relay has it
    refused: int = 0  # the number of the code with which its relay refused it
    why: str = ""
    closed: bool = False


class Word(NamedTuple):
    """What somebody said of a target (empty: of all). `state`: NONE where it is of an effect. `last_ms`: when it was
    said again; `said`: the rest of it."""

    n: int
    target: str
    state: State
    by: str
    at_ms: int
    last_ms: int
    said: dict[str, Any]


class Change(NamedTuple):
    """What was learnt of an action. What says nothing changes nothing."""

    id: bytes
    words: Sequence[Word] = ()
    targets: tuple[str, ...] | None = None
    turned_at: str = ""
    nobody: bool = False
    resolution: str = ""
    arrived: bool = False
    refused: int = 0
    why: str = ""
    closed: bool = False
    until_ms: int = 0  # something is awaited for so long, where that is longer


class Book:
    """Belongs to the thread that opened it. Raises FabricError(BOOK_FAILED), as every call does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._telling():
            self._db = open_database(path, _BUSY_S)
        try:
            with self._telling():
                self._set_up()
        except BaseException:
            self._db.close()
            raise

    def _set_up(self) -> None:
        if not self._is_ours():
            with self._transaction() as db:  # of two that begin it at once the second finds it done
                if not self._is_ours():
                    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                        raise FabricError(Code.BOOK_FAILED, f"{self._path} is a database of another program")
                    for statement in (f"PRAGMA application_id = {_APPLICATION_ID}", *_SCHEMA):
                        db.execute(statement)
        for setting in ("journal_mode = TRUNCATE", "synchronous = FULL", "mmap_size = 0", "secure_delete = FAST"):
            self._db.execute(f"PRAGMA {setting}").fetchall()
        check_database(self._path)

    def _is_ours(self) -> bool:
        return bool(self._db.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise FabricError(Code.BOOK_FAILED, f"{self._path}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._telling():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self._db.close()

    # -- write ------------------------------------------------------------------------------------------

    def add(self, entry: Entry, now_ms: int) -> Entry | None:
        """The action that is in the book under this key: this one, unless there was one before.

        None: it has a key, and its results are not kept by anybody (`keep`). Raises BUSY where all that is there is
        awaited.
        """
        with self._transaction():
            if entry.key:
                known = self._one("key = ?", entry.key)
                if known is not None:
                    return known
                if not self.session()[1]:
                    return None
            self._insert(entry, now_ms)
            return self._one("id = ?", entry.id)

    def _insert(self, entry: Entry, now_ms: int) -> None:
        size = _ROW_BYTES + len(entry.envelope) + len(entry.credential) + len(entry.key)
        self._make_room(size, now_ms)
        self._db.execute(
            "INSERT INTO actions (id, key, asked_ms, until_ms, envelope, credential, bytes) VALUES (?,?,?,?,?,?,?)",
            (entry.id, entry.key or None, entry.asked_ms, entry.until_ms, entry.envelope, entry.credential, size),
        )

    def record(self, changes: Sequence[Change], now_ms: int, entries: Sequence[Entry] = ()) -> int:
        """All of it, or nothing: new actions without a key, and what was learnt. What is of no action in the book is
        left out. How many actions and words had no room."""
        lost = 0
        with self._transaction() as db:
            for entry in entries:
                try:
                    self._insert(entry, now_ms)
                except FabricError:  # BUSY: no statement of it was run
                    lost += 1
            for change in changes:
                found = db.execute("SELECT n FROM actions WHERE id = ?", (change.id,)).fetchone()
                if found is not None:
                    self._change(found[0], change)
                    lost += self._say(found[0], change.words, now_ms)
        return lost

    def _change(self, n: int, change: Change) -> None:
        self._db.execute(
            "UPDATE actions SET targets = coalesce(targets, ?), turned_at = iif(turned_at = '', ?, turned_at),"
            " nobody = max(nobody, ?), resolution = iif(? = '', resolution, ?), arrived = max(arrived, ?),"
            " refused = iif(refused, refused, ?), why = iif(refused, why, ?), closed = max(closed, ?),"
            " until_ms = max(until_ms, ?) WHERE n = ?",
            (None if change.targets is None else pack(list(change.targets)), change.turned_at, change.nobody,
             change.resolution, change.resolution, change.arrived, change.refused, change.why, change.closed,
             change.until_ms, n),
        )

    def _say(self, n: int, words: Sequence[Word], now_ms: int) -> int:
        if not words:
            return 0
        said = [(word, pack(word.said)) for word in words]
        if self._bytes() + sum(len(raw) + _WORD_BYTES for _, raw in said) > BYTES_MAX:
            self._make_room(sum(len(raw) + _WORD_BYTES for _, raw in said), now_ms, but=n)
        used, lost, added = self._bytes(), 0, 0
        for word, raw in said:
            if used + added + len(raw) > BYTES_MAX:
                raw = pack({**word.said, "result": {}, "cut": True})
            if used + added > 2 * BYTES_MAX:
                lost += 1
                continue
            added += self._put(n, word, raw)
        self._db.execute("UPDATE actions SET bytes = bytes + ? WHERE n = ?", (added, n))
        return lost

    def _put(self, n: int, word: Word, raw: bytes) -> int:
        values = (n, word.target, int(word.state), word.by, word.at_ms, word.last_ms, raw)
        done = self._db.execute(
            "INSERT OR IGNORE INTO words (action, target, state, by, at_ms, last_ms, said) VALUES (?,?,?,?,?,?,?)",
            values,
        )
        if done.rowcount:
            return len(raw) + _WORD_BYTES
        # How it is now, in place of how it was. That an approved one waits for its target is taken back by nobody who
        # did not hear of it.
        waits = word.state is State.APPROVED and word.said.get("away") is True
        if waits or word.state in (State.RUNNING, State.NONE):
            self._db.execute(
                "UPDATE words SET last_ms = ?, said = ? WHERE action = ? AND target = ? AND state = ? AND by = ?",
                (word.last_ms, raw, *values[:4]),
            )
        return 0

    def _bytes(self) -> int:
        return int(self._db.execute("SELECT coalesce(sum(bytes), 0) FROM actions").fetchone()[0])

    def _make_room(self, size: int, now_ms: int, but: int = 0) -> None:
        """What is over and old goes, then what is over: what has no key first, then what was returned, and keys
        only for a new action. BUSY where that has no place."""
        over = "(closed OR until_ms <= ?) AND n != ?"
        self._drop(f"{over} AND asked_ms < ?", (now_ms, but, now_ms - KEEP_MS))
        (count,) = self._db.execute("SELECT count(*) FROM actions").fetchone()
        used = self._bytes()
        count, used = self._drop_surplus(f"{over} AND key IS NULL", (now_ms, but), size, count, used)
        # A target may return as much as it likes: it must not be by that that a key is forgotten.
        for (n,) in self._db.execute(f"SELECT n FROM actions WHERE {over} ORDER BY n", (now_ms, but)).fetchall():
            if used + size <= BYTES_MAX:
                break
            used -= self._thin(n)
        if but:
            return
        count, used = self._drop_surplus(over, (now_ms, but), size, count, used)
        if count >= ACTIONS_MAX or used + size > BYTES_MAX:
            raise FabricError(Code.BUSY, f"{count} actions are awaited", "wait for what becomes of them")

    def _drop_surplus(self, where: str, values: Sequence[Any], size: int, count: int, used: int) -> tuple[int, int]:
        """The oldest of these go until there is room; how many actions and bytes are left."""
        found = self._db.execute(f"SELECT n, bytes FROM actions WHERE {where} ORDER BY n", values).fetchall()
        for n, bytes_ in found:
            if count < ACTIONS_MAX and used + size <= BYTES_MAX:
                break
            self._drop("n = ?", (n,))
            count, used = count - 1, used - bytes_
        return count, used

    def _thin(self, n: int) -> int:
        """Leave out what was returned for this action; how many bytes that was."""
        freed = 0
        large = "SELECT n, said FROM words WHERE action = ? AND length(said) > ?"
        for word, raw in self._db.execute(large, (n, _BARE)).fetchall():
            said = _said(raw)
            if said.get("result"):
                bare = pack({**said, "result": {}, "cut": True})
                self._db.execute("UPDATE words SET said = ? WHERE n = ?", (bare, word))
                freed += len(raw) - len(bare)
        self._db.execute("UPDATE actions SET bytes = bytes - ? WHERE n = ?", (freed, n))
        return freed

    def _drop(self, where: str, values: Sequence[Any]) -> None:
        self._db.execute(f"DELETE FROM words WHERE action IN (SELECT n FROM actions WHERE {where})", values)
        self._db.execute(f"DELETE FROM actions WHERE {where}", values)

    # -- who keeps what comes while nobody is there -------------------------------------------------------

    def session(self) -> tuple[bytes, bool]:
        """The session for which the relay keeps results, and whether it does."""
        found = self._db.execute("SELECT session, is_kept FROM reader").fetchone()
        return (found[0], bool(found[1])) if found else (b"", False)

    def keep(self, session: bytes, *, is_kept: bool) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO reader VALUES (1, ?, ?)", (session, is_kept))

    def let_go(self, now_ms: int) -> bool:
        """Where nobody needs that session: it is kept no more, and no action with a key is added before it is again."""
        with self._transaction() as db:
            if self.awaited_until(now_ms):
                return False
            db.execute("UPDATE reader SET is_kept = 0")
        return True

    def awaited_until(self, now_ms: int) -> int:
        """Until when something is awaited of an action with a key; 0: of none."""
        with self._telling():
            found = self._db.execute(
                "SELECT max(until_ms) FROM actions WHERE NOT closed AND until_ms > ? AND key IS NOT NULL", (now_ms,)
            ).fetchone()
        return int(found[0] or 0)

    # -- read -------------------------------------------------------------------------------------------

    def version(self) -> int:
        """Another number when another connection has written."""
        with self._telling():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def by_key(self, key: str) -> Entry | None:
        return self._one("key = ?", key)

    def by_id(self, id_: bytes) -> Entry | None:
        return self._one("id = ?", id_)

    def beginning(self, digits: str, count: int) -> list[Entry]:
        """Whose id begins with these hexadecimal digits, no more than so many."""
        return self._some("substr(hex(id), 1, ?) = ? ORDER BY n LIMIT ?", (len(digits), digits.upper(), count))

    def newest(self, count: int, *, awaited_at_ms: int | None = None) -> list[Entry]:
        """The newest first; where a time is given, only of which something is awaited then."""
        where, values = ("1", ()) if awaited_at_ms is None else ("NOT closed AND until_ms > ?", (awaited_at_ms,))
        return self._some(f"{where} ORDER BY n DESC LIMIT ?", (*values, count))

    def words(self, n: int, after: int = 0, since_ms: int = 0) -> list[Word]:
        """Of an action, in the order in which they were first heard: those after this one, and how far handlers are
        where that was said since."""
        with self._telling():
            rows = self._db.execute(
                "SELECT n, target, state, by, at_ms, last_ms, said FROM words WHERE action = ?"
                " AND (n > ? OR (state IN (?, ?) AND last_ms > ?)) ORDER BY n",
                (n, after, int(State.RUNNING), int(State.NONE), since_ms),
            ).fetchall()
        return [Word(n, target, State(state), by, at, last, _said(raw)) for n, target, state, by, at, last, raw in rows]

    def _one(self, where: str, value: Any) -> Entry | None:
        found = self._some(where, (value,))
        return found[0] if found else None

    def _some(self, where: str, values: Sequence[Any]) -> list[Entry]:
        with self._telling():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM actions WHERE {where}", values).fetchall()
        return [_entry(row) for row in rows]


def read(path: Path) -> Book | None:
    """The book, to be looked at; None where there is none yet."""
    return Book(path) if path.exists() else None


def _entry(row: Sequence[Any]) -> Entry:
    n, id_, key, asked_ms, until_ms, envelope, credential, targets, turned_at, nobody, resolution, *rest = row
    arrived, refused, why, closed = rest
    named = None if targets is None else unpack(
        targets, bytes_max=_TARGETS_BYTES_MAX, elements_max=TARGETS_MAX + 1, depth_max=1
    )
    names = tuple(named) if isinstance(named, list) else None
    return Entry(n, id_, key or "", asked_ms, until_ms, envelope, credential, names, turned_at, bool(nobody),
                 resolution, bool(arrived), refused, why, bool(closed))


def _said(raw: bytes) -> dict[str, Any]:
    said = unpack(
        raw, bytes_max=_WORD_BYTES_MAX, elements_max=BODY_ELEMENTS_MAX + 64, depth_max=BODY_DEPTH_MAX + 2
    )
    return said if isinstance(said, dict) else {}
