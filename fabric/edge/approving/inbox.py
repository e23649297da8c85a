"""Requests for approvals that one iterator of a program has yet to look at.

Guarantees: each is given out once, in the order in which they came; one that is over before it was looked at is not
given out at all, so no more of them wait than are open.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.edge.approving.request import ApprovalRequest
from fabric.edge.locks import Condition
from fabric.protocol.base.errors import FabricError


class Inbox:
    """`wake` is called, on the connection's thread, when there is something to get."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._unread: dict[tuple[str, str], ApprovalRequest] = {}
        self._ended: FabricError | None = None
        self._changed = Condition()

    def put(self, request: ApprovalRequest) -> None:
        with self._changed:
            self._unread[request.key] = request
            self._changed.notify_all()
        self._wake()

    def refresh(self, request: ApprovalRequest) -> None:
        """Whoever looks at it sees it as it is by now."""
        with self._changed:
            if request.key in self._unread:
                self._unread[request.key] = request

    def drop(self, request: ApprovalRequest) -> None:
        with self._changed:
            self._unread.pop(request.key, None)

    def fail(self, error: FabricError) -> None:
        """No more will come."""
        with self._changed:
            self._ended = error
            self._changed.notify_all()
        self._wake()

    def get(self, timeout_s: float | None) -> ApprovalRequest | None:
        """The next; None when none came in time. Raises what ended the connection."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._unread) or self._ended is not None, timeout_s)
            if self._unread:
                return self._unread.pop(next(iter(self._unread)))
            if self._ended is not None:
                raise self._ended
            return None
