"""What version 0.1 of the package can read of a frame (SPEC 7.1), written down apart from the code of today.

It is frozen with the recording of 0.1: whatever a later version sends to a peer with which it agreed on version 1 of
the protocol, this has to be able to read. A frame may be longer at its end, and so may an entry of most lists; nothing
else may change. `fabric.protocol` is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

Check = Callable[[Any], bool]

_FRAME_BYTES_MAX, _ELEMENTS_MAX, _DEPTH_MAX = 262_144, 8_192, 8
_ENTRY_MAX = 32
_INT_MAX = 2**53


class UnreadableError(Exception):
    """0.1 would answer REJECT, and end the link."""


def _integer(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _INT_MAX


def _integer_or_nil(value: Any) -> bool:
    return value is None or _integer(value)


def _flag(value: Any) -> bool:
    return type(value) is bool


def _among(*values: int) -> Check:
    return lambda value: _integer(value) and value in values


def _up_to(most: int) -> Check:
    return lambda value: _integer(value) and value <= most


def _text(bytes_max: int = 64) -> Check:
    return lambda value: type(value) is str and len(value.encode()) <= bytes_max


def _bytes(bytes_max: int, bytes_min: int = 0) -> Check:
    return lambda value: type(value) is bytes and bytes_min <= len(value) <= bytes_max


def _exactly(length: int) -> Check:
    return _bytes(length, length)


def _many(check: Check, most: int, least: int = 0) -> Check:
    return lambda value: type(value) is list and least <= len(value) <= most and all(map(check, value))


def _entry(*checks: Check, optional: int = 0) -> Check:
    """Of these elements the last `optional` may be absent; later versions append more."""
    needed = len(checks) - optional

    def check(value: Any) -> bool:
        if type(value) is not list or not needed <= len(value) <= _ENTRY_MAX:
            return False
        return all(each(element) for each, element in zip(checks, value, strict=False))

    return check


_credential, _detail, _sixteen = _bytes(8_192), _text(512), _exactly(16)
_path = _many(_text(), 16)
_item = _entry(_among(0, 1), _integer, _path, _many(_text(), 4_096), _bytes(240_000), _up_to(64), optional=1)
_refusal = _entry(_sixteen, _integer, _detail)

# The elements after the number; how many of them at the end may be absent.
_FRAMES: dict[int, tuple[str, tuple[Check, ...], int]] = {
    1: ("HELLO", (_integer, _integer, _text(), _among(1, 2, 3), _credential, _sixteen, _sixteen, _integer, _integer,
                  _integer), 0),
    2: ("WELCOME", (_integer, _credential, _sixteen, _sixteen, _integer, _integer, _integer, _integer, _integer, _path),
        1),
    3: ("REJECT", (_integer, _detail, _bytes(16)), 0),
    4: ("INTRO", (_many(_credential, 16),), 0),
    5: ("DATA", (_up_to(4), _integer, _many(_item, 256)), 0),
    6: ("ACK", (_many(_sixteen, _ELEMENTS_MAX),), 0),
    7: ("NACK", (_many(_refusal, _ELEMENTS_MAX),), 0),
    8: ("CREDIT", (_many(_integer, 5, 5),), 0),
    9: ("ROUTES", (_integer, _flag, _many(_credential, 64), _many(_entry(_text(), _sixteen, _integer), 64)), 0),
    10: ("ROUTED", (_integer, _many(_entry(_integer, _integer, _detail), 64)), 0),
    11: ("PING", (_integer,), 0),
    12: ("PONG", (_integer, _integer, _path, _integer_or_nil), 2),
    13: ("BYE", (_integer, _detail), 0),
    14: ("LISTS", (_bytes(_FRAME_BYTES_MAX),), 0),
    15: ("JOIN", (_sixteen, _text(), _bytes(32), _bytes(10_240)), 0),
    16: ("JOINED", (_sixteen, _integer, _detail, _bytes(20_480)), 0),
    17: ("APPLIED", (_many(_entry(_text(), _integer, _integer), 256),), 0),
    18: ("DIRECTORY", (_bytes(_FRAME_BYTES_MAX),), 0),
    19: ("DENIED", (_many(_entry(_integer, _integer), 32),), 0),
    20: ("RULES", (_bytes(131_072),), 0),
    21: ("GROWN", (_bytes(512), _integer, _many(_exactly(32), 2_048)), 0),
    22: ("WITNESSED", (_integer, _integer, _bytes(512)), 0),
}
# Where a frame has a list of entries: at which element, and how many elements of an entry 0.1 knows.
ENTRIES = {5: (3, 6), 7: (1, 3), 9: (4, 3), 10: (2, 3), 17: (1, 3), 19: (1, 2)}
# What it is to 0.1 when elements at the end are absent; of an entry of DATA that it never moved.
_ABSENT: dict[int, list[Any]] = {2: [[]], 12: [[], None]}
_NEVER_MOVED = [0]
NAMES = {number: name for number, (name, _, _) in _FRAMES.items()}


def read(raw: bytes) -> list[Any]:
    """The elements of a frame, its number first. Raises UnreadableError."""
    if len(raw) > _FRAME_BYTES_MAX:
        raise UnreadableError("too large")
    try:
        fields = msgpack.unpackb(raw, strict_map_key=False, ext_hook=_no_extension)
    except (ValueError, msgpack.UnpackException) as error:
        raise UnreadableError(str(error)) from error
    if type(fields) is not list or not fields or type(fields[0]) is not int or fields[0] not in _FRAMES:
        raise UnreadableError("no frame of version 1")
    name, checks, optional = _FRAMES[fields[0]]
    if _elements(fields) > _ELEMENTS_MAX or _depth(fields) > _DEPTH_MAX:
        raise UnreadableError(f"{name} is too large or too deep")
    if len(fields) - 1 < len(checks) - optional:
        raise UnreadableError(f"{name} is too short")
    for at, (check, element) in enumerate(zip(checks, fields[1:], strict=False), 1):
        if not check(element):
            raise UnreadableError(f"{name}: element {at}")
    return fields


def seen(raw: bytes) -> list[Any]:
    """What 0.1 makes of a frame: the elements that it knows, also those that are absent. Raises UnreadableError."""
    fields = read(raw)
    number, known = fields[0], 1 + len(_FRAMES[fields[0]][1])
    if number in ENTRIES:
        at, of_entry = ENTRIES[number]
        fields[at] = [_filled(entry, of_entry, _NEVER_MOVED) for entry in fields[at]]
    return _filled(fields, known, _ABSENT.get(number, []))


def _filled(fields: list[Any], known: int, absent: list[Any]) -> list[Any]:
    missing = known - len(fields)
    return [*fields, *absent[len(absent) - missing :]] if missing > 0 else fields[:known]


def name_of(raw: bytes) -> str:
    """For people. Of what is no frame, how long it is."""
    try:
        return NAMES[read(raw)[0]]
    except UnreadableError:
        return f"{len(raw)} bytes"


def _no_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension {code}")


def _within(value: Any) -> list[Any]:
    """What a container holds; keys and values of a map alike."""
    if type(value) is dict:
        return [*value, *value.values()]
    return value if type(value) is list else []


def _elements(value: Any) -> int:
    return 1 + sum(map(_elements, _within(value)))


def _depth(value: Any) -> int:
    return 1 + max(map(_depth, _within(value)), default=0) if type(value) in (list, dict) else 0
