"""A record as it is at this moment, whatever its program does with it afterwards.

Guarantees: what is in it is copied, maps and lists in it too; the size is that of the encoded record or more, so that
no batch grows beyond what was meant.
"""

from __future__ import annotations

from typing import Any, Final

from fabric.edge.arguments.checks import to_record
from fabric.protocol.base.limits import BODY_DEPTH_MAX, BODY_ELEMENTS_MAX
from fabric.protocol.envelope.field_labels import Record

_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_TEXT_OR_NUMBERS: Final = _NUMBERS | {str}
# Of text and bytes: what says how long it is. Of all else: type and number.
_HEAD_BYTES: Final = 5
_SHORT_HEAD_BYTES: Final = 2
_SHORT: Final = 256
_NUMBER_BYTES: Final = 9
# A map for each label that may be in it.
_RECORD_BYTES: Final = 16
_CHAR_BYTES_MAX: Final = 4


def snapshot(content: object) -> tuple[Record, int]:
    """The record, and about how many bytes it takes, never fewer. What is in it is checked when it is encoded. Raises
    BAD_INPUT for what is no map with text for names."""
    record = to_record(content)
    if _TEXT_OR_NUMBERS.issuperset(map(type, record.values())):  # nearly all
        return record, _plain_size(record)
    size = _RECORD_BYTES
    copies = _Copies()
    for name, value in record.items():
        size += len(name) + _SHORT_HEAD_BYTES if len(name) < _SHORT and name.isascii() else _text_bytes(name)
        kind = type(value)
        if kind is str:
            size += len(value) + _SHORT_HEAD_BYTES if len(value) < _SHORT and value.isascii() else _text_bytes(value)
        elif kind in _NUMBERS:
            size += _NUMBER_BYTES
        else:
            record[name] = copies.of(value, 2)
    return record, size + copies.size


def _plain_size(record: Record) -> int:
    """Of text and numbers alone."""
    text = "".join(record) + "".join([value for value in record.values() if type(value) is str])
    length = len(text) if text.isascii() else _CHAR_BYTES_MAX * len(text)
    head = _SHORT_HEAD_BYTES if length < _SHORT else _HEAD_BYTES
    return _RECORD_BYTES + length + (head + _NUMBER_BYTES) * len(record)


def _text_bytes(text: str) -> int:
    length = len(text) if text.isascii() else _CHAR_BYTES_MAX * len(text)
    return length + (_SHORT_HEAD_BYTES if length < _SHORT else _HEAD_BYTES)


class _Copies:
    """Copies of what is nested. What is deeper, or more, than a message may hold stays as it is: it is refused."""

    def __init__(self) -> None:
        self.size = 0
        self._elements = 0

    def of(self, value: Any, depth: int) -> Any:
        """The same in maps and lists of its own."""
        self._elements += 1
        self.size += _NUMBER_BYTES
        if isinstance(value, str):
            self.size += _text_bytes(value)
        elif isinstance(value, bytes | bytearray):
            self.size += len(value)
            return bytes(value)
        elif depth > BODY_DEPTH_MAX or self._elements > BODY_ELEMENTS_MAX:
            return value
        elif isinstance(value, dict):
            return self._map(dict(value), depth + 1)
        elif isinstance(value, list | tuple):
            return [self.of(item, depth + 1) for item in tuple(value)]
        return value

    def _map(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        """The same map, which is nobody else's; what is plain in it, nearly all, is counted here."""
        size = plain = 0
        for key, item in value.items():
            if type(key) is str and len(key) < _SHORT and key.isascii():
                size += len(key) + _SHORT_HEAD_BYTES
            else:
                size += _text_bytes(key) if isinstance(key, str) else _NUMBER_BYTES
            kind = type(item)
            if kind is str:
                plain += 1
                short = len(item) < _SHORT and item.isascii()
                size += len(item) + _SHORT_HEAD_BYTES if short else _text_bytes(item)
            elif kind in _NUMBERS:
                plain += 1
            else:
                value[key] = self.of(item, depth)
        self._elements += plain
        self.size += size + plain * _NUMBER_BYTES
        return value
