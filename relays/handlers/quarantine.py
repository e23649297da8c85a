"""`--handler quarantine`: moves files into a private folder, and back.

A target names an absolute path, below one of the roots that whoever started this named; hashes that it gives have to
be those of the file. What is in quarantine is on disk before a file is moved: after a crash in the midst of it a file
is in its place and nothing is known of it, or it is in quarantine and known. A file that comes back takes no other's
place.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from fabric.edge.handling.handlers import Answer
from fabric.edge.identity.home import fabric_home
from fabric.edge.messages import Action
from fabric.files import make_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import Status
from relays.handlers.kept import Entry, Kept, effect_of, held_for
from relays.handlers.kinds import Kind, Need, Option, Options, Pair, Place, failed, refused
from relays.handlers.moving import (
    Attributes,
    Avoided,
    Replaced,
    Taken,
    file_in,
    finish,
    folder_beneath,
    give_back,
    take,
)
from relays.wall import wall_ms

FILES_MAX: Final = 10_000
_HASHES: Final = ("md5", "sha1", "sha256")
_CHUNK_BYTES: Final = 1 << 20
# What has to be left on the disk of the store by a file that is copied to it.
_LEFT_BYTES: Final = 256 << 20


class _Ended(Exception):  # noqa: N818 - somebody cancelled it
    pass


class _Where(NamedTuple):
    """A file's place: below this root, in this folder, by this name."""

    root: Path
    folder: Sequence[str]
    name: str


class Quarantine:
    """`roots`: below which files may be, as they are named, and resolved; `avoided`: folders that are not entered."""

    def __init__(self, kept: Kept, store: Path, roots: Mapping[Path, Path], avoided: Sequence[Path]) -> None:
        self._kept = kept
        self._store = store
        self._roots = roots
        self._avoided = [*avoided, store]

    def start(self) -> None:
        """What a run that ended in the midst of a move left is brought in order."""
        make_private(self._store)
        with self._kept.changing():
            for name, entry in list(self._kept.entries.items()):
                self._finish(name, entry.more["path"])
                if not (self._store / name).exists():
                    self._kept.drop(name)  # it did not get here
            for path in self._store.iterdir():
                if path.name.endswith(".new"):  # a copy that was not finished
                    path.unlink()

    def tend(self) -> None:
        """Nobody else moves what is in a private folder."""

    def stop(self) -> None:
        """What is in quarantine stays there."""

    def __call__(self, action: Action) -> Answer:
        return self._guarded(action, self._contain if action.action == "contain" else self._restore)

    def revert(self, action: Action) -> Answer:
        """What was moved for this effect, and for no other one, goes back to its place."""
        return self._guarded(action, self._revert)

    def _guarded(self, action: Action, do: Any) -> Answer:
        wanted: dict[str, Any] = action.target.value
        text = wanted.get("path", "")
        where = self._where(text)
        if isinstance(where, Answer):
            return where
        if wanted.get("name", where.name) != where.name:
            return refused(Code.TARGET_DIFFERS, "target.file.name is not that of its path")
        try:
            with self._kept.changing():
                answer: Answer = do(action, where, str(where.root.joinpath(*where.folder, where.name)), wanted)
                return answer
        except Avoided:
            return refused(Code.PROTECTED, "it is of the fabric itself")
        except Replaced:
            return failed(Code.TARGET_DIFFERS, "it was replaced while it was looked at")
        except Taken:
            return failed(Code.TARGET_DIFFERS, "another file is in its place: move that away, then ask again")
        except IsADirectoryError as error:
            return refused(Code.TARGET_DIFFERS, f"it is {error.strerror if error.strerror else 'no regular file'}")
        except NotADirectoryError:
            return refused(Code.TARGET_DIFFERS, "a link, or no folder, is on the way to it")
        except FileNotFoundError:
            return failed(Code.NOT_THERE, "", Status.NOT_FOUND)
        except PermissionError:
            return failed(Code.HANDLER_FAILED, "this user may not touch it: run the control point as root")
        except OSError as error:
            return failed(Code.HANDLER_FAILED, (error.strerror or "the disk failed").lower())
        except _Ended:
            return failed(Code.CANCELLED)

    def _where(self, text: str) -> _Where | Answer:
        if not text.startswith("/"):
            return refused(Code.BAD_ACTION, "target.file.path: this handler needs an absolute path")
        path = PurePosixPath(text)
        if ".." in path.parts or "\0" in text or str(path) != text or text == "/":
            return refused(Code.BAD_ACTION, "target.file.path: a path without . and .., and without a / too many")
        for named, root in self._roots.items():
            if len(path.parts) > len(named.parts) and path.is_relative_to(named):
                parts = path.relative_to(named).parts
                return _Where(root, parts[:-1], parts[-1])
        return refused(Code.PROTECTED, "it is outside of what this handler may touch")

    # -- into quarantine --------------------------------------------------------------------------------

    def _contain(self, action: Action, where: _Where, path: str, wanted: Mapping[str, Any]) -> Answer:
        with folder_beneath(where.root, where.folder, self._avoided) as folder:
            try:
                with file_in(folder, where.name) as (opened, found):
                    return self._take(action, where, path, wanted, folder, opened, found)
            except FileNotFoundError:
                matching = self._matching(path, wanted)
                if not matching:
                    raise
                if not self._kept.hold_for(matching[-1], effect_of(action)):
                    return failed(Code.HANDLER_FAILED, "too many other actions hold it there")
                return Answer(result=self._said(matching[-1], already=True))

    def _take(
        self, action: Action, where: _Where, path: str, wanted: Mapping[str, Any], folder: int, opened: int,
        found: os.stat_result,
    ) -> Answer:
        digests = _digests(opened, action)
        for kind, digest in wanted.get("hashes", {}).items():
            if digests[kind] != digest.lower():
                return refused(Code.TARGET_DIFFERS, f"it has another hashes.{kind}")
        if not self._kept.has_room(action.requester):
            full = f"{FILES_MAX:,} files are in quarantine, or as many as one requester may have"
            return failed(Code.HANDLER_FAILED, full)
        room = os.statvfs(self._store)
        if found.st_dev != self._store.stat().st_dev and room.f_bavail * room.f_frsize < found.st_size + _LEFT_BYTES:
            return failed(Code.HANDLER_FAILED, "the disk of the quarantine is short of room for a copy")
        name = secrets.token_hex(16)
        self._kept.put(name, Entry(action.requester, wall_ms(), action.id, {
            "path": path, "sha256": digests["sha256"], "bytes": found.st_size, **Attributes.of(found)._asdict(),
            **held_for(action),
        }))
        try:
            take(folder, where.name, opened, self._store, name)
        except BaseException:
            if not (self._store / name).exists():
                self._kept.drop(name)
            raise
        others = found.st_nlink - 1
        return Answer(result={**self._said(name, already=False), **({"other_names": others} if others else {})})

    def _said(self, name: str, *, already: bool) -> dict[str, Any]:
        more = self._kept.entries[name].more
        return {"contained": more["path"], "sha256": more["sha256"], "bytes": more["bytes"], "as": name,
                "already": already}

    # -- back -------------------------------------------------------------------------------------------

    def _revert(self, action: Action, where: _Where, path: str, wanted: Mapping[str, Any]) -> Answer:
        """Another file that was at this path, or this one for another reason, is still to be kept away."""
        effect = effect_of(action)
        matching = [name for name in self._matching(path, wanted) if self._kept.is_for(name, effect)]
        if matching and self._kept.let_go(matching[-1], effect):
            return Answer(result={"was_contained": True, "still_contained": True})
        return self._give_back(where, path, matching)

    def _restore(self, _action: Action, where: _Where, path: str, wanted: Mapping[str, Any]) -> Answer:
        return self._give_back(where, path, self._matching(path, wanted))

    def _give_back(self, where: _Where, path: str, matching: Sequence[str]) -> Answer:
        if not matching:
            return Answer(result={"restored": path, "was_contained": False})
        name = matching[-1]
        more = self._kept.entries[name].more
        with folder_beneath(where.root, where.folder, self._avoided) as folder:
            attributes = Attributes(more["mode"], more["uid"], more["gid"], more["mtime_ns"])
            give_back(self._store, name, folder, where.name, attributes)
        self._kept.drop(name)
        earlier = len(matching) - 1
        return Answer(result={"restored": path, "was_contained": True, "sha256": more["sha256"],
                              **({"earlier_in_quarantine": earlier} if earlier else {})})

    def _matching(self, path: str, wanted: Mapping[str, Any]) -> list[str]:
        """What was at this path, the latest last."""
        digest = wanted.get("hashes", {}).get("sha256", "").lower()
        return [name for name, entry in self._kept.entries.items()
                if entry.more["path"] == path and digest in ("", entry.more["sha256"])]

    def _finish(self, name: str, path: str) -> None:
        where = self._where(path)
        if isinstance(where, _Where):
            with suppress(OSError, Avoided), folder_beneath(where.root, where.folder, self._avoided) as folder:
                finish(folder, self._store / name)


def _digests(opened: int, action: Action) -> dict[str, str]:
    made = {kind: hashlib.new(kind, usedforsecurity=False) for kind in _HASHES}
    at, size = 0, max(1, os.fstat(opened).st_size)
    while piece := os.pread(opened, _CHUNK_BYTES, at):
        for digest in made.values():
            digest.update(piece)
        at += len(piece)
        if action.control.cancelled:
            raise _Ended
        action.control.report(min(1.0, at / size), "reading it")
    return {kind: digest.hexdigest() for kind, digest in made.items()}


def _check(_name: str, entry: Entry) -> None:
    for field, kind in (("path", str), ("sha256", str), ("bytes", int), ("mode", int), ("uid", int), ("gid", int),
                        ("mtime_ns", int)):
        if not isinstance(entry.more[field], kind):
            raise TypeError(field)


def _roots(options: Options) -> list[Path]:
    return [Path(root) for root in options.many("root")]


def make(options: Options, place: Place) -> Quarantine:
    """Raises USAGE, HANDLER_UNFIT."""
    if not _roots(options):
        raise FabricError(Code.USAGE, "--handler quarantine: no root", "say below what it may touch files: root=/home")
    for need in needs(options):
        if need.problem:
            raise FabricError(Code.HANDLER_UNFIT, f"quarantine: {need.what}: {need.problem}", need.next_step)
    store = Path(options.one("store")) if options.one("store") else place.folder / "files"
    kept = Kept(place.folder / "contained.json", FILES_MAX, _check)
    roots = {path: root.resolve() for root in _roots(options) for path in (root, root.resolve())}
    return Quarantine(kept, store, roots, [fabric_home(), place.folder.parent.parent])


def needs(options: Options) -> list[Need]:
    """Roots that are folders."""
    if not _roots(options):
        return [Need("a folder, below which files may be touched", "", "say e.g. root=/home")]
    return [
        Need(f"the folder {root}") if root.is_absolute() and root.is_dir() else
        Need(f"the folder {root}", "it is no folder, or not absolute", "name a folder that is there")
        for root in _roots(options)
    ]


KIND: Final = Kind(
    "quarantine",
    "Move a file of this machine into a private folder, and back.",
    lambda _options: [
        Pair("contain", "file", "moves it into quarantine", reverts=True),
        Pair("restore", "file", "moves it back"),
        Pair("allow", "file", "moves it back"),
    ],
    [
        Option("root", "FOLDER", "Touch files below this folder only.", True),
        Option("store", "FOLDER", "Where to; default: in the identity's folder. On another disk files are copied."),
    ],
    needs,
    make,
)
