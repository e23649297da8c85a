"""What a node's disk has, with the meaning of the real spool: commits whole or not at all, what is owed, what sleeps,
damage. When a row sleeps and wakes is the real spool's own decision.

Held against the real one by tests/properties/test_spool_properties.py, operation by operation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import (
    Done,
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
    may_wait,
)
from fabric.protocol.custody.asleep import Asleep
from fabric.protocol.envelope.layout import decode_envelope
from fabric.protocol.links.links import UPLINK
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction
from fabric.spool.backlog import Backlog
from fabric.spool.rows import unite_bodies

Key = tuple[bytes, Direction]
# The order in which a core takes what is kept; messages and what was seen come after it.
_ORDER = (
    KeepOwner, KeepPosition, KeepCredential, KeepLists, KeepPolicies, KeepDirectory, KeepSession, KeepMember, KeepHead,
    KeepGap, KeepNotice, KeepDispatch, KeepOpen, KeepEnd, KeepHold, KeepApproval,
)


def _name(op: Op) -> tuple[object, ...]:
    """Under what a kept operation replaces an older one."""
    match op:
        case KeepOwner() | KeepLists() | KeepPolicies() | KeepDirectory():
            return (type(op),)
        case KeepDispatch(digest, target) | KeepEnd(digest, target) | KeepApproval(digest, target):
            return (type(op), digest, target)
        case _:
            return (type(op), op[0])


def _forgets(op: Op) -> bool:
    match op:
        case KeepSession(_, b"") | KeepNotice(_, b"") | KeepGap(_, 0) | KeepPosition(_, "") | KeepMember(_, b"") \
                | KeepOpen(_, b"") | KeepEnd(_, _, 0) | KeepHold(_, b"") | KeepApproval(_, _, b""):
            return True
    return False


def _climbing_lane(put: Put) -> Lane | None:
    """The lane of what waits for the uplink and nothing else."""
    alone = put.destinations == ((UPLINK, ()),) and put.direction is Direction.UP and not put.moved
    return put.lane if alone else None


def _signer(put: Put) -> bytes:
    envelope = decode_envelope(put.envelope)
    return b"" if isinstance(envelope, Reject) else envelope.signer


class Disk:
    """`awake_max`: how many rows of each lane that wait for the uplink only are read at the start; None: all."""

    def __init__(self, awake_max: int | None = None) -> None:
        self._awake_max = awake_max
        self._backlog = Backlog(awake_max)
        self._asleep: dict[int, Key] = {}
        self._numbers: dict[Key, int] = {}
        self._last = 0
        self.held: dict[Key, Put] = {}
        self.seen: dict[Key, Seen | SeenAction] = {}
        self.kept: dict[tuple[object, ...], Op] = {}
        self.owed: list[Op] = []
        self.commits = 0
        self.full = False

    def commit(self, ops: Sequence[Op]) -> list[Op]:
        """As a driver does: what may wait is not on disk before something that may not. What was written."""
        self.owed.extend(ops)
        if all(may_wait(op) for op in ops):
            return []
        return self.settle()

    def settle(self) -> list[Op]:
        """All that is owed, now."""
        written, self.owed = self.owed, []
        self.commits += 1
        for op in written:
            self._write(op)
        return written

    def _write(self, op: Op) -> None:
        match op:
            case Put(id_, direction):
                self.held[id_, direction] = op
                self._last += 1
                self._numbers[id_, direction] = self._last
            case Done(id_, direction, destination, last):
                put = self.held.get((id_, direction))
                if put is None:
                    return
                left = tuple(d for d in put.destinations if d[0] != destination)
                self.held[id_, direction] = put._replace(destinations=left)
                if last:
                    del self.held[id_, direction]
                    self._backlog.ended(self._numbers.pop((id_, direction)))
                    self._remember(Seen(id_, direction, put.expires_at_ms))
            case Replace(id_, direction, envelope):
                put = self.held.get((id_, direction))
                if put is not None and self.sleeps(id_, direction):
                    united = unite_bodies(put.envelope, envelope)
                    self._backlog.grew(self._numbers[id_, direction], len(united) - len(put.envelope))
                    self.held[id_, direction] = put._replace(envelope=united)
                elif put is not None:
                    self.held[id_, direction] = put._replace(envelope=envelope)
            case Seen() | SeenAction():
                self._remember(op)
            case _ if _forgets(op):
                self.kept.pop(_name(op), None)
            case _:
                self.kept[_name(op)] = op

    def _remember(self, seen: Seen | SeenAction) -> None:
        self.seen.pop((seen.id, seen.direction), None)
        self.seen[seen.id, seen.direction] = seen

    def load(self, now_ms: int) -> list[Op]:
        return list(self._load(now_ms))

    def _load(self, now_ms: int) -> Iterator[Op]:
        for kind in _ORDER:
            for op in self.kept.values():
                is_over = isinstance(op, KeepDispatch | KeepOpen | KeepEnd) and op.until_ms <= now_ms
                if type(op) is kind and not is_over:
                    yield op
        yield from (seen for seen in self.seen.values() if seen.until_ms > now_ms)
        awake = self._fall_asleep()
        yield from (Seen(*key, self.held[key].expires_at_ms) for key in self._asleep.values())
        yield from awake

    # -- what sleeps ------------------------------------------------------------------------------------

    def _fall_asleep(self) -> list[Put]:
        """The rows that are read now."""
        self._backlog, self._asleep, awake = Backlog(self._awake_max), {}, []
        for key, put in self.held.items():
            n, lane = self._numbers[key], _climbing_lane(put)
            if lane is not None and self._backlog.sleeps(lane):
                self._backlog.add(n, lane, len(put.envelope), _signer(put))
                self._asleep[n] = key
                continue
            if lane is not None:
                self._backlog.is_awake(n, lane)
            awake.append(put)
        return awake

    @property
    def asleep(self) -> Asleep:
        return self._backlog.asleep

    def sleeps(self, id_: bytes, direction: Direction) -> bool:
        return (id_, direction) in self._asleep.values()

    def wake(self) -> list[Op]:
        """The rows whose turn it is, and before them who signed them. Mostly none."""
        puts = [self.held[self._asleep.pop(n)] for n in self._backlog.due()]
        signers = dict.fromkeys(_signer(put) for put in puts)
        kept = [self.kept.get((KeepCredential, signer)) for signer in signers]
        return [*(op for op in kept if op is not None), *puts]

    # -- when it fails ----------------------------------------------------------------------------------

    def lose_power(self) -> None:
        """What was not written is gone."""
        self.owed.clear()

    def flip(self, chosen: random.Random) -> Put | Seen | SeenAction | None:
        """A bit of one row: its checksum does not match, so it is set aside when the disk is read."""
        rows = [*self.held.values(), *self.seen.values()]
        if not rows:
            return None
        row = chosen.choice(rows)
        table = self.held if isinstance(row, Put) else self.seen
        del table[row.id, row.direction]
        return row
