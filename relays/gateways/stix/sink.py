"""The kind `stix` of sinks: intel as STIX 2.1 bundles, each a file of its own in one folder.

Guarantees: a bundle is whole when it has its name, and on disk before its messages are acknowledged. What comes again
after kill -9 is written again, under the same name where it comes in the same group: who reads bundles knows an object
by its id and `modified`. Files have mode 0600, for markings do not bind whoever reads them. Beyond `keep` the oldest
go, and that is said.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from fabric.edge.messages import Message
from fabric.files import make_private, write_private
from relays.gateways.handing.texts import time_of
from relays.gateways.kinds import Option, Outtake, Place, SinkKind
from relays.gateways.options import Options, whole_path
from relays.gateways.room import when_there_is_room
from relays.gateways.stix.outgoing import Outgoing
from relays.gateways.tally import Tally

OBJECTS_AT_ONCE: Final = 512
_OURS: Final = re.compile(r"intel-\d{8}T\d{9}Z-[0-9a-f]{16}\.json", re.ASCII)
_UNFINISHED: Final = re.compile(rf"\.{_OURS.pattern}\.[0-9a-f]{{16}}\.new", re.ASCII)
# Of ids of bundles: the same objects make the same bundle.
_NAMESPACE: Final = uuid.UUID("5f3c3a52-4d0e-4f5d-9f43-8f6f7f0b4c1a")


class BundleSettings(NamedTuple):
    """`path`: a folder. `size_max`: bytes of a bundle. `keep`: bundles."""

    path: Path
    size_max: int
    keep: int


def _read(options: Options) -> BundleSettings:
    path = options.path("path", needed='"/var/lib/intel/out/"')
    if path is not None and not str(options.value("path")).endswith("/"):
        options.wrong("path", "bundles go into a folder", f'write path = "{path}/"')
    return BundleSettings(
        path or Path(), options.size("max_size", "4MB", 65_536, 2**30), options.number("keep", 10_000, 1, 1_000_000)
    )


class StixSink:
    """Writes what it is given."""

    def __init__(self, settings: BundleSettings, _place: Place) -> None:
        self._settings = settings
        self._outgoing = Outgoing()
        self._written: list[str] = []  # the oldest first
        self._not_stix = Tally("no STIX", "messages are no STIX, and in no bundle")
        self._unreadable = Tally("no JSON", "objects are in no bundle: no JSON can hold what is in them")
        self._left_out = Tally(
            "objects withheld", "objects are in no bundle: what they cannot be without is withheld"
        )
        self._removed = Tally("bundles removed", f"bundles were removed: {settings.keep:,} are kept")

    def run(self, outtake: Outtake, stop: threading.Event) -> None:
        """As `kinds.Sink` says."""
        folder = self._settings.path
        if not folder.exists():
            make_private(folder)
        names = [entry.name for entry in folder.iterdir()]
        self._written = sorted(name for name in names if _OURS.fullmatch(name))
        for name in filter(_UNFINISHED.fullmatch, names):  # what was being written when its process was killed
            (folder / name).unlink(missing_ok=True)
        for group in outtake.groups(OBJECTS_AT_ONCE):
            out = self._outgoing.of(group)
            texts = [text for each in out.objects if (text := _json(each)) is not None]
            self._not_stix.add(out.not_stix, outtake)
            self._unreadable.add(len(out.objects) - len(texts), outtake)
            self._left_out.add(out.left_out, outtake)
            for number, bundle in enumerate(self._bundles(texts)):
                path = folder / _name(group, number)
                when_there_is_room(partial(self._write, path, bundle), path, outtake, stop)
            self._removed.add(self._rotate(), outtake)

    def _bundles(self, texts: Sequence[bytes]) -> Iterator[bytes]:
        waiting: list[bytes] = []
        for text in texts:
            if waiting and sum(map(len, waiting)) + len(text) > self._settings.size_max:
                yield _bundle(waiting)
                waiting = []
            waiting.append(text)
        if waiting:
            yield _bundle(waiting)

    def _write(self, path: Path, bundle: bytes) -> None:
        write_private(path, bundle)
        if path.name not in self._written[-OBJECTS_AT_ONCE:]:
            self._written.append(path.name)

    def _rotate(self) -> int:
        gone = self._written[: -self._settings.keep]
        for name in gone:
            (self._settings.path / name).unlink(missing_ok=True)
        del self._written[: len(gone)]
        return len(gone)


def _json(each: Mapping[str, Any]) -> bytes | None:
    """None for what no JSON can hold: bytes, half a character."""
    try:
        return json.dumps(each, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return None


def _bundle(texts: Sequence[bytes]) -> bytes:
    whole = b",\n".join(texts)
    id_ = uuid.uuid5(_NAMESPACE, hashlib.sha256(whole).hexdigest())
    return b'{"type": "bundle", "id": "bundle--%s", "objects": [\n%s\n]}\n' % (str(id_).encode(), whole)


def _name(group: Sequence[Message], number: int) -> str:
    """The same for the same messages, and in the order of the first of each."""
    at = re.sub("[-:.]", "", time_of(group[0]) or "9999-12-31T23:59:59.999Z")
    digest = hashlib.sha256(f"{number} {' '.join(message.id for message in group)}".encode()).hexdigest()[:16]
    return f"intel-{at}-{digest}.json"


SINK: Final = SinkKind(
    name="stix",
    summary="STIX 2.1 bundles in a folder: what its reader may see of each object, marked with TLP 2.0.",
    options=(
        Option("path", '"/var/lib/intel/out/"', "The folder. One that is not there is made, private.", True),
        Option("max_size", '"4MB"', "What comes at once is in several bundles where it is more."),
        Option("keep", "10_000", "So many bundles are kept; the oldest are removed."),
    ),
    read=_read,
    open=StixSink,
    claims=lambda settings: (f"path {whole_path(settings.path)}/",),
)
