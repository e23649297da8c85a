"""Where in a TOML text a key stands, and what a person meant where TOML says no.

`tomllib` gives values without lines. This reads just enough to name lines: headers, and keys at the start of
a statement. Inside inline tables and arrays the line of the statement is the answer. It is for messages only:
nothing is ever decided by it, so a text that it misreads costs a line number and nothing else.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Final

from fabric.protocol.base.errors import Code
from relays.topology.problems import Problem

Key = tuple[str, ...]

_PART: Final = r"(?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')"
_DOTTED: Final = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER: Final = re.compile(rf"\s*(?P<marks>\[\[?)\s*(?P<key>{_DOTTED})\s*\]")
_ASSIGN: Final = re.compile(rf"\s*(?P<key>{_DOTTED})\s*=")
_PARTS: Final = re.compile(_PART)
_STRING: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'")
_COMMENT: Final = re.compile(r"#.*")
_AT_LINE: Final = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")


@dataclass(frozen=True, slots=True)
class Statement:
    """`[a.b]` or `[[a]]` (a header), or `b = ...` with the header's key before it."""

    key: Key
    line: int
    header: bool
    text: str

    @property
    def dotted(self) -> str:
        return dotted(self.key)


def dotted(key: Key) -> str:
    """As a person would find it in the file: parts with a dot in them are quoted."""
    return ".".join(f'"{part}"' if "." in part else part for part in key)


def statements(text: str) -> list[Statement]:
    """The headers and assignments of a text, in order, with their lines."""
    found: list[Statement] = []
    above: Key = ()
    counts: dict[Key, int] = {}
    depth = 0
    closing = ""  # the quotes that end the multi-line string that is open
    for number, line in enumerate(text.splitlines(), start=1):
        if closing:
            if line.count(closing) % 2:
                closing = ""
            continue
        if depth == 0:
            if header := _HEADER.match(line):
                above = _split(header["key"])
                if header["marks"] == "[[":
                    index = counts.get(above, 0)
                    counts[above] = index + 1
                    above = (*above, str(index))
                found.append(Statement(above, number, True, line.strip()))
                continue
            if assign := _ASSIGN.match(line):
                found.append(Statement((*above, *_split(assign["key"])), number, False, line.strip()))
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2:
                closing = quotes
        bare = _COMMENT.sub("", _STRING.sub("", line))
        depth = max(0, depth + sum(map(bare.count, "[{")) - sum(map(bare.count, "]}")))
    return found


def _split(text: str) -> Key:
    return tuple(part.strip("\"'") for part in _PARTS.findall(text))


class Lines:
    """Which line a key stands on: its own, or that of the nearest key around it."""

    def __init__(self, text: str) -> None:
        self._lines: dict[str, int] = {}
        for statement in statements(text):
            for end in range(1, len(statement.key) + 1):
                self._lines.setdefault(dotted(statement.key[:end]), statement.line)

    def of(self, key: str) -> int | None:
        while key:
            if key in self._lines:
                return self._lines[key]
            key = key.rpartition(".")[0]
        return None


def explain(text: str, error: tomllib.TOMLDecodeError) -> Problem:
    """A decode error in plain words, with what to write."""
    message = str(error)
    at = _AT_LINE.search(message)
    line = int(at[1]) if at and at[1] else max(1, len(text.splitlines()))
    wrong = (text.splitlines() or [""])[line - 1].strip() if line <= len(text.splitlines()) else ""
    if message.startswith("Cannot"):
        known = _explain_twice(text, line)
        if known is not None:
            return known
    cause = _AT_LINE.sub("", message).rstrip(".").lower()
    write = "check the quotes, brackets and commas of this line"
    if wrong.count("{") > wrong.count("}"):
        cause = "an inline table { ... } does not end on its line"
        write = "put it on one line, or write it as [section] with one key on each line"
    elif "end of document" in message:
        cause = "the file ends inside a value"
        write = "close the bracket or the quotes that are open"
    elif "invalid value" in cause:
        write = 'put text in double quotes: key = "value"'
    elif "after a statement" in cause or "expected '='" in cause:
        write = (
            'write one key = "value" on each line; names with other characters than A-Z a-z 0-9 _ - in quotes'
        )
    return Problem(Code.TOPOLOGY_UNREADABLE, "", cause, write, line=line)


def _explain_twice(text: str, line: int) -> Problem | None:
    """The same table in two places: by far the most common mistake, and the one TOML words worst."""
    all_of = statements(text)
    second = next((s for s in all_of if s.line == line), None)
    if second is None:
        return None
    name = second.dotted
    for first in all_of:
        if first.line >= line or first.key != second.key[: len(first.key)]:
            continue
        same = first.key == second.key
        if not first.header and (second.header or not same):
            cause = (
                f"{first.dotted} is an inline table (`{first.key[-1]} = {{ ... }}` on line {first.line}), "
                f"and `{_clip(second.text)}` on line {line} adds to it: an inline table cannot grow"
            )
            if same:
                write = f"keep one: all keys inside the {{ }} on line {first.line}, or all under [{name}]"
            else:
                write = (
                    f"replace line {first.line} by the header [{first.dotted}] with a line for each key, "
                    f"or put {name} inside its {{ }}"
                )
        elif same and first.header and second.header:
            cause = f"[{name}] stands on line {first.line} and again on line {line}"
            write = f"put its keys together under the one on line {first.line}"
        elif same:
            cause = f"{name} is already given on line {first.line}"
            write = "remove one of the two lines"
        else:
            continue
        return Problem(Code.TOPOLOGY_UNREADABLE, name, cause, write, line=line)
    return None


def _clip(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
