"""The dead letters of one source, on disk: a folder of segments, each a file to which letters are appended.

    <identity>/deadletters/<source>/00000000000000000001.letters    named by the number of its first letter
                                    state.json                      the next number, and how many found no room
                                    lock

Guarantees: a letter is in its file when `add` returns, whatever becomes of the process; after a power failure all but
those of the last moment are (`sync`). What is kept is bounded in letters and bytes: the oldest go, of whoever has most
among those that share a source, and are counted.
Several processes may use one store: each change is made under its lock, and a change of somebody else's is noticed.
Files are private.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fabric.documents import parse_object
from fabric.files import append_whole, make_private, open_private, read_private, write_private
from fabric.protocol.trust.credentials import name_ok
from relays.gateways.deadletter.letter import RAW_BYTES_MAX, Letter, decode, encode

FOLDER: Final = "deadletters"
# What somebody can still look through, and what a small machine can spare for each of its sources.
LETTERS_MAX: Final = 10_000
LETTERS_BYTES_MAX: Final = 16 << 20
_SEGMENT_BYTES: Final = 1 << 20
_SEGMENT_LETTERS: Final = 1_000
# Nobody but us writes there; a file that is larger was planted.
_READ_BYTES_MAX: Final = _SEGMENT_BYTES + 2 * RAW_BYTES_MAX
# Letters of one sender are taken out of a segment where they are so much of it at least: else it is written many times.
_PART: Final = 8
_SUFFIX: Final = ".letters"
_STATE: Final = "state.json"
_STATE_BYTES_MAX: Final = 4_096
# How long letters may be in the kernel's memory only: a source that rejects all it reads does not wait for the disk
# with each.
_SYNC_S: Final = 0.2


class _Segment:
    """What is in one file: letters and bytes, of all and by whom they came from."""

    __slots__ = ("bytes", "count", "letters", "size")

    def __init__(self) -> None:
        self.count = self.size = 0
        self.letters: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def add(self, by: str, size: int) -> None:
        """One more is in it."""
        self.count += 1
        self.size += size
        self.letters[by] += 1
        self.bytes[by] += size


class Store:
    """`folder` is made with the first letter. For one thread at a time."""

    def __init__(
        self, folder: Path, *, letters_max: int = LETTERS_MAX, bytes_max: int = LETTERS_BYTES_MAX,
        segment_letters: int = _SEGMENT_LETTERS,
    ) -> None:
        self.folder = folder
        self._letters_max = letters_max
        self._bytes_max = bytes_max
        self._segment_letters = segment_letters
        self._segments: dict[int, _Segment] = {}  # by first number, the oldest first
        self._stamp: tuple[int, int, int] = (0, 0, 0)  # of the newest segment, as this process left it
        self._next = 1
        self._lost = 0
        self._descriptor = -1
        self._unsynced = False
        self._synced_s = 0.0

    @property
    def source(self) -> str:
        return self.folder.name

    def add(self, make: Callable[[int], Letter]) -> Letter:
        """Keep a letter that is made with its number. Raises OSError, NOT_PRIVATE."""
        with self._locked():
            letter = make(self._next)
            data = encode(letter)
            if self._descriptor < 0 or self._is_full(len(data)):
                self._begin(letter.number)
            segment = self._segments[self._last]
            append_whole(self._descriptor, data, segment.size)
            self._unsynced = True
            segment.add(letter.by, len(data))
            self._next = max(self._next, letter.number + 1)
            self._evict()
            self._stamp = self._stamped()
        if time.monotonic() - self._synced_s >= _SYNC_S:
            self.sync()
        return letter

    def put_back(self, letter: Letter) -> None:
        """A letter that was taken out, under the number that it had. On disk when this returns."""
        self.add(lambda _number: letter)
        self.sync()

    def sync(self) -> None:
        """What was added is on disk when this returns."""
        if self._unsynced and self._descriptor >= 0:
            os.fsync(self._descriptor)
        self._unsynced = False
        self._synced_s = time.monotonic()

    def letters(self) -> list[Letter]:
        """All, the oldest first. Empty where there is no store."""
        if not self.folder.is_dir():
            return []
        with self._locked():
            found = [letter for first in self._segments for letter in self._read(first)]
        return sorted(found, key=lambda letter: (letter.at_ms, letter.number))

    @property
    def lost(self) -> int:
        """How many found no room, or were damaged, since the store was made."""
        if not self.folder.is_dir():
            return 0
        with self._locked():
            return self._lost

    def remove(self, numbers: Collection[int]) -> int:
        """Take these out for good; how many of them were there. No byte of them stays in a file."""
        gone = set(numbers)
        if not gone or not self.folder.is_dir():
            return 0
        removed = 0
        with self._locked():
            self._save()  # no number is given again, also when none is left
            for first in list(self._segments):
                letters = list(self._read(first))
                left = [letter for letter in letters if letter.number not in gone]
                if len(left) == len(letters):
                    continue
                removed += len(letters) - len(left)
                if left:
                    write_private(self._path(first), b"".join(map(encode, left)))
                else:
                    self._path(first).unlink(missing_ok=True)
            self._look()
        return removed

    def close(self) -> None:
        """Every letter is on disk when this returns."""
        with suppress(OSError):
            self.sync()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._stamp = (0, 0, 0)

    # -- under the lock ---------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = open_private(self.folder / "lock")
        except FileNotFoundError:
            make_private(self.folder)
            lock = open_private(self.folder / "lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._stamp == (0, 0, 0) or self._stamped() != self._stamp:
                self._look()
            yield
        finally:
            os.close(lock)

    @property
    def _last(self) -> int:
        return next(reversed(self._segments), 0)

    def _is_full(self, more: int) -> bool:
        newest = self._segments[self._last]
        return newest.count >= self._segment_letters or bool(newest.size) and newest.size + more > _SEGMENT_BYTES

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:020d}{_SUFFIX}"

    def _stamped(self) -> tuple[int, int, int]:
        """What changes when somebody else changes the store: the newest segment, and the folder's entries."""
        try:
            newest = self._path(self._last).stat()
            return newest.st_ino, newest.st_size, self.folder.stat().st_mtime_ns
        except OSError:
            return (0, 0, 0)

    def _look(self) -> None:
        """Read anew what is there. What a power failure left half written at an end is cut off, and counted."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._next, self._lost = self._state()
        self._segments = {}
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            if not path.stem.isdigit():
                continue
            first = int(path.stem)
            data = read_private(path, _READ_BYTES_MAX)
            found = list(decode(data))
            count, end = len(found), found[-1][0] if found else 0
            self._next = max([self._next, *(letter.number + 1 for _, letter in found)])
            if end < len(data):
                self._lost += 1
                if count:
                    write_private(path, data[:end])
                else:
                    path.unlink()
                self._save()
            if count:
                self._segments[first] = _segment_of(found)
        if self._segments:
            self._descriptor = open_private(self._path(self._last), os.O_WRONLY | os.O_APPEND)
        self._stamp = self._stamped()

    def _read(self, first: int) -> Iterator[Letter]:
        with suppress(FileNotFoundError):
            for _, letter in decode(read_private(self._path(first), _READ_BYTES_MAX)):
                yield letter

    def _begin(self, number: int) -> None:
        """A new segment; its name is above that of all others."""
        self.sync()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        first = max(number, self._last + 1)
        self._descriptor = open_private(self._path(first), os.O_WRONLY | os.O_APPEND)
        self._segments[first] = _Segment()

    def _evict(self) -> None:
        """A segment at a time: to take out single letters would write each one many times."""
        before = self._lost
        while len(self._segments) > 1:
            is_many = sum(segment.count for segment in self._segments.values()) > self._letters_max
            if not is_many and sum(segment.size for segment in self._segments.values()) <= self._bytes_max:
                break
            self._lost += self._make_room(is_many)
        if self._lost != before:
            self._save()

    def _make_room(self, is_many: bool) -> int:
        """Of whoever has most, letters or bytes, those in the oldest segment of which they are a part worth writing it
        anew for; else the oldest segment. The newest one stays. How many letters went."""
        parts = {first: each.letters if is_many else each.bytes for first, each in self._segments.items()}
        whole: Counter[str] = Counter()
        for part in parts.values():
            whole.update(part)
        most = max(whole, key=whole.__getitem__)
        older = list(parts)[:-1]
        first = next((each for each in older if parts[each][most] * _PART >= parts[each].total()), older[0])
        segment = self._segments[first]
        if not parts[first][most] * _PART >= parts[first].total() or segment.letters[most] == segment.count:
            del self._segments[first]
            self._path(first).unlink(missing_ok=True)
            return segment.count
        left = [letter for letter in self._read(first) if letter.by != most]
        data = b"".join(map(encode, left))
        write_private(self._path(first), data)
        self._segments[first] = _segment_of(list(decode(data)))
        return segment.count - len(left)

    def _state(self) -> tuple[int, int]:
        try:
            state = parse_object(read_private(self.folder / _STATE, _STATE_BYTES_MAX))
            following, lost = state.get("next"), state.get("lost")
        except (FileNotFoundError, ValueError):
            return 1, 0
        return (following if isinstance(following, int) else 1), (lost if isinstance(lost, int) else 0)

    def _save(self) -> None:
        state = json.dumps({"next": self._next, "lost": self._lost}).encode()
        write_private(self.folder / _STATE, state, durable=False)


def _segment_of(found: Sequence[tuple[int, Letter]]) -> _Segment:
    """Of letters, each with where it ends."""
    segment, before = _Segment(), 0
    for end, letter in found:
        segment.add(letter.by, end - before)
        before = end
    return segment


def stores_of(identity_folder: Path, source: str = "") -> list[Store]:
    """Of every source that has rejected something, or of one. By name."""
    folder = identity_folder / FOLDER
    if source:
        return [Store(folder / source)] if name_ok(source) else []
    try:
        names = sorted(each.name for each in folder.iterdir() if name_ok(each.name) and each.is_dir())
    except FileNotFoundError:
        return []
    return [Store(folder / name) for name in names]


