"""A program's open requests: each is told when a result, or its deadline, adds to it.

Guarantees: no more than `OPEN_MAX` are open, and each ends at its deadline. A result that comes later from a target
whose end was reported as unknown is given back once, to be logged. All of it runs on the loop's thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from fabric.edge.messages import Message
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.vocabulary.openc2 import End

Tell = Callable[[Tracker], None]
# A program that asks for actions waits for what becomes of them. Each keeps what its targets say until its deadline.
OPEN_MAX = 4_096
# Requests that are over, and the targets of theirs whose end is unknown: of older ones a late word is let go.
OVER_MAX = 1_024
UNKNOWN_MAX = 16_384


class Records(Protocol):
    """Who writes down what is learnt."""

    def heard(self, tracker: Tracker, now_ms: int) -> None:
        """A tracker has news."""

    def others(self, message: Verified, messages: Sequence[Message], now_ms: int) -> None:
        """A result of no request that is open."""

    def over(self, tracker: Tracker) -> None:
        """A request ended."""


class Late(NamedTuple):
    """What a target said when its requester had been told that nobody knows."""

    target: str
    end: End


class Requests:
    """The open requests of one program, by their actions' leaves, and the late answers to those that are over."""

    def __init__(self, records: Records | None = None) -> None:
        self._records = records
        self._requests: dict[bytes, tuple[Tracker, list[Tell]]] = {}
        # The targets of those that are over whose end is unknown; None: they were never named, and the first is told.
        self._over: OrderedDict[bytes, tuple[str, ...] | None] = OrderedDict()
        self._unknown = 0

    def check_room(self) -> None:
        """Raises BUSY where as many are open as may be."""
        if sum([len(tells) for _, tells in self._requests.values()]) >= OPEN_MAX:
            raise FabricError(Code.BUSY, f"{OPEN_MAX} requests are open", "wait for what becomes of them")

    def get(self, digest: bytes) -> Tracker | None:
        """Of an action that is open."""
        known = self._requests.get(digest)
        return known[0] if known is not None else None

    def add(self, tracker: Tracker, tell: Tell) -> None:
        """`tell` is called whenever the tracker has learnt something, and now where it knows something; one that is
        open may be added again."""
        _, tells = self._requests.setdefault(tracker.digest, (tracker, []))
        tells.append(tell)
        if tracker.news or tracker.targets is not None:
            self.tell(tracker)

    def take(self, message: Verified, messages: Sequence[Message], now_ms: int) -> list[Late]:
        """A result came, perhaps of one of them. What came too late."""
        known = self._requests.get(message.header.correlation)
        if known is None:
            if self._records is not None:
                self._records.others(message, messages, now_ms)
            return self._too_late(message, messages)
        tracker, _ = known
        for record in messages:
            tracker.take(message, record.content, now_ms)
        self._learnt(tracker, now_ms)
        return []

    def _too_late(self, message: Verified, messages: Sequence[Message]) -> list[Late]:
        digest, target = message.header.correlation, message.credential.id
        if digest not in self._over:
            return []
        unknown = self._over[digest]
        ends = [end for record in messages if (end := Tracker.end_of(message, record.content)) is not None]
        if not ends or (unknown is not None and target not in unknown):
            return []
        self._forget(digest)
        self._remember(digest, tuple(name for name in unknown or () if name != target))
        return [Late(target, ends[0])]

    def _remember(self, digest: bytes, unknown: tuple[str, ...] | None) -> None:
        if unknown == () or digest in self._over:
            return
        self._over[digest] = unknown
        self._unknown += len(unknown or ())
        while len(self._over) > OVER_MAX or self._unknown > UNKNOWN_MAX:
            self._forget(next(iter(self._over)))

    def _forget(self, digest: bytes) -> None:
        self._unknown -= len(self._over.pop(digest) or ())

    def __bool__(self) -> bool:
        """Whether any is open."""
        return bool(self._requests)

    def time_out(self, now_ms: int) -> None:
        for tracker, _ in list(self._requests.values()):
            if tracker.time_out(now_ms) or tracker.done:
                self._learnt(tracker, now_ms)

    def close(self) -> None:
        """Nothing more will come: what is open is unknown. That is no word of anybody, and not written down."""
        for tracker, _ in list(self._requests.values()):
            tracker.time_out(tracker.deadline_ms)
            self.tell(tracker)

    def _learnt(self, tracker: Tracker, now_ms: int) -> None:
        if self._records is not None:
            self._records.heard(tracker, now_ms)
        self.tell(tracker)

    def tell(self, tracker: Tracker) -> None:
        """Whoever asked. What is over is forgotten."""
        _, tells = self._requests.get(tracker.digest, (tracker, []))
        for tell in tells:
            tell(tracker)
        tracker.news.clear()
        if tracker.done:
            self._requests.pop(tracker.digest, None)
            self._remember(tracker.digest, tracker.unknown())
            if self._records is not None:
                self._records.over(tracker)
