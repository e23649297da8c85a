"""Takes in what a program publishes, from any thread, as long as its connection lasts.

Guarantees: `publish` ends when the record is durable, or raises why it was not taken; no source passes a record that
was begun and neither added nor cancelled; after `stop` nothing is taken in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from fabric.edge.connection.mailbox import Mailbox, fail
from fabric.edge.publishing.drafts import NO_STAMP, Draft, Position, Stamp
from fabric.edge.publishing.lanes import Lanes
from fabric.edge.publishing.outbox import EdgeOutbox
from fabric.edge.publishing.receipts import Many, Receipt, Tell
from fabric.edge.publishing.snapshot import Snapshot, snapshot
from fabric.edge.publishing.sources import Sources
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Ready
from fabric.protocol.envelope.field_labels import Record
from fabric.transport.clock import Clock


class Entry(NamedTuple):
    """One of many: what is published, or why it is not."""

    stamp: Stamp
    content: Snapshot
    position: Position | None = None
    refused: FabricError | None = None


class Intake:
    """Until `keeps` says otherwise this connection has no outbox."""

    def __init__(self, clock: Clock, mailbox: Mailbox, lanes: Lanes, sources: Sources) -> None:
        self._clock = clock
        self._mailbox = mailbox
        self._lanes = lanes
        self._sources = sources
        self._outbox: EdgeOutbox | None = None
        self._is_leaving = False
        self._is_passing = False  # the connection's thread is going to look at what was passed over
        self._stopped = False

    def keeps(self, outbox: EdgeOutbox) -> None:
        """What is taken in is kept in this outbox, which is open."""
        self._outbox = outbox

    def publish(
        self, stamp: Stamp, content: Record | Snapshot, position: Position | None = None, wait_s: float | None = None,
    ) -> Future[str]:
        """The record's id, when it is durable: in the outbox where there is one, else at the relay.

        Blocks while too much waits, but no longer than `wait_s`: then it raises BUSY. `position` is kept with the
        record, in the same commit. Cancelled while it waits, the record is not taken.
        """
        draft = self.begin(stamp, content, position)
        try:
            self.add(draft, wait_s)
        except BaseException:  # Ctrl-C while it waited, too
            self.drop(draft)
            raise
        token: Future[str] = draft.token
        return token

    def publish_many(
        self, entries: Sequence[Entry], wait_s: float | None = None, tell: Tell | None = None
    ) -> Many:
        """All of these, in order, as `Many` says what becomes of them.

        Blocks while too much waits, but no longer than `wait_s`. One that is refused hinders no other: its source
        passes it, when `tell` was told.
        """
        self._check_open()
        many, now_ms = Many(len(entries), tell), self._clock.now_ms()
        sources: dict[str, str] = {}
        refused: dict[int, FabricError] = {}
        drafts: list[Draft] = []
        for number, (stamp, (record, size, keys), position, error) in enumerate(entries):
            if position is not None:
                try:
                    position = self._checked(position, sources)
                except FabricError as fault:
                    position, error = None, error or fault
            if error is not None:
                refused[number] = error
            drafts.append(Draft(stamp, record, now_ms, many, size, position, number=number, keys=keys))
        deadline_s = None if wait_s is None else time.monotonic() + wait_s
        begun = taken = 0
        try:
            begun = self._sources.begin_many(drafts)
            taken = self._add_many(drafts[:begun], refused, deadline_s)
        finally:
            for draft in drafts[taken:]:
                draft.dropped = True
            many.cut(taken, self._mailbox.ended or FabricError(Code.BUSY, "too many records wait for the relay"))
            self._mailbox.wake()
            if taken < len(drafts):
                self._pass_soon()  # what is there already of their sources may have waited for them
        return many

    def _add_many(
        self, drafts: Sequence[Draft], refused: Mapping[int, FabricError], deadline_s: float | None
    ) -> int:
        """How many were taken. What is refused is passed when all before it were: what is behind may come again."""
        at = 0
        for stop in (*refused, len(drafts)):
            run = drafts[at:stop]
            if run:
                at += self._lanes.add_many(run, deadline_s, self._mailbox.wake)
            if at < stop or stop >= len(drafts):
                break
            drafts[at].token.refuse(at, refused[at])
            drafts[at].taken = True
            at += 1
        if refused:
            self._pass_soon()
        return at

    def begin(self, stamp: Stamp, content: Record | Snapshot, position: Position | None) -> Draft:
        """The first half of `publish`, which does not block: its source goes no further until it is taken.

        Of a record a copy is taken. Whoever does not add it drops it.
        """
        if position is not None:
            position = self._checked(position, {})
        self._check_open()
        record, size, keys = content if type(content) is Snapshot else snapshot(content)
        draft = Draft(stamp, record, self._clock.now_ms(), Receipt(), size, position, keys=keys)
        try:
            self._sources.begin(draft)
        except BaseException:  # Ctrl-C, when it was begun
            draft.token.cancel()
            raise
        return draft

    def drop(self, draft: Draft) -> None:
        """Who began it wants it no more: unless it is on its way, its source goes on without it."""
        draft.token.cancel()
        if draft.position is not None:
            self._pass_soon()

    def _check_open(self) -> None:
        if self._is_leaving:
            raise self._mailbox.ended or FabricError(Code.CLOSED)

    def _checked(self, position: Position, sources: dict[str, str]) -> Position:
        """As it is kept. `sources`: names that were checked, as they are kept. Raises FabricError."""
        if self._outbox is None:
            raise FabricError(
                Code.USAGE, "a position needs an outbox to be kept in", "open the control point with one"
            )
        source = sources.get(position.source)
        if source is None:
            source = _source(position.source)
            self._outbox.check_source(source)
            sources[position.source] = source
        return Position(source, _position(position.position))

    def add(self, draft: Draft, wait_s: float | None) -> None:
        """The second half, which blocks. After BUSY it may be tried again."""
        if self._stopped:
            error = self._mailbox.ended or FabricError(Code.CLOSED)
            fail(draft.token, error)
            raise error
        self._lanes.add(draft, wait_s)
        self._mailbox.wake()

    def pass_over(self, position: Position) -> None:
        """Its source passes this position, after what was begun before it. Nothing is published."""
        self.begin(NO_STAMP, Snapshot({}, 0), position).taken = True
        self._pass_soon()

    def _pass_soon(self) -> None:
        if self._is_passing:  # once for all that is passed until then
            return
        try:
            self._is_passing = True
            self._mailbox.call_if_any(self._pass)
        except BaseException:  # Ctrl-C in between: nobody was told
            self._is_passing = False
            raise

    def _pass(self, _now_ms: int, ready: Ready) -> None:
        self._is_passing = False
        self._sources.advance(ready)

    def position(self, source: str) -> str | None:
        """How far the outbox's records of this source go."""
        return self._outbox.position(_source(source)) if self._outbox is not None else None

    def leave(self) -> None:
        """Its program publishes nothing more: what was begun may still be added."""
        self._is_leaving = True

    def stop(self) -> None:
        """Nothing is taken in any more."""
        self._is_leaving = self._stopped = True


def _source(name: str) -> str:
    """Names of files need not be text: what cannot be kept as it is, is kept as its number."""
    return name.encode(errors="backslashreplace").decode()


def _position(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FabricError(Code.BAD_INPUT, "a position is not Unicode text") from None
    return text
