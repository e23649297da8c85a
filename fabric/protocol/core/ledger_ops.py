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


LedgerOp = KeepIntent | KeepAnswer | KeepTold | ForgetAction
