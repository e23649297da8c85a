"""The kind `stix` of sources: bundles in a file, in what a pattern matches, or in a folder, each read when it is whole.

Guarantees: each object of a file once, also after kill -9: how far it is read is kept in the same commit as its record.
A file with another content is read again, from its beginning. One that is being written waits until it is the same at
two looks. What is no object is in the dead letters, with its file and number, and hinders no other.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from fabric.files import open_regular
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.files.finding import Files, why_not
from relays.gateways.kinds import Given, Intake, Option, Place, SourceKind
from relays.gateways.options import Options, whole_path
from relays.gateways.stix.document import Document, Item, read_document
from relays.gateways.stix.markings import DEFINITION, Markings
from relays.gateways.stix.reading import is_unknown, read_object, read_stix
from relays.gateways.stix.settings import OPTIONS, StixSettings, read_settings
from relays.reading.names import Entry

LOOK_S: Final = 1.0
OBJECTS_AT_ONCE: Final = 512
# However long their texts are: what is given at a time.
_CHARS_AT_ONCE: Final = 1_000_000
# Files that are known by name; of a folder with more the rest are not read, and that is said.
FILES_MAX: Final = 8_192
_DIGEST_CHARS: Final = 32
_ALL: Final = "all"
# Of a file that is not read at all.
_UNREAD: Final = "-"
_KEPT: Final = re.compile(r"([0-9a-f]{32}|-) ([0-9]{1,12}|all) ([0-9]+\.[0-9]+)", re.ASCII)


class FolderSettings(NamedTuple):
    """`path`: as `Files` reads it. `size_max`: bytes of a file."""

    path: str
    size_max: int
    stix: StixSettings


def _read(options: Options) -> FolderSettings:
    path = options.path("path", needed='"/var/lib/intel/bundles/"')
    written = str(options.value("path")) if path is not None else ""
    return FolderSettings(written, options.size("max_size", "64MB", 1_024, 2**30), read_settings(options))


class _Kept(NamedTuple):
    """How far a file was read: `digest` of its content, `passed` of its objects or all, and how it looked then."""

    digest: str
    passed: str
    look: str

    @property
    def text(self) -> str:
        return f"{self.digest} {self.passed} {self.look}"


_NOTHING: Final = _Kept("", "0", "")


class StixSource:
    """Looks into its files now and then."""

    def __init__(self, settings: FolderSettings, place: Place) -> None:
        self._settings = settings
        self._files = Files(settings.path)
        self._name = place.name
        self._looks: dict[Path, str] = {}  # how each file was at the look before
        self._taken: dict[Path, _Kept] = {}  # by this run
        self._is_over = False  # there are more files than may be known

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """As `kinds.Source` says."""
        try:
            while not stop.is_set():
                self.look(intake)
                stop.wait(LOOK_S)
        except FabricError as error:
            if not (error.code is Code.CLOSED and stop.is_set()):
                raise

    def look(self, intake: Intake) -> None:
        """Read what is there by now, and was left alone since the look before."""
        found = self._files.found(lambda path: path in self._looks)
        if len(found) > FILES_MAX and not self._is_over:
            self._is_over = True
            intake.note(f"there are more than {FILES_MAX:,} files: the rest are not read")
        problem = self._files.why_not()
        looks = {path: _look_of(entry) for path, entry in islice(found.items(), FILES_MAX)}
        settled = [path for path, look in looks.items() if self._looks.get(path) == look]
        for path in sorted(settled, key=lambda path: (found[path].mtime_ns, path)):
            if self._kept(path, intake)[1:] != (_ALL, looks[path]):
                try:
                    self._file(path, looks[path], intake)
                except OSError:
                    problem = why_not(path)  # it is read when it can be
        self._looks = looks
        self._taken = {path: kept for path, kept in self._taken.items() if path in looks}
        intake.waits(problem)

    def _kept(self, path: Path, intake: Intake) -> _Kept:
        known = self._taken.get(path)
        if known is None:
            found = _KEPT.fullmatch(intake.position_of(self._key(path)) or "")
            known = self._taken[path] = _Kept(*found.groups()) if found else _NOTHING
        return known

    def _key(self, path: Path) -> str:
        return f"source {self._name} {path}"

    def _file(self, path: Path, look: str, intake: Intake) -> None:
        """All that is in it and was not taken. Raises OSError, and FabricError(CLOSED)."""
        with open_regular(os.path.realpath(path)) as file:
            data = file.read(self._settings.size_max + 1)
        if len(data) > self._settings.size_max:
            error = FabricError(Code.BAD_INPUT, f"more than {self._settings.size_max:,} bytes in one file",
                                "split it, or raise max_size in the topology")
            self._refuse(path, _Kept(_UNREAD, _ALL, look), data, error, intake)
            return
        digest = hashlib.sha256(data).hexdigest()[:_DIGEST_CHARS]
        kept = self._kept(path, intake)
        try:
            document = read_document(data)
        except FabricError as error:
            self._refuse(path, _Kept(digest, _ALL, look), data, error, intake)
            return
        del data
        after = 0
        if kept.digest == digest:
            after = -1 if kept.passed == _ALL else int(kept.passed)
        if after >= 0:
            _Reading(path, self._key(path), digest, look, document, self._settings.stix, intake).give(after)
        self._done(path, _Kept(digest, _ALL, look), intake)

    def _refuse(self, path: Path, kept: _Kept, data: bytes, error: FabricError, intake: Intake) -> None:
        intake.reject(data, error, str(path), (self._key(path), kept.text))
        self._taken[path] = kept

    def _done(self, path: Path, kept: _Kept, intake: Intake) -> None:
        intake.pass_over((self._key(path), kept.text))
        self._taken[path] = kept


class _Reading:
    """One document, on its way into the intake."""

    def __init__(
        self, path: Path, key: str, digest: str, look: str, document: Document, settings: StixSettings, intake: Intake,
    ) -> None:
        self._path = path
        self._key = key
        self._digest = digest
        self._look = look
        self._document = document
        self._settings = settings
        self._intake = intake
        self._waiting: list[Given] = []
        self._chars = 0

    def give(self, after: int) -> None:
        """Those behind so many. Raises FabricError(CLOSED) when it is to stop before all were taken."""
        markings = Markings(self._settings.markings)
        markings.learn(item.value for item in self._document.items())
        unknown = rejected = number = 0
        for number, item in enumerate(self._document.items(), 1):
            if number <= after:
                continue
            read = _read_item(item, markings, self._settings)
            if isinstance(read, FabricError):
                rejected += 1
                self._flush()  # places are passed in their order
                self._intake.reject(item.text.encode("utf-8", "replace"), read, self._where(number), self._at(number))
                continue
            unknown += is_unknown(read)
            self._waiting.append(Given(read, self._at(number), self._where(number)))
            self._chars += len(item.text)
            if len(self._waiting) >= OBJECTS_AT_ONCE or self._chars >= _CHARS_AT_ONCE:
                self._flush()
        self._flush()
        more = [f"{unknown:,} red for a marking that nobody knows"] if unknown else []
        more += [f"{rejected:,} rejected"] if rejected else []
        self._intake.note(", ".join([f"{self._path}: {number - after:,} objects", *more]))

    def _where(self, number: int) -> str:
        return f"{self._path}:{number}"

    def _at(self, number: int) -> tuple[str, str]:
        return self._key, _Kept(self._digest, str(number), self._look).text

    def _flush(self) -> None:
        given, self._waiting, self._chars = self._waiting, [], 0
        if given and self._intake.take_many(given).taken < len(given):
            raise FabricError(Code.CLOSED)


def _read_item(item: Item, markings: Markings, settings: StixSettings) -> dict[str, Any] | FabricError:
    return read_object(item.value, markings, settings) if item.fault is None else item.fault


def _look_of(entry: Entry) -> str:
    return f"{entry.size}.{entry.mtime_ns}"


def parse_all(settings: StixSettings, data: bytes) -> Iterator[dict[str, Any] | FabricError]:
    """The records of a whole document. Raises BAD_INPUT."""
    document = read_document(data)
    markings = Markings(settings.markings)
    markings.learn(item.value for item in document.items())
    for item in document.items():
        yield _read_item(item, markings, settings)


def parse_one(settings: StixSettings, data: bytes) -> Mapping[str, Any]:
    """The record of one object, alone or with the definitions of its markings. Raises BAD_INPUT."""
    found = [each for each in parse_all(settings, data) if isinstance(each, FabricError) or each["type"] != DEFINITION]
    if len(found) != 1:
        raise FabricError(Code.BAD_INPUT, "it is not one object", "put it where its source reads it")
    (only,) = found
    if isinstance(only, FabricError):
        raise only
    return only


SOURCE: Final = SourceKind(
    name="stix",
    summary="STIX 2.1 (and 2.0) in JSON: bundles, lists and objects in files; markings become labels.",
    options=(
        Option("path", '"/var/lib/intel/"', 'A file, a pattern ("/var/lib/intel/*.json") or a folder ("/var/lib/x/").',
               needed=True),
        *OPTIONS,
        Option("max_size", '"64MB"', "A larger file is not read (E907)."),
    ),
    read=_read,
    open=StixSource,
    claims=lambda settings: (f"path {whole_path(settings.path)}",),
    parse=lambda settings, data: parse_one(settings.stix, data),
    parse_all=lambda settings, data: parse_all(settings.stix, data),
    preset=read_stix,
)
