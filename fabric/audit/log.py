"""An audit log that grows (SPEC 9.10): entries are appended to the last of its segments, and nothing is ever changed.

Guarantees: entries are whole and in the file when `append` returns, also after a kill -9, and on disk where it is asked
for; several processes of one identity write into one chain, a whole append at a time; what a process that was killed
left of an entry is cut off, and said; what cannot be read is left as it is, and the log goes on in a new segment; the
oldest segments go when the log has its size, and the chain says so before they do. A segment that somebody else moved
away or removed is not written to any more: the log goes on with what is there, and says how many entries are not.
Refuses with OSError what the disk refuses: nothing of such an append is in the file then.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fabric.audit.segments import (
    LOG_BYTES_MAX,
    READ_BYTES_MAX,
    SEGMENT_BYTES,
    Segment,
    is_segment,
    last_of,
    records_from,
    rest_on_disk,
    segment_path,
    segments,
)
from fabric.files import append_whole, make_private, open_private, peek
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import NOTHING, Entry, decode_entry, encode_entry, follow_digest
from fabric.protocol.audit.kinds import Value
from fabric.protocol.audit.records import RECORD_BYTES_MAX, Rest, read_records, record_at, write_record
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.base.signing import digest
from fabric.protocol.trust.credentials import Credential

# Digests of entries that are kept to show a parent that the log has grown; of older ones the file is read again.
_DIGESTS_MAX = 4_096
# Why entries are lost, of a segment that is not there.
_GONE = "ENOENT"
Told = tuple[int, str, Mapping[str, Value]]  # when, kind, fields


class AuditLog:
    """`me`: whose log it is. `entropy(n)`: n random bytes, of which a new log's id is made.

    Raises OSError or FabricError(NOT_PRIVATE) where it cannot be opened.
    """

    def __init__(
        self, folder: Path, me: Credential, entropy: Callable[[int], bytes], *,
        segment_bytes: int = SEGMENT_BYTES, bytes_max: int = LOG_BYTES_MAX,
    ) -> None:
        self._folder = make_private(folder)
        self._me = me
        self._entropy = entropy
        self._segment_bytes = segment_bytes
        self._bytes_max = bytes_max
        self._file = self._signs = -1
        self._lock_path = folder / "lock"  # these two are asked for before each append
        self._path = folder  # of the last segment, as soon as there is one
        self._lock = open_private(self._lock_path)
        self._digests: deque[bytes] = deque(maxlen=_DIGESTS_MAX)  # of the last entries
        self.log_id = b""
        self.number = 0
        self.hash = NOTHING
        self._first = self._size = 0
        self._damage: Mapping[str, Value] | None = None  # what was found at the end, and is to be said
        self._goes_on = False  # in a new segment, as the last one cannot be read to its end
        try:
            with self._alone():
                self._find_end()
        except BaseException:
            self.close()
            raise

    def append(self, told: Sequence[Told], *, durable: bool) -> None:
        """These, in this order. `durable`: on disk when this returns. Raises OSError."""
        with self._alone():
            at_ms = told[0][0]
            if self._others_wrote():
                before = self.number
                self._find_end()
                if (gone := before - self.number) > 0:
                    told = [(at_ms, kinds.LOG_LOST, {"entries": gone, "why": _GONE}), *told]
            if self._goes_on:
                self._open_segment(at_ms)
                self._goes_on = False
            elif self._file < 0:
                self._begin(at_ms)
            elif self._size >= self._segment_bytes:
                self._next(at_ms)
            if self._damage is not None:
                told = [(at_ms, kinds.LOG_CUT, self._damage), *told]
            self._write(told)
            self._damage = None
            if durable:
                self.sync()

    def look(self) -> None:
        """Where it ends by now, also where other processes wrote. Raises OSError."""
        with self._alone():
            if self._others_wrote():
                self._find_end()

    def is_signer(self) -> bool:
        """Whether this process signs heads of the log: one of those that write it does, as long as it has it open.

        Heads of two would overtake each other on their way, and look as if the log went back. Raises OSError.
        """
        if self._signs < 0:
            lock = open_private(self._folder / "signer")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                return False
            self._signs = lock
        return True

    def sync(self) -> None:
        """What was appended is on disk when this returns. Raises OSError."""
        if self._file >= 0:
            os.fdatasync(self._file)

    def renewed(self, me: Credential) -> None:
        """Its node goes on under a newer credential, which the next segment begins with."""
        self._me = me

    def digests_from(self, number: int) -> list[bytes] | None:
        """The digests of the entries after this number; None where they are not to be had. Raises OSError."""
        wanted = self.number - number
        if 0 <= wanted <= len(self._digests):
            return list(self._digests)[len(self._digests) - wanted :]
        if wanted < 0:
            return None
        found = [digest(record.entry) for n, record in records_from(self._folder, number + 1) if n <= self.number]
        return found if len(found) == wanted else None

    def hash_of(self, number: int) -> bytes | None:
        """The hash of this entry, where it is still there. Raises OSError."""
        if number == self.number:
            return self.hash
        return next((record.hash for n, record in records_from(self._folder, number) if n == number), None)

    def close(self) -> None:
        """Everything is in the file already."""
        for descriptor in (self._file, self._lock, self._signs):
            if descriptor >= 0:
                with suppress(OSError):
                    os.close(descriptor)
        self._file = self._lock = self._signs = -1

    # -- the end of it ------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process of this identity writes meanwhile."""
        while True:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if _is_at(os.fstat(self._lock), self._lock_path):
                break
            os.close(self._lock)  # of one that was removed nobody else knows
            self._lock = -1
            self._lock = open_private(self._lock_path)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _others_wrote(self) -> bool:
        if self._goes_on:
            return is_segment(self._folder, self.number + 1)
        if self._file < 0:
            return bool(segments(self._folder))
        ours = os.fstat(self._file)
        if not _is_at(ours, self._path):
            return True
        return ours.st_size != self._size or is_segment(self._folder, self.number + 1)

    def _find_end(self) -> None:
        """Where the chain goes on: after the last entry of the last segment."""
        self._shut()
        self._digests.clear()
        self._damage, self._goes_on = None, False
        found = segments(self._folder)
        while found and self._never_began(found[-1]):
            found.pop()
        if not found:
            self.number, self.hash = 0, NOTHING
            return
        self._file = open_private(found[-1].path, os.O_RDWR | os.O_APPEND)
        self._first, self._path = found[-1]
        self._size = os.fstat(self._file).st_size
        last = last_of(self._file)
        entry = decode_entry(last.entry) if last is not None else None
        if last is None or not isinstance(entry, Entry):
            self._recover()
            return
        self.number, self.hash = entry.number, last.hash
        begun = decode_entry(_head_of(self._file))
        self.log_id = _log_id(begun) or self.log_id or self._entropy(ID_BYTES)

    def _never_began(self, last: Segment) -> bool:
        """Whether its process was killed before the first entry was written: then it is taken away."""
        data = peek(last.path, RECORD_BYTES_MAX)
        is_all = len(data) < RECORD_BYTES_MAX
        if record_at(data, 0) is not None or (data and not (is_all and rest_on_disk(data, 0) is Rest.TORN)):
            return False
        if data:
            self._damage = {"bytes": len(data), "digest": digest(data)}
        last.path.unlink()
        return True

    def _recover(self) -> None:
        """The last segment does not end with a whole entry: cut off what is torn, or go on in another segment."""
        # What is beyond that no node wrote: whoever did is not to fill this one's memory.
        data = os.pread(self._file, READ_BYTES_MAX, 0)
        ends, number = 0, self._first - 1
        for record in read_records(data):
            entry = decode_entry(record.entry)
            if isinstance(entry, Reject):
                break
            if not ends:
                self.log_id = _log_id(entry) or self.log_id
            ends, number, self.hash = record.ends, entry.number, record.hash
        self.number = number
        self.log_id = self.log_id or self._entropy(ID_BYTES)
        torn = data[ends:]
        self._damage = {"bytes": self._size - ends, "digest": digest(torn)}
        if rest_on_disk(data, ends) is Rest.TORN and self._size == len(data):
            os.ftruncate(self._file, ends)
            self._size = ends
            return
        # What is there is kept for whoever finds out what happened. Where not even the first entry can be read, its
        # number is taken anyway.
        self._shut()
        self.number = max(self.number, self._first)
        self._goes_on = True

    # -- segments -----------------------------------------------------------------------------------------

    def _begin(self, at_ms: int) -> None:
        self.log_id, self.number, self.hash = self._entropy(ID_BYTES), 0, NOTHING
        self._open_segment(at_ms)

    def _next(self, at_ms: int) -> None:
        self.sync()
        self._shut()
        self._open_segment(at_ms)
        self._drop(at_ms)

    def _open_segment(self, at_ms: int) -> None:
        path = segment_path(self._folder, self.number + 1)
        self._file = open_private(path, os.O_RDWR | os.O_APPEND)
        self._path, self._first, self._size = path, self.number + 1, os.fstat(self._file).st_size
        fields: dict[str, Value] = {
            "log": self.log_id, "fabric": self._me.fabric, "node": self._me.id, "before": self.hash,
            "credential": self._me.raw,
        }
        try:
            self._write([(at_ms, kinds.LOG_BEGUN, fields)])
        except OSError:
            self._shut()
            with suppress(OSError):
                path.unlink()
            raise

    def _drop(self, at_ms: int) -> None:
        """The oldest segments, beyond the log's size. The chain says it first, so that it accounts for them."""
        found = segments(self._folder)
        excess = sum(segment.path.stat().st_size for segment in found) - self._bytes_max
        oldest = []
        for segment in found[:-1]:
            if excess <= 0:
                break
            excess -= segment.path.stat().st_size
            oldest.append(segment)
        if oldest:
            through = found[len(oldest)].first - 1
            self._write([(at_ms, kinds.LOG_DROPPED, {"through": through})])
            self.sync()
            for segment in oldest:
                segment.path.unlink()

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # -- entries ------------------------------------------------------------------------------------------

    def _write(self, told: Sequence[Told]) -> None:
        number, hash_ = self.number, self.hash
        records, digests = [], []
        for at_ms, kind, fields in told:
            number += 1
            entry = encode_entry(Entry(number, at_ms, kind, fields))
            digests.append(digest(entry))
            hash_ = follow_digest(hash_, digests[-1])
            records.append(write_record(entry, hash_))
        data = b"".join(records)
        append_whole(self._file, data, self._size)
        self._size += len(data)
        self.number, self.hash = number, hash_
        self._digests += digests


def _is_at(ours: os.stat_result, path: Path) -> bool:
    """Whether this is the file that has this name."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _head_of(descriptor: int) -> bytes:
    """The first entry of an open segment; nothing where it cannot be read."""
    data = os.pread(descriptor, RECORD_BYTES_MAX, 0)
    first = record_at(data, 0)
    return first.entry if first is not None else b""


def _log_id(begun: Entry | Reject) -> bytes:
    log_id = begun.fields.get("log") if isinstance(begun, Entry) and begun.kind == kinds.LOG_BEGUN else None
    return log_id if isinstance(log_id, bytes) and len(log_id) == ID_BYTES else b""
