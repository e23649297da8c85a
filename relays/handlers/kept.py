"""What a handler has in force, by name: a private file, which counts whatever the machine has at the moment.

Guarantees: what changed is on disk when a call returns, and where it cannot be written nothing changed; the room is
bounded, and shared among requesters. A file that cannot be read, or that somebody else wrote, is an error, and never
an empty list.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fabric.documents import parse_object
from fabric.edge.effects.lasting import lasting_of
from fabric.edge.messages import Action
from fabric.files import make_private, open_private, read_private, write_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share

# Written whole with each change: a few megabytes.
_FILE_BYTES_MAX: Final = 16_000_000
# The same thing may be meant in several ways, e.g. by a path, and by that and a hash: for so many it is held at a time.
_MEANT_MAX: Final = 16
_FOR: Final = "for"


@dataclass(frozen=True, slots=True)
class Entry:
    """Why something is in force: for whom, since when (ms since 1970, by this machine's clock), by which action; and
    what its handler has to know of it."""

    requester: str
    since_ms: int
    action: str
    more: Mapping[str, Any] = field(default_factory=dict)


def held_for(action: Action) -> dict[str, list[str]]:
    """What an entry knows of the effect that it is for: a thing that others hold too stays when one of them ends."""
    return {_FOR: [effect_of(action)]}


def effect_of(action: Action) -> str:
    """As leases tell effects apart (SPEC 9.8): by action and target, as it was written."""
    return lasting_of(action).effect.hex()


class Kept:
    """What is done with it is done within `changing`: other threads wait, and other processes of this identity, which
    may have changed it meanwhile.

    `check` raises ValueError, KeyError or TypeError where an entry that was read cannot be one.
    """

    def __init__(self, path: Path, entries_max: int, check: Callable[[str, Entry], object] = lambda *_: None) -> None:
        self._path = path
        self._max = entries_max
        self._check = check
        self._entries: dict[str, Entry] = {}
        self._by: Holdings[str] = Holdings()
        self._lock = threading.Lock()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """It is as it is on disk, and nobody else changes it. Raises HANDLER_UNFIT where the file says nothing that one
        could go by, NOT_PRIVATE, OSError."""
        with self._lock:
            make_private(self._path.parent)
            descriptor = open_private(self._path.with_suffix(".lock"))
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._load()
                yield
            finally:
                os.close(descriptor)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """By name, the oldest first."""
        return self._entries

    def _load(self) -> None:
        try:
            raw = read_private(self._path, _FILE_BYTES_MAX)
        except FileNotFoundError:
            self._set({})
            return
        try:
            entries = {}
            for each in parse_object(raw)["kept"]:
                entry = Entry(str(each["by"]), int(each["since_ms"]), str(each["action"]), dict(each.get("more", {})))
                name = each["name"]
                if not isinstance(name, str):
                    raise TypeError("a name that is no text")
                if not all(isinstance(effect, str) for effect in list(entry.more.get(_FOR, ()))):
                    raise TypeError("an effect that is no text")
                self._check(name, entry)
                entries[name] = entry
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FabricError(
                Code.HANDLER_UNFIT, f"{self._path} is damaged ({type(error).__name__})",
                "mend it, or move it away: then nothing is in force",
            ) from error
        self._set(entries)

    def has_room(self, requester: str) -> bool:
        """Whether one more entry of this requester's finds room."""
        return not beyond_share(self._by[requester], 1, self._max - len(self._entries), LARGE_SHARE)

    def put(self, name: str, entry: Entry) -> None:
        """In place of what has this name. Raises OSError."""
        self._write({**self._entries, name: entry})

    def drop(self, name: str) -> Entry | None:
        """What it was, if it was there. Raises OSError."""
        found = self._entries.get(name)
        if found is not None:
            self._write({each: entry for each, entry in self._entries.items() if each != name})
        return found

    def hold_for(self, name: str, effect: str) -> bool:
        """Hold it for this effect, too. False where that are too many. Raises OSError."""
        entry = self._entries[name]
        effects = entry.more.get(_FOR, [effect])
        if effect in effects:
            return True
        if len(effects) >= _MEANT_MAX:
            return False
        self.put(name, replace(entry, more={**entry.more, _FOR: [*effects, effect]}))
        return True

    def is_for(self, name: str, effect: str) -> bool:
        """Whether it is held for this effect."""
        return effect in self._entries[name].more.get(_FOR, [effect])

    def let_go(self, name: str, effect: str) -> bool:
        """Hold it no more for this effect. False where there is no other that it is held for. Raises OSError."""
        entry = self._entries[name]
        others = [each for each in entry.more.get(_FOR, ()) if each != effect]
        if others:
            self.put(name, replace(entry, more={**entry.more, _FOR: others}))
        return bool(others)

    def _write(self, entries: dict[str, Entry]) -> None:
        document = {"version": 1, "kept": [
            {"name": name, "by": entry.requester, "since_ms": entry.since_ms, "action": entry.action,
             **({"more": dict(entry.more)} if entry.more else {})}
            for name, entry in entries.items()
        ]}
        write_private(self._path, (json.dumps(document, indent=1) + "\n").encode())
        self._set(entries)

    def _set(self, entries: dict[str, Entry]) -> None:
        self._entries = entries
        self._by = Holdings(entry.requester for entry in entries.values())
