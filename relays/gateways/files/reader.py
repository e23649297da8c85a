"""One file of a source: its lines become records, each with the place behind it.

Guarantees: what was taken is not taken again by this run, wherever reading begins anew; a line that is no record is
rejected with file and number, and passed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Given, Intake
from relays.reading import Gap, Line, Lines, Place, parse_record, place_of
from relays.reading.around import Around
from relays.reading.ending import end_of
from relays.reading.lines import is_object
from relays.reading.names import Entry
from relays.reading.opened import UnreadableError
from relays.reading.survey import knows

LINES_AT_ONCE = 512
# However long these are: what is given at a time, and is in memory until then.
_BYTES_AT_ONCE = 1_000_000


class _OurClock:
    """Whoever reads many files waits for all of them."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s

    def wait(self, seconds: float) -> None:
        """Not here."""


class _Waiting:
    """Lines that were read and not given yet."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """There are none."""
        self.given: list[Given] = []
        self.places: list[Place | None] = []
        self.size = 0


class FileReader:
    """`name`: under which its places are kept. `text`: a line is a message; else it is a JSON object. `now_s`: seconds
    that only go forward. `position_of`: what was kept. `around`: what it sees of the others."""

    def __init__(
        self, path: Path, name: str, text: bool, now_s: Callable[[], float],
        position_of: Callable[[str], str | None], around: Around | None = None,
    ) -> None:
        self.path = path
        self.name = name
        self._text = text
        self._now_s = now_s
        self._place: Place | None = None  # the last that was taken by this run
        self._position_of = position_of
        self._around = around
        self._log: Lines | None = None  # while it is open
        self._lines: Generator[Line | Gap, None, None] | None = None
        self._seen: tuple[int, ...] = ()
        self.quiet_since_s: float | None = None  # since when there is nothing more in it

    @property
    def is_open(self) -> bool:
        return self._lines is not None

    @property
    def since_ns(self) -> int | None:
        """When what it read last was written; None where it read nothing yet."""
        place = self._last()
        return place.since_ns if place is not None else None

    @property
    def inodes(self) -> list[int]:
        """Of the files that it read."""
        place = self._last()
        return [mark.inode for mark in place.marks if mark.path] if place is not None else []

    def recognises(self, entry: Entry) -> bool:
        """Whether it read this file, or reads it: by what is in it."""
        place = self._last()
        return (self._log is not None and self._log.recognises(entry)) or (
            place is not None and knows(place.marks, entry)
        )

    def passed(self, entry: Entry) -> bool:
        """Whether this file is from before it began."""
        place = self._last()
        return place is None or knows(place.marks, entry, is_read=False)

    def _last(self) -> Place | None:
        return self._place or place_of(self._position_of(self.name))

    @property
    def has_changed(self) -> bool:
        """Whether it is another one, or longer or shorter, than when it was closed."""
        return _look(self.path) != self._seen

    def skip(self, intake: Intake) -> None:
        """What is in it now is not wanted. Raises FabricError and OSError."""
        try:
            place = end_of(self.path)
        except UnreadableError:
            return  # `some` says it
        if place is not None:
            intake.pass_over((self.name, place.text()))
            self._place = place

    def some(self, intake: Intake) -> bool:
        """Give what there is of some lines. Whether there was any. Raises FabricError and OSError; it is closed then.
        """
        if self._lines is None:
            after = self._last()
            is_whole = bool if self._text else is_object
            clock = _OurClock(self._now_s)
            self._log = Lines(self.path, True, after, clock=clock, is_whole=is_whole, around=self._around)
            self._lines = iter(self._log)  # type: ignore[assignment]  # it is a generator, and can be closed
            assert self._lines is not None
        taken = 0
        waiting = _Waiting()
        try:
            for line in self._lines:
                if isinstance(line, Gap):
                    intake.lost(line.error)
                elif not line.data and line.fault is None and line.place is None:
                    break
                else:
                    self._add(line, waiting, intake)
                taken += 1
                if taken >= LINES_AT_ONCE:
                    break
            self._give(waiting, intake)
        except BaseException:
            self.close()
            raise
        if taken:
            self.quiet_since_s = None
        elif self.quiet_since_s is None:
            self.quiet_since_s = self._now_s()
        return bool(taken)

    def _add(self, line: Line, waiting: _Waiting, intake: Intake) -> None:
        if line.fault is None and not line.data.strip():
            return
        position = None if line.place is None else (self.name, line.place.text())
        where = f"{self.path}:{line.number}"
        try:
            record = self._record(line)
        except FabricError as error:
            self._give(waiting, intake)  # places are passed in their order
            intake.reject(line.data, error, where, position)
            self._place = line.place or self._place
            return
        waiting.given.append(Given(record, position, where, line.data, None, True))
        waiting.places.append(line.place)
        waiting.size += len(line.data)
        if waiting.size >= _BYTES_AT_ONCE:
            self._give(waiting, intake)

    def _give(self, waiting: _Waiting, intake: Intake) -> None:
        """All that waits. Raises FabricError(CLOSED) when it is to stop before all was taken."""
        if not waiting.given:
            return
        given, places = waiting.given, waiting.places
        waiting.clear()
        count = intake.take_many(given).taken
        self._place = next((place for place in reversed(places[:count]) if place is not None), self._place)
        if count < len(given):
            raise FabricError(Code.CLOSED)

    def _record(self, line: Line) -> dict[str, Any]:
        if line.fault is not None:
            raise line.fault
        return record_of(line.data, self._text)

    def close(self) -> None:
        """Let go of the file. What comes to it later, `some` goes on with."""
        lines, self._lines, self._log = self._lines, None, None
        self._seen = _look(self.path)
        self.quiet_since_s = None
        if lines is not None:
            with suppress(OSError):
                lines.close()


def record_of(line: bytes, text: bool) -> dict[str, Any]:
    """What a line becomes. Raises FabricError where it is no record."""
    return {"message": line.removesuffix(b"\r").decode("utf-8", "backslashreplace")} if text else parse_record(line)


def _look(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
