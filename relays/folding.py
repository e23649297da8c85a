"""Wraps lines for a terminal that is narrower: between words, with the continuation indented.

A terminal breaks a line wherever it ends, in the middle of a word, a number or a fingerprint that somebody compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable

WORD = re.compile(r"\S+")
# Of JSON: a string is never broken, since it would be another, and a value stays with its key.
JSON_WORD = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"]|(?<=:)\s)+')
# What is set in two columns, a name and what is said of it, goes on in the second.
_SECOND = re.compile(r" *\S.{0,22}? {2,}(?=\S)")


def hang_of(text: str, columns: int) -> int:
    """Where a line goes on: below what it says after its name; else two columns further in than it begins."""
    second = _SECOND.match(text)
    return second.end() if second and second.end() * 2 <= columns else len(text) - len(text.lstrip()) + 2


def spans(
    text: str, columns: int, hang: int, word: re.Pattern[str], width_of: Callable[[str], int]
) -> list[tuple[int, int, int]]:
    """Of each line: where it begins and ends in the text, and its margin. `columns`: of a line at most; 0: no bound."""
    if not columns or width_of(text) <= columns:
        return [(0, len(text), 0)]
    lines: list[tuple[int, int, int]] = []
    begin = end = margin = used = 0  # of this line; `used` columns of the screen
    for found in word.finditer(text):
        width = width_of(text[end:found.end()])
        if used + width > columns and end > begin:
            lines.append((begin, end, margin))
            begin, width = found.start(), width_of(found[0])
            margin = hang if hang + width <= columns else 0
            used = margin
        used, end = used + width, found.end()
    return [*lines, (begin, end, margin)]
