"""Forgets what no longer matters of a spool; bounded work a call."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import msgpack

from fabric.protocol.base.limits import CREDENTIALS_CACHED_MAX, ID_BYTES
from fabric.protocol.core.ready import KeepDispatch, KeepEnd, KeepOpen, SeenAction
from fabric.protocol.custody.dedup import SEEN_MAX
from fabric.spool.database import ROWS_AT_ONCE, Database
from fabric.spool.rows import SIGNER_AT, is_sound, put_of
from fabric.spool.sleepers import Sleepers
from fabric.spool.statements import (
    ACTION,
    ANSWER,
    CANCELLED,
    CREDENTIAL,
    DISPATCH,
    END,
    ENDED,
    INTENT,
    OPEN,
    TOLD,
    Statement,
)

_SWEEP_MS = 60_000
_SWEEP_ROWS = 2_000
# Actions matter for minutes. Once round their rows, which is once in a while: it reads each of them.
_ROUND_MS = 15_000
# Where the rows of `kept` that run out say until when they matter.
_UNTIL_AT = {
    **{
        name.strip(): op._fields.index("until_ms")
        for name, op in ((DISPATCH, KeepDispatch), (ACTION, SeenAction), (OPEN, KeepOpen), (END, KeepEnd))
    },
    **dict.fromkeys([kind.strip() for kind in (INTENT, ANSWER, TOLD, CANCELLED)], 0),
}
# As in the name of the row that has the credential; where an envelope has it, an attachment has it as well.
_SIGNER = f"lower(hex(substr(body, {SIGNER_AT + 1}, {ID_BYTES})))"

_CANCELS = f"lower(hex(substr(meta, -{ID_BYTES})))"  # the last of its fields


class Expiry:
    """Rows that are over, of one spool."""

    def __init__(self, db: Database, sleepers: Sleepers) -> None:
        self._db = db
        self._sleepers = sleepers
        self._swept_ms = 0
        self._looked_at = 0  # the row of `kept` that was last looked at for being over
        self._rounds_from_ms: int | None = None  # when the last time round began

    def sweep(self, now_ms: int) -> None:
        """Forget some of what no longer matters; bounded work a call."""
        with self._db.or_broken():
            self._end_unwanted()
            statements = [
                Statement("DELETE FROM seen WHERE n = ?", self._oldest_expired_seen(now_ms)),
                Statement("DELETE FROM kept WHERE name = ?", self._expired_kept(now_ms)),
            ]
            if now_ms - self._swept_ms >= _SWEEP_MS:
                self._swept_ms = now_ms
                statements += self._minutely()
            self._db.transact_if_room(statements)

    def _end_unwanted(self) -> None:
        """Some rows that slept for a reader that was forgotten: nothing is to be said of them any more."""
        sleepers = self._sleepers
        found = sleepers.unwanted()
        if found is None:
            if ended := sleepers.all_ended():
                self._db.transact_if_room([Statement("DELETE FROM kept WHERE name = ?", [(ENDED + e,) for e in ended])])
            return
        reader, numbers = found
        done: list[tuple[Any, ...]] = []
        gone: list[tuple[Any, ...]] = []
        for first in range(0, len(numbers), ROWS_AT_ONCE):
            where = f"n IN ({', '.join(map(str, numbers[first : first + ROWS_AT_ONCE]))})"
            others: dict[int, set[str]] = {}
            for n, name in self._db.execute(f"SELECT n, destination FROM done WHERE {where}"):
                others.setdefault(n, {reader}).add(name)
            for n, meta, body in self._db.sound("messages", where):
                left = put_of(meta, body, others.get(n, {reader})).destinations
                done += [(n, reader)] if left else []
                gone += [] if left else [(n,)]
        if self._db.transact_if_room([
            Statement("INSERT OR IGNORE INTO done VALUES (?, ?)", done),
            Statement("DELETE FROM messages WHERE n = ?", gone),
            Statement("DELETE FROM done WHERE n = ?", gone),
        ]):
            sleepers.done_with(numbers)

    def _oldest_expired_seen(self, now_ms: int) -> list[tuple[Any, ...]]:
        oldest = self._db.execute("SELECT n, meta, body, sum FROM seen ORDER BY n LIMIT ?", (_SWEEP_ROWS,))
        sound = ((n, meta) for n, meta, body, sum_ in oldest if is_sound(meta, body, sum_))
        return [(n,) for n, _ in takewhile(lambda row: msgpack.unpackb(row[1])[2] <= now_ms, sound)]

    def _expired_kept(self, now_ms: int) -> list[tuple[Any, ...]]:
        """Of the next rows, from the last call's on and round, what was remembered of actions until before now."""
        if not self._looked_at:
            if self._rounds_from_ms is not None and 0 <= now_ms - self._rounds_from_ms < _ROUND_MS:
                return []
            self._rounds_from_ms = now_ms
        rows = self._db.execute(
            "SELECT rowid, name, meta, body, sum FROM kept WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (self._looked_at, _SWEEP_ROWS),
        ).fetchall()
        self._looked_at = rows[-1][0] if len(rows) == _SWEEP_ROWS else 0
        expired: list[tuple[Any, ...]] = []
        for _, name, meta, body, sum_ in rows:
            at = _UNTIL_AT.get(name.partition(" ")[0])
            if at is not None and is_sound(meta, body, sum_) and msgpack.unpackb(meta)[at] <= now_ms:
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
                f"UNION SELECT {_SIGNER} FROM kept WHERE name LIKE 'session %' OR name LIKE 'intent %' "
                f"UNION SELECT {_CANCELS} FROM kept WHERE name LIKE 'cancelled %')",
                [(2 * CREDENTIALS_CACHED_MAX,)],
            ),
        ]
