"""A field's path in a record, as a declaration writes it: `id.orig_h` is that key, or else `orig_h` in `id`.

Guarantees: a record is never changed, only copied as far as something is taken out. A path has few steps, and each
object of a record is looked at once for each, so the time that a path takes is bounded by the record. What becomes
empty when something is taken out goes with it: an empty object would tell that there was something in it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

STEPS_MAX: Final = 16
CHARS_MAX: Final = 256

# (what it is in, key or index), from the record down.
Trail = tuple[tuple[Any, str | int], ...]


class _Nothing:
    """Stands for what was taken out."""


_NOTHING: Final = _Nothing()


class Path(NamedTuple):
    """`joined`: [begin][end] is the key that the steps from `begin` to before `end` make together."""

    text: str
    steps: tuple[str, ...]
    joined: tuple[tuple[str, ...], ...]

    def trail(self, record: dict[str, Any]) -> Trail | None:
        """The first field of this name: a key that is as much of the name as can be goes first. Of an array only the
        element that a number in the path names."""
        if self.text in record:
            return ((record, self.text),)
        return _first(record, self, 0) if len(self.steps) > 1 else None

    def value(self, record: dict[str, Any]) -> Any:
        """Of that field; None where there is none."""
        if self.text in record:
            return record[self.text]
        trail = _first(record, self, 0) if len(self.steps) > 1 else None
        return None if trail is None else value_of(trail)

    def without(self, record: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The record without any field of this name, and whether there was one. Of an array the element that a number
        in the path names, else the field of every element: what is to go must not stay for want of a number."""
        left, found = _without(record, self, 0)
        return ({} if left is _NOTHING else left), found


def path_of(text: str) -> Path | None:
    """None for what is no path: empty, with an empty step, or longer than any name of a field."""
    steps = tuple(text.split("."))
    if not all(steps) or len(steps) > STEPS_MAX or len(text) > CHARS_MAX or not text.isprintable():
        return None
    joined = tuple(
        tuple(".".join(steps[begin:end]) for end in range(len(steps) + 1)) for begin in range(len(steps))
    )
    return Path(text, steps, joined)


def value_of(trail: Trail) -> Any:
    """What is at its end."""
    holder, key = trail[-1]
    return holder[key]


def name_of(trail: Trail) -> str:
    """As field labels name it: an array on the way adds nothing."""
    return ".".join(key for _, key in trail if isinstance(key, str))


def cut(trail: Trail) -> dict[str, Any]:
    """The record without what is at the end of the trail. An element of an array leaves its place, empty."""
    left: Any = _NOTHING
    for holder, key in reversed(trail):
        left = _put(holder, key, left)
    return {} if left is _NOTHING else left


def _first(value: Any, path: Path, at: int) -> Trail | None:
    if at == len(path.steps):
        return ()
    if isinstance(value, dict):
        for end in range(len(path.steps), at, -1):
            key = path.joined[at][end]
            if key in value:
                rest = _first(value[key], path, end)
                if rest is not None:
                    return ((value, key), *rest)
    elif isinstance(value, list):
        index = _index(path.steps[at], value)
        if index is not None:
            rest = _first(value[index], path, at + 1)
            return None if rest is None else ((value, index), *rest)
    return None


def _without(value: Any, path: Path, at: int) -> tuple[Any, bool]:
    if at == len(path.steps):
        return _NOTHING, True
    found = False
    if isinstance(value, dict):
        for end in range(len(path.steps), at, -1):
            key = path.joined[at][end]
            if value is not _NOTHING and key in value:
                left, gone = _without(value[key], path, end)
                if gone:
                    value, found = _put(value, key, left), True
            if value is _NOTHING:
                break
    elif isinstance(value, list):
        index = _index(path.steps[at], value)
        if index is not None:
            left, found = _without(value[index], path, at + 1)
            return (_put(value, index, left), True) if found else (value, False)
        for number, item in enumerate(value):
            left, gone = _without(item, path, at)
            if gone:
                value, found = _placed(value, number, left), True
        if found and all(item == {} for item in value):
            return _NOTHING, True
    return value, found


def _put(holder: Any, key: str | int, left: Any) -> Any:
    """A copy of what holds it with this in its place; nothing where nothing is left."""
    if isinstance(holder, list):
        assert isinstance(key, int)
        copy = _placed(holder, key, left)
        return _NOTHING if left is _NOTHING and all(item == {} for item in copy) else copy
    if left is not _NOTHING:
        return {**holder, key: left}
    rest = {name: item for name, item in holder.items() if name != key}
    return rest or _NOTHING


def _placed(holder: list[Any], index: int, left: Any) -> list[Any]:
    return [*holder[:index], {} if left is _NOTHING else left, *holder[index + 1 :]]


def _index(step: str, array: list[Any]) -> int | None:
    if not (step.isascii() and step.isdigit()) or len(step) > 9:
        return None
    index = int(step)
    return index if index < len(array) else None
