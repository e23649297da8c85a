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
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgpack

from fabric.files import make_private, open_private
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import CREDENTIALS_CACHED_MAX, ID_BYTES
from fabric.protocol.core.ready import (
    KeepCredential,
    KeepDirectory,
    KeepDispatch,
    KeepGap,
    KeepLists,
    KeepNotice,
    KeepOwner,
    KeepPosition,
    KeepSession,
    Op,
    Put,
    Replace,
    Seen,
    SeenAction,
)
from fabric.protocol.custody.asleep import Asleep, ReadersAsleep
from fabric.protocol.custody.dedup import SEEN_MAX
from fabric.protocol.envelope.layout import decode_envelope
from fabric.protocol.wire.frames import Direction
from fabric.spool.damaged import NAMED_MAX, Damaged
from fabric.spool.file import beside, free_bytes, open_or_set_aside, set_aside, take_lock
from fabric.spool.numbers import Numbers
from fabric.spool.rows import (
    BEGINS_BYTES,
    HEADER_AT,
    SIGNER_AT,
    checksum,
    climbing_lane,
    put_of,
    reading_rows,
    seen_of,
    unite_bodies,
    waiting_points,
)
from fabric.spool.statements import (
    ACTION,
    CREDENTIAL,
    DISPATCH,
    ENDED,
    GAP,
    NOTICE,
    POSITION,
    SESSION,
    Statement,
    statements_of,
)

# Intake stops while this much is free: the queue drains, and its deletes need room in the WAL.
_FREE_BYTES_MIN = 64 * 2**20
_BALLAST_BYTES = 8 * 2**20
_SWEEP_MS = 60_000
_SWEEP_ROWS = 2_000
# Where the rows of `kept` that run out say until when they matter.
_UNTIL_AT = {
    DISPATCH.strip(): KeepDispatch._fields.index("until_ms"), ACTION.strip(): SeenAction._fields.index("until_ms"),
}
# A commit at a time, of so many that the page cache holds them: what it does not hold goes to the log, in full.
_GIVE_BACK_PAGES = 256
_GIVE_BACK_COMMITS = 8
# In one question: SQLite binds some thousands of values, and a list of these is soon made.
_ROWS_AT_ONCE = 500


# What is asked of all rows at the start. A long body is not read, and `length` reads none.
_SLEEPERS = (
    f"SELECT n, meta, length(body), CASE WHEN length(body) <= 2048 THEN CAST(substr(body, 1, {BEGINS_BYTES}) "
    "AS BLOB) END FROM messages ORDER BY n"
)
# As in the name of the row that has the credential; where an envelope has it, an attachment has it as well.
_SIGNER = f"lower(hex(substr(body, {SIGNER_AT + 1}, {ID_BYTES})))"


class Spool:
    """`free_bytes_min`: how much of the disk stays free; below it `intake_allowed` is false.

    `awake_max`: how many rows of each lane that wait for the uplink only are read at the start; None: all.
    `ballast_bytes`: the last reserve; 0 where nothing is taken in that would have to drain.
    """

    def __init__(
        self, path: Path, free_bytes_min: int = _FREE_BYTES_MIN, awake_max: int | None = None,
        ballast_bytes: int = _BALLAST_BYTES,
    ) -> None:
        self._path = path
        self._ballast = beside(path, "ballast")
        self._free_bytes_min = free_bytes_min
        self._awake_max = awake_max
        self._ballast_bytes = ballast_bytes
        self._numbers = Numbers(awake_max)
        self._swept_ms = 0
        self._looked_at = 0  # the row of `kept` that was last looked at for being over
        self._broken = False
        self.damaged = Damaged()  # what was set aside since the start
        try:
            if not path.parent.is_dir():  # somebody's own folder keeps the mode that they gave it
                make_private(path.parent)
            self._lock = take_lock(path)
        except OSError as error:
            raise FabricError(Code.SPOOL_FAILED, f"{path}: {error.strerror}") from error
        try:
            self._db, damage = open_or_set_aside(path)
            self.damaged.add([damage] if damage else [])
            if self._ballast.exists():
                os.close(open_private(self._ballast))
            self._inflate_ballast()
        except FabricError:
            os.close(self._lock)
            raise
        except (OSError, sqlite3.Error) as error:
            os.close(self._lock)
            raise FabricError(Code.SPOOL_FAILED, f"{path}: {error}") from error

    # -- write ------------------------------------------------------------------------------------------

    def commit(self, ops: Sequence[Op]) -> None:
        """All of them, or none, and on disk when this returns. Raises FabricError(SPOOL_FAILED)."""
        with self._or_broken():
            statements = statements_of(ops, self._numbers, self._row)
            try:
                self._transact(statements)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._ballast.exists():
                    raise
                # Rolled back whole. The reserve is for exactly this: room for the deletes that drain the queue.
                self._ballast.unlink()
                self._transact(statements)

    @contextmanager
    def _or_broken(self) -> Iterator[None]:
        if self._broken:
            raise FabricError(Code.SPOOL_FAILED, f"{self._path}: an earlier write failed")
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self._broken = True
            raise FabricError(Code.SPOOL_FAILED, f"{self._path}: {error}") from error

    def _transact(self, statements: Sequence[Statement]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for sql, rows in statements:
                self._db.executemany(sql, rows)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _row(self, n: int) -> tuple[bytes, bytes]:
        found = self._db.execute("SELECT meta, body, sum FROM messages WHERE n = ?", (n,)).fetchone()
        meta, body, sum_ = found or (b"", b"", None)
        is_sound = isinstance(meta, bytes) and isinstance(body, bytes) and sum_ == checksum(meta, body)
        return (meta, body) if is_sound else (b"", b"")

    # -- read -------------------------------------------------------------------------------------------

    def load(self, now_ms: int) -> list[Op]:
        """Everything, in the order in which a core must take it: who signed before what they signed."""
        try:
            return list(self._load(now_ms))
        except sqlite3.DatabaseError:
            self._salvage()
            self._numbers = Numbers(self._awake_max)
            return list(self._load(now_ms))

    def _salvage(self) -> None:
        """A page cannot be read: what can be is taken over into a new file, under the same numbers."""
        self._db.close()
        self._db, damage = set_aside(self._path)
        self.damaged.add([damage])

    def _load(self, now_ms: int) -> Iterator[Op]:
        for _, _, body in self._sound("kept", "name = 'owner'"):
            yield KeepOwner(*msgpack.unpackb(body))
        for name, _, body in self._sound("kept", "name LIKE 'position %'"):
            yield KeepPosition(name.removeprefix(POSITION), body.decode())
        for name, _, body in self._sound("kept", "name LIKE 'credential %'"):
            yield KeepCredential(bytes.fromhex(name.removeprefix(CREDENTIAL)), body)
        for _, _, body in self._sound("kept", "name = 'lists'"):
            yield KeepLists(body)
        for _, _, body in self._sound("kept", "name = 'directory'"):
            yield KeepDirectory(body)
        for name, _, body in self._sound("kept", "name LIKE 'session %'"):
            yield KeepSession(name.removeprefix(SESSION), body)
        for name, _, body in self._sound("kept", "name LIKE 'gap %'"):
            yield KeepGap(name.removeprefix(GAP), *msgpack.unpackb(body))
        for name, _, body in self._sound("kept", "name LIKE 'notice %'"):
            yield KeepNotice(name.removeprefix(NOTICE), body)
        for _, meta, _ in self._sound("kept", "name LIKE 'dispatch %'"):
            dispatch = KeepDispatch(*msgpack.unpackb(meta))
            if dispatch.until_ms > now_ms:
                yield dispatch
        for _, meta, _ in self._sound("kept", "name LIKE 'action %'"):
            id_, direction, until_ms, requester = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield SeenAction(id_, Direction(direction), until_ms, requester)
        for _, meta, _ in self._sound("seen"):
            id_, direction, until_ms = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield Seen(id_, Direction(direction), until_ms)
        awake, seen = self._fall_asleep()
        yield from seen
        for put in self._read(awake):
            wanted = self._wanted(self._numbers.number_of(put), put)
            if wanted.destinations:
                yield wanted

    def _fall_asleep(self) -> tuple[list[int], list[Seen]]:
        """The numbers of the rows that are read now, and, of those that sleep, what is known as seen (SPEC 7.5)."""
        awake: list[int] = []
        backlog = self._numbers.backlog
        metas: deque[tuple[int, bytes]] = deque(maxlen=SEEN_MAX)
        sleepers = self._numbers.sleepers
        for name, _, body in self._sound("kept", f"name LIKE '{ENDED}%'"):
            sleepers.ended_before(name.removeprefix(ENDED), *msgpack.unpackb(body))
        ends = self._db.execute("SELECT n, destination FROM done ORDER BY n")
        end = ends.fetchone()
        for n, meta, size, begins in self._db.execute(_SLEEPERS):
            done: list[str] = []
            while end is not None and end[0] <= n:
                if end[0] == n:
                    done.append(end[1])
                end = ends.fetchone()
            self._numbers.is_there(n)
            reads = isinstance(meta, bytes) and b"point:" in meta
            # Who reads, and had nothing of it yet, waits for it: then not only the uplink does.
            lane = None if reads and not done else climbing_lane(meta, done)
            if self._awake_max is None or size is None or size < BEGINS_BYTES:  # no envelope: it is set aside, now
                awake.append(n)
                continue
            if lane is not None and backlog.sleeps(lane):
                signer = (self._begins(n) if begins is None else bytes(begins))[SIGNER_AT:HEADER_AT]
                backlog.add(n, lane, size, signer)
                metas.append((n, meta))
                continue
            if lane is not None:
                backlog.is_awake(n, lane)
            elif reads:
                if sleepers.any_ended:
                    unwanted = [name for name in waiting_points(meta, done) if sleepers.is_unwanted(name, n)]
                    sleepers.found_unwanted(n, size, unwanted)
                    done += unwanted
                reading = reading_rows(meta, self._begins(n) if begins is None else bytes(begins), done)
                if reading is not None and sleepers.sleep_at_start(reading[0], size, reading[1]):
                    sleepers.found(n, reading[0], size, reading[1])
                    metas.append((n, meta))
                    continue
            awake.append(n)
        known = [(seen, n) for n, meta in metas if (seen := seen_of(meta)) is not None]
        backlog.are_known((seen.id, n) for seen, n in known)
        return awake, [seen for seen, _ in known]

    def _begins(self, n: int) -> bytes:
        """How a long message begins, without reading it."""
        with self._db.blobopen("messages", "body", n, readonly=True) as body:
            return body.read(BEGINS_BYTES)

    def _read(self, numbers: Sequence[int]) -> Iterator[Put]:
        for first in range(0, len(numbers), _ROWS_AT_ONCE):
            some = numbers[first : first + _ROWS_AT_ONCE]
            where = f"n IN ({', '.join(map(str, some))})"
            unread = set(some)
            twins: list[tuple[int]] = []
            done: dict[int, set[str]] = {}
            for n, destination in self._db.execute(f"SELECT n, destination FROM done WHERE {where}"):
                done.setdefault(n, set()).add(destination)
            for n, meta, body in self._sound("messages", where):
                put = put_of(meta, body, done.get(n, set()))
                known = self._numbers.find(put.id, put.direction)
                if known is not None and known.n != n:
                    # It came again while this slept, and was taken for new: the two become one with the parts of both.
                    twins.append((n,))
                    awake = self._row(known.n)[1]
                    if (united := unite_bodies(awake, body)) != awake:
                        fuller = Replace(put.id, put.direction, united)
                        self._transact(statements_of([fuller], self._numbers, self._row))
                        yield put
                    continue
                self._numbers.read(n, put)
                unread.discard(n)
                yield put
            for n in sorted(unread):
                self._numbers.backlog.ended(n)
            if twins:
                self._transact([Statement(f"DELETE FROM {table} WHERE n = ?", twins) for table in ("messages", "done")])

    def wake(self) -> list[Op]:
        """The next of the rows that sleep, when most of what was read of their lane has ended. Mostly none.

        The credentials of their signers come first: a core may have forgotten them since.
        """
        numbers = self._numbers.backlog.due()
        if not numbers:
            return []
        with self._or_broken():
            try:
                return self._with_signers(list(self._read(numbers)))
            except sqlite3.DatabaseError:
                self._salvage()
                return self._with_signers(list(self._read(numbers)))

    def wake_reader(self, reader: str, queues: Sequence[int]) -> list[Op]:
        """The next rows that sleep in these queues of a reader; awake from now on for whoever else waits for them."""
        sleepers = self._numbers.sleepers
        numbers = sleepers.due(reader, queues)
        with self._or_broken():
            try:
                woken = list(self._read(list(numbers)))
            except sqlite3.DatabaseError:
                self._salvage()
                woken = list(self._read(list(numbers)))
        by_number = {self._numbers.number_of(put): put for put in woken}
        for n, queue in numbers.items():
            put = by_number.get(n)
            names = [name for name, _ in put.destinations] if put is not None else []
            sleepers.woke(n, queue, dict.fromkeys([reader, *names]))
        return self._with_signers([self._wanted(n, put) for n, put in by_number.items()])

    def _wanted(self, n: int, put: Put) -> Put:
        """For those who still wait for it: of others it is to be ended on disk."""
        left = tuple(d for d in put.destinations if not self._numbers.sleepers.is_unwanted(d[0], n))
        return put._replace(destinations=left)

    def _end_unwanted(self) -> None:
        """Some rows that slept for a reader that was forgotten: nothing is to be said of them any more."""
        sleepers = self._numbers.sleepers
        found = sleepers.unwanted()
        if found is None:
            if ended := sleepers.all_ended():
                self._transact_if_room([Statement("DELETE FROM kept WHERE name = ?", [(ENDED + e,) for e in ended])])
            return
        reader, numbers = found
        done: list[tuple[Any, ...]] = []
        gone: list[tuple[Any, ...]] = []
        for first in range(0, len(numbers), _ROWS_AT_ONCE):
            where = f"n IN ({', '.join(map(str, numbers[first : first + _ROWS_AT_ONCE]))})"
            others: dict[int, set[str]] = {}
            for n, name in self._db.execute(f"SELECT n, destination FROM done WHERE {where}"):
                others.setdefault(n, {reader}).add(name)
            for n, meta, body in self._sound("messages", where):
                left = put_of(meta, body, others.get(n, {reader})).destinations
                done += [(n, reader)] if left else []
                gone += [] if left else [(n,)]
        if self._transact_if_room([
            Statement("INSERT OR IGNORE INTO done VALUES (?, ?)", done),
            Statement("DELETE FROM messages WHERE n = ?", gone),
            Statement("DELETE FROM done WHERE n = ?", gone),
        ]):
            sleepers.done_with(numbers)

    @property
    def last_number(self) -> int:
        """Of the rows that there are, or were."""
        return self._numbers.last

    def number_of(self, put: Put) -> int:
        """Of the row of a message that was read."""
        return self._numbers.number_of(put)

    @property
    def readers_asleep(self) -> ReadersAsleep:
        """What sleeps for readers, now and later."""
        return self._numbers.sleepers.asleep

    def _with_signers(self, puts: Sequence[Put]) -> list[Op]:
        envelopes = [decode_envelope(put.envelope) for put in puts]
        signers = dict.fromkeys(envelope.signer.hex() for envelope in envelopes if not isinstance(envelope, Reject))
        found: list[Op] = []
        for signer in signers:
            for _, _, body in self._sound("kept", f"name = '{CREDENTIAL}{signer}'"):
                found.append(KeepCredential(bytes.fromhex(signer), body))
        return [*found, *puts]

    @property
    def asleep(self) -> Asleep:
        """What sleeps, now and later: it changes while rows wake."""
        return self._numbers.backlog.asleep

    def _sound(self, table: str, where: str = "1") -> list[tuple[Any, bytes, bytes]]:
        """(key, meta, body) of the rows whose checksum matches; the others go to quarantine."""
        key = "name" if table == "kept" else "n"
        sound, bad = [], []
        for found in self._db.execute(f"SELECT {key}, meta, body, sum FROM {table} WHERE {where} ORDER BY rowid"):
            name, meta, body, sum_ = found
            if isinstance(meta, bytes) and isinstance(body, bytes) and sum_ == checksum(meta, body):
                sound.append((name, meta, body))
            else:
                bad.append(found)
        if bad:
            self._quarantine(table, key, bad)
            # Names of credentials and numbers of messages; nothing that anybody published.
            self.damaged.add(f"{table} {row[0]}: checksum" for row in bad)
        return sound

    @property
    def quarantined(self) -> list[str]:
        """What was set aside, in words."""
        return self.damaged.words()

    def _quarantine(self, table: str, key: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._transact([
            Statement("INSERT INTO quarantine (source, meta, body, sum) VALUES (?, ?, ?, ?)",
                      [(table, meta, body, sum_) for _, meta, body, sum_ in rows]),
            Statement(f"DELETE FROM {table} WHERE {key} = ?", [(row[0],) for row in rows]),
            Statement("DELETE FROM quarantine WHERE n <= (SELECT max(n) FROM quarantine) - ?",
                      [(NAMED_MAX,)]),
        ])

    def set_aside(self, ids: Sequence[tuple[bytes, Direction]]) -> None:
        """Quarantine messages whose rows are sound and whose content the core does not believe."""
        with self._or_broken():
            for id_, direction in ids:
                n = self._numbers.forget(id_, direction)
                found = self._db.execute("SELECT n, meta, body, sum FROM messages WHERE n = ?", (n,)).fetchone()
                self._quarantine("messages", "n", [found])
                self.damaged.add([f"messages {n}: {id_.hex()} does not verify"])

    # -- upkeep -----------------------------------------------------------------------------------------

    def sweep(self, now_ms: int) -> None:
        """Forget some of what no longer matters; bounded work a call."""
        with self._or_broken():
            self._end_unwanted()
            statements = [
                Statement("DELETE FROM seen WHERE n = ?", self._oldest_expired_seen(now_ms)),
                Statement("DELETE FROM kept WHERE name = ?", self._expired_kept(now_ms)),
            ]
            if now_ms - self._swept_ms >= _SWEEP_MS:
                self._swept_ms = now_ms
                statements += self._minutely()
            self._transact_if_room(statements)

    def _transact_if_room(self, statements: Sequence[Statement]) -> bool:
        """False when the disk has none: it can wait, nobody was promised anything."""
        statements = [statement for statement in statements if statement.rows]
        try:
            if statements:
                self._transact(statements)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            return False
        return True

    def _oldest_expired_seen(self, now_ms: int) -> list[tuple[Any, ...]]:
        oldest = self._db.execute("SELECT n, meta FROM seen ORDER BY n LIMIT ?", (_SWEEP_ROWS,))
        return [(n,) for n, _ in takewhile(lambda row: msgpack.unpackb(row[1])[2] <= now_ms, oldest)]

    def _expired_kept(self, now_ms: int) -> list[tuple[Any, ...]]:
        """Of the next rows, from the last call's on and round, what was remembered of actions until before now."""
        rows = self._db.execute(
            "SELECT rowid, name, meta, body, sum FROM kept WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (self._looked_at, _SWEEP_ROWS),
        ).fetchall()
        self._looked_at = rows[-1][0] if len(rows) == _SWEEP_ROWS else 0
        expired: list[tuple[Any, ...]] = []
        for _, name, meta, body, sum_ in rows:
            at = _UNTIL_AT.get(name.partition(" ")[0])
            if at is not None and sum_ == checksum(meta, body) and msgpack.unpackb(meta)[at] <= now_ms:
                expired.append((name,))
        return expired

    def _minutely(self) -> list[Statement]:
        return [
            Statement("DELETE FROM seen WHERE n <= (SELECT max(n) FROM seen) - ?", [(SEEN_MAX,)]),
            # Of credentials alone: everything else in `kept` is written again and again, each time as the newest row.
            # Whoever signed what is here stays, however many came since: it could not be read back without.
            Statement(
                "DELETE FROM kept WHERE name LIKE 'credential %' AND rowid <= (SELECT rowid FROM kept "
                "WHERE name LIKE 'credential %' ORDER BY rowid DESC LIMIT 1 OFFSET ?) "
                f"AND substr(name, {len(CREDENTIAL) + 1}) NOT IN (SELECT {_SIGNER} FROM messages "
                f"UNION SELECT {_SIGNER} FROM kept WHERE name LIKE 'session %')",
                [(2 * CREDENTIALS_CACHED_MAX,)],
            ),
        ]

    def intake_allowed(self) -> bool:
        """Whether there is room for more. Not while the ballast is gone: it comes back when there is room for it."""
        wanted_bytes = self._free_bytes_min + (0 if self._ballast.exists() else self._ballast_bytes)
        with self._or_broken():
            if free_bytes(self._path.parent) < wanted_bytes:
                self._give_back()
            self._inflate_ballast()
        return self._ballast.exists() and free_bytes(self._path.parent) >= self._free_bytes_min

    def _give_back(self) -> None:
        """Return pages that the queue does not use any more to a disk that is short of them."""
        if self._db.execute("PRAGMA freelist_count").fetchone()[0] == 0:
            return
        if self._shrink() or not self._ballast.exists():
            return
        # What was written last is in the log only, and copying it from there may make the file longer first: where
        # nothing is free, that takes the reserve. It comes back when there is room for it.
        self._ballast.unlink()
        self._shrink()

    def _shrink(self) -> bool:
        """Cut off pages that are not used. False when the disk had no room even for that."""
        try:
            # First the log's own bytes, which need no room to be returned: what follows is written to the log again.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # It has no columns: Python steps such a statement once, which is one page, and a script to its end.
            for _ in range(_GIVE_BACK_COMMITS):
                self._db.executescript(f"PRAGMA incremental_vacuum({_GIVE_BACK_PAGES})")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            return False
        return True

    def _inflate_ballast(self) -> None:
        if not self._ballast_bytes or self._ballast.exists():
            return
        if free_bytes(self._path.parent) < self._free_bytes_min + self._ballast_bytes:
            return
        descriptor = open_private(self._ballast)
        try:
            os.posix_fallocate(descriptor, 0, self._ballast_bytes)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Everything is on disk already; this only tidies up."""
        with suppress(sqlite3.Error):  # the next start reads the WAL
            if not self._broken:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
        os.close(self._lock)
