"""What a source rejected, on its way into the dead letters: in order, each once, and waiting while the disk is full.

Guarantees: what is added is in the dead letters, or waits here, or was taken back; it is counted when it is there.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Severity

# How long it is waited for room at a time.
_ROOM_S = 0.5


class Rejects(Protocol):
    """Where what was rejected is kept. Raises FabricError and OSError."""

    def keep(
        self, source: str, raw: bytes | Mapping[str, Any], error: FabricError, where: str,
        severity: Severity | None = None, by: str = "",
    ) -> None: ...


class Rejected(NamedTuple):
    """What is to be in the dead letters."""

    raw: bytes | Mapping[str, Any]
    error: FabricError
    where: str
    severity: Severity | None = None
    by: str = ""


class Rejecting:
    """Of one source. Any thread. `count`: one more is kept; `waits`: why none is, and None when it goes on again."""

    def __init__(
        self, source: str, rejects: Rejects, count: Callable[[], None], waits: Callable[[FabricError | None], None],
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._rejects = rejects
        self._count = count
        self._waits = waits
        self._stop = stop
        self._unkept: deque[Rejected] = deque()  # no more than may wait for the relay
        self._keeping = threading.Lock()

    def add(self, rejected: Rejected) -> FabricError | None:
        """Without waiting; why it is not on disk yet."""
        self._unkept.append(rejected)
        return self.keep_up()

    def keep_up(self) -> FabricError | None:
        """Write what is not on disk; why some is not. From time to time."""
        with self._keeping:
            while self._unkept:
                rejected = self._unkept[0]
                try:
                    self._rejects.keep(
                        self._source, rejected.raw, rejected.error, rejected.where, rejected.severity, rejected.by
                    )
                except (FabricError, OSError) as fault:
                    why = fault.detail if isinstance(fault, FabricError) else fault.strerror or type(fault).__name__
                    return FabricError(Code.SOURCE_AWAY, f"what it rejects cannot be kept: {why}",
                                       "make room on the disk of the identity's folder: it goes on by itself")
                self._unkept.popleft()
                self._count()
        return None

    def wait(self) -> bool:
        """Until all are in the dead letters. False when the source is to stop before that."""
        has_waited = False
        while self._unkept and (why := self.keep_up()) is not None:
            has_waited = True
            self._waits(why)
            if self._stop.wait(_ROOM_S):
                return False
        if has_waited:
            self._waits(None)
        return True

    def add_and_wait(self, rejected: Rejected) -> bool:
        """Whether it is there; False when the source is to stop before that, and it waits here."""
        self._unkept.append(rejected)
        return self.wait()

    def add_now(self, rejected: Rejected) -> None:
        """Raises SOURCE_AWAY where there is no room: then it was not taken."""
        why = self.add(rejected)
        if why is not None and self.take_back(rejected):
            self._waits(why)
            raise why

    def take_back(self, rejected: Rejected) -> bool:
        """Whether it still waited: it is nowhere now."""
        with self._keeping:
            if rejected not in self._unkept:
                return False
            self._unkept.remove(rejected)
            return True
