"""How long a loop reads before it commits and sends what came of it.

Long while it reads what can wait, since many messages then share a commit; now and then it looks for what came
meanwhile, and it ends at once when something urgent was accepted, so that this waits only for its own commit.
Guarantee: neither what a frame claims to be ends a turn, nor a message that was refused or came again: short turns cost
everybody, and a peer that may send nothing must not cause them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fabric.protocol.core.ready import Arrived, Ready
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.vocabulary.severity import LAST_URGENT

_TURN_NS = 8_000_000
# How often within a turn it is looked whether something urgent came since. Where much comes a look takes longer: what
# is handled before the next one takes so many times as long, so that the turn does not pass with looking.
_LOOK_NS = 500_000
_HANDLING_SHARE = 4


class Turn:
    """A turn that begins now."""

    def __init__(self, elapsed_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._elapsed_ns = elapsed_ns
        self._lap_ns = elapsed_ns()
        self._ends_ns = self._lap_ns + _TURN_NS
        self._look_ns = self._lap_ns + _LOOK_NS
        self._looking_ns = self._lap_ns

    def over_after(self, arrived: Arrived | None, made: Ready | None = None) -> bool:
        """Whether this frame, of which `made` came, is the last that the turn takes. None: one that was let go."""
        urgent = arrived is not None and made is not None and _took_in_something_urgent(arrived, made)
        return urgent or self._elapsed_ns() >= self._ends_ns

    def look_is_due(self) -> bool:
        """Whether it is time to see what came since the turn began, or since the last look. `looked` is to follow."""
        now_ns = self._elapsed_ns()
        if now_ns < self._look_ns:
            return False
        self._looking_ns = now_ns
        return True

    def looked(self) -> None:
        """What came has been read."""
        now_ns = self._elapsed_ns()
        self._look_ns = now_ns + max(_LOOK_NS, _HANDLING_SHARE * (now_ns - self._looking_ns))

    def lap_ns(self) -> int:
        """Time since the last call, or since the turn began: what the frame between them cost."""
        before_ns, self._lap_ns = self._lap_ns, self._elapsed_ns()
        return self._lap_ns - before_ns


def _took_in_something_urgent(arrived: Arrived, made: Ready) -> bool:
    return bool(made.persist or made.deliver) and any(
        isinstance(message, Verified) and message.header.lane <= LAST_URGENT for message in arrived.opened
    )
