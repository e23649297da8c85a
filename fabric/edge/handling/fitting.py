"""What of a handler's result can be sent (SPEC 3.3, 9.3): the fields that fit, and in words why others do not.

Guarantees: what passes can be encoded, read by the requester, and shown as JSON; only whole fields are left out, and
the first of them is named. Never raises, whatever a handler returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from fabric.protocol.base.codec import pack
from fabric.protocol.base.limits import BODY_DEPTH_MAX, BODY_ELEMENTS_MAX, PART_BYTES_MAX

# The list of records, the record and its result are levels of their own.
DEPTH_MAX = BODY_DEPTH_MAX - 3
# A reader must take all parts of a message. An eighth is left for what the result stands in.
_ELEMENTS_MAX = BODY_ELEMENTS_MAX * 7 // 8
# Uncompressed, so that it fits whatever it is; the same is left for what it stands in, and for its padding.
BYTES_MAX = PART_BYTES_MAX * 7 // 8
_NUMBERS = range(-(1 << 63), 1 << 64)
_NAME_CHARS_MAX = 64


class Fitted(NamedTuple):
    """`problem` is empty where all of it fits."""

    result: dict[str, Any]
    problem: str


def fit(result: Mapping[Any, Any]) -> Fitted:
    """The fields that can be sent, and what is wrong with the first that cannot."""
    fields: dict[str, Any] = {}
    problem = ""
    left_out = elements = size = 0
    try:
        given = dict(result)
    except Exception as error:  # noqa: BLE001 - it is the handler's own kind of map
        return Fitted({}, f"the result is no map ({type(error).__name__})")
    for name, value in given.items():
        why, counted = _problem(name, value)
        if not why:
            size_of = len(pack({name: value}))
            if elements + counted > _ELEMENTS_MAX:
                why = f"{_shown(name)}: with it there are more than {_ELEMENTS_MAX:,} values"
            elif size + size_of > BYTES_MAX:
                why = f"{_shown(name)}: with its {size_of:,} bytes there are more than {BYTES_MAX:,}"
            else:
                fields[name] = value
                elements, size = elements + counted, size + size_of
        if why:
            left_out += 1
            problem = problem or why
    if left_out > 1:
        problem += f", and {left_out - 1} more of {len(given)} fields"
    return Fitted(fields, problem)


def _problem(name: object, value: object) -> tuple[str, int]:
    """What is wrong with a field, if anything is; and how many values are in it."""
    wrong_key = _wrong_name(name)
    if wrong_key:
        return f"{_shown(name)}: {wrong_key}", 0
    # A list of what is still to be looked at, not a call for each level: the depth is the handler's.
    left: list[tuple[object, str, int]] = [(value, _shown(name), 1)]
    elements = 0
    while left:
        each, path, depth = left.pop()
        elements += 1
        why = _wrong(each)
        if isinstance(each, dict | list | tuple):
            elements += len(each) if isinstance(each, dict) else 0
            if depth > DEPTH_MAX:
                why = f"more than {DEPTH_MAX} levels"
            elif elements + len(left) + len(each) > _ELEMENTS_MAX:
                why = f"more than {_ELEMENTS_MAX:,} values"
            elif isinstance(each, dict):
                why = next(filter(None, map(_wrong_key, each)), "")
                left += [(inner, _below(path, f".{_shown(key)}"), depth + 1) for key, inner in each.items()]
            else:
                left += [(inner, _below(path, f"[{at}]"), depth + 1) for at, inner in enumerate(each)]
        if why:
            return f"{path}: {why}", elements
    return "", elements


def _wrong(value: object) -> str:
    if value is None or isinstance(value, bool | dict | list | tuple | bytes | bytearray):
        return ""
    if isinstance(value, int):
        return "" if int(value) in _NUMBERS else "an integer beyond 64 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "a number that JSON does not have"
    if isinstance(value, str):
        return "" if _is_unicode(value) else "text with half a character"
    return f"a value of type {type(value).__name__[:_NAME_CHARS_MAX]}"


def _wrong_name(name: object) -> str:
    if not isinstance(name, str):
        return "a field's name that is no text"
    return "" if _is_unicode(name) else "a field's name with half a character"


def _wrong_key(key: object) -> str:
    # The codec takes numbers below; a flag would be a number to one reader and none to another.
    if isinstance(key, int) and not isinstance(key, bool) and key in _NUMBERS:
        return ""
    return _wrong_name(key)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: object) -> str:
    text = name if isinstance(name, str) else f"({type(name).__name__})"
    text = text[:_NAME_CHARS_MAX]
    return text if text.isprintable() else ascii(text)[1:-1]


def _below(path: str, step: str) -> str:
    return f"{path}{step}" if len(path) + len(step) <= 2 * _NAME_CHARS_MAX else path
