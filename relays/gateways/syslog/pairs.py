"""Names and values as records get them: none is lost where a name comes twice, and their number has a bound."""

from __future__ import annotations

from typing import Any, Final

# As many in one message; the longest dialects have some 150. What is more stays text (`MORE_PAIRS`).
PAIRS_MAX: Final = 512
MORE_PAIRS: Final = "more-pairs"

Pairs = dict[str, str | list[str]]


def put(pairs: dict[str, Any], name: str, value: object) -> None:
    """A name that comes again has a list of values, in their order; a value is no list itself."""
    before = pairs.get(name)
    if before is None:
        pairs[name] = value
    elif isinstance(before, list):
        before.append(value)
    else:
        pairs[name] = [before, value]


def first(pairs: Pairs, name: str) -> str:
    """Its value, or the first of them; empty where there is none."""
    value = pairs.get(name, "")
    return value[0] if isinstance(value, list) else value
