"""What `fabric send` reads: a log with a place that is kept, or a stream without one, under one name over all runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fabric.protocol.base.errors import Code, FabricError
from relays.reading.lines import Gap, Line, Lines
from relays.reading.place import place_of
from relays.reading.streams import is_stream, stream_lines


class Input:
    """`position_of`: what was kept under a name. Raises FabricError(BAD_INPUT) where there is nothing to read.

    `source`: the name under which its places are kept. It is that of the file as it is given, not of what a symbolic
    link stands for: that is another file after the next rotation.
    """

    def __init__(self, file: Path, topic: str, follow: bool, position_of: Callable[[str], str | None]) -> None:
        self.source = _shown(f"send {topic} {os.path.normpath(file.absolute())}")
        self._file, self._follow = file, follow
        self._lines: Lines | None = None
        if is_stream(file):
            return
        # Under the name of what it stands for is what versions before kept.
        kept = position_of(self.source) or position_of(_shown(f"send {topic} {file.resolve()}"))
        after = place_of(kept)
        if after is None and not follow and not file.exists():
            raise FabricError(Code.BAD_INPUT, f"{file} is no file", "name a file of JSON lines, or -")
        self._lines = Lines(file, follow, after)

    @property
    def is_awaited(self) -> bool:
        """There is no such file yet."""
        return self._lines is not None and not self._file.exists()

    @property
    def may_wait(self) -> bool:
        """The next line may be long in coming."""
        return self._lines is None or self._follow

    def total(self) -> int | None:
        """How many lines there are about; None where nobody can know."""
        return self._lines.total() if self._lines is not None and not self._follow else None

    def __iter__(self) -> Iterator[Line | Gap]:
        return iter(self._lines) if self._lines is not None else stream_lines(self._file, self._follow)


def _shown(text: str) -> str:
    """A file's name can be no text at all; what is kept is."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
