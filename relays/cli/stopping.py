"""SIGTERM for commands that have something to bring to its end: what a service manager sends is what a person types."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def term_as_ctrl_c() -> Iterator[None]:
    """Within it SIGTERM is a KeyboardInterrupt, in the main thread, which it is called in."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
