"""Lines of a log, followed over rotations, each with the place up to which the log is read then.

Guarantees: each line once, also when reading stops at any moment and begins again at a place that was kept. A rotated
file is read to its end, until it is quiet, before the next one is begun, and looked at for a while longer, because its
writer may stay on it; files that came and went meanwhile are found by name, inode and content, compressed ones too.
When a file was copied and cut short, its copy has the rest. A finished file's last line counts, whether or not anything
ended it; one that a rotation tore is put together. Order is that of the files; a writer that comes back to an old one
is heard late.

Refuses to guess: where a part cannot be found again, a `Gap` says which, and how much of it is known.

What no reader can know: lines that a rotation itself loses, between copying a file and cutting it short.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fabric.protocol.base.errors import Code, FabricError
from relays.reading.around import Around
from relays.reading.names import Entry, entry_of
from relays.reading.opened import PACKED_SUFFIXES, Opened, UnreadableError
from relays.reading.place import MARKS_MAX, WHOLE, Mark, Place
from relays.reading.reading import Reading
from relays.reading.records import parse_record
from relays.reading.splitting import Piece
from relays.reading.survey import Survey, before, current_of, knows, survey

POLL_S = 0.2
# A rotated file that nothing was added to for so long is finished, for the order of lines: writers are told to open
# their log anew right after a rotation, and do so within a second.
QUIET_S = 1.5
# Two programs that write to both files must not keep the new one waiting.
ORDER_S = 10.0
# How long a rotated file is looked at after it was finished. Beyond it the next start, or rotation, finds what came.
LINGER_S = 60.0
# How long is looked for a file before it is said to be gone: a rotation renames and compresses one after the other.
PATIENCE_S = 2.0
# Rotated files that are looked at at a time.
_OPEN_MAX = 8


class Clock(Protocol):
    """What a reader needs of the time: seconds that only go forward, and a way to wait."""

    def now_s(self) -> float: ...
    def wait(self, seconds: float) -> None: ...


class SystemClock:
    """This machine's own."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class Line(NamedTuple):
    """`data`: without its end, as UTF-8. `place` None: it has none, or nothing came and the file was only looked at."""

    number: int
    data: bytes
    place: Place | None
    fault: FabricError | None = None

    def record(self) -> dict[str, Any]:
        """Its JSON object. Raises FabricError: LINE_TOO_LONG, BAD_INPUT."""
        if self.fault is not None:
            raise self.fault
        return parse_record(self.data)


class Gap(NamedTuple):
    """What could not be found again. `bytes_known`: how much of it there was at least."""

    file: str
    line: int
    offset: int
    bytes_known: int
    reason: str

    @property
    def error(self) -> FabricError:
        known = f", {self.bytes_known:,} bytes at least" if self.bytes_known else ""
        where = f" after line {self.line:,} (byte {self.offset:,})" if self.offset else ""
        return FabricError(Code.LINES_LOST, f"{self.file}{where}{known}: {self.reason}")

    def to_json(self) -> dict[str, Any]:
        return {"code": Code.LINES_LOST.label, **self._asdict()}


def is_object(data: bytes) -> bool:
    """Whether this is a JSON object as a whole: no beginning of one is."""
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


class Lines:
    """`after`: where reading stopped. Without `follow` it ends with the file, a last line without an end included.

    `is_whole`: whether a line without an end is one all the same. `around`: what other readers have is left to them.
    """

    def __init__(
        self, file: Path, follow: bool, after: Place | None = None, *, clock: Clock | None = None,
        is_whole: Callable[[bytes], bool] = is_object, around: Around | None = None,
    ) -> None:
        self._file = file.absolute()
        self._follow = follow
        self._clock = clock or SystemClock()
        self._is_whole = is_whole
        self._around = around
        self._number = after.line if after else 0
        self._size = after.size if after else 0
        marks, self._since_ns = (after.marks, after.since_ns) if after else before(self._file, around)
        self._open: list[Reading] = []  # the last one is read last: the log, or on the way to it
        self._past: list[Mark] = list(marks)  # in files that are read
        self._sought = self._past.pop() if after else None  # in the file to go on with, until it is found
        self._sought_until_s: float | None = None
        self._cut: Reading | None = None  # the file that was cut short, while its copy is looked for and read
        self._torn: Reading | None = None  # what was read of its last line, until the next file shows how that ends
        self._empty: set[tuple[int, int]] = set()
        self._unfit: set[tuple[int, int]] = set()  # files that were said to be unreadable
        self._survey_at_s = 0.0

    def __iter__(self) -> Iterator[Line | Gap]:
        try:
            while True:
                came = False
                for reading in list(self._open):
                    for line in self._read(reading):
                        came = True
                        yield line
                for found in self._step():
                    came = True
                    if found is not None:
                        yield found
                if came:
                    continue
                if not self._follow and self._sought is None and not any(other.pending for other in self._open[:-1]):
                    yield from self._end()
                    return
                yield Line(self._number, b"", None)
                self._clock.wait(POLL_S)
        finally:
            for reading in self._open:
                reading.close()

    def total(self) -> int:
        """How many lines there are to read by now, about: for a bar."""
        marks = [*self._past, *([self._sought] if self._sought else [])]
        found = self._survey(marks, (), is_sought=self._sought is not None)
        ahead = [(entry.path, mark.offset) for entry, mark in filter(None, found.located) if mark.offset != WHOLE]
        ahead += [(entry.path, 0) for entry in (*found.later, *([found.current] if found.current else []))]
        return sum(_newlines(path, offset) for path, offset in ahead)

    def _survey(self, marks: Sequence[Mark], open_: Sequence[Opened], is_sought: bool = False) -> Survey:
        return survey(self._file, marks, open_, self._since_ns, sought=is_sought, around=self._around)

    def recognises(self, entry: Entry) -> bool:
        """Whether it read this file, or has it open: by what is in it."""
        if any(reading.id == entry.id for reading in self._open):
            return True
        read = [reading.mark_read() for reading in self._open]
        return knows([*self._past, *([self._sought] if self._sought else []), *read], entry)

    # -- one file ---------------------------------------------------------------------------------------

    def _read(self, reading: Reading) -> Iterator[Line | Gap]:
        try:
            if reading.is_fresh and not self._may_begin(reading):
                return
            for piece in reading.pieces():
                yield from self._lines(reading, piece)
        except UnreadableError as error:
            # What came before the damage is read.
            self._forget(reading)
            yield Gap(reading.opened.path.name, self._number, max(0, reading.mark.offset), 0, str(error))
        if reading.grew:
            reading.grew, reading.grown_at_s = False, self._clock.now_s()

    def _may_begin(self, reading: Reading) -> bool:
        """Whether what comes before the log is read.

        Between the look at all files and the first look into it, it may have been copied and cut short: what was in it
        is in a file that was not there then.
        """
        if reading.is_pinned:
            return True
        if not reading.pin():
            return False
        current = entry_of(self._file)
        if current is None or current.id != reading.id:
            return True
        others = [other.opened for other in self._open if other is not reading]
        found = self._survey(self._past, others)
        if self._fresh(found.later):
            self._close(reading)  # it is opened again after those
            return False
        return True

    def _lines(self, reading: Reading, piece: Piece) -> Iterator[Line]:
        if reading.is_fresh:
            reading.is_fresh = False
            cut, self._torn = self._torn, None
            former = [other for other in (cut, *reversed(self._open)) if other is not None and other is not reading]
            torn = None if self._is_whole(piece.data) else self._torn_by(former, piece.data)
            if torn is not None:
                piece = piece._replace(data=torn.peek() + piece.data)
                torn.take_rest()
            if cut is not None and (rest := cut.take_rest()) is not None:
                # Nothing can end it any more. A place with it would be beyond this piece already.
                yield self._line(reading, rest)._replace(place=None)
        yield self._line(reading, piece)

    def _torn_by(self, former: Sequence[Reading], end: bytes) -> Reading | None:
        """The file that has the beginning of the line that ends like this, torn when it was rotated."""
        return next((other for other in former if other.pending and self._is_whole(other.peek() + end)), None)

    def _line(self, reading: Reading, piece: Piece) -> Line:
        self._number += 1
        if reading is self._open[-1]:
            self._size = reading.size
            # Compressed since it was begun, its time may be that of the compression: others may be older than that.
            self._since_ns = self._since_ns if reading.was_packed else reading.mtime_ns
        # One that nothing was taken of yet is found as the next one again, with the torn line that may end in it.
        marks = (*self._past, *(reading.mark for reading in self._open if reading.mark.offset))
        place = Place(self._number, self._since_ns, self._size, marks[-MARKS_MAX:])
        # Until that is found there is no place to go on from but the one that was kept.
        return Line(self._number, piece.data, place if self._sought is None else None, piece.fault)

    def _end(self) -> Iterator[Line]:
        """Last lines that nothing ended."""
        for reading in list(self._open):
            yield from self._rest(reading)

    def _rest(self, reading: Reading) -> Iterator[Line]:
        if (piece := reading.take_rest()) is not None:
            yield self._line(reading, piece)

    # -- from file to file ------------------------------------------------------------------------------

    def _step(self) -> Iterator[Line | Gap | None]:
        """What there is to do besides reading; nothing when there is nothing. None: something was done."""
        if self._sought is not None:
            yield from self._seek(self._sought)
            return
        for reading in self._open[:-1]:
            yield from self._tend(reading)
        newest = self._open[-1] if self._open else None
        if newest is not None and newest.cut:
            self._close(newest)
            # Without a line taken of it there is nothing to know it by; and its copy is read from the beginning.
            if newest.mark.offset:
                self._sought, self._cut = newest.mark_read(), newest
            yield None
        elif newest is None or newest.at_end:
            yield from self._go_on(newest)

    def _tend(self, reading: Reading) -> Iterator[Line | None]:
        """A file that is not the last one: its last line when it is finished, and its end."""
        if not (reading.at_end or reading.cut):
            return
        quiet_s = self._clock.now_s() - max(reading.grown_at_s, reading.left_at_s or 0.0)
        is_done = reading.cut or (reading.opened.packed and not reading.pending)
        lingered = is_done or quiet_s >= (LINGER_S if self._follow else QUIET_S)
        if reading.pending and (lingered or self._is_whole(reading.peek())):
            yield from self._rest(reading)
        if lingered and not reading.pending:
            self._retire(reading)
            yield None

    def _go_on(self, newest: Reading | None) -> Iterator[Line | Gap | None]:
        now_s = self._clock.now_s()
        current = entry_of(self._file)
        if newest is not None and current is not None and current.id == newest.id:
            newest.left_at_s = None
            return
        if current is not None and current.id not in [reading.id for reading in self._open]:
            current = current_of(self._file, self._around)
        if newest is not None and newest.left_at_s is None:
            # It may have grown before its name was taken: it is read once more, and then until it is quiet.
            newest.left_at_s = now_s
            yield None
            return
        if newest is not None and self._may_grow(newest, now_s):
            return
        if self._follow and now_s < self._survey_at_s:
            return
        # Many files can lie beside one that is away.
        self._survey_at_s = now_s + (POLL_S if current is not None else 1.0)
        for number, reading in enumerate(self._open):
            if current is not None and reading.id == current.id:  # its name was given back to it
                self._open.append(self._open.pop(number))
                yield None
                return
        if newest is not None and newest.pending and self._is_whole(newest.peek()):
            yield from self._rest(newest)
        found = self._survey(self._past, [reading.opened for reading in self._open])
        if self._open_past(found.located, current):
            yield None
            return
        fresh = self._fresh(found.later)
        if not fresh and found.current is not None:
            fresh = [found.current]
        if fresh:
            yield from self._open_next(fresh[0], newest, found.current)

    def _fresh(self, later: Sequence[Entry]) -> list[Entry]:
        """Those that are to be read. An empty one is another as soon as there is something in it."""
        return [entry for entry in later if entry.id not in (self._unfit if entry.size else self._empty)]

    def _may_grow(self, newest: Reading, now_s: float) -> bool:
        """Whether to wait for more of a rotated file before the next one is begun."""
        if not self._follow or newest.is_copy or newest.opened.packed or newest.left_at_s is None:
            return False
        quiet_s = now_s - max(newest.grown_at_s, newest.left_at_s)
        return quiet_s < QUIET_S and now_s - newest.left_at_s < ORDER_S

    def _open_next(self, entry: Entry, newest: Reading | None, current: Entry | None) -> Iterator[Gap | None]:
        try:
            reading = self._opened(entry, None)
        except UnreadableError as error:
            self._unfit.add(entry.id)
            yield Gap(entry.path.name, 0, 0, entry.size, str(error))
            return
        except PermissionError:
            if entry == current:
                raise
            self._unfit.add(entry.id)
            yield Gap(entry.path.name, 0, 0, entry.size, "it may not be read")
            return
        if reading is None:
            return
        cut, self._cut = self._cut, None
        if cut is not None and (newest is None or not newest.is_copy or newest.at < cut.at):
            self._torn = cut  # its copy was made before the last of it came
        self._open.append(reading)
        for old in self._open[:-_OPEN_MAX]:
            self._retire(old)
        yield None

    def _open_past(self, located: Sequence[tuple[Entry, Mark] | None], current: Entry | None) -> bool:
        """Files that were read and have more by now are read again, before the last one. Whether there were any."""
        before = len(self._open)
        for number, found in reversed(list(enumerate(located))):
            if found is None:
                continue
            entry, mark = found
            was, self._past[number] = self._past[number], mark
            is_log = current is not None and entry.id == current.id
            is_packed = entry.path.suffix in PACKED_SUFFIXES
            has_more = mark.offset != WHOLE and (is_packed or mark.inode != was.inode or entry.size > mark.offset)
            if is_log or has_more:
                with suppress(UnreadableError, OSError):
                    reading = self._opened(entry, mark)
                    if reading is not None:
                        del self._past[number]
                        reading.left_at_s = None if is_log else self._clock.now_s()
                        self._open.insert(len(self._open) if is_log else 0, reading)
        return len(self._open) > before

    def _seek(self, sought: Mark) -> Iterator[Gap | None]:
        """Find the file in which reading stopped, or say that it is gone."""
        open_ = [reading.opened for reading in self._open]
        found = self._survey([*self._past, sought], open_, is_sought=True)
        if found.located[-1] is not None:
            entry, mark = found.located[-1]
            with suppress(UnreadableError, OSError):
                cut = self._cut
                if cut is not None and cut.pending and not 0 <= mark.offset < cut.mark.offset:
                    mark = cut.mark  # the beginning of its last line is read again
                if mark.offset == WHOLE:
                    self._past.append(mark)
                else:
                    reading = self._opened(entry, mark)
                    if reading is None:
                        return
                    current = entry_of(self._file)
                    if current is None or current.id != reading.id:
                        reading.left_at_s = self._clock.now_s()
                        reading.is_copy = current is not None and current.id[1] == sought.inode
                    reading.was_packed = reading.opened.packed
                    self._open.append(reading)
                self._open_past(found.located[:-1], None)
                self._sought = self._sought_until_s = None
                yield None
                return
        now_s = self._clock.now_s()
        if self._sought_until_s is None:
            self._sought_until_s = now_s + PATIENCE_S
        if now_s < self._sought_until_s:
            return
        self._sought = self._sought_until_s = None
        known = max(0, self._size - sought.offset)
        if self._cut is not None:
            reason = "it was cut short, and no copy of it was found: what was written to it last may be missing"
        else:
            reason = "it was not found again: what was written to it later is missing"
        line, self._number = self._number, 0  # what is read now begins anew
        yield Gap(Path(sought.path).name or self._file.name, line, sought.offset, known, reason)

    def _opened(self, entry: Entry, mark: Mark | None) -> Reading | None:
        """None: the name stands for another file by now. Raises UnreadableError and OSError but for a missing file."""
        try:
            opened = Opened(entry.path)
        except FileNotFoundError:
            return None
        try:
            if opened.id == entry.id:
                return Reading(opened, mark)
        except BaseException:
            opened.close()
            raise
        opened.close()
        return None

    def _retire(self, reading: Reading) -> None:
        """It is read, and remembered."""
        self._close(reading)
        reading.finish()
        if reading.mark.offset:
            self._past = [*self._past, reading.mark][-MARKS_MAX:]
        else:
            # Its inode alone does not tell it from the file that has it next.
            self._empty.add(reading.id)

    def _forget(self, reading: Reading) -> None:
        """It cannot be read any further."""
        self._unfit.add(reading.id)
        reading.take_rest()  # a part of a line, whose end is behind the damage
        self._retire(reading)

    def _close(self, reading: Reading) -> None:
        reading.close()
        self._open.remove(reading)


def _newlines(path: Path, offset: int) -> int:
    try:
        opened = Opened(path)
    except (OSError, UnreadableError):
        return 0
    total = 0
    with closing(opened), suppress(OSError, UnreadableError):
        while data := opened.read(offset, 1_048_576):
            total += data.count(b"\n")
            offset += len(data)
    return total
