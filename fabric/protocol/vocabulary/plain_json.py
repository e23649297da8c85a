"""JSON that somebody else wrote: read in one way only, bounded, and what is wrong with it, each with its path.

Guarantees: text that passes has one reading (RFC 7493: no name twice, no number that JSON does not have); a value that
passes `check_plain` can be written as JSON and read again as the same; a fault says where it is and what was expected,
never what was in it. Refuses what is above the bounds of its caller before it looks at what it means.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NamedTuple

from fabric.protocol.base.errors import Code, Reject

# Of so many faults each is told: who repairs a document by hand repairs a few at a time.
FAULTS_MAX: Final = 8
_PATH_CHARS_MAX: Final = 160
_NAME_CHARS_MAX: Final = 40
_WORD: Final = re.compile(r"[A-Za-z0-9_:+-]+")
# What the codec carries (SPEC 2).
INTEGERS: Final = range(-(2**63), 2**64)


class Bounds(NamedTuple):
    """What a value may have at most. Bytes are those of its text and names, as UTF-8."""

    bytes_max: int
    elements_max: int
    depth_max: int


class Faults:
    """What is wrong with a document, in the order in which it was found."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._more = 0

    def __bool__(self) -> bool:
        return bool(self._said)

    def add(self, path: str, what: str) -> None:
        """`path` as `below` makes it, "" for all of it; `what` in words of this program."""
        if len(self._said) < FAULTS_MAX:
            self._said.append(f"{path or 'all of it'}: {what}")
        else:
            self._more += 1

    @property
    def detail(self) -> str:
        more = f"; and {self._more:,} more" if self._more else ""
        return "; ".join(self._said) + more

    def reject(self, code: Code = Code.BAD_ACTION) -> Reject | None:
        return Reject(code, self.detail) if self._said else None


def below(path: str, step: object) -> str:
    """The path of what is under a name, or at a place of a list. A name that could be taken for more than one is quoted
    and escaped; what is deeper than anybody reads keeps the path of what is around it."""
    if isinstance(step, int):
        longer = f"{path}[{step}]"
    else:
        name = step if isinstance(step, str) else f"({type(step).__name__})"
        plain = _WORD.fullmatch(name) is not None and len(name) <= _NAME_CHARS_MAX
        shown = name if plain else ascii(name[:_NAME_CHARS_MAX])
        longer = (f"{path}.{shown}" if plain else f"{path}[{shown}]") if path else shown
    return longer if len(longer) <= _PATH_CHARS_MAX else path


def parse_ijson(text: str) -> Any:
    """What it says. Raises ValueError, for what is nested deeper than Python reads too; its words hold no content."""
    try:
        return json.loads(
            text, parse_int=_integer, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_unique
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg[:1].lower()}{error.msg[1:]} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _integer(text: str) -> int:
    # Longer ones are read in a time that grows with the square of their digits, or not at all.
    if len(text) > 20 or int(text) not in INTEGERS:
        raise ValueError("an integer beyond 64 bits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that JSON does not have")
    return number


def check_plain(document: object, path: str, bounds: Bounds, faults: Faults) -> bool:
    """Whether this is JSON within the bounds; the first fault is told. Never raises, whatever it is given."""
    # A list of what is still to be looked at, not a call for each level: the depth is the sender's.
    left: list[tuple[object, str, int]] = [(document, path, 0)]
    elements = size = 0
    while left:
        value, at, depth = left.pop()
        elements += 1
        wrong = ""
        if isinstance(value, dict | list | tuple):
            if depth >= bounds.depth_max:
                wrong = f"more than {bounds.depth_max} levels"
            elif elements + len(left) + len(value) > bounds.elements_max:
                at, wrong = path, f"more than {bounds.elements_max:,} values"
            elif isinstance(value, dict):
                sizes = [_text_bytes(name) for name in value]
                if None in sizes:
                    wrong = "a name that is no text"
                size += sum(filter(None, sizes))
                left += [(inner, below(at, name), depth + 1) for name, inner in value.items()]
            else:
                left += [(inner, below(at, place), depth + 1) for place, inner in enumerate(value)]
        elif isinstance(value, str):
            text_bytes = _text_bytes(value)
            wrong = "text that is not Unicode" if text_bytes is None else ""
            size += text_bytes or 0
        elif isinstance(value, float):
            wrong = "" if math.isfinite(value) else "a number that JSON does not have"
        elif isinstance(value, int):
            wrong = "" if int(value) in INTEGERS else "an integer beyond 64 bits"
        elif value is not None:
            wrong = "neither text nor number, nor of them"
        if not wrong and size > bounds.bytes_max:
            at, wrong = path, f"more than {bounds.bytes_max:,} bytes"
        if wrong:
            faults.add(at, wrong)
            return False
    return True


def _text_bytes(text: object) -> int | None:
    """Its length as UTF-8; None for what is no text, or holds half a character."""
    if not isinstance(text, str):
        return None
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None
