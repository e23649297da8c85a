"""The kind `jsonlines`: messages into a file, one JSON object a line, as `fabric subscribe --json` prints them.

Guarantees: a message is on disk before it is acknowledged, and in the file once, also after kill -9: what comes again
is known by the ids at the file's end, and a last line that was torn is cut, because it was not acknowledged. The file
has mode 0600, for labels do not bind whoever reads it, and its rotations too. A disk that is full is waited for.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from fabric.documents import parse_object
from fabric.edge.messages import Message
from fabric.files import (
    append_whole,
    cut_private,
    make_private,
    open_private,
    pack_private,
    sweep_private,
    take_name,
    write_private,
)
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing.texts import json_of
from relays.gateways.kinds import Option, Outtake, Place, SinkKind
from relays.gateways.options import Options, whole_path
from relays.gateways.room import NO_ROOM, when_there_is_room
from relays.wall import wall_ms

RECORDS_AT_ONCE: Final = 512
# What a relay sends before it is acknowledged, several times over: further back no message comes again.
TAIL_BYTES: Final = 67_108_864
IDS_MAX: Final = 131_072
_CHUNK_BYTES: Final = 1_048_576
_ID: Final = re.compile(rb'^\{"id": "([^"\\]{1,200})"')


class JsonLinesSettings(NamedTuple):
    """`size_max`: bytes; `age_max_s`: since its first line; `keep`: rotated files."""

    path: Path
    size_max: int
    age_max_s: float
    keep: int
    gzip: bool


def _read(options: Options) -> JsonLinesSettings:
    path = options.file("path", needed='"/var/log/fabric/detections.jsonl"')
    return JsonLinesSettings(
        path or Path(), options.size("max_size", "100MB", 4_096), options.seconds("max_age", "24h", 1.0),
        options.number("keep", 14, 0, 10_000), options.flag("gzip", True),
    )


class JsonLinesSink:
    """`now_ms`: since 1970."""

    def __init__(self, settings: JsonLinesSettings, place: Place, now_ms: Callable[[], int] = wall_ms) -> None:
        self._settings = settings
        self._folder = place.folder
        self._now_ms = now_ms
        self._ids: dict[str, None] = {}  # of what was written last, the oldest first
        self._began_ms = 0
        self._stop = threading.Event()

    def run(self, outtake: Outtake, stop: threading.Event) -> None:
        """As `kinds.Sink` says."""
        self._stop = stop
        path = self._settings.path
        if not path.parent.exists():
            make_private(path.parent)
        file = _LogFile(path)
        try:
            self._finish_rotations()
            for id_ in _newest_ids([path, *reversed(self._rotated())]):
                self._know(id_)
            self._began_ms = self._read_began(file)
            for group in outtake.groups(RECORDS_AT_ONCE):
                file = self._write(file, self._lines(group, outtake), outtake)
        finally:
            file.close()

    def _lines(self, group: list[Message], outtake: Outtake) -> bytes:
        lines = []
        for message in group:
            if message.id in self._ids:
                continue
            try:
                lines.append(json_of(message).encode() + b"\n")
            except FabricError as error:
                outtake.reject(message, error)
                continue
            self._know(message.id)
        return b"".join(lines)

    def _know(self, id_: str) -> None:
        self._ids[id_] = None
        if len(self._ids) > IDS_MAX:
            del self._ids[next(iter(self._ids))]

    def _write(self, file: _LogFile, data: bytes, outtake: Outtake) -> _LogFile:
        """On disk when this returns. The file that goes on from here."""
        if not data:
            return file
        going = file

        def write() -> _LogFile:
            nonlocal going
            if going.was_moved:  # somebody else rotates it
                going.close()
                going = _LogFile(self._settings.path)
            if going.size and self._is_due(going, len(data)):
                going = self._rotate(going)
            if not going.size:
                self._write_began(going)
            going.append(data)
            return going

        return when_there_is_room(write, self._settings.path, outtake, self._stop)

    # -- rotation ---------------------------------------------------------------------------------------

    def _is_due(self, file: _LogFile, more: int) -> bool:
        age_ms = self._now_ms() - self._began_ms
        return file.size + more > self._settings.size_max or age_ms > self._settings.age_max_s * 1000

    def _rotate(self, file: _LogFile) -> _LogFile:
        file.close()
        path, at_ms = self._settings.path, self._now_ms()
        rotated = self._rotated()
        while True:
            stamp = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S") + f"{at_ms % 1000:03}Z"
            name = path.with_name(f"{path.name}-{stamp}")
            # A clock that was set back must not make it an old one: those are removed first.
            if rotated and name.name <= (newest := rotated[-1].name.removesuffix(".gz")):
                at_ms = _stamp_ms(newest, at_ms) + 1
                continue
            try:
                take_name(path, name)
                break
            except FileExistsError:
                at_ms += 1
        new = _LogFile(path)
        self._finish_rotations()
        return new

    def _rotated(self) -> list[Path]:
        """The oldest first."""
        path = self._settings.path
        stamped = re.compile(rf"{re.escape(path.name)}-\d{{8}}T\d{{9}}Z(\.gz)?")
        return sorted(entry for entry in path.parent.iterdir() if stamped.fullmatch(entry.name))

    def _finish_rotations(self) -> None:
        """Compress what is to be, also what an earlier run left, and remove the oldest."""
        folder = self._settings.path.parent
        for name in self._rotated():
            packed = name.with_name(f"{name.name}.gz")
            if name.suffix == ".gz" or not self._settings.gzip:
                continue
            sweep_private(folder, packed.name)
            if not packed.exists() and not self._packed(name, packed):
                continue
            name.unlink(missing_ok=True)  # a packed one takes its name when it is whole
        rotated = self._rotated()
        for name in rotated[: max(0, len(rotated) - self._settings.keep)]:
            name.unlink(missing_ok=True)

    def _packed(self, name: Path, packed: Path) -> bool:
        try:
            return pack_private(name, packed, self._stop.is_set)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return False  # it stays as it is until there is room

    # -- since when -------------------------------------------------------------------------------------

    def _read_began(self, file: _LogFile) -> int:
        """When the first line of the file was written, as an earlier run kept it."""
        if file.size:
            with suppress(OSError, ValueError, KeyError, TypeError):
                kept = parse_object((self._folder / "began.json").read_bytes())
                if kept["inode"] == file.inode:
                    return int(kept["at_ms"])
        return self._now_ms()

    def _write_began(self, file: _LogFile) -> None:
        self._began_ms = self._now_ms()
        make_private(self._folder)
        kept: dict[str, Any] = {"inode": file.inode, "at_ms": self._began_ms}
        write_private(self._folder / "began.json", json.dumps(kept).encode(), durable=False)


def _stamp_ms(name: str, otherwise_ms: int) -> int:
    """When a rotated file got its name, as that says; a stamp that is no time is followed in order all the same."""
    try:
        at = datetime.strptime(name[-19:-1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    except ValueError:
        return otherwise_ms
    return round(at.timestamp() * 1000)


class _LogFile:
    """A file that is open at its end, behind the last whole line: a torn one is cut. It is held: two that append to one
    file would each cut what the other wrote. Raises SINK_AWAY while somebody else has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
        try:
            self._hold()
            found = os.fstat(self._descriptor)
            self.inode, self.size = found.st_ino, found.st_size
            whole = self._whole()
            if whole < self.size:
                cut_private(self._descriptor, whole)
                self.size = whole
        except BaseException:
            os.close(self._descriptor)
            raise

    def _hold(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system that has no locks
            raise FabricError(Code.SINK_AWAY, f"{self._path}: another sink writes it", "give each a path of its own"
                              ) from None

    def _whole(self) -> int:
        end = self.size
        while end:
            begin = max(0, end - _CHUNK_BYTES)
            at = os.pread(self._descriptor, end - begin, begin).rfind(b"\n")
            if at >= 0:
                return begin + at + 1
            end = begin
        return 0

    @property
    def was_moved(self) -> bool:
        """Its name stands for another file, or for none."""
        try:
            return self._path.stat().st_ino != self.inode
        except FileNotFoundError:
            return True

    def append(self, data: bytes) -> None:
        """All of it, on disk; or nothing, and OSError."""
        self.size = os.fstat(self._descriptor).st_size  # somebody else may have emptied it
        append_whole(self._descriptor, data, self.size)
        try:
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                cut_private(self._descriptor, self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        """Once, or again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _newest_ids(paths: Sequence[Path]) -> list[str]:
    """Of the messages that were written last, the oldest first, as far back as any may come again. `paths`: the newest
    first."""
    found: list[list[str]] = []
    left = TAIL_BYTES
    for path in paths:
        with suppress(FileNotFoundError):
            ids = []
            for size, id_ in _ids_in(path):
                left -= size
                ids.append(id_)
            found.append(ids)
        if left <= 0:
            break
    return [id_ for ids in reversed(found) for id_ in ids][-IDS_MAX:]


def _ids_in(path: Path) -> Iterator[tuple[int, str]]:
    """Of each message at a file's end: its bytes, and its id."""
    descriptor = open_private(path, os.O_RDONLY)
    with cast(BinaryIO, open(descriptor, "rb")) as file:  # noqa: PTH123 - it is open already
        stream: BinaryIO = file
        if path.suffix == ".gz":
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
        else:
            size = os.fstat(file.fileno()).st_size
            if size > TAIL_BYTES:
                file.seek(size - TAIL_BYTES)
        with suppress(EOFError, zlib.error, gzip.BadGzipFile):  # somebody else's: there is nothing to be known from it
            for line in stream:
                found = _ID.match(line)
                if found:
                    yield len(line), found[1].decode("utf-8", "replace")


SINK: Final = SinkKind(
    name="jsonlines",
    summary="A file, one JSON object a line with its labels, rotated by size and age.",
    options=(
        Option("path", '"/var/log/fabric/x.jsonl"', "The file. A folder that is not there is made, private.", True),
        Option("max_size", '"100MB"', "It is rotated before it is larger."),
        Option("max_age", '"24h"', "It is rotated when its first line is older."),
        Option("keep", "14", "So many rotated files are kept."),
        Option("gzip", "true | false", "Rotated files are compressed."),
    ),
    read=_read,
    open=JsonLinesSink,
    claims=lambda settings: (f"path {whole_path(settings.path)}",),
)
