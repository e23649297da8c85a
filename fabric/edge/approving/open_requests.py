"""The requests for approvals that are open here.

Guarantees: no more than `OPEN_MAX` and `BYTES_MAX` are kept; no relay has more of either than what is left, and no
requester, at a relay, more than what is left to it: who asks for anything hides nobody else's. What has no room is
counted, and named to whoever lists them. One is gone when its relay says that it is over, or its time is. Time is an
argument.
"""

from __future__ import annotations

from collections.abc import Iterator

from fabric.edge.approving.request import ApprovalRequest
from fabric.protocol.base.shares import Holdings, beyond_share

# More than anybody decides in the time that an action is held; of a relay that asks for anything, half of it.
OPEN_MAX = 1_024
BYTES_MAX = 33_554_432


def _holders(request: ApprovalRequest) -> tuple[tuple[str, ...], ...]:
    """Whose it is: of its relay, and there of its requester."""
    return (request.by,), (request.by, request.requester)


class OpenRequests:
    """By who holds it and the action's id, the oldest first."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], ApprovalRequest] = {}
        # Of a relay, and of a requester at a relay.
        self._count: Holdings[tuple[str, ...]] = Holdings()
        self._bytes: Holdings[tuple[str, ...]] = Holdings()
        self._total = self._total_bytes = 0
        self.missed = 0  # for which there was no room

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[ApprovalRequest]:
        return iter(list(self._open.values()))

    def get(self, key: tuple[str, str]) -> ApprovalRequest | None:
        return self._open.get(key)

    def put(self, request: ApprovalRequest) -> bool:
        """In place of what was there under its key; False: there is no room, and what was there stays."""
        known = self._open.get(request.key)
        if known is not None:
            self._account(known, -1)
        fits = self._has_room(request)
        if fits:
            self._open[request.key] = request
        if request.key in self._open:
            self._account(self._open[request.key], 1)
        self.missed += not fits and known is None
        return fits

    def _has_room(self, request: ApprovalRequest) -> bool:
        left, bytes_left = OPEN_MAX - self._total, BYTES_MAX - self._total_bytes
        for whose in _holders(request):
            held, held_bytes = self._count[whose], self._bytes[whose]
            if beyond_share(held, 1, left) or beyond_share(held_bytes, request.bytes, bytes_left):
                return False
            left, bytes_left = left - held, bytes_left - held_bytes
        return True

    def pop(self, key: tuple[str, str]) -> ApprovalRequest | None:
        request = self._open.pop(key, None)
        if request is not None:
            self._account(request, -1)
        return request

    def _account(self, request: ApprovalRequest, count: int) -> None:
        bytes_ = count * request.bytes
        for whose in _holders(request):
            self._count.add(whose, count)
            self._bytes.add(whose, bytes_)
        self._total += count
        self._total_bytes += bytes_

    def beginning(self, id_: str) -> list[ApprovalRequest]:
        """Those whose id begins so."""
        return [request for request in self._open.values() if request.id.startswith(id_)]

    def take_late(self, now_ms: int) -> list[ApprovalRequest]:
        """Those whose time is over; they are not open any more."""
        late = [request for request in self._open.values() if request.until_ms <= now_ms]
        for request in late:
            self.pop(request.key)
        return late

    @property
    def next_ms(self) -> int | None:
        """When the next one's time is over."""
        return min((request.until_ms for request in self._open.values()), default=None)
