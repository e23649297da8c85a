"""An action's arguments (SPEC 9.1): JSON, bounded, and checked alike by requester and executor.

Guarantees: what passes can be written as JSON and read again as the same, and is small enough to be read by those who
approve it. Refuses bytes, NaN and infinity, keys that are not text, and what is above the bounds.
"""

from __future__ import annotations

import math

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ARGS_BYTES_MAX, ARGS_DEPTH_MAX, ARGS_ELEMENTS_MAX, NAME_BYTES_MAX


def check_args(args: object) -> Reject | None:
    """None when this is a map of arguments that an action may have. Never raises, whatever it is given."""
    if not isinstance(args, dict):
        return Reject(Code.BAD_ACTION, "the arguments are not a map")
    # A list of what is still to be looked at, not a call for each level: the depth is the sender's.
    left: list[tuple[object, int]] = [(args, 0)]
    elements = size = 0
    while left:
        value, depth = left.pop()
        elements += 1
        if isinstance(value, dict | list | tuple):
            if depth >= ARGS_DEPTH_MAX:
                return Reject(Code.BAD_ACTION, f"arguments of more than {ARGS_DEPTH_MAX} levels")
            if elements + len(left) + len(value) > ARGS_ELEMENTS_MAX:
                return Reject(Code.BAD_ACTION, f"more than {ARGS_ELEMENTS_MAX} values in the arguments")
            if isinstance(value, dict):
                for name in value:
                    name_bytes = _text_bytes(name)
                    if name_bytes is None or not (depth or 1 <= name_bytes <= NAME_BYTES_MAX):
                        return Reject(Code.BAD_ACTION, f"an argument's name is not text of 1 to {NAME_BYTES_MAX} bytes")
                    size += name_bytes
                value = list(value.values())
            left += [(each, depth + 1) for each in value]
        elif isinstance(value, str):
            text_bytes = _text_bytes(value)
            if text_bytes is None:
                return Reject(Code.BAD_ACTION, "an argument's text is not Unicode")
            size += text_bytes
        elif isinstance(value, float) and not math.isfinite(value):
            return Reject(Code.BAD_ACTION, "an argument is a number that JSON does not have")
        elif value is not None and not isinstance(value, bool | int | float):
            return Reject(Code.BAD_ACTION, "an argument is neither text nor number, nor of them")
        if size > ARGS_BYTES_MAX:
            return Reject(Code.BAD_ACTION, f"more than {ARGS_BYTES_MAX} bytes of text in the arguments")
    return None


def _text_bytes(text: object) -> int | None:
    """Its length as UTF-8; None for what is no text, or holds half a character."""
    if not isinstance(text, str):
        return None
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None
