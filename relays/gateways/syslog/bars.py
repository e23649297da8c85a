"""The header that CEF and LEEF share: fields between bars, in which a bar and a backslash are escaped."""

from __future__ import annotations

import re
from typing import Any, Final

_FIELD: Final = r"([^|\\]*(?:\\.[^|\\]*)*)"
_ESCAPE: Final = re.compile(r"\\([|\\])")


class Header:
    """`version`: a pattern with one group; `names`: of the version and of the fields behind it."""

    def __init__(self, word: str, version: str, *names: str) -> None:
        self._names = names
        self._pattern = re.compile(
            rf"{word}: ?({version})\|" + rf"{_FIELD}\|" * (len(names) - 2) + rf"{_FIELD}(?:\||\Z)", re.DOTALL
        )

    def read(self, text: str) -> tuple[dict[str, Any], int] | None:
        """Its fields, and where what follows begins."""
        found = self._pattern.match(text)
        if found is None:
            return None
        values = [_ESCAPE.sub(r"\1", value) if "\\" in value else value for value in found.groups()]
        return dict(zip(self._names, values, strict=True)), found.end()
