"""The place at the end of a log as it is now, for who wants only what comes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from relays.reading.opened import Opened
from relays.reading.place import MARKS_MAX, WHOLE, Place
from relays.reading.survey import before, mark_at

_CHUNK_BYTES = 1_048_576


def end_of(file: Path) -> Place | None:
    """Behind its last whole line: of one that is being written nothing is cut off. None where there is none, so that it
    is read from its beginning. Raises OSError and UnreadableError."""
    marks, _ = before(file)
    with closing(Opened(file)) as opened:
        found = opened.stat()
        at = end = lines = 0
        while data := opened.read(at, _CHUNK_BYTES):
            lines += data.count(b"\n")
            end = at + data.rfind(b"\n") + 1 if b"\n" in data else end
            at += len(data)
        if not end:
            return None
        mark = mark_at(opened, WHOLE if opened.packed else end)
    return Place(lines, found.st_mtime_ns, found.st_size, (*marks, mark)[-MARKS_MAX:])
