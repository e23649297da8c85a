"""What a ledger's file has after what was written to it, for tests without a disk."""

from __future__ import annotations

from collections.abc import Sequence

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
from fabric.protocol.core.ready import KeepCredential, Op, SeenAction


class Ledger:
    """What is on its disk, and outlives it."""

    def __init__(self) -> None:
        self.since: list[Op] = []
        self.intents: dict[bytes, KeepIntent] = {}
        self.answers: dict[bytes, KeepAnswer] = {}
        self.told: dict[bytes, KeepTold] = {}
        self.cancelled: dict[tuple[bytes, str], KeepCancelled] = {}
        self.seen: dict[bytes, SeenAction] = {}
        self.credentials: dict[bytes, bytes] = {}
        self.leases: dict[bytes, KeepLease] = {}
        self.for_good: dict[tuple[bytes, str], KeepForGood] = {}
        self.lease_time: list[KeepLeaseTime] = []

    def actions(self) -> list[LedgerOp]:
        """In the order in which they are read."""
        return [*self.intents.values(), *self.answers.values(), *self.told.values()]

    def write(self, ops: Sequence[LedgerOp | SeenAction | KeepCredential]) -> None:
        """One transaction."""
        for op in ops:
            match op:
                case KeepIntent():
                    self.intents[op.id] = op
                case KeepAnswer(id_, _, _, answer):
                    self.intents.pop(id_, None)
                    self.answers.pop(id_, None)
                    if answer:
                        self.answers[id_] = op
                case KeepTold():
                    self.told[op.id] = op
                case ForgetAction(id_):
                    for table in (self.intents, self.answers, self.told):
                        table.pop(id_, None)
                case KeepLease():
                    self.leases[op.id] = op
                case ForgetLease(id_):
                    self.leases.pop(id_, None)
                case KeepForGood(effect, requester, _, since_ms):
                    self.for_good.pop((effect, requester), None)
                    if since_ms:
                        self.for_good[effect, requester] = op
                case KeepLeaseTime():
                    self.lease_time = [op]
                case SeenAction():
                    self.seen[op.id] = op
                case KeepCancelled(id_, by, _, _, header):
                    self.cancelled.pop((id_, by), None)
                    if header:
                        self.cancelled[id_, by] = op
                case KeepCredential():
                    self.credentials[op.digest] = op.raw
