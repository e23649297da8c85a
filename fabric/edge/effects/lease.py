"""One effect that ends (SPEC 9.8): how far its lease is, and the leases on the same effect."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from fabric.protocol.core.ledger_ops import KeepLease
from fabric.protocol.point.action_room import ACTION_BYTES


class Stage(IntEnum):
    """How far a lease is."""

    IN_FORCE = 0
    RELEASED = 1  # to be reverted before its time
    OVER = 2  # and its requester is yet to be told


class Word(StrEnum):
    """What a requester is told of the effect of its action."""

    REVERTED = "reverted"  # its time was over
    RELEASED = "released"  # somebody who may wanted that
    ENDED = "ended"  # its time was over, and its handler ends it by itself: nobody looked
    LASTS = "lasts"  # its lease is over; another action keeps the effect up
    FAILED = "revert failed"  # it is tried again


@dataclass(slots=True)
class Lease:
    """`due_ms` as `KeepLease` has it. `retry_ms`: not before then, after a failure. `tries`: failures."""

    row: KeepLease
    stage: Stage
    retry_ms: int = 0
    tries: int = 0
    look_ms: int = -1  # when its timer is; others of it do not count
    is_at_work: bool = False  # its own handler, in this process
    is_open: bool = False  # an earlier process called its handler, and its action has no answer yet
    is_reverting: bool = False
    is_told: bool = False

    @property
    def id(self) -> bytes:
        return self.row.id

    @property
    def ends_itself(self) -> bool:
        """Its handler sees to that: nothing is called when it is due."""
        return self.row.word == Word.ENDED

    @property
    def can_be_released(self) -> bool:
        return self.stage is not Stage.OVER and not self.ends_itself

    @property
    def due_ms(self) -> int:
        """When it is looked at next."""
        return max(self.retry_ms, self.row.due_ms if self.stage is Stage.IN_FORCE else 0)

    @property
    def size(self) -> int:
        return ACTION_BYTES + len(self.row.envelope)


class OnEffect:
    """The leases on one effect that are not over. Whoever can ask for one can ask for as many as there is room for, so
    nothing here looks through them: `upheld` counts those in force by variant, `due` has those that are due."""

    __slots__ = ("due", "fresh", "ids", "upheld")

    def __init__(self) -> None:
        self.ids: dict[bytes, None] = {}
        self.upheld: Counter[bytes] = Counter()
        self.due: dict[bytes, dict[bytes, None]] = {}
        self.fresh: dict[bytes, None] = {}  # variants with a lease that came, or was due, since it was looked at

    def hold(self, variant: bytes) -> None:
        self.upheld[variant] += 1
        self.fresh[variant] = None

    def let_go(self, variant: bytes) -> None:
        self.upheld[variant] -= 1
        if not self.upheld[variant]:
            del self.upheld[variant]

    def wait(self, lease: Lease) -> None:
        self.due.setdefault(lease.row.variant, {})[lease.id] = None
        self.fresh[lease.row.variant] = None

    def wait_no_more(self, lease: Lease) -> bool:
        """Whether it did."""
        ids = self.due.get(lease.row.variant, {})
        if lease.id not in ids:
            return False
        del ids[lease.id]
        if not ids:
            del self.due[lease.row.variant]
        return True
