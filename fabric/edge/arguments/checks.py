"""Checks of what a program passes in: a value of the wrong type is a FabricError that names the right one, and not a
TypeError from somewhere inside."""

from __future__ import annotations

from collections.abc import Mapping
from threading import TIMEOUT_MAX
from typing import Any

from fabric.protocol.base.codec import TEXT
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.topics import advice_on, check_pattern


def to_text(value: object, what: str, example: str) -> str:
    """Raises USAGE."""
    if not isinstance(value, str):
        raise FabricError(Code.USAGE, f"{what} of type {_type(value)}", f"give text, e.g. {example!r}")
    return value


def check_wanted(pattern: str) -> None:
    """Raises BAD_TOPIC for a pattern that nobody can subscribe to, with what to write instead."""
    problem = check_pattern(pattern)
    if problem is not None:
        raise FabricError(problem.code, problem.detail, advice_on(pattern))


def to_handler(handler: object) -> Any:
    """A function to be called. Raises USAGE."""
    if not callable(handler):
        raise FabricError(Code.USAGE, f"a handler of type {_type(handler)}", "give a function")
    return handler


def to_map(value: object, what: str) -> dict[Any, Any]:
    """Raises BAD_INPUT."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise FabricError(Code.BAD_INPUT, f"{what} is of type {_type(value)}", "give a map")
    return dict(value)


def to_record(content: object, what: str = "the content") -> dict[str, Any]:
    """A map whose names are text. What is in it is checked when it is encoded. Raises BAD_INPUT."""
    record = to_map(content, what)
    if not TEXT.issuperset(map(type, record)):
        for name in record:
            if not isinstance(name, str):
                raise FabricError(
                    Code.BAD_INPUT, f"{what} has a name of type {_type(name)}", "name its fields with text"
                )
    return record


def to_seconds(value: object, what: str) -> float | None:
    """None is no bound, nor is what no lock waits for: it is a lifetime or more. Raises USAGE."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise FabricError(Code.USAGE, f"{what} that is no number of seconds", "give e.g. 10, or None for no bound")
    return None if value > TIMEOUT_MAX else float(value)


def to_bytes(value: object, what: str) -> int:
    """A number of bytes. Raises USAGE."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FabricError(Code.USAGE, f"{what} that is no number of bytes", "give e.g. 4 * 2**30")
    return value


def _type(value: object) -> str:
    return type(value).__name__[:64]
