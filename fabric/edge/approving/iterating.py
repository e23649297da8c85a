"""What a program that approves iterates over, on either face: requests that are open, and those that come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from fabric.edge.approving.approver import Approver
from fabric.edge.approving.inbox import Inbox
from fabric.edge.approving.request import ApprovalRequest


def requests(approver: Approver, timeout_s: float | None) -> Iterator[ApprovalRequest]:
    """Ends quietly after `timeout_s` in all. Raises what ended the connection."""
    inbox, deadline_s = Inbox(), None if timeout_s is None else time.monotonic() + timeout_s
    approver.watch(inbox)
    try:
        while True:
            request = inbox.get(None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
            if request is None:
                return
            yield request
    finally:
        approver.unwatch(inbox)


async def requests_async(approver: Approver, timeout_s: float | None) -> AsyncIterator[ApprovalRequest]:
    """The same for asyncio."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the event loop was closed meanwhile
            loop.call_soon_threadsafe(told.set)

    inbox, deadline_s = Inbox(wake), None if timeout_s is None else time.monotonic() + timeout_s
    approver.watch(inbox)
    try:
        while True:
            told.clear()
            request = inbox.get(0.0)
            if request is not None:
                yield request
                continue
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            try:
                await asyncio.wait_for(told.wait(), left_s)
            except TimeoutError:
                return
    finally:
        approver.unwatch(inbox)
