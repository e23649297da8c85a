"""Logs: lines for people on a terminal, like those of a command's output; one JSON object a line elsewhere. Standard
error, so output stays output.

What the core notes are names, ids and numbers; nothing that is labelled has a way in here.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from fabric.edge.logging.plain import plain_values
from fabric.protocol.core.ready import Note


class _Lossy(io.TextIOBase):
    """A stream that loses what it cannot write: a full disk must not stop a relay that drains it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def set_up_logs(level: str = "info", json_lines: bool | None = None) -> None:
    """Log to standard error, from this level on. `json_lines` None: JSON unless standard error is a terminal."""
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()] if as_json else [plain_values, _for_people]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lossy(sys.stderr))),
        cache_logger_on_first_use=True,
    )


# An id or a key: all of it is in JSON, and its beginning tells one from another.
_DIGITS = re.compile(r"[0-9a-f]{32,}")
_DIGITS_SHOWN = 12


def _for_people(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
    """Time, level, what happened, and each name and value of it; folded as everything is on a terminal."""
    from relays.terminal import columns_of, fold  # noqa: PLC0415 - a relay, which writes JSON, does without it

    at, level, words = (str(event.pop(name, "")) for name in ("timestamp", "level", "event"))
    next_step = str(event.pop("next", ""))
    fields = ", ".join(f"{name} {_shortened(str(value))}" for name, value in event.items() if value != "")
    line = f"{at[11:19]}Z  {'' if level == 'info' else f'{level}: '}{words}{': ' if fields else ''}{fields}"
    line += f"; {next_step}" if next_step else ""
    return "\n".join(fold(line, columns_of(sys.stderr)))


def _shortened(value: str) -> str:
    return f"{value[:_DIGITS_SHOWN]}..." if _DIGITS.fullmatch(value) else value


class Allowance:
    """How many lines of one kind are worth writing: a stranger who knocks all day must not fill the disk with it."""

    def __init__(self, lines_max: int = 20, every_ms: int = 10_000) -> None:
        self._lines_max = lines_max
        self._every_ms = every_ms
        self._kinds: dict[str, tuple[int, int]] = {}  # kind -> (since, lines)

    def take(self, kind: str, now_ms: int) -> int | None:
        """None when the line is one too many; else how many were left out before it."""
        since_ms, lines = self._kinds.get(kind, (now_ms, 0))
        left_out = 0
        if now_ms - since_ms >= self._every_ms:
            left_out = max(0, lines - self._lines_max)
            since_ms, lines = now_ms, 0
        self._kinds[kind] = (since_ms, lines + 1)
        return left_out if lines < self._lines_max else None


def log_notes(log: Any, notes: Sequence[Note], allowance: Allowance, now_ms: int) -> None:
    """What a core noted, as far as it is worth a line; an alarm is an error, which somebody has to act on."""
    for note in notes:
        left_out = allowance.take(note.event, now_ms)
        if left_out is not None:
            write = log.error if note.alarm else log.info
            write(note.event, **note.fields, **({"left_out": left_out} if left_out else {}))
