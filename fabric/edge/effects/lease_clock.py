"""The time that leases go by (SPEC 9.8): how long effects have lasted, whatever is done to any clock.

Pure: what clocks say is an argument. Guarantees: while the machine is up it is that machine's steady clock, over
restarts of the program as well, so that no clock that is set, and no relay that tells a wrong time, changes when an
effect ends. For how long the machine was off only clocks of the day can say: the fabric's where it is known and agrees
with this machine's, and this machine's where no relay has told it in the first minute, or tells another one. One that
went back counts as nothing: an effect outlasts its duration by the time that the machine was off, at most.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fabric.protocol.core.ledger_ops import KeepLeaseTime

# So long a relay that tells the time is waited for, once, after the machine was off.
_PATIENCE_MS: Final = 60_000


class Clocks(NamedTuple):
    """What they say at one moment. `up_ms`: since the machine's start `boot`, empty where nobody knows which that is;
    `fabric_ms`: 0 where it is not known, or not what this machine's clock says."""

    now_ms: int  # the program's steady clock
    boot: str
    up_ms: int
    own_ms: int
    fabric_ms: int


class LeaseClock:
    """`kept`: as the program before left it."""

    def __init__(self, kept: KeepLeaseTime | None, clocks: Clocks) -> None:
        self._began_ms = clocks.now_ms
        kept = kept or KeepLeaseTime(0, clocks.boot, clocks.up_ms, clocks.own_ms, clocks.fabric_ms, True)
        is_same_boot = clocks.boot != "" and kept.boot == clocks.boot
        ran_ms = max(0, clocks.up_ms - kept.up_ms) if is_same_boot else 0
        self._lease_ms = kept.lease_ms + ran_ms  # when this began
        # What clocks would have said then, had the machine not been off.
        self._own_ms = kept.own_ms + ran_ms
        self._fabric_ms = kept.fabric_ms + ran_ms if kept.fabric_ms else 0
        self._off_ms = 0
        self._is_settled = kept.is_settled and is_same_boot

    def now(self, now_ms: int) -> int:
        """It never goes back, but where the machine's clock said a wrong time and the fabric's is known now."""
        return self._lease_ms + self._off_ms + now_ms - self._began_ms

    def when(self, lease_ms: int) -> int:
        """The inverse of `now`."""
        return lease_ms - self._lease_ms - self._off_ms + self._began_ms

    def look(self, clocks: Clocks, *, at_once: bool = False) -> None:
        """How long the machine was off, as far as it can be known by now. `at_once`: an effect begins, so that it is
        settled."""
        if self._is_settled:
            return
        ran_ms = clocks.now_ms - self._began_ms
        if clocks.fabric_ms:
            before_ms = self._fabric_ms or self._own_ms
            self._off_ms = max(0, clocks.fabric_ms - before_ms - ran_ms)
            self._is_settled = True
        elif at_once or ran_ms >= _PATIENCE_MS:
            self._off_ms = max(0, clocks.own_ms - self._own_ms - ran_ms)
            self._is_settled = at_once

    def mark(self, clocks: Clocks) -> KeepLeaseTime:
        """To be kept now. What is not settled the next program goes on to settle."""
        ran_ms = clocks.now_ms - self._began_ms
        if self._is_settled:
            return KeepLeaseTime(
                self.now(clocks.now_ms), clocks.boot, clocks.up_ms, clocks.own_ms, clocks.fabric_ms, True
            )
        return KeepLeaseTime(
            self._lease_ms + ran_ms, clocks.boot, clocks.up_ms, self._own_ms + ran_ms,
            self._fabric_ms + ran_ms if self._fabric_ms else 0, False,
        )
