"""What the handler of one action leaves to be fetched (SPEC 9.9): files, bytes, and a result that is too large.

Guarantees: an artifact is on disk before the result that names it is; what is not kept is named there, with the first
reason, and changes nothing about the end. A folder that was made for the action is looked through when its handler has
returned, a bounded number of regular files is taken from it, no link is followed, and it is gone afterwards.
"""

from __future__ import annotations

import errno
import heapq
import io
import itertools
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import structlog

from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.artifacts.names import distinct, file_name
from fabric.edge.artifacts.store import Draft, NotKeptError, Store, remove
from fabric.edge.handling.handlers import Answer
from fabric.edge.highest import label_of_whole
from fabric.edge.publishing.options import to_label
from fabric.files import open_folder, open_regular
from fabric.protocol.access.approvals import principal_of
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import ARTIFACTS_MAX
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.vocabulary.tlp import Label

RESULT_NAME = "result.json"
# A reader gets 200 characters of a reason.
_WHY_CHARS_MAX = 120
_NAME_SHOWN_CHARS = 40
# Of a file that does not say how large it is.
_UNSIZED_BYTES_MAX = 16 << 20


class _Attached(NamedTuple):
    draft: Draft
    name: str
    label: Label


class Attachments:
    """`clearance`: of this node, above which it has nothing."""

    def __init__(
        self, store: Store, action: Verified, clearance: Label, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._store = store
        self._action = action
        self._clearance = clearance
        self._log = log
        self._lock = threading.Lock()
        self._attached: list[_Attached] = []
        self._folder: Path | None = None
        self._missing = ""  # the first that was not kept, and why
        self._missing_more = 0  # how many more
        self._is_closed = False

    # -- the handler's threads --------------------------------------------------------------------------

    def attach(self, source: object, name: str = "", label: object = None) -> bool:
        """As `Control.attach` says."""
        if not isinstance(source, Path | str | bytes | bytearray | memoryview):
            what = f"an attachment of type {type(source).__name__[:64]}"
            raise FabricError(Code.USAGE, what, "give a path, or bytes")
        if not isinstance(name, str):
            raise FabricError(Code.USAGE, f"a name of type {type(name).__name__[:64]}", "give text")
        bears = self._bears(label)
        if isinstance(source, Path | str):
            path = Path(source)
            try:
                with open_regular(path) as file:
                    return self._take(*_sized(file), name or path.name, bears)
            except OSError as error:
                why = f"{name or path.name}: {error.strerror or type(error).__name__}"
                raise FabricError(Code.BAD_INPUT, why, "attach a regular file that can be read") from None
        content = bytes(source)
        return self._take(io.BytesIO(content), len(content), name, bears)

    def _bears(self, label: object) -> Label:
        least = label_of_whole(self._action.header)
        bears = least if label is None else max(least, to_label(label))  # type: ignore[arg-type]
        if bears > self._clearance:
            raise FabricError(Code.CLEARANCE_DENIED, f"{bears.short} attached at {self._clearance.short}")
        return bears

    @property
    def folder(self) -> Path:
        """As `Control.folder` says."""
        with self._lock:
            self._check_open()
            if self._folder is None:
                self._folder = self._store.work_folder()
            return self._folder

    def _check_open(self) -> None:
        if self._is_closed:
            raise FabricError(Code.USAGE, "the action has ended", "attach before its handler returns")

    def _take(self, source: BinaryIO, size: int, name: str, label: Label) -> bool:
        with self._lock:
            self._check_open()
            if len(self._attached) >= ARTIFACTS_MAX:
                self._miss(name, f"an action has {ARTIFACTS_MAX} at most")
                return False
            try:
                draft = self._store.draft(source, size, self._action.header.origin)
            except NotKeptError as error:
                self._miss(name, error.detail)
            except OSError as error:
                self._miss(name, f"the target's disk: {error.strerror or type(error).__name__}")
            else:
                taken = [attached.name for attached in self._attached]
                self._attached.append(_Attached(draft, distinct(file_name(name), taken), label))
                return True
            return False

    def _miss(self, name: str, why: str, count: int = 1) -> None:
        if self._missing:
            self._missing_more += count
        else:
            self._missing = f"{_shown(name)}: {why}" if name else why

    # -- when it has returned ---------------------------------------------------------------------------

    def close(self, answer: Answer, returned: object) -> Answer:
        """The answer, with all that was left. Never raises: what was done is told."""
        try:
            self._collect()
            answer = self._whole(answer, returned)
            with self._lock:
                self._is_closed = True
            kept = self._keep()
        except Exception as error:  # noqa: BLE001 - the answer counts, whatever became of what came with it
            self._log.error("artifacts not kept", action=self._action.leaf.hex(), error=type(error).__name__)
            self._is_closed = True
            self._miss("", "the target's disk")
            kept = ()
        finally:
            if self._folder is not None:
                remove(self._folder)
        if not self._missing:
            return replace(answer, artifacts=kept)
        more = f", and {self._missing_more} more" if self._missing_more else ""
        why = f"{self._missing[:_WHY_CHARS_MAX]}{more}"
        self._log.warning("artifacts not kept", action=self._action.leaf.hex(), why=why)
        if answer.code is not None:
            return replace(answer, artifacts=kept, reason=answer.reason or f"not kept: {why}")
        return replace(answer, artifacts=kept, code=Code.ARTIFACT_NOT_KEPT, reason=why)

    def _collect(self) -> None:
        """The regular files in the folder, in the order of their names."""
        if self._folder is None:
            return
        try:
            folder = open_folder(self._folder)
        except FileNotFoundError:
            return  # its handler has cleaned up
        except OSError:
            self._miss("", "its folder is none any more")
            return
        try:
            self._collect_in(folder)
        finally:
            os.close(folder)

    def _collect_in(self, folder: int) -> None:
        with os.scandir(folder) as entries:
            left = ARTIFACTS_MAX - len(self._attached)
            counted = itertools.count()  # however many there are, few are remembered
            chosen = heapq.nsmallest(max(0, left), (entry.name for entry, _ in zip(entries, counted, strict=False)))
            count = next(counted)
        for name in chosen:
            try:
                with open_regular(name, folder) as file:
                    self._take(*_sized(file), name, label_of_whole(self._action.header))
            except OSError:
                self._miss(name, "no regular file, or not readable")
        if (more := count - len(chosen)) > 0:
            self._miss("", f"an action has {ARTIFACTS_MAX} at most, and left {more:,} more files", more)

    def _whole(self, answer: Answer, returned: object) -> Answer:
        """A result of which something had to be left out, whole, as a file; if it can be written as JSON at all."""
        result = returned.result if isinstance(returned, Answer) else returned
        was_fitted = isinstance(returned, Answer) and returned.code is not None  # nobody has all of it any more
        if answer.code is not Code.RESULT_UNFIT or was_fitted or not isinstance(result, Mapping):
            return answer
        try:
            text = json.dumps(dict(result), ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            return answer
        least = label_of_whole(self._action.header)
        label = answer.label if answer.label is not None else least
        name = distinct(RESULT_NAME, [attached.name for attached in self._attached])
        with suppress(FabricError):
            if self._take(io.BytesIO(text), len(text), name, max(label, least)):
                return replace(answer, reason=f"{answer.reason[:_WHY_CHARS_MAX]}; all of it is the artifact {name}")
        return answer

    def _keep(self) -> tuple[Artifact, ...]:
        header, action = self._action.header, self._action.leaf.hex()
        principal = principal_of(self._action.credential)
        found: list[Artifact] = []
        for draft, name, label in self._attached:
            try:
                kept = self._store.keep(draft, action=action, principal=principal, name=name, label=label)
            except OSError as error:
                self._miss(name, f"the target's disk: {error.strerror or type(error).__name__}")
                self._store.drop(draft)
                continue
            found.append(Artifact(
                kept.id, name, kept.bytes, kept.sha256, label, kept.until_ms, "", action, header.label
            ))
        return tuple(found)


def _sized(file: BinaryIO) -> tuple[BinaryIO, int]:
    """What of a file is copied, and how much that is: of one that says it is empty, and is not, as those of /proc do,
    what is in it now. Raises OSError, also where that is more than anybody has in mind."""
    size = os.fstat(file.fileno()).st_size
    if size:
        return file, size
    content = file.read(_UNSIZED_BYTES_MAX + 1)
    if len(content) > _UNSIZED_BYTES_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return io.BytesIO(content), len(content)


def _shown(name: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in name[:_NAME_SHOWN_CHARS + 1])
    return shown if len(shown) <= _NAME_SHOWN_CHARS else f"{shown[:_NAME_SHOWN_CHARS]}..."
