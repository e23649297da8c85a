"""What a ledger keeps of the actions that a control point took (SPEC 9.3): one operation for each step of one.

Pure, like the other operations that go to a disk. `until_ms`: so long the step matters. A step of an action replaces
what no longer matters of those before it: an answer the intent, and that nothing is to be kept all of them.
"""

from __future__ import annotations

from typing import NamedTuple


class KeepIntent(NamedTuple):
    """An action was taken in, and is to be executed: its envelope as it was judged, and how old it was then.

    `fabric_ms` and `own_ms`: when it was taken, by the fabric's time and by this machine's. `begun`: its handler is
    about to be called, and from here on nobody knows what was done until there is an answer. One row says both: if it
    cannot be read, the action is not executed, where a lost mark of its own would have it executed again.
    """

    id: bytes
    until_ms: int
    age_ms: int
    fabric_ms: int
    own_ms: int
    hops: tuple[str, ...]
    envelope: bytes
    begun: bool = False


class KeepAnswer(NamedTuple):
    """What its requester is told. An empty answer forgets it."""

    id: bytes
    until_ms: int
    requester: str
    answer: bytes


class KeepTold(NamedTuple):
    """Its requester was told: the answer is held for it by somebody else."""

    id: bytes
    until_ms: int


class ForgetAction(NamedTuple):
    """Its time is over: nothing of it is kept."""

    id: bytes


class KeepCancelled(NamedTuple):
    """An action is not to begin if it comes: the node `by` wants it ended (SPEC 9.4). `header`: of the action by which
    it asked for that, and `signer`: the digest of the credential under which. An empty header forgets it."""

    id: bytes
    by: str
    until_ms: int
    signer: bytes
    header: bytes


class KeepLease(NamedTuple):
    """An effect that is to end (SPEC 9.8): from before its handler is called until its requester was told of its end.

    `due_ms`: when it ends, by the time that leases go by. `since_ms`: when it began, by this machine's clock, for
    people. `effect` and `variant`: digests of what it is an effect of, without and with the other arguments. `stage`:
    in force, released, or over; then `word` is what its requester is told, and `ended_ms` since when, by the fabric's
    time. Before that `word` is empty, or `ended` where its handler ends it and nothing is to be called.
    """

    id: bytes
    due_ms: int
    since_ms: int
    requester: str
    effect: bytes
    variant: bytes
    hops: tuple[str, ...]
    stage: int
    word: str
    ended_ms: int
    envelope: bytes


class ForgetLease(NamedTuple):
    """Its requester was told, or it never began."""

    id: bytes


class KeepForGood(NamedTuple):
    """This requester has an effect in force without an end (SPEC 9.8). `effect`, `target`: digests. `since_ms`: when it
    was done, by this machine's clock; 0 forgets it."""

    effect: bytes
    requester: str
    target: bytes
    since_ms: int


class KeepLeaseTime(NamedTuple):
    """The time that leases go by, `lease_ms`, and what clocks said at this moment: this machine's since it started
    (`up_ms`, in its start `boot`) and of the day, and the fabric's, or 0. `is_settled`: it counts the time for which
    the machine was off."""

    lease_ms: int
    boot: str
    up_ms: int
    own_ms: int
    fabric_ms: int
    is_settled: bool


LedgerOp = (
    KeepIntent | KeepAnswer | KeepTold | ForgetAction | KeepCancelled | KeepLease | ForgetLease | KeepForGood
    | KeepLeaseTime
)
