"""What becomes of each source and sink of one control point: its state, what it took and rejected, where it is.

Of any thread. Who runs them sees every change of a state once; the whole is a file in the identity's folder, which
`fabric edge status` reads. Guarantees: no content of a record is in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from fabric.documents import parse_object
from fabric.edge.identity.identity import Identity
from fabric.files import make_private, open_private, write_private
from fabric.protocol.base.errors import Code, FabricError
from relays.wall import wall_ms

FOLDER = "gateways"
_STATUS = "status.json"
_LOCK = "lock"
_POSITION_CHARS_MAX = 200
# Envelopes whose sources are known, for when a relay refuses one; it says so within seconds.
_SENT_MAX = 20_000


class State(StrEnum):
    """`waiting`: it goes on by itself as soon as it can. `failed`: it is begun again after a while. `unfit`: it cannot
    be used as it is declared, or on this machine. `ended`: it has nothing more to do."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    UNFIT = "unfit"
    ENDED = "ended"


class Change(NamedTuple):
    """A state of one that is another one now."""

    name: str
    section: str
    state: State
    error: FabricError | None


@dataclass
class Entry:
    """One source or sink. Times in ms since 1970, 0: never. `taken`: durable records; of a sink, written ones.
    `left_out`: files that it does not read. `refused`: records that were durable, and that a relay refused later.
    `withheld`: messages whose envelope is above what a sink hands out. `counts`: what else a sink did not write, by
    reason. `readers`: who reads from a source now; `away`: why nothing comes for them."""

    name: str
    section: str
    kind: str
    state: State = State.STARTING
    error: FabricError | None = None
    since_ms: int = field(default_factory=wall_ms)
    taken: int = 0
    rejected: int = 0
    lost: int = 0
    left_out: int = 0
    refused: int = 0
    withheld: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    readers: int = 0
    away: FabricError | None = None
    last_at_ms: int = 0
    position: str = ""
    restarts: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `fabric edge status --json` has it."""
        error, away = self.error, self.away
        return {
            "name": self.name, "section": self.section, "kind": self.kind, "state": str(self.state),
            "code": error.code.label if error else "", "why": f"{error.code.cause}: {error.detail}" if error else "",
            "next": error.next_step if error else "", "since_ms": self.since_ms, "taken": self.taken,
            "rejected": self.rejected, "lost": self.lost, "left_out": self.left_out, "refused": self.refused,
            "withheld": self.withheld, "counts": dict(self.counts), "readers": self.readers,
            "away": f"{away.code.label} {away.code.cause}" if away else "", "last_at_ms": self.last_at_ms,
            "position": self.position, "restarts": self.restarts,
        }


class Board:
    """`tell` gets every change of a state, on the thread that made it."""

    def __init__(self, tell: Callable[[Change], None] = lambda _change: None) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._saved = ""
        self._sent: dict[str, dict[str, int]] = {}  # by envelope: records of each source, the newest envelopes

    def add(self, name: str, section: str, kind: str) -> Entry:
        """It is there from now on."""
        entry = self._entries[name] = Entry(name, section, kind)
        return entry

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def enter(self, entry: Entry, state: State, error: FabricError | None = None) -> None:
        """Its state is this one. Told where that is another one, or has another reason."""
        with self._lock:
            same = (entry.state, str(entry.error)) == (state, str(error))
            if same:
                return
            entry.state, entry.error, entry.since_ms = state, error, wall_ms()
        self._tell(Change(entry.name, entry.section, state, error))

    def count(self, entry: Entry, *, taken: int = 0, rejected: int = 0, lost: int = 0, withheld: int = 0,
              position: str = "") -> None:
        """More came."""
        with self._lock:
            entry.taken += taken
            entry.rejected += rejected
            entry.lost += lost
            entry.withheld += withheld
            if taken:
                entry.last_at_ms = wall_ms()
            if position:
                entry.position = position[:_POSITION_CHARS_MAX]

    def count_as(self, entry: Entry, reason: str, count: int) -> None:
        """So many more that were not written, for this reason."""
        with self._lock:
            entry.counts[reason] = entry.counts.get(reason, 0) + count

    def read_by(self, entry: Entry, readers: int, away: FabricError | None) -> None:
        """So many read from it now, and why nothing comes for them."""
        with self._lock:
            entry.readers, entry.away = readers, away

    def sent(self, entry: Entry, ids: Iterable[str]) -> None:
        """Records of this source are durable, under these ids ("ENVELOPE.NUMBER")."""
        envelopes = Counter(id_.partition(".")[0] for id_ in ids)
        with self._lock:
            for envelope, count in envelopes.items():
                records = self._sent.setdefault(envelope, {})
                records[entry.name] = records.get(entry.name, 0) + count
            while len(self._sent) > _SENT_MAX:
                del self._sent[next(iter(self._sent))]

    def refuse(self, envelope: str, records: int) -> None:
        """A relay refused what is in it. Of an earlier run's it is known only where there is one source."""
        with self._lock:
            of = self._sent.pop(envelope, {})
            sources = [entry for entry in self._entries.values() if entry.section == "sources"]
            for entry in sources:
                entry.refused += of.get(entry.name, 0) if of else records * (len(sources) == 1)

    def save(self, folder: Path) -> None:
        """Where it changed since it was last saved. Not that it was: a disk that is full is said elsewhere."""
        text = json.dumps([entry.to_json() for entry in self.entries])
        if text != self._saved:
            document = f'{{"version": 1, "at_ms": {wall_ms()}, "entries": {text}}}\n'
            try:
                write_private(folder / _STATUS, document.encode(), durable=False)
                self._saved = text
            except OSError:
                pass


class Alone:
    """One process runs the sources and sinks of an identity: whoever holds this. Raises ALREADY_RUNNING."""

    def __init__(self, identity: Identity) -> None:
        self.folder = make_private(identity.folder / FOLDER)
        self._lock = open_private(self.folder / _LOCK)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise FabricError(
                Code.ALREADY_RUNNING, f"another process runs the sources and sinks of {identity.id}",
                "stop it, or run others here with --only NAME under another identity",
            ) from None

    def close(self) -> None:
        """Somebody else may. Once, or again."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


class Kept(NamedTuple):
    """What the file says. `running`: somebody runs them; else it is what they were when that ended."""

    running: bool
    at_ms: int
    entries: Sequence[dict[str, Any]]


def read_status(identity: Identity) -> Kept:
    """What an identity's folder says of its sources and sinks. Raises BAD_INPUT where it cannot be read."""
    folder = identity.folder / FOLDER
    try:
        document = parse_object((folder / _STATUS).read_bytes())
        entries = [dict(entry) for entry in document["entries"]]
        return Kept(_is_held(folder / _LOCK), int(document["at_ms"]), entries)
    except FileNotFoundError:
        return Kept(False, 0, ())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FabricError(Code.BAD_INPUT, f"{folder / _STATUS}: {type(error).__name__}",
                          "start `fabric edge run` again: it is written anew") from None


def _is_held(lock: Path) -> bool:
    try:
        descriptor = open_private(lock, os.O_RDONLY)
    except (OSError, FabricError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
