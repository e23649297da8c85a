"""A value that a field of the record decides: `{ field = "sev", table = { "1" = "critical", "70..100" = "high", "*" =
"low" }, default = "low" }`.

Words of a table are compared without regard to capital letters. A word goes before a range, a range before `*`. Without
a table the field itself has to say it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from fabric.protocol.base.errors import Code
from relays.gateways.mapping.paths import Path, path_of
from relays.gateways.options import Options
from relays.wording import shown

_V = TypeVar("_V")
OTHER: Final = "*"
# Of a table: the severities of a product, or its kinds of events.
_ROWS_MAX: Final = 1_024
# A word that is longer is in no table.
_WORD_CHARS_MAX: Final = 256
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)
_RANGE: Final = re.compile(rf"(?P<low>{_NUMBER.pattern})?\s*\.\.\s*(?P<high>{_NUMBER.pattern})?")
_KEYS: Final = ("field", "table", "default")


class Missing(Enum):
    """Why there is no value."""

    ABSENT = "there is no such field"
    UNKNOWN = "its value is not understood"


@dataclass(frozen=True)
class Lookup(Generic[_V]):
    """`read`: what the field itself says where there is no table; None for what is not understood."""

    path: Path
    words: Mapping[str, _V] | None
    ranges: tuple[tuple[float, float, _V], ...]
    other: _V | None
    default: _V | None
    read: Callable[[Any], _V | None]
    default_if_unknown: bool = True  # else the default is only for a record that lacks the field

    def of(self, record: dict[str, Any]) -> _V | Missing:
        """For this record."""
        value = self.path.value(record)
        if value is None:
            return Missing.ABSENT if self.default is None else self.default
        found = self.read(value) if self.words is None else self._in_table(value, self.words)
        if found is not None:
            return found
        return self.default if self.default is not None and self.default_if_unknown else Missing.UNKNOWN

    def _in_table(self, value: Any, words: Mapping[str, _V]) -> _V | None:
        word = word_of(value)
        if word is not None and (found := words.get(word.casefold())) is not None:
            return found
        number = number_of(value) if self.ranges else None
        if number is not None:
            for low, high, found in self.ranges:
                if low <= number <= high:
                    return found
        return self.other

    @property
    def results(self) -> list[_V]:
        """All that it can give; without a table the field can say anything."""
        found = [*(self.words or {}).values(), *(each for _, _, each in self.ranges)]
        return found + [each for each in (self.other, self.default) if each is not None]


def word_of(value: Any) -> str | None:
    """A single value as text: 1 and 1.0 are "1". None for what is no single value, or longer than any word."""
    if isinstance(value, str):
        return value.strip() if len(value) <= _WORD_CHARS_MAX else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**64 else None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return None


def number_of(value: Any) -> float | None:
    """A number, also one that is written as text."""
    if isinstance(value, str):
        text = value.strip() if len(value) <= _WORD_CHARS_MAX else ""
        return float(text) if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return float(value) if abs(value) < 2**64 else None
    return value if math.isfinite(value) else None


def read_lookup(
    options: Options, key: str, read: Callable[[Any], _V | None], what: str, write: str,
    constant: Callable[[Any], _V | None] | None = None, *, code: Code = Code.TOPOLOGY_INVALID,
) -> Lookup[_V] | None:
    """From a table of this name. `what`: "a severity"; `write`: what to write for one. `constant`: what of a
    declaration is one, where that is less than what a record may say; `code`: the number of one that is none."""
    table = options.table(key)
    for name in table:
        if name not in _KEYS:
            options.wrong(f"{key}.{name}", f"there is no key '{name}' here", f"use {', '.join(_KEYS)}")
    reading = constant or read

    def value_at(place: str, value: Any) -> _V | None:
        found = reading(value)
        if found is None:
            options.wrong(place, f"{shown(value)} is not {what}", write, code)
        return found

    field = table.get("field")
    path = read_path(options, f"{key}.field", field)
    default = value_at(f"{key}.default", table["default"]) if "default" in table else None
    rows = table.get("table")
    if rows is None:
        return None if path is None else Lookup(path, None, (), None, default, read)
    if not isinstance(rows, Mapping) or not rows or len(rows) > _ROWS_MAX:
        options.wrong(f"{key}.table", "a table of values is expected", 'write table = { "1" = ..., "*" = ... }')
        return None
    words: dict[str, _V] = {}
    ranges: list[tuple[float, float, _V]] = []
    other: _V | None = None
    for name, given in rows.items():
        place = f"{key}.table.{name}"
        found = value_at(place, given)
        if found is None:
            continue
        bounds = _bounds(name)
        if name == OTHER:
            other = found
        elif bounds is not None:
            low, high = bounds
            if low > high:
                options.wrong(place, "the range ends before it begins", "write the lower number first")
            elif any(low <= end and begin <= high for begin, end, _ in ranges):
                options.wrong(place, "two ranges overlap", "end one of them before the other begins")
            ranges.append((low, high, found))
        elif name.strip().casefold() in words:
            options.wrong(place, "it is there twice: capital letters do not count", "leave one of them out")
        else:
            words[name.strip().casefold()] = found
    return None if path is None else Lookup(path, words, tuple(ranges), other, default, read)


def read_path(options: Options, key: str, text: Any) -> Path | None:
    """The path of a field from a declaration."""
    path = path_of(text) if isinstance(text, str) else None
    if path is None:
        cause = "no field is named" if text is None else f"{shown(text)} is no field's name"
        options.wrong(key, cause, f'write {key} = "id.orig_h": keys, joined by dots')
    return path


def _bounds(name: str) -> tuple[float, float] | None:
    """Of a row that is for a range of numbers; "70.." and "..30" have no end."""
    found = _RANGE.fullmatch(name.strip())
    if found is None or not (found["low"] or found["high"]):
        return None
    return float(found["low"] or -math.inf), float(found["high"] or math.inf)
