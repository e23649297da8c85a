"""The leases of a control point's ledger, on its connection's thread (SPEC 9.8): what is due is reverted, and told.

Guarantees: a lease is on disk with what says that its handler is called, and its end before its requester hears of it.
What is to be written is returned, and is the ledger's to commit; `committed` says that it did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import structlog

from fabric.edge.effects.lease import Lease, Stage, Word
from fabric.edge.effects.lease_clock import Clocks, LeaseClock
from fabric.edge.effects.lease_list import LeaseList
from fabric.edge.effects.leases import Leases
from fabric.edge.effects.reverting import HANGS_MS, Effect
from fabric.edge.handling.handlers import Answer
from fabric.edge.handling.replies import about_envelope
from fabric.edge.highest import label_of_whole
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.core.ledger_ops import KeepAnswer, KeepForGood, KeepIntent, KeepLease, KeepLeaseTime, LedgerOp
from fabric.protocol.core.ready import Op
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.openc2 import End
from fabric.transport.clock import boot_id, up_ns

# A program that registers its handlers one by one has so long for all of them.
_HANDLERS_MS: Final = 2_000
# How often the time that leases go by is written while nothing else is: so much of it a machine may forget.
_MARK_MS: Final = 60_000
# How often it is looked for reverts that do not return.
_LOOK_MS: Final = 1_000
# Of these ends a handler did nothing, and of this code it was not even called.
_NOT_BEGUN: Final = (End.REFUSED, End.EXPIRED)


class Lasts(NamedTuple):
    """The effect of an action that begins now. `left_ms`: for how long; None: for good. All else is as in `Lasting`."""

    effect: bytes
    variant: bytes
    left_ms: int | None
    ends_itself: bool = False
    target: bytes = b""
    undoes: bool = False
    is_kept_up: bool = True


class Reverter(Protocol):
    """Who calls reverts and tells requesters; none of it blocks."""

    def knows(self, topic: str) -> bool: ...

    def revert(self, lease: KeepLease) -> None: ...

    def tell(self, effect: Effect) -> None: ...

    def hanging(self, now_ms: int) -> list[bytes]: ...


def machine_clocks(time: Timekeeper, now_ms: int) -> Clocks:
    """What this machine's say now, and the fabric's where it can be believed."""
    fabric_ms = time.now(now_ms) if time.measured and not time.suspect else 0
    return Clocks(now_ms, boot_id(), up_ns() // 1_000_000, time.own(now_ms), fabric_ms)


class Leasing:
    """`me`: this node's id; `path`: the list of leases, for whoever looks."""

    def __init__(
        self, me: str, path: Path, time: Timekeeper, log: structlog.typing.FilteringBoundLogger,
        clocks: Callable[[Timekeeper, int], Clocks] = machine_clocks,
    ) -> None:
        self._me = me
        self._list = LeaseList(path)
        self._time = time
        self._log = log
        self._clocks = clocks
        self._leases = Leases()
        # Whose handlers are, by the id of their action; and whether its requester wanted the same for good before.
        self._at_work: dict[bytes, tuple[str, Lasts, bool]] = {}
        self._clock: LeaseClock | None = None  # when the ledger is had
        self._reverter: Reverter | None = None
        self._handlers_by_ms = 0
        self._mark_ms = 0
        self._look_ms = 0
        self._now_ms = 0  # of the last turn
        self._failed: dict[bytes, None] = {}  # whose requester was told that its revert failed
        self._releasing: dict[bytes, list[Callable[[Word], None]]] = {}

    @property
    def in_force(self) -> int:
        """How many effects are to end."""
        return self._leases.in_force

    def opened(self, ops: Sequence[Op], reverter: Reverter, now_ms: int, unreadable: Sequence[str] = ()) -> None:
        """The ledger has these. `unreadable`: ids of those that it had, and that cannot be read."""
        self._reverter = reverter
        self._now_ms, self._handlers_by_ms = now_ms, now_ms + _HANDLERS_MS
        kept = [op for op in ops if isinstance(op, KeepLeaseTime)]
        self._clock = LeaseClock(kept[0] if kept else None, self._clocks(self._time, now_ms))
        answered = {op.id for op in ops if isinstance(op, KeepAnswer)}
        open_ = {op.id for op in ops if isinstance(op, KeepIntent)} - answered
        for op in ops:
            if isinstance(op, KeepLease):
                self._leases.restore(op, is_open=op.id in open_)
            elif isinstance(op, KeepForGood):
                self._leases.for_good.add(op)
        if unreadable:
            self._list.are_unreadable(unreadable)
            self._log.error("effects that nothing ends any more: their leases cannot be read", count=len(unreadable),
                            actions=list(unreadable[:8]), next=f"see fabric leases --as {self._me}")
        if self.in_force:
            self._log.info("effects in force", count=self.in_force, next="they end when their time is over")

    # -- handlers ---------------------------------------------------------------------------------------

    def _kept(self, intent: KeepIntent, requester: str, lasts: Lasts, now_ms: int) -> KeepLease | None:
        if lasts.left_ms is None:
            return None
        assert self._clock is not None
        return KeepLease(
            intent.id, self._clock.now(now_ms) + lasts.left_ms, self._time.own(now_ms), requester, lasts.effect,
            lasts.variant, intent.hops, int(Stage.IN_FORCE), str(Word.ENDED) if lasts.ends_itself else "", 0,
            intent.envelope,
        )

    def why_not(self, intent: KeepIntent, requester: str, lasts: Lasts, now_ms: int) -> Code | None:
        """Whether its handler may not be called now: BUSY, CANCELLED, LEASES_FULL."""
        return self._leases.why_not(lasts.effect, self._kept(intent, requester, lasts, now_ms))

    def begin(self, intent: KeepIntent, requester: str, lasts: Lasts, now_ms: int) -> Sequence[LedgerOp]:
        """Its handler is called when this is on disk."""
        assert self._clock is not None
        clocks = self._clocks(self._time, now_ms)
        if lasts.left_ms is not None:
            self._clock.look(clocks, at_once=True)
        ended = [] if lasts.left_ms is None else self._leases.for_good.has_an_end(lasts.effect, requester)
        self._at_work[intent.id] = requester, lasts, bool(ended)
        ops = [*self._leases.begin(intent.id, lasts.effect, self._kept(intent, requester, lasts, now_ms)), *ended]
        if not ops:
            return ops
        self._list.changed()
        return [*ops, self._mark(clocks)]

    def answered(self, id_: bytes, record: dict[str, Any], now_ms: int) -> Sequence[LedgerOp]:
        """An action has this answer, in the same commit."""
        if self._clock is None:
            return []
        end = record.get("end")
        began = end not in _NOT_BEGUN and record.get("code") != Code.CANNOT_RUN.label
        completed = end == End.COMPLETED
        ops = self._leases.ended(id_, self._time.now(now_ms), began=began, completed=completed)
        if ops:
            self._list.changed()
        at_work = self._at_work.pop(id_, None)
        if at_work is None:
            return ops
        requester, lasts, had_no_end = at_work
        more: list[LedgerOp] = []
        for_good, is_for_good = self._leases.for_good, completed and lasts.left_ms is None
        if is_for_good and lasts.undoes:
            more += for_good.undone(lasts.target, lasts.effect)
        if (is_for_good and lasts.is_kept_up) or (had_no_end and not began):
            more += for_good.add(KeepForGood(lasts.effect, requester, lasts.target, max(1, self._time.own(now_ms))))
        return [*ops, *more]

    # -- ends -------------------------------------------------------------------------------------------

    def requester_of(self, id_: bytes) -> str | None:
        """Whose effect is in force, and can be released; None where none of this action is."""
        lease = self._leases.get(id_)
        return None if lease is None or not lease.can_be_released else lease.row.requester

    def release(self, id_: bytes, tell: Callable[[Word], None]) -> Sequence[LedgerOp]:
        """End now what is in force. `tell` hears what became of that, when that is on disk."""
        ops = self._leases.release(id_)
        assert ops is not None
        self._releasing.setdefault(id_, []).append(tell)
        self._list.changed()
        return ops

    def look(self, now_ms: int) -> Sequence[LedgerOp]:
        """Each turn: begin the reverts that are due."""
        if self._clock is None or self._reverter is None:
            return []
        self._now_ms = now_ms
        ops: list[LedgerOp] = []
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + _LOOK_MS
            clocks = self._clocks(self._time, now_ms)
            self._clock.look(clocks)
            for id_ in self._reverter.hanging(now_ms):
                self._fails(id_, f"it has not returned for {HANGS_MS // 1000} s")
            if len(self._leases) and now_ms >= self._mark_ms:
                ops.append(self._mark(clocks))
            self._list.write(self._leases.all(), self._clock.now(now_ms), self._time.own(now_ms))
        lease_ms = self._clock.now(now_ms)
        due, more = self._leases.due(lease_ms, self._time.now(now_ms))
        for lease in due:
            about = about_envelope(lease.row.envelope)
            if now_ms < self._handlers_by_ms and about is not None and not self._reverter.knows(about.header.topic):
                self._leases.postpone(lease.id, lease_ms + self._handlers_by_ms - now_ms)
            else:
                self._reverter.revert(lease.row)
        if due or more:
            self._list.changed()
        return [*ops, *more]

    def reverted(self, id_: bytes, answer: Answer, now_ms: int) -> Sequence[LedgerOp]:
        """A revert returned."""
        assert self._clock is not None
        self._list.changed()
        well = answer.end is End.COMPLETED
        ops = self._leases.reverted(id_, self._clock.now(now_ms), self._time.now(now_ms), well=well)
        if not well:
            code = "" if answer.code in (None, Code.HANDLER_FAILED) else f"{answer.code.label} "
            self._fails(id_, f"{code}{answer.reason}".strip())
        return ops

    def _fails(self, id_: bytes, why: str) -> None:
        """Its requester is told once, and whoever released it."""
        lease = self._leases.get(id_)
        assert lease is not None and self._reverter is not None
        if id_ not in self._failed:
            self._failed[id_] = None
            code = Code.REVERT_FAILED
            said = {"code": code.label, "reason": f"{code.reason}: {why}" if why else code.reason}
            self._tell(lease, Word.FAILED, said, is_last=False)
        for tell in self._releasing.pop(id_, ()):
            tell(Word.FAILED)

    def committed(self) -> None:
        """What was returned until now is on disk: requesters may hear of it."""
        for lease in self._leases.to_tell():
            word = Word(lease.row.word)
            self._failed.pop(lease.id, None)
            self._tell(lease, word, {"at": lease.row.ended_ms}, is_last=True)
            for tell in self._releasing.pop(lease.id, ()):
                tell(word)

    def _tell(self, lease: Lease, word: Word, more: dict[str, Any], *, is_last: bool) -> None:
        about = about_envelope(lease.row.envelope)
        if about is None or self._reverter is None:
            return
        header = about.header
        stamp = Stamp(
            Kind.RESULT, header.topic, header.severity, header.phase, TTL_MAX_MS["result"],
            label_of_whole(header), to=header.origin, correlation=about.leaf, audience=header.audience,
        )
        record = {"effect": str(word), "targets": [self._me], "by": self._me, **more}
        self._reverter.tell(Effect(lease.id, stamp, record, is_last))

    def told(self, id_: bytes) -> Sequence[LedgerOp]:
        """Somebody else holds the end of it."""
        self._list.changed()
        return self._leases.told(id_)

    # -- the driver -------------------------------------------------------------------------------------

    def _mark(self, clocks: Clocks) -> KeepLeaseTime:
        assert self._clock is not None
        self._mark_ms = clocks.now_ms + _MARK_MS
        return self._clock.mark(clocks)

    @property
    def due_ms(self) -> int | None:
        """When `look` must be called again."""
        if self._clock is None:
            return None
        next_ms = self._leases.next_ms
        due = (
            self._clock.when(next_ms) if next_ms is not None else None, self._look_ms if self._list.is_changed else None
        )
        return min([each for each in due if each is not None], default=None)

    def close(self) -> Sequence[LedgerOp]:
        """What the next program is to know."""
        now_ms = self._now_ms
        if self._clock is None or not len(self._leases):
            return []
        left = self.in_force
        if left:
            self._log.warning("effects stay in force", count=left, next="they end when this runs again")
        self._list.write(self._leases.all(), self._clock.now(now_ms), self._time.own(now_ms), at_once=True)
        return [self._mark(self._clocks(self._time, now_ms))]
