"""The actions that were taken and have not ended, and what is said of each until then (SPEC 9.4).

Pure: time is an argument. Guarantees: of what ends at once nothing is said before its end; of what takes longer it is
said that it is accepted, or running, again while it lasts, and with its progress no more than once a second. No more
are kept than `Executing` takes in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fabric.edge.control import Control
from fabric.edge.handling.replies import About
from fabric.edge.highest import label_of_whole
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import Status

# What is over by then says more than that it began. Where hundreds execute one action, on few machines, each word is as
# much work for everybody as a result, and delays those.
_AT_ONCE_MS: Final = 1_000
_AGAIN_MS: Final = 30_000
_PROGRESS_MS: Final = 1_000
# Nobody wants to know for longer how far it was.
_WORD_TTL_MS: Final = 120_000


class Word(NamedTuple):
    """What is said of an action that has not ended."""

    about: About
    state: State
    progress: float | None
    note: str

    def stamp(self) -> Stamp:
        """As of its result."""
        about = self.about.header
        return Stamp(
            Kind.RESULT, about.topic, about.severity, about.phase, _WORD_TTL_MS, label_of_whole(about),
            to=about.origin, correlation=self.about.leaf, audience=about.audience, state=self.state,
        )

    def record(self, target: str) -> dict[str, Any]:
        """SPEC 9.4."""
        record: dict[str, Any] = {
            "state": self.state.word, "targets": [target], "by": target, "status": int(Status.PROCESSING),
        }
        if self.progress is not None:
            record["progress"] = self.progress
        if self.note:
            record["note"] = self.note
        return record


@dataclass(slots=True)
class _One:
    about: About
    control: Control
    say_ms: int
    state: State = State.ACCEPTED
    said_ms: int | None = None
    progress: float | None = None
    note: str = ""


@dataclass(slots=True)
class AtWork:
    """By the id of the action."""

    _all: dict[bytes, _One] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._all)

    def taken(self, about: About, control: Control, now_ms: int) -> None:
        """It waits for a handler, or is about to have one."""
        self._all[about.id] = _One(about, control, now_ms + _AT_ONCE_MS)

    def begins(self, id_: bytes, now_ms: int) -> None:
        """Its handler is called."""
        one = self._all.get(id_)
        if one is not None:
            one.state = State.RUNNING
            if one.said_ms is not None:
                one.say_ms = max(now_ms, one.said_ms + _PROGRESS_MS)

    def progresses(self, id_: bytes, progress: float | None, note: str, now_ms: int) -> None:
        """Its handler says how far it is."""
        one = self._all.get(id_)
        if one is not None:
            one.progress, one.note = progress, note
            one.say_ms = now_ms if one.said_ms is None else max(now_ms, one.said_ms + _PROGRESS_MS)

    def ended(self, id_: bytes) -> None:
        """There is an answer: nothing else is said any more."""
        self._all.pop(id_, None)

    def control_of(self, id_: bytes) -> tuple[Control, str] | None:
        """Of an action that has not ended, with its requester."""
        one = self._all.get(id_)
        return None if one is None else (one.control, one.about.header.origin)

    @property
    def due_ms(self) -> int | None:
        """When something is to be said."""
        return min((one.say_ms for one in self._all.values()), default=None)

    def due(self, now_ms: int) -> list[Word]:
        """What is to be said now."""
        words = []
        for one in self._all.values():
            if one.say_ms <= now_ms:
                one.said_ms, one.say_ms = now_ms, now_ms + _AGAIN_MS
                words.append(Word(one.about, one.state, one.progress, one.note))
        return words
