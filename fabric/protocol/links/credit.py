"""The credit of a link, in both directions (SPEC 7.3): what we may send, and what the peer may.

Guarantees: it is counted by lane and cumulative, so a CREDIT that was lost is made good by the next one; a lane that
takes nothing in is granted nothing more until it does again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fabric.protocol.base.limits import LANE_WINDOW_BYTES
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Credit


class LinkCredit:
    """Bytes per lane since the link opened. Both sides start with a full window: nothing waits for a first CREDIT."""

    __slots__ = ("_allowed", "_consumed", "_granted", "_sent", "_stinted")

    def __init__(self) -> None:
        self._sent = [0] * len(Lane)
        self._allowed = [LANE_WINDOW_BYTES] * len(Lane)
        self._consumed = [0] * len(Lane)
        self._granted = [LANE_WINDOW_BYTES] * len(Lane)
        self._stinted = False

    # -- ours -----------------------------------------------------------------------------------------------

    def allowance(self) -> list[int]:
        """What the peer's credit still allows."""
        return [allowed - sent for allowed, sent in zip(self._allowed, self._sent, strict=True)]

    def allow(self, bytes_: Sequence[int]) -> None:
        """The peer grants so much in all."""
        self._allowed = [max(a, b) for a, b in zip(self._allowed, bytes_, strict=True)]

    def sent(self, lane: Lane, bytes_: int) -> None:
        self._sent[lane] += bytes_

    def refund(self, lane: Lane, bytes_: int) -> None:
        """What is sent again did not arrive, as far as this side can know: its credit comes back."""
        self._sent[lane] -= bytes_

    # -- the peer's -----------------------------------------------------------------------------------------

    def consume(self, lane: Lane, bytes_: int) -> None:
        """So much came in, and is dealt with."""
        self._consumed[lane] += bytes_

    @property
    def stinted(self) -> bool:
        """Whether a lane that took nothing in was not granted what it had used."""
        return self._stinted

    def grant(self, takes_in: Callable[[Lane], bool], *, always: bool = False) -> Credit | None:
        """A CREDIT frame when the peer's window is half used, or always; nothing more for lanes that take none in."""
        wanted, due, self._stinted = list(self._granted), False, False
        for lane, consumed in zip(Lane, self._consumed, strict=True):
            used = consumed + LANE_WINDOW_BYTES - wanted[lane]
            if used and takes_in(lane):
                wanted[lane] += used
                due = due or used >= LANE_WINDOW_BYTES // 2
            elif used:
                self._stinted = True
        if not due and not always:
            return None
        self._granted = wanted
        return Credit(wanted)
