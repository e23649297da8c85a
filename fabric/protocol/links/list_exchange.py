"""Which version of a document of the authority each side of a link has (SPEC 6.4, 6.7), as far as the other knows.

Guarantees: one that was sent is repeated until the peer says that it has it, ever more seldom; nothing of a peer
that has a newer one is believed before that came.
"""

from __future__ import annotations


class ListExchange:
    """Of one link, and one kind of document: the revocation list, or the policies."""

    __slots__ = ("_awaited_since_ms", "_pings", "_theirs")

    def __init__(self) -> None:
        self._theirs = 0
        self._awaited_since_ms = 0
        self._pings: int | None = None  # since it was sent; None: the peer was sent none, or has it

    # -- the peer's -----------------------------------------------------------------------------------------

    @property
    def theirs(self) -> int:
        """The version that the peer has, as it said when the link opened."""
        return self._theirs

    def opened(self, theirs: int) -> None:
        """The peer says which it has."""
        self._theirs = theirs

    def awaited(self, now_ms: int) -> None:
        """Something had to wait for the peer's."""
        self._awaited_since_ms = self._awaited_since_ms or now_ms

    @property
    def is_awaited(self) -> bool:
        """Whether anything waits, or did, for the peer's. Mostly nothing does, and that is asked all the time."""
        return self._awaited_since_ms > 0

    def is_overdue(self, ours: int, now_ms: int, most_ms: int) -> bool:
        """Whether the peer's has been waited for for longer than this. `ours`: the version in force."""
        if self._awaited_since_ms and ours >= self._theirs:
            self._awaited_since_ms = 0
        return self._awaited_since_ms > 0 and now_ms - self._awaited_since_ms > most_ms

    # -- ours -----------------------------------------------------------------------------------------------

    def sent(self) -> None:
        """The peer was sent the one that is in force."""
        self._pings = 0

    def is_due_again(self) -> bool:
        """Asked at each PING or PONG: nothing answers the list, and it may have been lost."""
        if self._pings is None:
            return False
        self._pings += 1
        return self._pings.bit_count() == 1

    def peer_has_it(self) -> None:
        """The peer says so."""
        self._pings = None
