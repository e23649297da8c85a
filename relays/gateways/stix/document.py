"""A document of STIX as text: a bundle, an envelope of TAXII, a list of objects, or one object; read object by object.

Guarantees: one object that cannot be read hinders no other: what is not JSON in it (a key twice, a number nobody reads,
nested too deep) is a fault of that object. Where the text ends too soon, or goes on as no JSON, what is before that is
read, and the rest is one fault. Objects are made one by one, so that a large text takes little more room than itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final, NamedTuple

from fabric.protocol.base.errors import Code, FabricError
from relays.wording import shown

_SPACE: Final = re.compile(r"[ \t\r\n]*+")
# Brackets, and texts whole, so that brackets in these do not count.
_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)
_INTEGER_CHARS_MAX: Final = 400
_REPAIR: Final = "change it where it comes from"
# Of objects that are not JSON; with more it is not STIX that is damaged, but something else.
_FAULTS_MAX: Final = 100
_OBJECTS: Final = "objects"


class Item(NamedTuple):
    """One of the objects of a document, from its text: `value`, or why it cannot be read."""

    text: str
    value: Any = None
    fault: FabricError | None = None


class Document:
    """`members`: what is beside `objects` (`type`, `more`, `next`), once its items were read; empty for a list."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.members: Mapping[str, Any] = {}
        self.is_whole = False  # it was read to its end, as JSON, but for objects that were not

    def items(self) -> Iterator[Item]:
        """Each object in order; again from the first, as often as it is called. The last may be a fault of all the
        rest, whose text is all the rest."""
        text = self._text
        at = _skip(text, 0)
        mark = text[at : at + 1]
        if mark == "[":
            end = yield from self._list(at)
        elif mark == "{":
            end = yield from self._object(at)
        else:
            yield _rest(text, at, "it is no JSON object, and no list of them")
            return
        self.is_whole = end is not None and _skip(text, end) == len(text)
        if end is not None and not self.is_whole:
            yield _rest(text, _skip(text, end), "there is something behind its end")

    def _object(self, at: int) -> Generator[Item, None, int | None]:
        """Behind it; None where it is broken, and that was said."""
        text, begin = self._text, at
        members: dict[str, Any] = {}
        has_objects = False
        try:
            at = _skip(text, at + 1)
            while text[at] != "}":
                key, at = _DECODER.raw_decode(text, at)
                at = _skip(text, at)
                if not isinstance(key, str) or text[at] != ":":
                    raise ValueError
                if key in members or (key == _OBJECTS and has_objects):
                    raise _UnreadError(f"a key is there twice: {shown(key)}")
                at = _skip(text, at + 1)
                if key == _OBJECTS and text[at] == "[":
                    has_objects = True
                    end = yield from self._list(at)
                    if end is None:
                        return None
                    at = end
                else:
                    members[key], at = _DECODER.raw_decode(text, at)
                at = _skip(text, at)
                if text[at] == ",":
                    at = _skip(text, at + 1)
                elif text[at] != "}":
                    raise ValueError
        except (ValueError, IndexError, RecursionError) as error:
            yield _rest(text, at if has_objects else begin, _words(error))
            return None
        self.members = members
        if not has_objects:
            yield Item(text[begin : at + 1], members)
        return at + 1

    def _list(self, at: int) -> Generator[Item, None, int | None]:
        """Likewise."""
        text, faults = self._text, 0
        at = _skip(text, at + 1)
        if text[at : at + 1] == "]":
            return at + 1
        while True:
            try:
                value, end = _DECODER.raw_decode(text, at)
                item = Item(text[at:end], value)
            except (ValueError, RecursionError) as error:
                whole = _end_of(text, at)
                faults += 1
                if whole is None or faults > _FAULTS_MAX:
                    break
                end = whole
                item = Item(text[at:end], None, FabricError(Code.BAD_INPUT, _words(error), _REPAIR))
            yield item
            at = _skip(text, end)
            mark = text[at : at + 1]
            if mark == "]":
                return at + 1
            if mark != ",":
                break
            at = _skip(text, at + 1)
        yield _rest(text, at, "it ends in the middle, or is not JSON")
        return None


def _rest(text: str, at: int, words: str) -> Item:
    return Item(text[at:], None, FabricError(Code.BAD_INPUT, f"{words}: at character {at + 1:,}", _REPAIR))


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return str(error) if isinstance(error, _UnreadError) else "it ends in the middle, or is not JSON"


def read_document(data: bytes) -> Document:
    """From a file or an answer. Raises BAD_INPUT for what is no text."""
    try:
        return Document(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise FabricError(Code.BAD_INPUT, "it is not UTF-8", _REPAIR) from None


def _end_of(text: str, at: int) -> int | None:
    """Behind the bracket that closes the one here; None where there is none, or it is never closed."""
    depth = 0
    for found in _BRACKET.finditer(text, at):
        mark = found.group()
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
            if not depth:
                return found.end()
        if not depth:
            return None
    return None


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


class _UnreadError(ValueError):
    """What this JSON has that no message can hold, or that two readers take for two things."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _UnreadError("a key is there twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _INTEGER_CHARS_MAX:
        raise _UnreadError("a longer number than anybody reads")
    return int(digits)


def _constant(_: str) -> float:
    raise _UnreadError("a number that JSON has not")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once, parse_int=_integer, parse_constant=_constant)
