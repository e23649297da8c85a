"""A record as it is at this moment, whatever its program does with it afterwards.

Guarantees: what is in it is copied, maps and lists in it too; the size is that of the encoded record or more, so that
no batch grows beyond what was meant. Records of one source have the same names and the same types of values: what
follows from these is remembered, if the values are plain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, Final, NamedTuple

from fabric.edge.arguments.checks import to_record
from fabric.protocol.base.codec import TEXT
from fabric.protocol.base.limits import BODY_DEPTH_MAX, BODY_ELEMENTS_MAX
from fabric.protocol.envelope.field_labels import Record

_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_TEXT_OR_NUMBERS: Final = _NUMBERS | TEXT
# Sets of names and types that are remembered, if they are short.
_SHAPES_MAX: Final = 256
_KEYS_MAX: Final = 256
_KEYS_CHARS_MAX: Final = 8_192
# Of text and bytes: what says how long it is. Of all else: type and number.
_HEAD_BYTES: Final = 5
_SHORT_HEAD_BYTES: Final = 2
_SHORT: Final = 256
_NUMBER_BYTES: Final = 9
# A map for each label that may be in it.
_RECORD_BYTES: Final = 16
_CHAR_BYTES_MAX: Final = 4


class Snapshot(NamedTuple):
    """`size`: about how many bytes the record takes, never fewer. `keys`: its names, where it is known that all values
    are plain; records that are alike have the same object."""

    record: Record
    size: int
    keys: tuple[str, ...] | None = None


class _Shape(NamedTuple):
    """Of records with these names, and values of these types, which are text and numbers. `size`: without the texts."""

    keys: tuple[str, ...]
    kinds: tuple[type, ...]
    size: int
    texts: Callable[[Record], Iterable[str]]


class Snapshots:
    """Any thread may ask."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], _Shape] = {}
        self._last = _Shape((), (), _RECORD_BYTES, lambda record: ())

    def of(self, content: object) -> Snapshot:
        """What is in it is checked when it is encoded. Raises BAD_INPUT for what is no map with text for names."""
        record = dict(content) if type(content) is dict else to_record(content)
        keys, kinds = tuple(record), tuple(map(type, record.values()))
        last = self._last
        if keys == last.keys and kinds == last.kinds:  # mostly it is like the one before
            shape: _Shape | None = last
        else:
            is_plain = _TEXT_OR_NUMBERS.issuperset(kinds)
            shape = (self._known.get((keys, kinds)) or self._shape(keys, kinds)) if is_plain else None
        if shape is None:
            return snapshot(record)
        self._last = shape
        return Snapshot(record, shape.size + _utf8_bytes("".join(shape.texts(record))), shape.keys)

    def _shape(self, keys: tuple[Any, ...], kinds: tuple[type, ...]) -> _Shape | None:
        if len(keys) > _KEYS_MAX or not TEXT.issuperset(map(type, keys)) or len("".join(keys)) > _KEYS_CHARS_MAX:
            return None
        texts = [key for key, kind in zip(keys, kinds, strict=True) if kind is str]
        size = _RECORD_BYTES + sum(map(_text_bytes, keys)) + _NUMBER_BYTES * len(keys)
        if len(self._known) >= _SHAPES_MAX:
            self._known.clear()
        shape = _Shape(keys, kinds, size, itemgetter(*texts) if texts else lambda record: ())
        self._known[keys, kinds] = shape
        return shape


def snapshot(content: object) -> Snapshot:
    """The same of any record, with nothing remembered."""
    record = to_record(content)
    texts = [*record, *[value for value in record.values() if type(value) is str]]
    copies = _Copies()
    for name in [name for name, value in record.items() if type(value) not in _TEXT_OR_NUMBERS]:
        record[name] = copies.of(record[name], 2)
    size = _RECORD_BYTES + (_HEAD_BYTES + _NUMBER_BYTES) * len(record) + _utf8_bytes("".join(texts)) + copies.size
    return Snapshot(record, size)


def _text_bytes(text: str) -> int:
    length = _utf8_bytes(text)
    return length + (_SHORT_HEAD_BYTES if length < _SHORT else _HEAD_BYTES)


def _utf8_bytes(text: str) -> int:
    """Or more."""
    return len(text) if text.isascii() else _CHAR_BYTES_MAX * len(text)


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
