"""Fetches one artifact into a file (SPEC 9.9), on the thread of whoever calls.

Guarantees: what is in the file is the artifact, by the digest that its result named, or the call raises and says why;
what came is kept, and gone on with by the next call, also of another process. It waits for a target that is away, and
for relays, as long as something may still come, and no longer than `timeout_s` without a byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, Protocol

from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.fetching.fetches import Fetches, Hear, Said
from fabric.edge.fetching.part import Part, is_there
from fabric.edge.fetching.windows import Windows
from fabric.edge.locks import Event
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.publishing.options import to_leaf
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.reports import NOBODY
from fabric.protocol.vocabulary.fetching import FETCH, FETCH_ACTION, Wanted, session_beginning
from fabric.protocol.vocabulary.lifecycle import State, state_named
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity

TIMEOUT_S: Final = 60.0
# A range that is not asked for or answered by then is nobody's any more.
_TTL_MS: Final = 60_000
# Without a byte for so long what is open is asked for again: its target was started anew, or its answer was lost.
_SILENT_S: Final = 8.0
_RETRY_S: Final = 1.0
_LOOK_S: Final = 0.25
# What another try does not mend, whoever says it.
_FINAL: Final = frozenset({
    Code.ARTIFACT_GONE, Code.ARTIFACT_CHANGED, Code.WITHHELD, Code.CLEARANCE_DENIED, Code.REQUEST_DENIED, Code.REVOKED,
    Code.EXECUTE_DENIED, Code.SEVERITY_DENIED, Code.BAD_ACTION, Code.NO_HANDLER, Code.LABEL_TOO_LOW,
    Code.INTERNAL, Code.CREDENTIAL_EXPIRED, Code.CLOSED,
})
_BY_LABEL: Final = {code.label: code for code in Code}


class Fetched(NamedTuple):
    """How far it is: `bytes` of `size`, of which `resumed` were there before; `waits`: for what, if it does."""

    bytes: int
    size: int
    resumed: int
    waits: str = ""


FetchProgress = Callable[[Fetched], None]


class Connection(Protocol):
    """What of a control point's connection this needs."""

    @property
    def fetches(self) -> Fetches: ...

    @property
    def session(self) -> bytes: ...

    @property
    def connected(self) -> bool: ...

    @property
    def ended(self) -> FabricError | None:
        """What ended it for good."""


def file_for(artifact: Artifact, path: Path | str) -> Path:
    """The file itself; in a folder that is there, one with the artifact's name."""
    path = Path(path)
    return path / artifact.name if path.is_dir() else path


class Fetch:
    """One call of one program. `stop`: set from anywhere, it ends the wait as Ctrl-C does."""

    def __init__(
        self, connection: Connection, artifact: Artifact, progress: FetchProgress = lambda _: None,
        timeout_s: float | None = TIMEOUT_S, now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._artifact = artifact
        self._progress = progress
        self._timeout_s = timeout_s
        self._now_s = now_s
        self.stop = Event()
        # With whom heard it: what was asked for before the last `again` says no more why nothing comes.
        self._heard: SimpleQueue[tuple[Hear, Said | FabricError]] = SimpleQueue()
        self._hear = self._new_hear()
        self._windows = Windows(artifact.bytes, 0)
        self._resumed = 0
        self._waits = ""
        self._ask_s = self._heard_s = self._came_s = 0.0

    def into(self, path: Path) -> Path:
        """The file, when it is whole; one that is there, and is the same, is left as it is. Raises FILE_THERE,
        FETCH_STOPPED, ARTIFACT_GONE, ARTIFACT_CHANGED, WITHHELD, what else its target, a relay or the connection has
        against it, and OSError as the disk does."""
        if is_there(self._artifact, path):
            size = self._artifact.bytes
            self._progress(Fetched(size, size, size))
            return path
        with Part(self._artifact, path) as part:
            self._resumed = part.size
            self._fetch(part)
            if not part.is_right() and self._resumed:
                part.begin_anew()  # what was there may have been something else
                self._resumed = 0
                self._fetch(part)
            if not part.is_right():
                part.begin_anew()
                raise FabricError(Code.ARTIFACT_CHANGED, f"{self._artifact.name} at {self._artifact.target}")
            part.take_its_name()
        return path

    def _new_hear(self) -> Hear:
        def hear(said: Said | FabricError) -> None:
            self._heard.put((hear, said))

        return hear

    def _fetch(self, part: Part) -> None:
        self._windows = Windows(self._artifact.bytes, part.size)
        self._came_s = self._heard_s = self._now_s()
        self._ask_s = 0.0
        try:
            self._tell()
            while not self._windows.done:
                self._check_time()
                self._ask()
                try:
                    heard_by, said = self._heard.get(timeout=_LOOK_S)
                except Empty:
                    self._look()
                    continue
                if isinstance(said, FabricError):
                    self._not_asked(heard_by, said)
                else:
                    self._take(heard_by, said, part)
        finally:
            self._connection.fetches.forget(self._hear)

    # -- asking -----------------------------------------------------------------------------------------

    def _ask(self) -> None:
        now_s = self._now_s()
        range_ = self._windows.ask(int(now_s * 1000)) if now_s >= self._ask_s else None
        if range_ is None:
            return
        artifact = self._artifact
        wanted = Wanted(artifact.id, *range_, session_beginning(self._connection.session))
        stamp = Stamp(
            Kind.ACTION, FETCH, Severity.INFORMATIONAL, Phase.NONE, _TTL_MS, artifact.result_label,
            to=f"id={artifact.target}", correlation=to_leaf(artifact.action),
        )
        record: dict[str, Any] = {"action": FETCH_ACTION, "target": wanted.to_json(), "args": {}}
        self._connection.fetches.ask(stamp, record, artifact.target, self._hear)
        self._heard_s = now_s

    def _again(self, waits: str, *, after_s: float = 0.0, slower: bool = False) -> None:
        """What is open is not coming."""
        self._connection.fetches.forget(self._hear)
        self._hear = self._new_hear()
        self._windows.again(slower=slower)
        self._ask_s = self._now_s() + after_s
        self._heard_s = self._now_s()
        self._tell(waits)

    def _not_asked(self, heard_by: Hear, error: FabricError) -> None:
        """Its relay did not take what asks."""
        if self._connection.ended is not None or error.code in _FINAL:
            raise error
        if heard_by is self._hear:
            self._again(error.code.reason, after_s=_RETRY_S)

    def _look(self) -> None:
        """Nothing comes at the moment."""
        if self._connection.ended is not None:
            raise self._connection.ended
        if not self._connection.connected:
            self._heard_s = self._now_s()  # what asks is sent when there is a relay
            self._tell("no relay is connected")
        elif self._now_s() - self._heard_s >= _SILENT_S:
            self._again(self._waits or f"{self._artifact.target} is silent", slower=True)

    def _check_time(self) -> None:
        if self.stop.is_set():
            raise FabricError(Code.CLOSED)
        if self._timeout_s is not None and self._now_s() - self._came_s >= self._timeout_s:
            there = f"{self._windows.at:,} of {self._artifact.bytes:,} bytes of {self._artifact.name} are there"
            raise FabricError(Code.FETCH_STOPPED, "; ".join(filter(None, [there, self._waits])))

    # -- what comes -------------------------------------------------------------------------------------

    def _take(self, heard_by: Hear, said: Said, part: Part) -> None:
        content, now_s = said.message.content, self._now_s()
        end = str(content.get("end") or content.get("state") or "")
        state = state_named(end)
        if state is State.RUNNING and not said.by_relay:
            if any(label > said.message.label for label in said.message.withheld):
                raise FabricError(Code.WITHHELD, f"{self._artifact.name} of {self._artifact.target}")
            self._heard_s = now_s
            offset, data = content.get("offset"), content.get("data")
            if isinstance(offset, int) and isinstance(data, bytes):
                self._write(self._windows.take(offset, data, int(now_s * 1000)), part)
        elif state is State.HELD:
            self._heard_s = now_s + _TTL_MS / 1000  # its relay asks it as soon as it is back
            self._tell(f"{self._artifact.target} is away")
        elif end == NOBODY:
            self._refused(heard_by, Code.NOBODY, end)
        elif state.end not in (None, End.COMPLETED):
            self._refused(heard_by, _BY_LABEL.get(str(content.get("code", ""))), end)

    def _refused(self, heard_by: Hear, code: Code | None, end: str) -> None:
        if code in _FINAL:
            raise FabricError(code, f"{self._artifact.name} at {self._artifact.target}")
        if heard_by is self._hear:
            self._again(f"{self._artifact.target}: {code.reason if code is not None else end}", after_s=_RETRY_S)

    def _write(self, pieces: list[bytes], part: Part) -> None:
        for piece in pieces:
            part.append(piece)
        if pieces:
            self._came_s = self._now_s()
            self._waits = ""
            self._tell()

    def _tell(self, waits: str = "") -> None:
        self._waits = waits or self._waits
        self._progress(Fetched(self._windows.at, self._artifact.bytes, self._resumed, self._waits))
