"""Room for the actions that a control point took and has not answered (SPEC 9.3, 10), shared among their requesters.

Guarantees: what they and their answers take together has a bound, and no requester fills it for the others. What finds
no room is not taken in. The core counts what it takes in; its driver gives back what has ended, and closes the room
while its disk has none, or nobody executes.
"""

from __future__ import annotations

from fabric.protocol.base.limits import LEDGER_BYTES_MAX
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share

# What is counted of an action besides its bytes: rows on disk, and what is known of it in memory.
ACTION_BYTES = 1_024


class ActionRoom:
    """`is_open`: whether anything is taken in now."""

    def __init__(self, bytes_max: int = LEDGER_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held: Holdings[str] = Holdings()
        self.bytes = 0
        self.is_open = True

    def fits(self, requester: str, bytes_: int) -> bool:
        """Whether so much more of this requester finds room."""
        return not beyond_share(self._held[requester], bytes_, self._bytes_max - self.bytes, LARGE_SHARE)

    def add(self, requester: str, bytes_: int) -> None:
        """A negative number is given back."""
        self._held.add(requester, bytes_)
        self.bytes += bytes_
