"""The kind `file`: one log, what a pattern matches, or all in a folder, followed over rotations.

Guarantees: each line once, also after kill -9: the place behind it is kept in the same commit as its record. A file
that is not there, or cannot be read, is waited for, and hinders no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.files.finding import Files, why_not
from relays.gateways.files.owners import Owners
from relays.gateways.files.reader import FileReader, record_of
from relays.gateways.kinds import Intake, Option, Place, SourceKind
from relays.gateways.options import Options, whole_path

POLL_S: Final = 0.2
LOOK_S: Final = 2.0
# Files that are open at a time; of more, those that are quiet make way.
OPEN_MAX: Final = 64
# A quiet file is let go of after so long: later than a writer may stay on it after a rotation.
QUIET_S: Final = 75.0
# One that could not be read is tried again after so long.
RETRY_S: Final = 2.0
# Files that are known by name; of a folder with more the rest are not read, and that is said.
FILES_MAX: Final = 8_192


class FileSettings(NamedTuple):
    """`path`: as `Files` reads it. `from_end`: what is there when the source is first begun is not wanted."""

    path: str
    text: bool
    from_end: bool = False


def _read(options: Options) -> FileSettings:
    path = options.path("path", needed='"/var/log/zeek/conn.log"')
    text = options.choice("format", ("json", "text"), "json") == "text"
    written = options.value("path")
    from_end = options.choice("start", ("beginning", "end"), "beginning") == "end"
    return FileSettings(str(written) if path is not None else "", text, from_end)


class FileSource:
    """`now_s`: seconds that only go forward."""

    def __init__(self, settings: FileSettings, place: Place, now_s: Callable[[], float] = time.monotonic) -> None:
        self._files = Files(settings.path)
        self._text = settings.text
        self._name = place.name
        self._now_s = now_s
        self._by_path: dict[Path, FileReader] = {}
        self._former: dict[Path, FileReader] = {}  # of files that were read before, until they are read on
        self._position_of: Callable[[str], str | None] = lambda _name: None
        self._owners = Owners(self._reader_of)
        self._again_s: dict[Path, float] = {}  # files that could not be read, and when they are tried again
        self._look_s = 0.0
        self._from_end = settings.from_end
        self._is_first = True
        self._to_skip: set[Path] = set()  # to be begun at their end, and not readable yet
        self._is_over = False  # there are more files than may be known

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """As `kinds.Source` says."""
        try:
            while not stop.is_set():
                if not self.turn(intake):
                    stop.wait(POLL_S)
        except FabricError as error:
            if not (error.code is Code.CLOSED and stop.is_set()):
                raise
        finally:
            for reader in self._by_path.values():
                reader.close()

    def turn(self, intake: Intake) -> bool:
        """Give what there is by now, of each file some. Whether there was any."""
        now_s = self._now_s()
        if now_s >= self._look_s:
            self._look_s = now_s + LOOK_S
            self._look(intake, now_s)
        problem = self._files.why_not()
        came = False
        for reader in [reader for reader in self._by_path.values() if reader.is_open]:
            came |= self._some(reader, intake, now_s)
        if came:
            intake.waits(None)
            return True
        if problem is None and self._again_s:
            problem = why_not(next(iter(self._again_s)))
        intake.waits(problem)
        return False

    def _some(self, reader: FileReader, intake: Intake, now_s: float) -> bool:
        try:
            came = reader.some(intake)
        except OSError:
            # What became of it, `why_not` says; it is read on from where it was.
            self._again_s[reader.path] = now_s + RETRY_S
            return False
        if reader.quiet_since_s is not None and not self._files.is_single and now_s - reader.quiet_since_s > QUIET_S:
            reader.close()
        return came

    def _look(self, intake: Intake, now_s: float) -> None:
        """Which files there are by now; those that have more are opened, as many as may be open."""
        self._position_of = intake.position_of
        first = f"source {self._name}"  # a place of the source itself: it was begun
        from_end = self._from_end and self._is_first and intake.position_of(first) is None
        for path in self._own(intake):
            if path in self._by_path:
                continue
            if len(self._by_path) >= FILES_MAX:
                if not self._is_over:
                    self._is_over = True
                    intake.note(f"there are more than {FILES_MAX:,} files: the rest are not read")
                break
            reader = self._former.pop(path, None) or self._reader(path)
            if (from_end or path in self._to_skip) and not self._was_read(path):
                self._to_skip.add(path)
                try:
                    with suppress(FileNotFoundError):  # what comes is wanted
                        reader.skip(intake)
                except OSError:
                    continue  # when it can be read
                self._to_skip.discard(path)
            self._by_path[path] = reader
        if self._from_end and not self._to_skip:
            if intake.position_of(first) is None:
                intake.pass_over((first, "begun"))
            self._from_end = False
        self._is_first = False
        for path in [path for path, at_s in self._again_s.items() if at_s <= now_s]:
            if why_not(path) is None:
                del self._again_s[path]
        waiting = [
            reader for reader in self._by_path.values()
            if not reader.is_open and reader.path not in self._again_s and (self._files.is_single or reader.has_changed)
        ]
        room = OPEN_MAX - sum(reader.is_open for reader in self._by_path.values())
        quiet = sorted(
            (reader for reader in self._by_path.values() if reader.is_open and reader.quiet_since_s is not None),
            key=lambda reader: reader.quiet_since_s or 0.0,
        )
        for reader in quiet[: max(0, len(waiting) - room)]:
            reader.close()
            room += 1
        for reader in waiting[:room]:
            self._some(reader, intake, now_s)

    def _own(self, intake: Intake) -> list[Path]:
        """The files that are to be read by now."""
        if self._files.is_single:
            return [Path(self._files.path)]
        left_out = self._owners.left_out
        own = self._owners.own(self._files.found(lambda path: path in self._by_path or self._was_read(path)))
        if self._owners.left_out != left_out:
            intake.left_out(len(self._owners.left_out))
            new = sorted(self._owners.left_out - left_out)
            more = f" and {len(new) - 1:,} more" if len(new) > 1 else ""
            if new:
                intake.note(f"{new[0]}{more}: not read, as from before a rotation; read when it grows")
        return own

    def _reader(self, path: Path) -> FileReader:
        around = None if self._files.is_single else self._owners.around(path)
        return FileReader(path, self._key(path), self._text, self._now_s, self._position_of, around)

    def _reader_of(self, path: Path) -> FileReader | None:
        """Of a file that is read, or was by an earlier run."""
        reader = self._by_path.get(path) or self._former.get(path)
        if reader is None and self._was_read(path):
            while len(self._former) >= FILES_MAX:
                del self._former[next(iter(self._former))]
            reader = self._former[path] = self._reader(path)
        return reader

    def _was_read(self, path: Path) -> bool:
        return self._position_of(self._key(path)) is not None

    def _key(self, path: Path) -> str:
        return f"source {self._name} {path}"


SOURCE: Final = SourceKind(
    name="file",
    summary="Logs: JSON lines or plain text, one file, a pattern or a folder, over rotations.",
    options=(
        Option("path", '"/var/log/zeek/conn.log"', 'A file, a pattern ("/var/log/*.json") or a folder ("/var/log/x/").',
               needed=True),
        Option("start", '"beginning" | "end"', "Whether what is there when it is first begun is read (beginning)."),
        Option("format", '"json" | "text"', 'A line is a JSON object, or text, which becomes {"message": line}.'),
    ),
    read=_read,
    open=FileSource,
    claims=lambda settings: (f"path {whole_path(settings.path)}",),
    parse=lambda settings, line: record_of(line, settings.text),
)
