"""Runs until it is stopped: Ctrl-C and SIGTERM end it in order, without a traceback or a sudden end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fabric.edge.loop import EdgeLoop
from fabric.protocol.base.errors import Code


@contextmanager
def ending_signals(tell: Callable[[], None]) -> Iterator[None]:
    """Within it both call `tell`, in the main thread; in others nothing changes. What was there before is put back.

    The second Ctrl-C is what it was before: who does not want to wait for a program's end has a way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def put_back() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set from Python

    def end(_number: int, _frame: object) -> None:
        put_back()
        tell()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        put_back()


def raise_unless_closed(loop: EdgeLoop) -> None:
    """What ended the connection, unless its own program did."""
    if loop.ended is not None and loop.ended.code is not Code.CLOSED:
        raise loop.ended
