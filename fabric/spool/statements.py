"""What a core wants kept, as SQL: pure but for the numbers that it gives to new rows.

Guarantees: the statements fit any sequence of operations, since a message's number is never used again; wire strings
are values, never SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fabric.protocol.core.ledger_ops import (
    ForgetAction,
    ForgetLease,
    KeepAnswer,
    KeepCancelled,
    KeepForGood,
    KeepIntent,
    KeepLease,
    KeepLeaseTime,
    KeepTold,
    LedgerOp,
)
from fabric.protocol.core.ready import (
    Done,
    EndAsleep,
    KeepApproval,
    KeepCredential,
    KeepDirectory,
    KeepDispatch,
    KeepEnd,
    KeepGap,
    KeepHead,
    KeepHold,
    KeepLists,
    KeepMember,
    KeepNotice,
    KeepOpen,
    KeepOwner,
    KeepPolicies,
    KeepPosition,
    KeepSession,
    Op,
    Put,
    Replace,
    Seen,
    SeenAction,
    Sleep,
)
from fabric.protocol.wire.frames import Direction
from fabric.spool.numbers import Numbers
from fabric.spool.rows import pack, put_meta, row_of, unite_bodies

# Names in `kept` begin with what the row is; the rest makes it unique.
CREDENTIAL, LISTS, SESSION, DISPATCH = "credential ", "lists", "session ", "dispatch "
POSITION, OWNER, GAP, NOTICE, DIRECTORY, ACTION = "position ", "owner", "gap ", "notice ", "directory", "action "
POLICIES = "policies"
ENDED, MEMBER, OPEN, END, HEAD = "ended ", "member ", "open ", "end ", "head "
HOLD, APPROVAL = "hold ", "approval "
# Of an action: what it is, and whether its handler was called; what became of it; and that this was told.
INTENT, ANSWER, TOLD = "intent ", "answer ", "told "
# An action that is not to begin if it comes, and who said so.
CANCELLED = "cancelled "
# Effects that are to end, and the time that they go by; and those that are not to.
LEASE, LEASE_TIME, FOR_GOOD = "lease ", "lease-time", "for-good "

_Row = tuple[Any, ...]


class Statement(NamedTuple):
    """One SQL statement and the rows of values that it is executed with, in order."""

    sql: str
    rows: list[_Row]


def statements_of(
    ops: Sequence[Op], numbers: Numbers, read: Callable[[int], tuple[bytes, bytes]]
) -> list[Statement]:
    """`read(n)`: meta and body of a row that is on disk; nothing where it cannot be believed."""
    messages: dict[int, _Row] = {}
    replaced: dict[int, tuple[bytes, bytes]] = {}
    done: list[_Row] = []
    seen: list[_Row] = []
    gone: list[_Row] = []
    kept: dict[str, _Row | None] = {}
    for op in ops:
        match op:
            case Put():
                n = numbers.new(op)
                messages[n] = (n, *row_of(put_meta(op), op.envelope))
            case Done(id_, direction, destination, last):
                known = numbers.find(id_, direction)
                if known is None:
                    continue
                if not last:
                    done.append((known.n, destination))
                    continue
                gone.append((numbers.forget(id_, direction),))
                seen.append(row_of(pack([id_, int(direction), known.until_ms]), b""))
            case Seen(id_, direction, until_ms):
                seen.append(row_of(pack([id_, int(direction), until_ms]), b""))
            case Replace(id_, direction, envelope):
                known = numbers.find(id_, direction)
                if known is not None:
                    meta = messages[known.n][1] if known.n in messages else read(known.n)[0]
                    if meta:
                        replaced[known.n] = meta, envelope
                elif direction is Direction.UP and (asleep := numbers.backlog.find(id_)) is not None:
                    meta, body = replaced.get(asleep) or read(asleep)
                    united = unite_bodies(body, envelope)
                    if united != body:
                        replaced[asleep] = meta, united
                        numbers.backlog.grew(asleep, len(united) - len(body))
            case Sleep():
                numbers.put_to_sleep(op)
            case EndAsleep(destination):
                numbers.sleepers.end(destination, numbers.last)
                # It goes from disk later: whoever begins before that must not take it for what a later time waits for.
                kept[ENDED + destination] = row_of(b"", pack([numbers.last]))
            case _ if isinstance(op, LedgerOp):
                kept.update(_ledger_rows(op))
            case _:
                kept.update([_kept(op)])
    return [
        Statement(sql, rows)
        for sql, rows in (
            ("INSERT INTO messages VALUES (?, ?, ?, ?)", list(messages.values())),
            ("UPDATE messages SET meta = ?, body = ?, sum = ? WHERE n = ?",
             [(*row_of(meta, body), n) for n, (meta, body) in replaced.items()]),
            ("INSERT OR IGNORE INTO done VALUES (?, ?)", done),
            ("DELETE FROM messages WHERE n = ?", gone),
            ("DELETE FROM done WHERE n = ?", gone),
            ("INSERT INTO seen (meta, body, sum) VALUES (?, ?, ?)", seen),
            ("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", [(k, *row) for k, row in kept.items() if row]),
            ("DELETE FROM kept WHERE name = ?", [(k,) for k, row in kept.items() if row is None]),
        )
        if rows
    ]


def _ledger_rows(op: LedgerOp) -> dict[str, _Row | None]:
    """Each step of an action begins with until when it matters."""
    match op:
        case KeepLease():
            *meta, envelope = op
            return {LEASE + op.id.hex(): row_of(pack(meta), envelope)}
        case ForgetLease():
            return {LEASE + op.id.hex(): None}
        case KeepForGood(effect, requester, _, since_ms):
            row = row_of(pack(list(op)), b"") if since_ms else None
            return {f"{FOR_GOOD}{effect.hex()} {requester}": row}
        case KeepLeaseTime():
            return {LEASE_TIME: row_of(pack(list(op)), b"")}
        case KeepCancelled(_, by, until_ms, signer, header):
            row = row_of(pack([until_ms, op.id, by, signer]), header) if header else None
            return {f"{CANCELLED}{op.id.hex()} {by}": row}
    id_ = op.id.hex()
    match op:
        case KeepIntent():
            meta = [op.until_ms, op.id, op.age_ms, op.fabric_ms, op.own_ms, op.hops, op.begun]
            return {INTENT + id_: row_of(pack(meta), op.envelope)}
        case KeepAnswer(_, until_ms, requester, answer):
            row = row_of(pack([until_ms, op.id, requester]), answer) if answer else None
            return {ANSWER + id_: row, INTENT + id_: None}
        case KeepTold(_, until_ms):
            return {TOLD + id_: row_of(pack([until_ms, op.id]), b"")}
        case ForgetAction():
            return dict.fromkeys([kind + id_ for kind in (INTENT, ANSWER, TOLD)])


def _kept(op: Op) -> tuple[str, _Row | None]:
    """The row of `kept` by name; None forgets it."""
    match op:
        case KeepCredential(digest, raw):
            return CREDENTIAL + digest.hex(), row_of(b"", raw)
        case KeepLists(raw):
            return LISTS, row_of(b"", raw)
        case KeepDirectory(raw):
            return DIRECTORY, row_of(b"", raw)
        case KeepPolicies(raw):
            return POLICIES, row_of(b"", raw)
        case KeepSession(destination, attachment):
            return SESSION + destination, row_of(b"", attachment) if attachment else None
        case KeepPosition(source, position):
            return POSITION + source, row_of(b"", position.encode()) if position else None
        case KeepOwner():
            return OWNER, row_of(b"", pack(list(op)))
        case KeepGap(destination, records):
            return GAP + destination, row_of(b"", pack([records])) if records else None
        case KeepNotice(name, body):
            return NOTICE + name, row_of(b"", body) if body else None
        case KeepMember(node, credential, seen_ms, epoch):
            return MEMBER + node, row_of(pack([seen_ms, epoch]), credential) if credential else None
        case KeepHead(node, head):
            return HEAD + node, row_of(pack(list(op)), b"") if head else None
        case KeepHold(digest, body):
            return HOLD + digest.hex(), row_of(pack(list(op)), b"") if body else None
        case KeepApproval(digest, approver, _, envelope):
            return f"{APPROVAL}{digest.hex()} {approver}", row_of(pack(list(op)), b"") if envelope else None
        case KeepOpen(digest, about):
            return OPEN + digest.hex(), row_of(pack(list(op)), b"") if about else None
        case KeepEnd(digest, target, state):
            return f"{END}{digest.hex()} {target}", row_of(pack(list(op)), b"") if state else None
        case KeepDispatch(digest, target):
            return f"{DISPATCH}{digest.hex()} {target}", row_of(pack(list(op)), b"")
        case SeenAction(id_, direction):
            return f"{ACTION}{id_.hex()} {int(direction)}", row_of(pack(list(op)), b"")
    raise AssertionError(f"{type(op).__name__} is no row of `kept`")
