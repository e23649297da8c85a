"""The requests for approvals that are open here.

Guarantees: no more than `OPEN_MAX` and `BYTES_MAX` are kept, and no relay has more of either than what is left; what
has no room is counted, and named to whoever lists them. One is gone when its relay says that it is over, or its time
is. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator

from fabric.edge.approving.request import ApprovalRequest
from fabric.protocol.base.shares import Holdings, beyond_share

# More than anybody decides in the time that an action is held; of a relay that asks for anything, half of it.
OPEN_MAX = 1_024
BYTES_MAX = 33_554_432


class OpenRequests:
    """By who holds it and the action's id, the oldest first."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], ApprovalRequest] = {}
        self._count: Holdings[str] = Holdings()
        self._bytes: Holdings[str] = Holdings()
        self._total_bytes = 0
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
        count, bytes_ = (0, 0) if known is None else (1, known.bytes)
        by = request.by
        if beyond_share(self._count[by] - count, 1, OPEN_MAX - len(self._open) + count) or beyond_share(
            self._bytes[by] - bytes_, request.bytes, BYTES_MAX - self._total_bytes + bytes_
        ):
            self.missed += known is None
            return False
        self._account(by, 1 - count, request.bytes - bytes_)
        self._open[request.key] = request
        return True

    def pop(self, key: tuple[str, str]) -> ApprovalRequest | None:
        request = self._open.pop(key, None)
        if request is not None:
            self._account(request.by, -1, -request.bytes)
        return request

    def _account(self, by: str, count: int, bytes_: int) -> None:
        self._count.add(by, count)
        self._bytes.add(by, bytes_)
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
