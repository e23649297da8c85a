"""A line, or what standard input has, as a record: one JSON object that a message can hold.

Errors say where, and which field, never what is in it.
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import BODY_DEPTH_MAX
from relays.reading.splitting import LINE_BYTES_MAX, coding_of, too_long

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1  # what msgpack carries
# A record is in the array of its batch.
_DEPTH_MAX = BODY_DEPTH_MAX - 1
# Of a path: enough to find the field.
_PATH_CHARS_MAX = 200


def parse_record(data: str | bytes, where: str = "it") -> dict[str, Any]:
    """One JSON object that a message can hold. Raises FabricError(BAD_INPUT)."""
    try:
        # Not as bytes: the coding would be guessed, line by line.
        record = json.loads(data if isinstance(data, str) else data.decode())
    except UnicodeDecodeError:
        raise FabricError(Code.BAD_INPUT, f"{where} is not UTF-8") from None
    except (ValueError, RecursionError):
        raise FabricError(Code.BAD_INPUT, f"{where} is not JSON") from None
    if not isinstance(record, dict):
        raise FabricError(Code.BAD_INPUT, f"{where} is not a JSON object")
    fault = fault_of(record)
    if fault:
        raise FabricError(Code.BAD_INPUT, fault, "change the field, or leave it out")
    return record


def fault_of(record: dict[str, Any]) -> str:
    """Why no message can hold this record, with the field's path; empty where one can. Whatever is in it."""
    return _fault(record, "", 1)


def is_too_deep(value: Any, levels: int = BODY_DEPTH_MAX) -> bool:
    """Whether it is nested deeper than any message may be. Whatever can be read as JSON: what walks through all of it
    may come to the end of Python's stack, which what reads it did not."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return levels <= 0 or any(is_too_deep(each, levels - 1) for each in value if isinstance(each, dict | list))


def read_text(stream: BinaryIO, where: str) -> str:
    """All of it, in UTF-8, or what its byte order mark says. Raises FabricError: LINE_TOO_LONG, BAD_INPUT."""
    data = stream.read(LINE_BYTES_MAX + 1)
    if len(data) > LINE_BYTES_MAX:
        raise too_long(len(data))
    coding = coding_of(data[:4])
    try:
        return data.removeprefix(coding.bom).decode(coding.codec)
    except UnicodeDecodeError:
        raise FabricError(Code.BAD_INPUT, f"{where} is not {coding.name}") from None


def _fault(value: Any, path: str, depth: int) -> str:
    """Why no message can hold this value, with its path; empty when one can."""
    if isinstance(value, str):
        return "" if value.isascii() or _is_text(value) else f"{_named(path)}: half of a character (a lone surrogate)"
    if isinstance(value, bool | bytes) or value is None:
        return ""
    if isinstance(value, int):
        return "" if _INTEGER_MIN <= value <= _INTEGER_MAX else f"{_named(path)}: integer beyond 64 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{_named(path)}: no finite number"
    if depth > _DEPTH_MAX:
        return f"{_named(path)}: more than {_DEPTH_MAX} levels deep"
    if isinstance(value, list):
        return next(filter(None, (_fault(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(value))), "")
    if not isinstance(value, dict):
        return f"{_named(path)}: no text, number, list or object"
    for key, item in value.items():
        if type(key) is str and key.isascii() and _is_plain(item):  # nearly all
            continue
        if not isinstance(key, str):
            return f"{_named(path)}: a key that is no text"
        below = f"{path}.{key}" if path else key
        if not (key.isascii() or _is_text(key)):
            return f"{_named(below)}: half of a character in its name (a lone surrogate)"
        fault = _fault(item, below, depth + 1)
        if fault:
            return fault
    return ""


def _is_plain(item: Any) -> bool:
    """Whether there is nothing more to look at."""
    kind = type(item)
    if kind is str:
        return bool(item.isascii())
    if kind is int:
        return bool(_INTEGER_MIN <= item <= _INTEGER_MAX)
    if kind is float:
        return math.isfinite(item)
    return kind is bool or item is None


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(path: str) -> str:
    """The field's path, fit to be shown."""
    shown = path.encode("ascii", "backslashreplace").decode()
    shown = "".join(char if char.isprintable() else "?" for char in shown)
    return shown if len(shown) <= _PATH_CHARS_MAX else f"{shown[:_PATH_CHARS_MAX]}..."
