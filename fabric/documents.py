"""JSON that this process did not write: files kept from before, identities, what a command is given.

Guarantees: whatever is in it, the only error is a ValueError. Refuses, beyond what is no JSON: numbers of unbounded
length, which few readers of JSON accept, and what is nested deeper than Python reads.
"""

from __future__ import annotations

import json
import math
from typing import Any


class TooDeepError(ValueError):
    """Nested deeper than Python reads."""


def parse_json(raw: bytes | str) -> Any:
    """What it says. Raises ValueError; of what is nested too deep, TooDeepError."""
    try:
        return json.loads(raw, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise TooDeepError("nested too deep") from None


def parse_object(raw: bytes | str) -> dict[str, Any]:
    """The same for what is to be an object. Raises ValueError."""
    document = parse_json(raw)
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for whatever a file holds
    return document


class _TwiceError(ValueError):
    """A key that is there twice."""


def parse_strictly(text: str) -> Any:
    """What somebody sent: no key twice, no NaN and Infinity. Numbers are as they are written, but such as 1e999, which
    is infinite. Raises ValueError, which says why and never what is in it."""
    try:
        return _STRICT.decode(text)
    except RecursionError:
        raise TooDeepError("nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} (character {error.pos + 1})") from None
    except _TwiceError:
        raise ValueError("a key is there twice") from None
    except ValueError:  # Python's bound on the digits of a number, and NaN
        raise ValueError("a number that JSON has not, or a longer one than anybody reads") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number without end")
    return number


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_finite)
