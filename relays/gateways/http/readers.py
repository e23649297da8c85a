"""One who reads over HTTP: what it asks for, how far it is, and what it missed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.topics import matches
from relays.gateways.http.events import EventId, event, id_line, with_id
from relays.gateways.http.ring import Track
from relays.gateways.http.tokens import Token

# Of one reader at a time. A message may be larger by far, and as many messages be half read as there are readers: so
# none is kept for its reader, who is cut where it leaves the ring meanwhile.
PART_BYTES: Final = 65_536
# Of the ring so many items are looked at at a time, so that whoever wants few of them keeps nobody waiting.
LOOKED_AT_MAX: Final = 2_000
# Of topics for which it is known whether they are wanted; then all are looked up again.
_TOPICS_MAX: Final = 256


class GoneError(Exception):
    """A message left the ring while its reader had a piece of it: what comes next would be read as its rest."""


class Reader:
    """`wanted`: patterns, within its token's topics. `run`: what ids for this token begin with. `lock`: of the ring
    that `track` is of, whose items expire by `now_s`. For the server's thread."""

    def __init__(
        self, token: Token, wanted: Sequence[str], run: str, track: Track, lock: threading.Lock,
        now_s: Callable[[], float],
    ) -> None:
        self.token = token
        self._changes = token.changes
        self._wanted = tuple(wanted)
        self._known: dict[str, bool] = {}
        self._run = run
        self._track = track
        self._lock = lock
        self._now_s = now_s
        self._at = track.newest
        self._told = self._at  # what it knows to have
        self._is_unknown = False  # what it had before
        self._within = 0  # bytes that it has of the message after those
        self.woken = asyncio.Event()

    def resume(self, last: EventId | None) -> None:
        """It has had everything up to this. An id that is none of this run's tells that it missed something, but not
        how much: it gets all that is held."""
        with self._lock:
            if last is not None and last.run == self._run and last.number <= self._track.newest:
                self._at = self._told = last.number
            else:
                self._at, self._is_unknown = self._track.first - 1, True

    def take(self) -> bytes:
        """What is next for it, as events or a piece of one; there may be more where `is_behind`. Raises GoneError."""
        now_s = self._now_s()
        with self._lock:
            parts = self._gap()
            size = expired = 0
            for number, item in islice(self._track.after(self._at), LOOKED_AT_MAX):
                if size >= PART_BYTES:
                    break
                if item.is_for_all or self._wants(item.topic):
                    if item.until_s <= now_s and not self._within:
                        expired += 1
                    else:
                        parts += self._expired(expired)
                        expired = 0
                        size += self._append(parts, number, item.texts[self._track.clearance], PART_BYTES - size)
                        if self._within:
                            break
                        self._told = number
                self._at = number
            parts += self._expired(expired)
        return b"".join(parts)

    def _append(self, parts: list[bytes], number: int, text: bytes, bytes_max: int) -> int:
        """An event, or as much of what it has not had of it: how much."""
        if not self._within:
            parts.append(id_line(EventId(self._run, number)))
        piece = text[self._within : self._within + bytes_max]
        parts.append(piece)
        self._within = (self._within + len(piece)) % len(text)
        return len(piece)

    def _expired(self, count: int) -> list[bytes]:
        """What was held for it, and is never given out any more."""
        if not count:
            return []
        self._told = self._at
        return [with_id(EventId(self._run, self._at), gap(count, f"{Code.EXPIRED.label} {Code.EXPIRED.cause}"))]

    @property
    def is_behind(self) -> bool:
        """Whether there is more than it was asked for."""
        return self._at < self._track.newest

    @property
    def is_revoked(self) -> bool:
        """Whether its token has another secret than when it began."""
        return self._changes != self.token.changes

    def _wants(self, topic: str) -> bool:
        known = self._known.get(topic)
        if known is None:
            if len(self._known) >= _TOPICS_MAX:
                self._known.clear()
            known = self._known[topic] = any(matches(pattern, topic) for pattern in self._wanted)
        return known

    def _gap(self) -> list[bytes]:
        before = self._track.first - 1
        if self._within and self._at < before:
            raise GoneError
        if self._is_unknown:
            missed, why = None, "its last id is none of this run"
        elif self._at < before:
            missed, why = before - self._at, "more came than is kept"
        else:
            return []
        self._at = self._told = max(self._at, before)
        self._is_unknown = False
        return [with_id(EventId(self._run, self._at), gap(missed, why))]

    def passed(self) -> EventId | None:
        """Up to where there was nothing for it since it was told an id; None where it knows that."""
        if self._told == self._at:
            return None
        self._told = self._at
        return EventId(self._run, self._at)


def gap(missed: int | None, why: str) -> bytes:
    """Something is not there that its reader might have got: so many messages of its token's topics at most; None:
    nobody knows."""
    return event("gap", {"missed": missed, "why": why})
