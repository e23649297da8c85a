"""Reads what a node holds from its disk: all that counts at the start, and rows that slept when it is their turn.

Guarantees: operations come in the order in which a core must take them; of rows that wait for the uplink only, and of
those that only readers wait for, a bounded number is read at the start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import msgpack

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ledger_ops import (
    KeepAnswer,
    KeepCancelled,
    KeepForGood,
    KeepIntent,
    KeepLease,
    KeepLeaseTime,
    KeepTold,
)
from fabric.protocol.core.ready import (
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
)
from fabric.protocol.custody.dedup import SEEN_MAX
from fabric.protocol.envelope.layout import decode_envelope
from fabric.protocol.wire.frames import Direction
from fabric.spool.database import ROWS_AT_ONCE, Database
from fabric.spool.numbers import Numbers
from fabric.spool.rows import (
    BEGINS_BYTES,
    HEADER_AT,
    SIGNER_AT,
    climbing_lane,
    put_of,
    reading_rows,
    seen_of,
    unite_bodies,
    waiting_points,
)
from fabric.spool.statements import (
    ANSWER,
    CANCELLED,
    CREDENTIAL,
    ENDED,
    FOR_GOOD,
    GAP,
    INTENT,
    LEASE,
    LEASE_TIME,
    MEMBER,
    NOTICE,
    POSITION,
    SESSION,
    TOLD,
    Statement,
    statements_of,
)

# What is asked of all rows at the start. A long body is not read, and `length` reads none.
_SLEEPERS = (
    f"SELECT n, meta, length(body), CASE WHEN length(body) <= 2048 THEN CAST(substr(body, 1, {BEGINS_BYTES}) "
    "AS BLOB) END FROM messages ORDER BY n"
)


class Loading:
    """`awake_max`: how many rows of each lane that wait for the uplink only are read at the start; None: all."""

    def __init__(self, db: Database, numbers: Numbers, awake_max: int | None) -> None:
        self._db = db
        self._numbers = numbers
        self._awake_max = awake_max

    def everything(self, now_ms: int) -> Iterator[Op]:
        """In the order in which a core must take it: who signed before what they signed."""
        for _, _, body in self._db.sound("kept", "name = 'owner'"):
            yield KeepOwner(*msgpack.unpackb(body))
        for name, _, body in self._db.sound("kept", "name LIKE 'position %'"):
            yield KeepPosition(name.removeprefix(POSITION), body.decode())
        for name, _, body in self._db.sound("kept", "name LIKE 'credential %'"):
            yield KeepCredential(bytes.fromhex(name.removeprefix(CREDENTIAL)), body)
        for _, _, body in self._db.sound("kept", "name = 'lists'"):
            yield KeepLists(body)
        for _, _, body in self._db.sound("kept", "name = 'policies'"):
            yield KeepPolicies(body)
        for _, _, body in self._db.sound("kept", "name = 'directory'"):
            yield KeepDirectory(body)
        for name, _, body in self._db.sound("kept", "name LIKE 'session %'"):
            yield KeepSession(name.removeprefix(SESSION), body)
        for name, meta, body in self._db.sound("kept", "name LIKE 'member %'"):
            yield KeepMember(name.removeprefix(MEMBER), body, *msgpack.unpackb(meta))
        for _, meta, _ in self._db.sound("kept", "name LIKE 'head %'"):
            yield KeepHead(*msgpack.unpackb(meta))
        for name, _, body in self._db.sound("kept", "name LIKE 'gap %'"):
            yield KeepGap(name.removeprefix(GAP), *msgpack.unpackb(body))
        for name, _, body in self._db.sound("kept", "name LIKE 'notice %'"):
            yield KeepNotice(name.removeprefix(NOTICE), body)
        for _, meta, _ in self._db.sound("kept", "name LIKE 'dispatch %'"):
            dispatch = KeepDispatch(*msgpack.unpackb(meta))
            if dispatch.until_ms > now_ms:
                yield dispatch
        for kind, name in ((KeepHold, "hold"), (KeepApproval, "approval")):
            for _, meta, _ in self._db.sound("kept", f"name LIKE '{name} %'"):
                yield kind(*msgpack.unpackb(meta))
        for _, meta, _ in self._db.sound("kept", "name LIKE 'open %'"):
            digest, about, targets, until_ms, *resolved = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield KeepOpen(digest, about, tuple(targets), until_ms, *resolved)
        for _, meta, _ in self._db.sound("kept", "name LIKE 'end %'"):
            end = KeepEnd(*msgpack.unpackb(meta))
            if end.until_ms > now_ms:
                yield end
        for _, meta, _ in self._db.sound("kept", "name LIKE 'action %'"):
            id_, direction, until_ms, requester = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield SeenAction(id_, Direction(direction), until_ms, requester)
        yield from self._ledger(now_ms)
        for _, meta, _ in self._db.sound("seen"):
            id_, direction, until_ms = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield Seen(id_, Direction(direction), until_ms)
        awake, seen = self._fall_asleep()
        yield from seen
        for put in self.read(awake):
            wanted = self.wanted(self._numbers.number_of(put), put)
            if wanted.destinations:
                yield wanted

    def _ledger(self, now_ms: int) -> Iterator[Op]:
        """Of each action in the order of its steps."""
        for _, meta, body in self._db.sound("kept", _begins_with(INTENT)):
            until_ms, id_, age_ms, fabric_ms, own_ms, hops, begun = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield KeepIntent(id_, until_ms, age_ms, fabric_ms, own_ms, tuple(hops), body, begun)
        for _, meta, body in self._db.sound("kept", _begins_with(ANSWER)):
            until_ms, id_, requester = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield KeepAnswer(id_, until_ms, requester, body)
        for _, meta, _ in self._db.sound("kept", _begins_with(TOLD)):
            until_ms, id_ = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield KeepTold(id_, until_ms)
        for _, meta, body in self._db.sound("kept", _begins_with(CANCELLED)):
            until_ms, id_, by, signer = msgpack.unpackb(meta)
            if until_ms > now_ms:
                yield KeepCancelled(id_, by, until_ms, signer, body)
        for _, meta, body in self._db.sound("kept", _begins_with(LEASE)):
            id_, due_ms, since_ms, requester, effect, variant, hops, stage, word, ended_ms = msgpack.unpackb(meta)
            yield KeepLease(
                id_, due_ms, since_ms, requester, effect, variant, tuple(hops), stage, word, ended_ms, body
            )
        rows = self._db.sound("kept", _begins_with(FOR_GOOD))
        yield from sorted((KeepForGood(*msgpack.unpackb(meta)) for _, meta, _ in rows), key=lambda kept: kept.since_ms)
        for _, meta, _ in self._db.sound("kept", f"name = '{LEASE_TIME}'"):
            yield KeepLeaseTime(*msgpack.unpackb(meta))

    def answer(self, id_: bytes) -> bytes:
        """What the requester of this action was told; empty where that is not kept any more."""
        return next((body for _, _, body in self._db.sound("kept", f"name = '{ANSWER}{id_.hex()}'")), b"")

    def _fall_asleep(self) -> tuple[list[int], list[Seen]]:
        """The numbers of the rows that are read now, and, of those that sleep, what is known as seen (SPEC 7.5)."""
        awake: list[int] = []
        backlog = self._numbers.backlog
        metas: deque[tuple[int, bytes]] = deque(maxlen=SEEN_MAX)
        sleepers = self._numbers.sleepers
        for name, _, body in self._db.sound("kept", f"name LIKE '{ENDED}%'"):
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
                signer = (self._db.begins(n) if begins is None else bytes(begins))[SIGNER_AT:HEADER_AT]
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
                reading = reading_rows(meta, self._db.begins(n) if begins is None else bytes(begins), done)
                if reading is not None and sleepers.sleep_at_start(reading[0], size, reading[1]):
                    sleepers.found(n, reading[0], size, reading[1])
                    metas.append((n, meta))
                    continue
            awake.append(n)
        known = [(seen, n) for n, meta in metas if (seen := seen_of(meta)) is not None]
        backlog.are_known((seen.id, n) for seen, n in known)
        return awake, [seen for seen, _ in known]

    def read(self, numbers: Sequence[int]) -> Iterator[Put]:
        """The messages of these rows, for those who wait for them."""
        for first in range(0, len(numbers), ROWS_AT_ONCE):
            some = numbers[first : first + ROWS_AT_ONCE]
            where = f"n IN ({', '.join(map(str, some))})"
            unread = set(some)
            twins: list[tuple[int]] = []
            done: dict[int, set[str]] = {}
            for n, destination in self._db.execute(f"SELECT n, destination FROM done WHERE {where}"):
                done.setdefault(n, set()).add(destination)
            for n, meta, body in self._db.sound("messages", where):
                put = put_of(meta, body, done.get(n, set()))
                known = self._numbers.find(put.id, put.direction)
                if known is not None and known.n != n:
                    # It came again while this slept, and was taken for new: the two become one with the parts of both.
                    twins.append((n,))
                    awake = self._db.row(known.n)[1]
                    if (united := unite_bodies(awake, body)) != awake:
                        fuller = Replace(put.id, put.direction, united)
                        self._db.transact(statements_of([fuller], self._numbers, self._db.row))
                        yield put
                    continue
                self._numbers.read(n, put)
                unread.discard(n)
                yield put
            for n in sorted(unread):
                self._numbers.backlog.ended(n)
            if twins:
                self._db.transact([
                    Statement(f"DELETE FROM {table} WHERE n = ?", twins) for table in ("messages", "done")
                ])

    def wanted(self, n: int, put: Put) -> Put:
        """For those who still wait for it: of others it is to be ended on disk."""
        left = tuple(d for d in put.destinations if not self._numbers.sleepers.is_unwanted(d[0], n))
        return put._replace(destinations=left)

    def with_signers(self, puts: Sequence[Put]) -> list[Op]:
        """After the credentials of their signers, which a core may have forgotten."""
        envelopes = [decode_envelope(put.envelope) for put in puts]
        signers = dict.fromkeys(envelope.signer.hex() for envelope in envelopes if not isinstance(envelope, Reject))
        found: list[Op] = []
        for signer in signers:
            for _, _, body in self._db.sound("kept", f"name = '{CREDENTIAL}{signer}'"):
                found.append(KeepCredential(bytes.fromhex(signer), body))
        return [*found, *puts]


def _begins_with(kind: str) -> str:
    """Of names that end in hexadecimal digits; by the index, without a look at all other rows."""
    return f"name BETWEEN '{kind}' AND '{kind}g'"
