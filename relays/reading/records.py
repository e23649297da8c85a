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
    fault = _fault(record, "", 1)
    if fault:
        raise FabricError(Code.BAD_INPUT, fault, "change the field, or leave it out")
    return record


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
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int):
        return "" if _INTEGER_MIN <= value <= _INTEGER_MAX else f"{_named(path)}: integer beyond 64 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{_named(path)}: no finite number"
    if depth > _DEPTH_MAX:
        return f"{_named(path)}: more than {_DEPTH_MAX} levels deep"
    if isinstance(value, list):
        return next(filter(None, (_fault(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(value))), "")
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        if not (key.isascii() or _is_text(key)):
            return f"{_named(below)}: half of a character in its name (a lone surrogate)"
        fault = _fault(item, below, depth + 1)
        if fault:
            return fault
    return ""


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
