"""What an action's handler says while it is at work, and hears: its progress, what it leaves to be fetched, and that
its action was cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from fabric.protocol.base.errors import Code, FabricError

_NOTE_CHARS_MAX = 200


class Attachments(Protocol):
    """Who keeps what a handler leaves."""

    def attach(self, source: object, name: str, label: object) -> bool: ...

    @property
    def folder(self) -> Path: ...


class Control:
    """Of one action; from any thread. `tell` takes the progress and the note; `attachments`: None keeps nothing."""

    def __init__(
        self, tell: Callable[[float | None, str], None] = lambda *_: None, attachments: Attachments | None = None,
    ) -> None:
        self._tell = tell
        self._attachments = attachments
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

    def attach(self, source: Path | str | bytes, name: str = "", label: object = None) -> bool:
        """Leave a file, by its path, or bytes, for the requester to fetch: the result names it. It is copied now.

        `name`: else the file's own. `label`: else the action's, below which none is. False where it is not kept, for
        want of room: the result says so and why, and the action goes on. Raises USAGE, BAD_LABEL and CLEARANCE_DENIED
        for what cannot be, and BAD_INPUT for a file that cannot be read.
        """
        return self._kept_by.attach(source, name, label)

    @property
    def folder(self) -> Path:
        """A private folder for this action: regular files in it are attached when the handler returns, under their
        names, and then it is gone. Raises OSError where the disk refuses it."""
        return self._kept_by.folder

    @property
    def _kept_by(self) -> Attachments:
        if self._attachments is None:
            raise FabricError(Code.USAGE, "an action that is not executed here", "attach in its handler")
        return self._attachments

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
