"""Logs: for people on a terminal, one JSON object a line elsewhere. Standard error, so output stays output.

What the core notes are names, ids and numbers; nothing that is labelled has a way in here.
"""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_logs(level: str = "info", json_lines: bool | None = None) -> None:
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
