"""Which connections belong to accepted peers, and which to strangers, who have yet to prove who they are.

Guarantees: strangers together have a small part of the connections there may be, so an accepted peer is never cut for
one and finds room whatever strangers do. Beyond it the oldest stranger of the host with most is cut: a newcomer has
time for its handshake, and a host that floods loses its own connections. Holds no socket.
"""

from __future__ import annotations

from typing import Final

# What a stranger can make this process hold is a half-sent frame (256 KiB) and a CURVE session (some 40 KiB): all of
# them less than 160 MB. A handshake takes two round trips and 1.4 ms of a processor: with so many places there is time
# for those of a herd that comes back, and for a newcomer's though a thousand others knock every second.
STRANGERS_MAX: Final = 512
# Of the descriptors that there are, a quarter is for everything else, and for those who come in within one turn.
_RESERVE_SHARE: Final = 4


class Strangers:
    """`descriptors`: how many this process may have open."""

    def __init__(self, descriptors: int) -> None:
        self._connections_max = descriptors - descriptors // _RESERVE_SHARE
        self._strangers_max = min(STRANGERS_MAX, self._connections_max // 4)
        self._known: set[int] = set()
        self._host_of: dict[int, str] = {}  # of strangers
        self._by_host: dict[str, dict[int, None]] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._host_of)

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._host_of

    def came(self, descriptor: int, host: str) -> None:
        """A connection came in."""
        self.gone(descriptor)
        self._host_of[descriptor] = host
        self._by_host.setdefault(host, {})[descriptor] = None

    def accepted(self, descriptor: int) -> None:
        """Its peer was let in: it is no stranger's any more."""
        self.gone(descriptor)
        self._known.add(descriptor)

    def gone(self, descriptor: int) -> None:
        """It ended, or will."""
        self._known.discard(descriptor)
        host = self._host_of.pop(descriptor, None)
        if host is not None:
            del self._by_host[host][descriptor]
            if not self._by_host[host]:
                del self._by_host[host]

    def too_many(self) -> list[int]:
        """Those that are to be cut now; they are not counted any more."""
        if not self._host_of:
            return []
        allowed = min(self._strangers_max, max(0, self._connections_max - len(self._known)))
        cut: list[int] = []
        while len(self._host_of) > allowed:
            crowd = max(self._by_host.values(), key=len)
            oldest = next(iter(crowd))
            self.gone(oldest)
            cut.append(oldest)
        return cut
