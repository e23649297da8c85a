"""The thread that tells the answers no handler gave, and says of what is at work how far it is (SPEC 9.4).

Guarantees: answers are told as soon as there are any; what is at work for long is spoken of in time; it is woken for
nothing else. An action that finds a handler and is over at once, as most are, does not wake it: whoever owns this looks
when something is to be said.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, Protocol

from fabric.edge.acting.at_work import AtWork, Word
from fabric.edge.acting.letters import Letters
from fabric.edge.acting.waiting import Waiting
from fabric.edge.identity.identity import Identity
from fabric.edge.locks import Condition, Room
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.base.errors import FabricError
from fabric.protocol.envelope.field_labels import Record
from fabric.transport.clock import Clock

# How often those are looked at that wait: an answer that one came too late is for somebody who waits for it.
_LOOK_MS: Final = 100
_AWAKE: Final = 0
_FOR_EVER: Final = 1 << 63


class Connection(Protocol):
    """What of a control point's connection is needed here."""

    @property
    def identity(self) -> Identity: ...

    @property
    def clock(self) -> Clock: ...


class Clerk:
    """`changed`: the lock of whoever owns this. `desk`: where letters wake it. `look_at_waiting` ends what waited for a
    handler until its time was over; it is called with the lock."""

    def __init__(
        self, connection: Connection, publish: Callable[[Stamp, Record], Future[str]], letters: Letters,
        at_work: AtWork, waiting: Waiting, changed: Condition, desk: Room, look_at_waiting: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._publish = publish
        self._letters = letters
        self._at_work = at_work
        self._waiting = waiting
        self._changed = changed
        self._desk = desk
        self._look_at_waiting = look_at_waiting
        self._until_ms = _AWAKE
        self._abandoned = False

    # -- called with the lock ---------------------------------------------------------------------------

    def needed(self, *, waits: bool) -> None:
        """There may be something to do sooner than when it looked last. `waits`: an action, for a handler."""
        if self._until_ms > self._due_ms(self._connection.clock.now_ms(), waits=waits):
            self._until_ms = _AWAKE
            self._desk.notify_all()

    def abandon(self) -> None:
        """The connection is over: there is nobody to tell any more."""
        self._abandoned = True
        self._desk.notify_all()

    # -- its thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until it is abandoned."""
        while True:
            with self._changed:
                words = self._at_work.due(self._connection.clock.now_ms())
                while not (self._letters or words or self._abandoned):
                    self._sleep()
                    self._look_at_waiting()
                    words = self._at_work.due(self._connection.clock.now_ms())
                if self._abandoned:
                    return
                answers = self._letters.take()
            self._letters.tell(answers)
            for word in words:
                self._say(word)

    def _sleep(self) -> None:
        now_ms = self._connection.clock.now_ms()
        until_ms = self._until_ms = self._due_ms(now_ms, waits=bool(self._waiting))
        self._desk.wait(None if until_ms == _FOR_EVER else max(0.001, (until_ms - now_ms) / 1000))
        self._until_ms = _AWAKE

    def _due_ms(self, now_ms: int, *, waits: bool) -> int:
        """Until when nothing is to be done, if nothing comes."""
        due_ms = self._at_work.due_ms
        until_ms = _FOR_EVER if due_ms is None else due_ms
        return min(until_ms, now_ms + _LOOK_MS) if waits else until_ms

    def _say(self, word: Word) -> None:
        """Nobody waits for it: what cannot be said now is said the next time."""
        with suppress(FabricError):
            self._publish(word.stamp(), word.record(self._connection.identity.id)).add_done_callback(lambda _: None)
