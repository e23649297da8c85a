"""The steps of each action that this identity took: taken, begun, answered, told (SPEC 9.3).

Pure: what is to be written follows from the step, and time is an argument. Guarantees: a step is made once and in
order, so nothing is begun a second time by a second call; what is open has its room in `ActionRoom`, what was told has
a bounded one beside it, shared among requesters; an answer that finds no room is kept without its result, and of what
was told a requester's own oldest goes first. All of an action is forgotten when its time is over.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from fabric.edge.handling.replies import About
from fabric.protocol.base.limits import LEDGER_TOLD_BYTES_MAX
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.core.ledger_ops import ForgetAction, KeepAnswer, KeepIntent, KeepTold, LedgerOp
from fabric.protocol.point.action_room import ACTION_BYTES, ActionRoom


class Stage(IntEnum):
    """How far an action is."""

    TAKEN = 0
    BEGUN = 1
    ANSWERED = 2
    TOLD = 3


@dataclass(slots=True)
class Execution:
    """One action. `intent`: until it is answered. `bytes`: what is counted for it, where its stage is counted."""

    requester: str
    until_ms: int
    stage: Stage
    bytes: int
    intent: KeepIntent | None = None
    about: About | None = None  # as long, where it came to this process: it need not be read again
    is_here: bool = False  # its handler was called, or its answer is being told, by this process
    repeated_by: int = -1  # the link by which it came again, and was answered


@dataclass(slots=True)
class Executions:
    """`room`: the core's, for what is open. Times are this node's steady clock's."""

    room: ActionRoom
    told_bytes_max: int = LEDGER_TOLD_BYTES_MAX
    _all: dict[bytes, Execution] = field(default_factory=dict)
    _deadlines: list[tuple[int, bytes]] = field(default_factory=list)
    # Of each requester, the oldest first: what it was told, and is kept in case that the action comes again.
    _told: dict[str, OrderedDict[bytes, None]] = field(default_factory=dict)
    _told_held: Holdings[str] = field(default_factory=Holdings)
    told_bytes: int = 0
    at_work: int = 0  # begun, answered, or answered again by this process, and not told

    def __len__(self) -> int:
        return len(self._all)

    def get(self, id_: bytes) -> Execution | None:
        return self._all.get(id_)

    # -- the steps --------------------------------------------------------------------------------------

    def take(self, intent: KeepIntent, requester: str, until_ms: int, about: About | None = None) -> LedgerOp:
        """The core took it in, and counted it in the room."""
        self._forget(intent.id)  # of one that the core had let go of, since its time was over by this machine's clock
        bytes_ = ACTION_BYTES + len(intent.envelope)
        self._add(intent.id, Execution(requester, until_ms, Stage.TAKEN, bytes_, intent, about))
        return intent

    def begin(self, id_: bytes) -> Sequence[LedgerOp] | None:
        """None where it is not to be begun: it is not known, or was answered."""
        one = self._all.get(id_)
        if one is None or one.intent is None or one.is_here:
            return None
        self._is_here(one)
        if one.stage is Stage.BEGUN:
            return []  # by an earlier process, and it is called again
        one.stage = Stage.BEGUN
        one.intent = one.intent._replace(begun=True)
        return [one.intent]

    def answer(self, id_: bytes, whole: bytes, bare: Callable[[], bytes]) -> Sequence[LedgerOp]:
        """What its requester is about to be told; without the result where that has no room."""
        one = self._all.get(id_)
        if one is None or one.stage is Stage.TOLD:
            return []
        more = ACTION_BYTES + len(whole) - one.bytes
        raw = whole if more <= 0 or self.room.fits(one.requester, more) else bare()
        self._count(one, ACTION_BYTES + len(raw))
        self._is_here(one)
        one.stage, one.intent, one.about = Stage.ANSWERED, None, None
        return [KeepAnswer(id_, one.until_ms, one.requester, raw)]

    def tell(self, id_: bytes) -> Sequence[LedgerOp]:
        """Its requester was told. Nothing where there was no answer: it is still to be begun, or at work."""
        one = self._all.get(id_)
        if one is None or one.stage not in (Stage.ANSWERED, Stage.TOLD):
            return []
        self._is_not_here(one)
        if one.stage is not Stage.ANSWERED:
            return []  # once more
        bytes_ = one.bytes
        self._count(one, 0)
        one.stage = Stage.TOLD
        return [KeepTold(id_, one.until_ms), *self._keep_told(id_, one, bytes_)]

    def repeats(self, id_: bytes, link: int) -> bool:
        """It came again by this link: whether it is to be answered again. Once a link, and one answer at a time."""
        one = self._all.get(id_)
        if one is None or one.stage is not Stage.TOLD or not one.bytes or one.is_here or one.repeated_by == link:
            return False
        one.repeated_by = link
        self._is_here(one)
        return True

    def expire(self, now_ms: int, steps_max: int = 256) -> Sequence[LedgerOp]:
        """Some of those whose time is over; bounded work a call."""
        ops: list[LedgerOp] = []
        while self._deadlines and self._deadlines[0][0] <= now_ms and len(ops) < steps_max:
            until_ms, id_ = heapq.heappop(self._deadlines)
            one = self._all.get(id_)
            if one is not None and one.until_ms == until_ms:
                self._forget(id_)
                ops.append(ForgetAction(id_))
        return ops

    def _forget(self, id_: bytes) -> None:
        one = self._all.pop(id_, None)
        if one is None:
            return
        self._is_not_here(one)
        if one.stage is Stage.TOLD:
            self._drop_told(id_, one)
        else:
            self._count(one, 0)

    # -- from disk --------------------------------------------------------------------------------------

    def restore(self, op: KeepIntent | KeepAnswer | KeepTold, requester: str, until_ms: int) -> Sequence[LedgerOp]:
        """In the order of an action's steps. What finds no room any more is not kept from now on."""
        one = self._all.get(op.id)
        match op:
            case KeepIntent() if one is None:
                bytes_ = ACTION_BYTES + len(op.envelope)
                stage = Stage.BEGUN if op.begun else Stage.TAKEN
                self._add(op.id, Execution(requester, until_ms, stage, bytes_, op._replace(until_ms=until_ms)))
                self.room.add(requester, bytes_)
            case KeepAnswer() if one is None:
                bytes_ = ACTION_BYTES + len(op.answer)
                self._add(op.id, Execution(requester, until_ms, Stage.ANSWERED, bytes_))
                self.room.add(requester, bytes_)
            case KeepTold() if one is not None and one.stage is Stage.ANSWERED:
                bytes_ = one.bytes
                self._count(one, 0)
                one.stage = Stage.TOLD
                return self._keep_told(op.id, one, bytes_)
        return []

    # -- what it takes ----------------------------------------------------------------------------------

    def _add(self, id_: bytes, one: Execution) -> None:
        self._all[id_] = one
        heapq.heappush(self._deadlines, (one.until_ms, id_))

    def _count(self, one: Execution, bytes_: int) -> None:
        """In the room of what is open."""
        self.room.add(one.requester, bytes_ - one.bytes)
        one.bytes = bytes_

    def _is_here(self, one: Execution) -> None:
        self.at_work += not one.is_here
        one.is_here = True

    def _is_not_here(self, one: Execution) -> None:
        self.at_work -= one.is_here
        one.is_here = False

    def _keep_told(self, id_: bytes, one: Execution, bytes_: int) -> Sequence[LedgerOp]:
        """Beside what else its requester was told; its own oldest go for it."""
        own = self._told.setdefault(one.requester, OrderedDict())
        one.bytes = bytes_
        own[id_] = None
        self._told_held.add(one.requester, bytes_)
        self.told_bytes += bytes_
        gone: list[LedgerOp] = []
        while own and self._has_too_much(one.requester):
            oldest = next(iter(own))
            self._drop_told(oldest, self._all[oldest])
            gone.append(KeepAnswer(oldest, 0, "", b""))
        return gone

    def _has_too_much(self, requester: str) -> bool:
        return beyond_share(self._told_held[requester], 0, self.told_bytes_max - self.told_bytes, LARGE_SHARE)

    def _drop_told(self, id_: bytes, one: Execution) -> None:
        own = self._told.get(one.requester)
        if own is None or id_ not in own:
            return
        del own[id_]
        if not own:
            del self._told[one.requester]
        self._told_held.add(one.requester, -one.bytes)
        self.told_bytes -= one.bytes
        one.bytes = 0
