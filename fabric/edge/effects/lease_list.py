"""The list of effects that are in force here, for whoever looks on: a private file beside the ledger.

The ledger itself is read by one process only. Guarantees: the file is whole, and as old as it says; it is written no
more often than is cheap, and nothing depends on it: where it cannot be written there is an old one. What of the ledger
cannot be read is named in it, also by later programs, until somebody who looked removes the file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fabric.documents import parse_json
from fabric.edge.effects.lease import Lease, Stage
from fabric.edge.handling.handlers import action_kept
from fabric.files import read_private, write_private
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import LEASE_BYTES_MAX
from fabric.protocol.core.ledger_ops import KeepLease

NAME = "leases.json"
_PAUSE_MS: Final = 1_000
# To write many takes a while: a twentieth of the time at most.
_TIMES: Final = 20
_BYTES_MAX: Final = 2 * LEASE_BYTES_MAX
_UNREADABLE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class LeaseEntry:
    """An effect that is in force. Times in milliseconds since 1970, by this machine's clock.

    `until_ms`: when it ends, unless it is released. `state`: "in force", "due", "released", "reverting", or "over", and
    its requester is yet to be told. `tries`: how often its revert failed.
    """

    id: str
    action: str
    target: Mapping[str, Any]
    requester: str
    label: str
    since_ms: int
    until_ms: int
    state: str
    tries: int

    def to_json(self) -> dict[str, Any]:
        """As `fabric leases --json` prints it."""
        return {
            "id": self.id, "action": self.action, "target": dict(self.target), "requester": self.requester,
            "label": self.label, "since": self.since_ms, "until": self.until_ms, "state": self.state,
            "tries": self.tries,
        }


class LeaseList:
    """Of the connection's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_changed = True
        self._next_s = 0.0
        self._fixed: dict[bytes, dict[str, Any]] = {}  # of each lease what never changes
        self._unreadable: list[str] | None = None  # as the last program left it, until that is read
        self._is_named = True  # all of it is in the file

    def are_unreadable(self, ids: Sequence[str]) -> None:
        """Leases of these actions, in hex."""
        self._unreadable = list(dict.fromkeys([*self._named(), *ids]))[:_UNREADABLE_MAX]
        self._is_named, self._is_changed = False, True

    def _named(self) -> list[str]:
        if self._unreadable is None:
            try:
                self._unreadable = read_unreadable(self._path.parent)
            except FabricError:  # it is written anew
                self._unreadable = []
        return self._unreadable

    def changed(self) -> None:
        """It is to be written again."""
        self._is_changed = True

    @property
    def is_changed(self) -> bool:
        """Whether it is to be written, as soon as it may."""
        return self._is_changed

    def write(self, leases: Sequence[Lease], lease_ms: int, own_ms: int, *, at_once: bool = False) -> None:
        """If something has changed, and it was not written a moment ago."""
        began_s = time.monotonic()
        if not self._is_changed or not (at_once or began_s >= self._next_s):
            return
        if not self._path.exists():
            if self._is_named:  # somebody looked, and removed it
                self._unreadable = []
            if not leases and not self._unreadable:
                self._is_changed = False
                return
        self._fixed = {lease.id: self._fixed.get(lease.id) or _fixed(lease.row) for lease in leases}
        entries = [
            {**self._fixed[lease.id], "until": own_ms + lease.row.due_ms - lease_ms, "tries": lease.tries,
             "state": _state(lease, lease_ms)}
            for lease in leases
        ]
        said = {"at": own_ms, "leases": entries, **({"unreadable": self._named()} if self._named() else {})}
        try:
            write_private(self._path, json.dumps(said).encode(), durable=False)
            self._is_named, self._is_changed = True, False
        except (OSError, FabricError):
            pass  # the next time
        self._next_s = time.monotonic() + max(_PAUSE_MS / 1000, _TIMES * (time.monotonic() - began_s))


def _fixed(kept: KeepLease) -> dict[str, Any]:
    action = action_kept(kept.envelope, kept.hops)
    if isinstance(action, Reject):
        return {"id": kept.id.hex(), "action": "", "target": {}, "requester": kept.requester, "label": "red",
                "since": kept.since_ms}
    return {
        "id": action.id, "action": action.action, "target": action.target.to_json(), "requester": action.requester,
        "label": action.label.short, "since": kept.since_ms,
    }


def _state(lease: Lease, lease_ms: int) -> str:
    if lease.is_reverting:
        return "reverting"
    if lease.stage is Stage.IN_FORCE:
        return "in force" if lease.row.due_ms > lease_ms else "due"
    return "released" if lease.stage is Stage.RELEASED else "over"


def read_leases(folder: Path) -> tuple[list[LeaseEntry], int]:
    """What is in force at the identity in this folder, and since when this is known: by this machine's clock, in
    milliseconds since 1970; 0: nothing ever was. Raises SPOOL_FAILED."""
    path = folder / NAME
    try:
        found = _read(path)
        if found is None:
            return [], 0
        entries = [
            LeaseEntry(
                str(each["id"]), str(each["action"]), dict(each["target"]), str(each["requester"]), str(each["label"]),
                int(each["since"]), int(each["until"]), str(each["state"]), int(each["tries"]),
            )
            for each in found["leases"]
        ]
        return entries, int(found["at"])
    except (ValueError, KeyError, TypeError) as error:
        raise FabricError(Code.SPOOL_FAILED, f"{path}: not a list of leases") from error


def read_unreadable(folder: Path) -> list[str]:
    """The actions, by the beginning of their ids in hex, whose leases the ledger had and could not read: nothing ends
    what they did. Raises SPOOL_FAILED."""
    path = folder / NAME
    try:
        found = _read(path) or {}
        return [str(each) for each in list(found.get("unreadable", []))[:_UNREADABLE_MAX]]
    except (ValueError, AttributeError, TypeError) as error:
        raise FabricError(Code.SPOOL_FAILED, f"{path}: not a list of leases") from error


def _read(path: Path) -> Any:
    """None where there is none. Raises SPOOL_FAILED, ValueError."""
    try:
        raw = read_private(path, _BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FabricError(Code.SPOOL_FAILED, f"{path}: {error.strerror}") from error
    return parse_json(raw)
