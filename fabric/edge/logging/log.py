"""The log of a control point inside another program: warnings and errors only, until that program configures
structlog."""

from __future__ import annotations

import logging
import sys

import structlog

from fabric.edge.logging.plain import plain_values
from fabric.files import nowhere


def edge_log(point: str) -> structlog.typing.FilteringBoundLogger:
    """Names, ids and numbers only go in here; nothing that is labelled."""
    if structlog.is_configured():
        configured: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(point=point)
        return configured
    stream = sys.stderr or nowhere()  # a program without one has nowhere to say it
    quiet: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream), wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        # What a relay says of why it refuses ends in here.
        processors=[
            structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), plain_values,
            structlog.dev.ConsoleRenderer(colors=stream.isatty()),
        ],
    ).bind(point=point)
    return quiet
