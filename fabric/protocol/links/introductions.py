"""Which credentials a peer was told over a link (SPEC 6.3).

Guarantee: a peer is told again what it may have forgotten, as it knows no more of them than it has room for.
"""

from __future__ import annotations

from collections import OrderedDict

from fabric.protocol.base.limits import CREDENTIALS_CACHED_MAX


class Introductions:
    """The last that it was told, by digest."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._told)

    def due(self, digest: bytes) -> bool:
        """Whether the peer is to be told this credential now; it counts as told from here on."""
        if digest in self._told:
            self._told.move_to_end(digest)
            return False
        self._told[digest] = None
        if len(self._told) > CREDENTIALS_CACHED_MAX:
            self._told.popitem(last=False)
        return True

    def forgotten(self, digest: bytes) -> None:
        """The peer does not know it."""
        self._told.pop(digest, None)

    def all_forgotten(self) -> None:
        """The peer does not know one of them, and did not say which."""
        self._told.clear()
