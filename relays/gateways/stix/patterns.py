"""STIX patterns (STIX 2.1, part 9), as far as something can be blocked without evaluating them.

Guarantees: values come only of a pattern that says that each of them alone is bad: equality (`=`, `IN`), joined by OR.
For all else (AND, FOLLOWEDBY, NOT, LIKE, MATCHES, ISSUBSET, qualifiers, parentheses, other properties, a network, a
wildcard) there are none. It takes time in proportion to the pattern's length, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from relays.gateways.stix.values import OTHER, VALUES_MAX, plain_value

# A pattern that is longer is published as any other, and nothing is read in it.
PATTERN_CHARS_MAX: Final = 262_144
_TOKENS_MAX: Final = 8 * VALUES_MAX

_KINDS: Final[Mapping[str, str]] = {
    "ipv4-addr": "ipv4", "ipv6-addr": "ipv6", "domain-name": "domain", "url": "url", "email-addr": "email",
    "email-message": "email", "file": "file",
}
_VALUES: Final[Mapping[str, str]] = {
    "ipv4-addr:value": "ipv4", "ipv6-addr:value": "ipv6", "domain-name:value": "domain", "url:value": "url",
    "email-addr:value": "email",
    **{f"file:hashes.{name}": kind for kind, names in {
        "md5": ("MD5", "'MD5'"), "sha1": ("'SHA-1'", "SHA1", "'SHA1'"), "sha256": ("'SHA-256'", "SHA256", "'SHA256'"),
        "sha512": ("'SHA-512'", "SHA512", "'SHA512'"), "sha3-256": ("'SHA3-256'",),
    }.items() for name in names},
}
# A text whose end is missing goes to the pattern's end. Whatever is nothing else is one character.
_TOKEN: Final = re.compile(
    r"(?P<path>[A-Za-z][A-Za-z0-9-]{0,63}+:(?:[A-Za-z0-9_.-]|'[^'\\]*+'|\[(?:[0-9]++|\*)\])++)"
    r"|(?P<text>'(?:[^'\\]++|\\.)*+'?)|(?P<word>[A-Za-z]++)|(?P<mark>[^\s])",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class Pattern(NamedTuple):
    """`kind`: what all of it is about, one of `values.KINDS`; "indicator" where that is none of these, or several.
    `values`: by their kinds; none where it says more than that each of them is bad."""

    kind: str
    values: Mapping[str, tuple[str, ...]]


class _NotSimpleError(Exception):
    pass


def read_pattern(text: str) -> Pattern:
    """Of any text."""
    tokens = [(found.lastgroup or "", found.group()) for found in islice(_TOKEN.finditer(text), _TOKENS_MAX)]
    if len(text) > PATTERN_CHARS_MAX or len(tokens) == _TOKENS_MAX:
        return Pattern(OTHER, {})
    kinds = {_KINDS.get(token.partition(":")[0], OTHER) for name, token in tokens if name == "path"}
    kind = kinds.pop() if len(kinds) == 1 else OTHER
    try:
        values = _values(iter(tokens))
    except _NotSimpleError:
        return Pattern(kind, {})
    return Pattern(kind, {each: tuple(sorted(found)) for each, found in values.items()})


def _values(tokens: Iterator[tuple[str, str]]) -> dict[str, set[str]]:
    """`[` comparison { OR comparison } `]` { OR ... }, or _NotSimpleError."""
    found: dict[str, set[str]] = {}
    count = 0
    while True:
        _expect(tokens, "[")
        while True:
            name, path = next(tokens, ("", ""))
            kind = _VALUES.get(path) if name == "path" else None
            if kind is None:
                raise _NotSimpleError
            for text in _compared(tokens):
                value = plain_value(kind, text)
                count += 1
                if value is None or count > VALUES_MAX:
                    raise _NotSimpleError
                found.setdefault(kind, set()).add(value)
            _, word = next(tokens, ("", ""))
            if word == "]":
                break
            if word != "OR":
                raise _NotSimpleError
        name, word = next(tokens, ("end", ""))
        if name == "end":
            return found
        if word != "OR":
            raise _NotSimpleError


def _compared(tokens: Iterator[tuple[str, str]]) -> Iterator[str]:
    _, mark = next(tokens, ("", ""))
    if mark == "=":
        yield _text(tokens)
        return
    if mark != "IN":
        raise _NotSimpleError
    _expect(tokens, "(")
    while True:
        yield _text(tokens)
        _, mark = next(tokens, ("", ""))
        if mark == ")":
            return
        if mark != ",":
            raise _NotSimpleError


def _text(tokens: Iterator[tuple[str, str]]) -> str:
    name, token = next(tokens, ("", ""))
    if name != "text" or len(token) < 2 or not token.endswith("'"):
        raise _NotSimpleError
    return _ESCAPED.sub(r"\1", token[1:-1])


def _expect(tokens: Iterator[tuple[str, str]], mark: str) -> None:
    if next(tokens, ("", ""))[1] != mark:
        raise _NotSimpleError
