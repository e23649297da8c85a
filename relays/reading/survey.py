"""Which files are which: those that were read, those that came after them, and the one that the name stands for now.

A file is known by its inode and by what is in it: both, for the inode of a deleted file is given to the next one, and
the inode of a file that was cut short stays. Where the inode is another, the content alone decides (a copy, or it was
compressed). What nobody has read, and was written to since, came after; a compressed file that has the content of
another one is not read a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from relays.reading.around import Around
from relays.reading.names import Entry, entries, entry_of
from relays.reading.opened import PACKED_SUFFIXES, Opened, UnreadableError
from relays.reading.place import HEAD_BYTES, MARKS_MAX, TAIL_BYTES, WHOLE, Mark, sum_of

# A compressed file's time may be kept in whole seconds only, on some disks in even ones.
_SINCE_SLACK_NS = 2_000_000_000
_CHUNK_BYTES = 262_144
# A longer number behind a name is a date.
_NUMBER_DIGITS = 6


class Survey(NamedTuple):
    """`located`: per mark, the file that it is in now, and the mark in it. `later`: what came after, oldest first.

    `current`: what the name stands for, unless it is one of the marked files.
    """

    located: tuple[tuple[Entry, Mark] | None, ...]
    later: tuple[Entry, ...]
    current: Entry | None


def survey(
    file: Path, marks: Sequence[Mark], open_: Sequence[Opened], since_ns: int | None, *, sought: bool = False,
    around: Around | None = None,
) -> Survey:
    """`marks`: in files that are to be found. `open_`: those that are being read.

    `sought`: the last mark is in the file that was read last; otherwise that is the last of the open ones.
    """
    held = {opened.id for opened in open_}
    inodes = [mark.inode for mark in marks] + [opened.id[1] for opened in open_]
    current = current_of(file, around)
    seen = [*(mark.path for mark in marks), *(str(opened.path) for opened in open_)]
    known = entries(file, inodes, seen, around)
    left = [entry for entry in known if entry.id not in held]
    if current is not None and current.id not in held:
        left.append(current)
    located: list[tuple[Entry, Mark] | None] = [None] * len(marks)

    def take(number: int, entry: Entry, mark: Mark) -> None:
        located[number] = (entry, mark)
        left.remove(entry)

    newest_first = list(reversed(range(len(marks))))
    for number in newest_first:
        same = next((entry for entry in left if entry.id[1] == marks[number].inode), None)
        if same is not None and _agrees(marks[number], same):
            take(number, same, marks[number])
    after_ns = _after(since_ns, located)
    for number in newest_first:
        if located[number] is not None or marks[number].offset == WHOLE:
            continue
        for entry in sorted(left, key=lambda entry: (entry == current, *_age(entry))):
            found = _copy_of(marks[number], entry) if entry.mtime_ns >= after_ns or entry == current else None
            if found is not None:
                take(number, entry, found)
                break
    is_read = current is not None and (current.id in held or current not in left)
    newest = located[-1][0].id if sought and located[-1] else open_[-1].id if open_ and not sought else None
    if current is not None and current.id == newest:
        # The file that was read last is still the log: none came after it.
        return Survey(tuple(located), (), None)
    later = [entry for entry in left if entry != current and not entry.foreign and entry.mtime_ns >= after_ns]
    plain = [entry for entry in known if not _is_packed(entry)] + ([current] if current is not None else [])
    later = [
        entry for entry in later
        if not _is_packed(entry) or not _repeats(entry, open_, plain, since_ns or 0)
    ]
    return Survey(tuple(located), tuple(sorted(later, key=_age)), None if is_read else current)


def current_of(file: Path, around: Around | None) -> Entry | None:
    """What the name stands for now, unless that is what another reader has: a rotation gave it the name."""
    current = entry_of(file)
    return None if current is None or (around is not None and around.is_other(file, current.id)) else current


def knows(marks: Sequence[Mark], entry: Entry, is_read: bool = True) -> bool:
    """Whether one of these marks is in this file, or in what it is a copy of. `is_read`: of files that were read;
    otherwise of those that were there before."""
    return any(
        mark.inode == entry.id[1] and _agrees(mark, entry)
        or (mark.offset != WHOLE and _copy_of(mark, entry) is not None)
        for mark in marks if bool(mark.path) is is_read
    )


def before(file: Path, around: Around | None = None) -> tuple[tuple[Mark, ...], int]:
    """Marks for the rotated files that are there when reading begins, so that none is taken for a later one; and a
    time after all of them. They have no path: they were not read."""
    known = sorted((entry for entry in entries(file, (), (), around) if not entry.foreign), key=_age)
    marks = []
    for entry in known[-(MARKS_MAX - 1) :]:
        with suppress(OSError, UnreadableError), closing(Opened(entry.path)) as opened:
            mark = mark_at(opened, WHOLE if opened.packed else entry.size)
            if mark.offset:
                marks.append(mark._replace(path=""))
    newest_ns = max((entry.mtime_ns for entry in known), default=0)
    return tuple(marks), newest_ns + _SINCE_SLACK_NS + 1 if known else 0


def mark_at(opened: Opened, offset: int) -> Mark:
    """A mark in a file as it is now. Raises UnreadableError and OSError."""
    head = opened.read_all(0, HEAD_BYTES if offset == WHOLE else min(HEAD_BYTES, offset))
    tail = b"" if offset == WHOLE else opened.read_all(max(0, offset - TAIL_BYTES), min(TAIL_BYTES, offset))
    return Mark(opened.id[1], offset, len(head), sum_of(head), len(tail), sum_of(tail), str(opened.path))


def _after(since_ns: int | None, located: Sequence[tuple[Entry, Mark] | None]) -> int:
    """Written to before this: it was read before, or is not wanted."""
    if since_ns is not None:
        return since_ns - _SINCE_SLACK_NS
    # A position of before there were marks: what is newer than the file that it is in.
    return next((found[0].mtime_ns for found in located if found is not None), 0)


def _age(entry: Entry) -> tuple[int, int, int, str]:
    """Oldest first; of two that were last written to in the same second, `.2` is older than `.1.gz`."""
    name = entry.path.stem if _is_packed(entry) else entry.path.name
    last = name.rpartition(".")[2]
    number = int(last) if last.isdecimal() and len(last) < _NUMBER_DIGITS else 0
    return entry.mtime_ns // 10**9, -number, entry.mtime_ns, entry.path.name


def _is_packed(entry: Entry) -> bool:
    return entry.path.suffix in PACKED_SUFFIXES


def _agrees(mark: Mark, entry: Entry) -> bool:
    """Whether the file of this inode has what the mark says."""
    with suppress(OSError, UnreadableError), closing(Opened(entry.path)) as opened:
        if opened.id != entry.id or sum_of(opened.read_all(0, mark.head_bytes)) != mark.head_sum:
            return False
        if mark.offset == WHOLE:
            return True
        if not opened.packed and opened.stat().st_size < mark.offset:
            return False
        return sum_of(opened.read_all(mark.offset - mark.tail_bytes, mark.tail_bytes)) == mark.tail_sum
    return False


def _copy_of(mark: Mark, entry: Entry) -> Mark | None:
    """The mark in a file of another inode, if that has the marked file's content.

    A copy that ends before the mark was made before the file was cut short: all of it is read.
    """
    if not mark.head_bytes:
        return None
    with suppress(OSError, UnreadableError), closing(Opened(entry.path)) as opened:
        head = opened.read_all(0, mark.head_bytes)
        if len(head) < mark.head_bytes or sum_of(head) != mark.head_sum:
            return None
        if opened.is_gzip_of(mark.offset):
            return mark_at(opened, WHOLE)
        if not opened.packed and opened.stat().st_size < mark.offset:
            return mark_at(opened, opened.stat().st_size)
        tail = opened.read_all(mark.offset - mark.tail_bytes, mark.tail_bytes)
        if len(tail) < mark.tail_bytes:
            return mark_at(opened, WHOLE)
        if sum_of(tail) != mark.tail_sum:
            return None
        return mark._replace(inode=entry.id[1], path=str(entry.path))
    return None


def _can_be_read(entry: Entry) -> bool:
    try:
        Opened(entry.path).close()
    except UnreadableError:
        return False
    except OSError:
        return True  # gone, or somebody else's: whoever reads it will see
    return True


def _repeats(entry: Entry, open_: Sequence[Opened], plain: Sequence[Entry], since_ns: int) -> bool:
    """Whether it is the compressed form of a file that is read, or still there: or what is written of it by now."""
    if not _can_be_read(entry):
        # All that is known of it is its time, which is that of what was compressed.
        return entry.mtime_ns <= since_ns
    if any(_unpacks_to(entry.path, opened) for opened in open_):
        return True
    for other in plain:
        with suppress(OSError, UnreadableError), closing(Opened(other.path)) as opened:
            if _unpacks_to(entry.path, opened):
                return True
    return False


def _unpacks_to(packed: Path, whole: Opened) -> bool:
    if whole.packed:
        return False
    with suppress(OSError, UnreadableError), closing(Opened(packed)) as part:
        at = 0
        try:
            while data := part.read(at, _CHUNK_BYTES):
                if whole.read_all(at, len(data)) != data:
                    return False
                at += len(data)
        except UnreadableError:
            return True  # it is not written to its end yet
        return at == whole.stat().st_size
    return False
