"""Effects that end (SPEC 9.8): one lease for each action with a duration, from before its handler is called.

Pure: what is to be written follows from the step, and times are arguments, by the time that leases go by. Guarantees: a
lease whose handler may have been called ends by its revert, or because another action keeps up the same effect, and
its requester is told which; an effect is not reverted while another lease on it is in force, or while one of its
handlers is at work, and no handler of it begins while it is reverted; of leases that differ in other arguments each is
reverted when none is in force. A revert that fails is called again. Room is bounded, and shared among requesters.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fabric.edge.effects.for_good import ForGood
from fabric.edge.effects.lease import Lease, OnEffect, Stage, Word
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import LEASE_BYTES_MAX
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.core.ledger_ops import ForgetLease, KeepLease, LedgerOp

_RETRY_MS: Final = 1_000
_RETRY_MS_MAX: Final = 300_000


@dataclass(slots=True)
class Leases:
    """By the id of their action."""

    bytes_max: int = LEASE_BYTES_MAX
    held_bytes: int = 0
    in_force: int = 0  # those that are not over
    for_good: ForGood = field(default_factory=ForGood)
    _all: dict[bytes, Lease] = field(default_factory=dict)
    _of: dict[bytes, OnEffect] = field(default_factory=dict)
    _ready: dict[bytes, None] = field(default_factory=dict)  # effects of which something is due, or is held no more
    _holds: set[bytes] = field(default_factory=set)  # leases that are counted as in force
    _held: Holdings[str] = field(default_factory=Holdings)
    _timers: list[tuple[int, bytes]] = field(default_factory=list)  # when to look at which; it may be another time
    # Actions whose handler is at work, with or without a duration, and what of.
    _works: dict[bytes, bytes] = field(default_factory=dict)
    _at_work: Counter[bytes] = field(default_factory=Counter)
    _reverting: set[bytes] = field(default_factory=set)
    # Whose requester is to be told, when what was changed is on disk.
    _to_tell: list[Lease] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._all)

    def get(self, id_: bytes) -> Lease | None:
        return self._all.get(id_)

    def all(self) -> list[Lease]:
        """In the order in which they began."""
        return list(self._all.values())

    # -- handlers ---------------------------------------------------------------------------------------

    def why_not(self, effect: bytes, kept: KeepLease | None) -> Code | None:
        """Whether the handler of an action with a duration (`kept`), or without one, may not be called now. BUSY: what
        it does is just being reverted; CANCELLED: it was called before, and its effect has ended or was released;
        LEASES_FULL."""
        if effect in self._reverting:
            return Code.BUSY
        if kept is None:
            return None
        if (known := self._all.get(kept.id)) is not None:
            # It was called before. Whoever was told that this has ended, or is to, has been told the truth.
            return None if known.stage is Stage.IN_FORCE else Code.CANCELLED
        more = Lease(kept, Stage.IN_FORCE).size
        beyond = beyond_share(self._held[kept.requester], more, self.bytes_max - self.held_bytes, LARGE_SHARE)
        return Code.LEASES_FULL if beyond else None

    def begin(self, id_: bytes, effect: bytes, kept: KeepLease | None) -> Sequence[LedgerOp]:
        """It is about to be called. Of one that is called again its time begins anew."""
        if id_ not in self._works:
            self._works[id_] = effect
            self._at_work[effect] += 1
        if kept is None:
            return []
        known = self._all.get(id_)
        if known is not None:
            self._drop(known)
        self._add(Lease(kept, Stage.IN_FORCE, is_at_work=True, is_open=known is not None))
        return [kept]

    def ended(self, id_: bytes, at_ms: int, *, began: bool, completed: bool) -> Sequence[LedgerOp]:
        """An action has its answer. `began`: its handler may have done something; `completed`: it did all of it.
        `at_ms`: now, by the fabric's time, for those who are told."""
        ops: list[LedgerOp] = []
        lease = self._all.get(id_)
        effect = self._works.pop(id_, None)
        if lease is not None:
            was_called_before, lease.is_open, lease.is_at_work = lease.is_open, False, False
            if lease.is_told or not (began or was_called_before or lease.stage is Stage.OVER):
                self._drop(lease)
                ops.append(ForgetLease(id_))
        if effect is None:
            return ops
        self._at_work[effect] -= 1
        if not self._at_work[effect]:
            del self._at_work[effect]
        if lease is None and completed:  # for good: the last word on it
            for other in self._on(effect):
                if not other.is_at_work:
                    ops += self._over(other, Word.LASTS, at_ms)
        self._look_at(effect)
        return ops

    # -- ends -------------------------------------------------------------------------------------------

    def release(self, id_: bytes) -> Sequence[LedgerOp] | None:
        """End it before its time; None where it is not in force, or its handler ends it."""
        lease = self._all.get(id_)
        if lease is None or not lease.can_be_released:
            return None
        if lease.stage is Stage.RELEASED:
            return []
        lease.stage, lease.retry_ms = Stage.RELEASED, 0
        lease.row = lease.row._replace(stage=int(Stage.RELEASED))
        if not lease.is_reverting:
            self._is_due(lease)
        return [lease.row]

    def due(self, now_ms: int, at_ms: int, steps_max: int = 256) -> tuple[list[Lease], list[LedgerOp]]:
        """Those whose revert is to be called now, and what is to be written of those that just end."""
        while self._timers and self._timers[0][0] <= now_ms:
            look_ms, id_ = heapq.heappop(self._timers)
            lease = self._all.get(id_)
            if lease is not None and lease.look_ms == look_ms and lease.stage is not Stage.OVER:
                self._is_due(lease)
        due: list[Lease] = []
        ops: list[LedgerOp] = []
        while self._ready and len(due) + len(ops) < steps_max:
            effect = next(iter(self._ready))
            del self._ready[effect]
            on = self._of.get(effect)
            if on is None or effect in self._reverting or effect in self._at_work:
                continue  # looked at when that ends
            ops += self._end_uncalled(on, now_ms, at_ms, steps_max - len(ops))
            if on.fresh:
                self._ready[effect] = None  # the rest of them
            elif not on.upheld and (lease := self._first_waiting(on, now_ms)) is not None:
                if lease.ends_itself:  # among others that are reverted, since its handler was another one then
                    ops += self._over(lease, Word.ENDED, at_ms)
                    continue
                lease.is_reverting = True
                self._reverting.add(effect)
                due.append(lease)
        return due, ops

    def _end_uncalled(self, on: OnEffect, now_ms: int, at_ms: int, steps_max: int) -> list[LedgerOp]:
        """Of those that are due, the ones whose effect another of the same variant keeps up, or somebody who asked for
        it for good, and those that their handler ended."""
        ops: list[LedgerOp] = []
        while on.fresh and len(ops) < steps_max:
            variant = next(iter(on.fresh))
            lease = self._all[next(iter(on.due[variant]))] if variant in on.due else None
            lasts = lease is not None and (on.upheld[variant] > 0 or self.for_good.holds(lease.row.effect))
            if lease is None or not (lasts or lease.ends_itself):
                del on.fresh[variant]
            elif not self._went_back(on, lease, now_ms):
                ops += self._over(lease, Word.LASTS if lasts else Word.ENDED, at_ms)
        return ops

    def _first_waiting(self, on: OnEffect, now_ms: int) -> Lease | None:
        """To be reverted; none where the time went back, and one is in force after all."""
        if not on.due:
            return None
        lease = self._all[next(iter(next(iter(on.due.values()))))]
        if self._went_back(on, lease, now_ms):
            return None
        on.wait_no_more(lease)
        return lease

    def _went_back(self, on: OnEffect, lease: Lease, now_ms: int) -> bool:
        """The time did, so that it is not due yet: it is looked at then."""
        if lease.due_ms <= now_ms:
            return False
        on.wait_no_more(lease)
        self._await(lease)
        return True

    def reverted(self, id_: bytes, now_ms: int, at_ms: int, *, well: bool) -> Sequence[LedgerOp]:
        """Its revert returned, and how. One that failed is called again."""
        lease = self._all[id_]
        if not well:
            self._again(lease, now_ms + min(_RETRY_MS << min(lease.tries, 16), _RETRY_MS_MAX))
            lease.tries += 1
            return []
        self._free(lease)
        return self._over(lease, Word.RELEASED if lease.stage is Stage.RELEASED else Word.REVERTED, at_ms)

    def postpone(self, id_: bytes, until_ms: int) -> None:
        """Its revert was not called, since nobody knows it yet."""
        self._again(self._all[id_], until_ms)

    def _again(self, lease: Lease, at_ms: int) -> None:
        self._free(lease)
        lease.retry_ms = at_ms
        self._timer(lease)

    def _free(self, lease: Lease) -> None:
        lease.is_reverting = False
        self._reverting.discard(lease.row.effect)
        self._look_at(lease.row.effect)

    def _over(self, lease: Lease, word: Word, at_ms: int) -> Sequence[LedgerOp]:
        if lease.stage is Stage.OVER:
            return []
        self._take_away(lease)
        lease.stage = Stage.OVER
        lease.row = lease.row._replace(stage=int(Stage.OVER), word=str(word), ended_ms=at_ms)
        self._to_tell.append(lease)
        return [lease.row]

    def to_tell(self) -> list[Lease]:
        """Those that are over since this was asked last: when that is on disk."""
        found, self._to_tell = self._to_tell, []
        return found

    def told(self, id_: bytes) -> Sequence[LedgerOp]:
        """Its requester was told, or nobody can tell it any more."""
        lease = self._all.get(id_)
        if lease is None or lease.stage is not Stage.OVER:
            return []
        if lease.is_open:  # so that its handler is not called again by whoever does not know of it
            lease.is_told = True
            return []
        self._drop(lease)
        return [ForgetLease(id_)]

    def restore(self, kept: KeepLease, *, is_open: bool = False) -> None:
        """As the program before left it: whoever was at work is not any more. `is_open`: its action has no answer."""
        lease = Lease(kept, Stage(kept.stage), is_open=is_open)
        self._add(lease)
        if lease.stage is Stage.OVER:
            self._to_tell.append(lease)

    @property
    def next_ms(self) -> int | None:
        """When `due` finds something, at the earliest."""
        if self._ready:
            return 0
        return self._timers[0][0] if self._timers else None

    # -- what it takes ----------------------------------------------------------------------------------

    def _on(self, effect: bytes) -> list[Lease]:
        """Those on it that are not over, in the order in which they began."""
        on = self._of.get(effect)
        return [] if on is None else [self._all[id_] for id_ in on.ids]

    def _look_at(self, effect: bytes) -> None:
        if effect in self._of:
            self._ready[effect] = None

    def _is_due(self, lease: Lease) -> None:
        """Its time is over, or it was released."""
        self._let_go(lease)
        lease.look_ms = -1
        self._of[lease.row.effect].wait(lease)
        self._look_at(lease.row.effect)

    def _await(self, lease: Lease) -> None:
        """Until it is due, or is tried again."""
        if not lease.retry_ms and lease.stage is Stage.IN_FORCE:
            self._holds.add(lease.id)
            self._of[lease.row.effect].hold(lease.row.variant)
        self._timer(lease)

    def _let_go(self, lease: Lease) -> None:
        if lease.id in self._holds:
            self._holds.discard(lease.id)
            self._of[lease.row.effect].let_go(lease.row.variant)

    def _timer(self, lease: Lease) -> None:
        lease.look_ms = lease.due_ms
        heapq.heappush(self._timers, (lease.look_ms, lease.id))
        if len(self._timers) > 2 * len(self._all) + 32:  # of those that are gone
            self._timers = [(each.look_ms, each.id) for each in self._all.values() if each.look_ms >= 0]
            heapq.heapify(self._timers)

    def _add(self, lease: Lease) -> None:
        self._all[lease.id] = lease
        self._held.add(lease.row.requester, lease.size)
        self.held_bytes += lease.size
        if lease.stage is not Stage.OVER:
            self.in_force += 1
            self._of.setdefault(lease.row.effect, OnEffect()).ids[lease.id] = None
            self._await(lease)

    def _take_away(self, lease: Lease) -> None:
        """From its effect, where it does not count any more."""
        effect = lease.row.effect
        on = self._of.get(effect)
        if on is None or lease.id not in on.ids:
            return
        self._let_go(lease)
        on.wait_no_more(lease)
        del on.ids[lease.id]
        self.in_force -= 1
        lease.look_ms = -1
        if on.ids:
            self._ready[effect] = None
        else:
            del self._of[effect]
            self._ready.pop(effect, None)

    def _drop(self, lease: Lease) -> None:
        self._take_away(lease)
        del self._all[lease.id]
        self._held.add(lease.row.requester, -lease.size)
        self.held_bytes -= lease.size
