"""What an action's handler says while it is at work, and hears: its progress, and that the action was cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from fabric.protocol.base.errors import Code, FabricError

_NOTE_CHARS_MAX = 200


class Control:
    """Of one action; from any thread. `tell` takes the progress and the note."""

    def __init__(self, tell: Callable[[float | None, str], None] = lambda *_: None) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._cancelled = False
        self._heard_by: list[Callable[[], None]] = []

    def report(self, progress: float | None = None, note: str = "") -> None:
        """How far it is, 0 to 1 where that is known, and a few words. Of many in a second the last counts.

        Raises USAGE.
        """
        number = isinstance(progress, int | float) and not isinstance(progress, bool)
        if progress is not None and not (number and 0 <= progress <= 1):  # nor is what is no number at all
            raise FabricError(Code.USAGE, "a progress that cannot be one", "give a number from 0 to 1, or None")
        if not isinstance(note, str):
            raise FabricError(Code.USAGE, f"a note of type {type(note).__name__}", "give a few words")
        words = "".join(char if char.isprintable() else "?" for char in note[:_NOTE_CHARS_MAX])
        self._tell(None if progress is None else float(progress), words)

    @property
    def cancelled(self) -> bool:
        """Whether somebody who may do so wants it ended."""
        return self._cancelled

    def on_cancel(self, call: Callable[[], None]) -> None:
        """`call` is called once when it is cancelled, on another thread than the handler's; now, if it was."""
        with self._lock:
            if not self._cancelled:
                self._heard_by.append(call)
                return
        call()

    def cancel(self) -> None:
        """Say it to the handler."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            heard_by, self._heard_by = self._heard_by, []
        with ExitStack() as calls:  # each of them, whatever one raises
            for call in reversed(heard_by):
                calls.callback(call)
