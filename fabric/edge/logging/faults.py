"""What a program's own function raised, for this control point's log: bounded, and by whoever runs it only.

A traceback holds the text of an error, which may hold what the function was given. It goes nowhere else.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever only shows help reads this module too, and not what writes logs
    import structlog

# The last lines, where the error is. Enough for some thirty frames.
TRACE_CHARS_MAX = 4_000
_FRAMES_MAX = 30


def trace_of(error: BaseException) -> str:
    """The traceback's end. Never raises, whatever the error does when it is shown."""
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-_FRAMES_MAX, chain=False)
        return "".join(lines)[-TRACE_CHARS_MAX:]
    except Exception:  # noqa: BLE001 - an error that cannot be shown is known by its type at least
        return type(error).__name__


def place_of(error: BaseException) -> dict[str, str]:
    """Its type and where it was raised, without its text: for what a program does with what others published."""
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    return {"error": type(error).__name__, "at": "".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames)}


@contextmanager
def contained(log: structlog.typing.FilteringBoundLogger, name: str) -> Iterator[None]:
    """What a function of the program's, known by this name, raises on the connection's thread is in the log by its type
    and place, and ends nobody's connection."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the program's
        log.error(f"{name} raised", **place_of(error))


def raised_at(error: BaseException) -> str:
    """Where it was raised, innermost last. The text of an unknown error could hold what somebody published."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
