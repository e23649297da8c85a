"""What actions left at this control point, on its disk, until it is fetched or its time is over (SPEC 9.9).

Guarantees: everything is in one private folder of the identity's; an artifact is there whole, with what and whose it
is, or not at all, whatever ended the program; what is left of one that ended too soon is gone with the next start.
There is a bound for all of them together, shared among requesters: for a new one its requester's own oldest go, and
nobody else's. One process has the folder at a time: the one that has the ledger. Any thread.

Its age counts only where the time is sure. A machine that starts without a battery thinks it is 1970, and one whose
clock jumped a month ahead for a minute finds everything too old: what was collected is not deleted for that.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import structlog

from fabric.documents import parse_object
from fabric.files import append_private, make_private, open_private, read_private, write_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import ARTIFACT_BYTES, ARTIFACT_KEEP_MS, ARTIFACTS_BYTES_MAX
from fabric.protocol.base.shares import LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.vocabulary.fetching import ARTIFACT_ID_CHARS
from fabric.protocol.vocabulary.tlp import Label

NAME = "artifacts"
# So much stays free on the disk, whatever the quota: the ledger is on it too.
FREE_BYTES_MIN = 256 * 2**20
_ABOUT_BYTES_MAX = 4_096
_ABOUT = ".json"
_WORK = "work-"
_COPIED_BYTES = 1 << 20


class Kept(NamedTuple):
    """One artifact. `action`: the leaf of the action in hex; `principal`: its requester's; `at_ms`: when it came."""

    id: str
    action: str
    requester: str
    principal: str
    name: str
    bytes: int
    sha256: str
    label: Label
    at_ms: int
    until_ms: int
    is_sure: bool = True  # whether that was by a time that is known


class NotKeptError(FabricError):
    """There is no room for it; the detail says which."""

    def __init__(self, why: str) -> None:
        super().__init__(Code.ARTIFACT_NOT_KEPT, why)


class Draft(NamedTuple):
    """Content that is on disk, and has no name yet."""

    id: str
    requester: str
    bytes: int
    sha256: str


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Store:
    """`folder` is made when there is something for it. `free`: bytes that its disk has left. `is_sure`: whether what
    `now_ms` says is known to be right at the moment."""

    def __init__(
        self, folder: Path, log: structlog.typing.FilteringBoundLogger, bytes_max: int = ARTIFACTS_BYTES_MAX,
        now_ms: Callable[[], int] = _wall_ms, free: Callable[[Path], int] | None = None,
        is_sure: Callable[[], bool] = lambda: True,
    ) -> None:
        self._folder = folder
        self._log = log
        self._bytes_max = bytes_max
        self._now_ms = now_ms
        self._is_sure = is_sure
        self._free = free or (lambda path: shutil.disk_usage(path).free)
        self._lock = threading.Lock()
        self._is_open = False
        self._by_id: dict[str, Kept] = {}  # in the order in which they came
        self._unsettled: set[str] = set()  # whose time is to be looked at when it is sure
        self._held: Holdings[str] = Holdings()  # also for what is being copied
        self.bytes = 0

    @property
    def has_any(self) -> bool:
        """Whether this process knows of any."""
        return bool(self._by_id)

    # -- what comes in ----------------------------------------------------------------------------------

    def work_folder(self) -> Path:
        """A new private folder, which is gone with the next start at the latest. Raises OSError, FabricError."""
        self._open()
        return make_private(self._folder / f"{_WORK}{secrets.token_hex(8)}")

    def draft(self, source: BinaryIO, size: int, requester: str) -> Draft:
        """Copy so many bytes, or fewer where there are no more. Raises NotKeptError, and OSError as the disk does."""
        self._open()
        counted = size + ARTIFACT_BYTES
        self._make_room(requester, counted, size)
        draft = Draft(secrets.token_hex(ARTIFACT_ID_CHARS // 2), requester, size, "")
        digest, copied = hashlib.sha256(), 0
        try:
            with append_private(self._folder / draft.id) as file:
                while copied < size and (piece := source.read(min(_COPIED_BYTES, size - copied))):
                    digest.update(piece)
                    file.write(piece)
                    copied += len(piece)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.drop(draft)
            raise
        with self._lock:
            self._count(requester, copied - size)
        return draft._replace(bytes=copied, sha256=digest.hexdigest())

    def drop(self, draft: Draft) -> None:
        """It is not wanted after all."""
        (self._folder / draft.id).unlink(missing_ok=True)
        with self._lock:
            self._count(draft.requester, -draft.bytes - ARTIFACT_BYTES)

    def keep(self, draft: Draft, *, action: str, principal: str, name: str, label: Label) -> Kept:
        """On disk when it returns, with what it is. Raises OSError."""
        at_ms = self._now_ms()
        kept = Kept(
            draft.id, action, draft.requester, principal, name, draft.bytes, draft.sha256, label, at_ms,
            at_ms + ARTIFACT_KEEP_MS, self._is_sure(),
        )
        self._write(kept)
        with self._lock:
            self._by_id[kept.id] = kept
            if not kept.is_sure:
                self._unsettled.add(kept.id)
        return kept

    def _write(self, kept: Kept) -> None:
        about = {**kept._asdict(), "label": int(kept.label)}
        write_private(self._about(kept.id), json.dumps(about).encode())

    def _make_room(self, requester: str, counted: int, size: int) -> None:
        """Count what is to come, and let the requester's own oldest go for it, where that is enough."""
        with self._lock:
            own = [kept for kept in self._by_id.values() if kept.requester == requester]
            old = sum(kept.bytes + ARTIFACT_BYTES for kept in own)
            held = self._held[requester]
            if beyond_share(held - old, counted, self._bytes_max - self.bytes + old, LARGE_SHARE):
                raise NotKeptError(f"{size:,} bytes are more than its requester has room for")
            gone: list[Kept] = []
            total = self.bytes
            while beyond_share(held, counted, self._bytes_max - total, LARGE_SHARE):
                gone.append(own.pop(0))
                held, total = held - gone[-1].bytes - ARTIFACT_BYTES, total - gone[-1].bytes - ARTIFACT_BYTES
            if self._free(self._folder) + sum(kept.bytes for kept in gone) - size < FREE_BYTES_MIN:
                raise NotKeptError("the target's disk is short of room")
            for kept in gone:
                self._forget(kept)
            self._count(requester, counted)
        self._delete(gone, "made room for a newer one")

    # -- what goes out ----------------------------------------------------------------------------------

    def get(self, id_: str) -> Kept | None:
        """None also for one whose time is over. Raises OSError, FabricError where the folder cannot be read."""
        self._open()
        with self._lock:
            kept = self._by_id.get(id_)
        return kept if kept is not None and (self._now_ms() < kept.until_ms or not self._is_sure()) else None

    def open_content(self, kept: Kept) -> int:
        """A descriptor to read it by. Raises ARTIFACT_CHANGED where it is not there, or has another size."""
        try:
            descriptor = open_private(self._folder / kept.id, os.O_RDONLY)
        except (OSError, FabricError):
            raise FabricError(Code.ARTIFACT_CHANGED, "its file cannot be read") from None
        if (size := os.fstat(descriptor).st_size) != kept.bytes:
            os.close(descriptor)
            raise FabricError(Code.ARTIFACT_CHANGED, f"its file has {size:,} bytes of {kept.bytes:,}")
        return descriptor

    def sweep(self) -> None:
        """Delete those whose time is over, where this process has the folder open, and the time is sure."""
        if not self._is_sure():
            return
        now_ms = self._now_ms()
        with self._lock:
            anew = self._settle(now_ms)
            over = list(itertools.takewhile(lambda kept: kept.until_ms <= now_ms, self._by_id.values()))
            for kept in over:
                self._forget(kept)
        for kept in anew:
            with suppress(OSError):  # the next process settles it
                self._write(kept)
        self._delete(over, "its time was over")

    def _settle(self, now_ms: int) -> list[Kept]:
        """Those that came by a clock that may have been wrong, or was far ahead: their time begins now, and ends."""
        wrong = [kept for id_ in self._unsettled if (kept := self._by_id.get(id_)) is not None
                 and (not kept.is_sure or kept.until_ms > now_ms + 2 * ARTIFACT_KEEP_MS)]
        self._unsettled.clear()
        anew = [kept._replace(until_ms=now_ms + ARTIFACT_KEEP_MS, is_sure=True)
                for kept in sorted(wrong, key=lambda each: (each.at_ms, each.id))]
        for kept in anew:
            del self._by_id[kept.id]  # it is one of the newest now
            self._by_id[kept.id] = kept
        return anew

    # -- the folder -------------------------------------------------------------------------------------

    def _open(self) -> None:
        with self._lock:
            if not self._is_open:
                make_private(self._folder)
                self._load()
                self._is_open = True
        self.sweep()

    def _load(self) -> None:
        """What an earlier process left: whole ones are kept on, and of others nothing stays, unless the disk did not
        give what they are: that is no answer."""
        entries = {path.name: path for path in self._folder.iterdir()}
        found, known = [], set()
        for name in entries:
            id_ = name.removesuffix(_ABOUT)
            if id_ == name or id_ not in entries:
                continue
            try:
                kept = self._read(id_, entries[name])
            except OSError as error:
                self._log.error("artifact cannot be read", id=id_, error=error.strerror or type(error).__name__)
                known |= {id_, name}
                continue
            if kept is not None:
                found.append(kept)
                known |= {id_, name}
        for kept in sorted(found, key=lambda each: each.at_ms):
            self._by_id[kept.id] = kept
            self._count(kept.requester, kept.bytes + ARTIFACT_BYTES)
        self._unsettled = set(self._by_id)
        for name, path in entries.items():
            if name not in known:
                remove(path)

    def _read(self, id_: str, path: Path) -> Kept | None:
        """None for what says nothing of its content. Raises OSError."""
        with suppress(FileNotFoundError, IsADirectoryError, FabricError, ValueError, TypeError, KeyError):
            about = parse_object(read_private(path, _ABOUT_BYTES_MAX))
            return Kept(
                id_, str(about["action"]), str(about["requester"]), str(about["principal"]), str(about["name"]),
                int(about["bytes"]), str(about["sha256"]), Label(about["label"]), int(about["at_ms"]),
                int(about["until_ms"]), about.get("is_sure", True) is True,
            )
        return None

    def _about(self, id_: str) -> Path:
        return self._folder / f"{id_}{_ABOUT}"

    def _count(self, requester: str, bytes_: int) -> None:
        self._held.add(requester, bytes_)
        self.bytes += bytes_

    def _forget(self, kept: Kept) -> None:
        del self._by_id[kept.id]
        self._count(kept.requester, -kept.bytes - ARTIFACT_BYTES)

    def _delete(self, gone: Sequence[Kept], why: str) -> None:
        for kept in gone:
            # What it is first: content without it is no artifact, and goes with the next start.
            remove(self._about(kept.id))
            remove(self._folder / kept.id)
            self._log.info("artifact deleted", id=kept.id, action=kept.action, bytes=kept.bytes, why=why)


def remove(path: Path) -> None:
    """Whatever it is, and no more than that: of a link not what it leads to. What cannot be removed stays."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
