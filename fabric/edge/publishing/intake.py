"""Takes in what a program publishes, from any thread, as long as its connection lasts.

Guarantees: `publish` ends when the record is durable, or raises why it was not taken; no source passes a record that
was begun and neither added nor cancelled; after `stop` nothing is taken in.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import cast

from fabric.edge.connection.mailbox import Mailbox, fail
from fabric.edge.publishing.composer import Draft, Position, Stamp, estimate_bytes
from fabric.edge.publishing.outbox import EdgeOutbox
from fabric.edge.publishing.publisher import Publisher, Receipt
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.field_labels import Record
from fabric.transport.clock import Clock


class Intake:
    """Until `keeps` says otherwise this connection has no outbox."""

    def __init__(self, clock: Clock, mailbox: Mailbox, publisher: Publisher) -> None:
        self._clock = clock
        self._mailbox = mailbox
        self._publisher = publisher
        self._outbox: EdgeOutbox | None = None
        self._is_leaving = False
        self._stopped = False

    def keeps(self, outbox: EdgeOutbox) -> None:
        """What is taken in is kept in this outbox, which is open."""
        self._outbox = outbox

    def publish(
        self, stamp: Stamp, record: Record, position: Position | None = None, wait_s: float | None = None
    ) -> Future[str]:
        """The record's id, when it is durable: in the outbox where there is one, else at the relay.

        Blocks while too much waits, but no longer than `wait_s`: then it raises BUSY. `position` is kept with the
        record, in the same commit. Cancelled while it waits, the record is not taken.
        """
        draft = self.begin(stamp, record, position)
        try:
            self.add(draft, wait_s)
        except FabricError:
            draft.token.cancel()
            raise
        return cast("Future[str]", draft.token)

    def begin(self, stamp: Stamp, record: Record, position: Position | None) -> Draft:
        """The first half of `publish`, which does not block: its source goes no further until it is taken.

        Whoever does not add it cancels its token, a future.
        """
        if position is not None:
            if self._outbox is None:
                raise FabricError(
                    Code.USAGE, "a position needs an outbox to be kept in", "open the control point with one"
                )
            position = Position(_source(position.source), _position(position.position))
            self._outbox.check_source(position.source)
        if self._is_leaving:
            raise self._mailbox.ended or FabricError(Code.CLOSED)
        draft = Draft(stamp, record, self._clock.now_ms(), Receipt(), estimate_bytes(record), position)
        self._publisher.begin(draft)
        return draft

    def add(self, draft: Draft, wait_s: float | None) -> None:
        """The second half, which blocks. After BUSY it may be tried again."""
        if self._stopped:
            error = self._mailbox.ended or FabricError(Code.CLOSED)
            fail(draft.token, error)
            raise error
        self._publisher.add(draft, wait_s)
        self._mailbox.wake()

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
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FabricError(Code.BAD_INPUT, "a position is not Unicode text") from None
    return text
