"""Answers on their way (SPEC 9.3): from when it is known how an action ended until somebody else holds that.

Guarantees: an answer is in the ledger before it is published, and one that cannot be written there is published
nevertheless; what is refused on its way is tried once more, as no more than how the action ended. Counts the actions
that were taken and whose answer is not on its way yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple, Protocol

import structlog

from fabric.edge.handling.handlers import Answer, failed
from fabric.edge.handling.replies import About, Reply
from fabric.edge.identity.identity import Identity
from fabric.edge.locks import Condition, Room
from fabric.edge.logging.faults import trace_of
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.field_labels import Record


class Letter(NamedTuple):
    """A reply on its way. `is_kept`: the ledger has it. `again`: what is refused of it may be told as less."""

    reply: Reply
    is_kept: bool = False
    again: bool = True


class Records(Protocol):
    """What of the ledger an answer needs. Each call raises what ended the connection."""

    def keep(self, reply: Reply) -> Future[None]:
        """Ends when it is on disk what a requester is to be told. What is published after this call leaves after that.
        """

    def told(self, id_: bytes) -> None:
        """Somebody else holds the answer."""


class Connection(Protocol):
    """What of a control point's connection an answer needs."""

    @property
    def identity(self) -> Identity: ...

    @property
    def ledger(self) -> Records: ...

    @property
    def ended(self) -> FabricError | None:
        """What ended it for good."""


class Letters:
    """`changed`: the lock of whoever owns this; who waits there hears that fewer are `open`, and who waits in `tellers`
    that there is something to be told."""

    def __init__(
        self, connection: Connection, publish: Callable[[Stamp, Record], Future[str]], changed: Condition,
        tellers: Room, log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._connection = connection
        self._publish = publish
        self._changed = changed
        self._tellers = tellers
        self._log = log
        self._waiting: deque[Letter] = deque()
        self._abandoned = False
        self.open = 0  # actions taken, until their answer is on its way

    def __bool__(self) -> bool:
        """Whether some wait to be told."""
        return bool(self._waiting)

    # -- called with the lock ---------------------------------------------------------------------------

    def taken(self) -> None:
        """An action was: its answer is owed."""
        self.open += 1

    def not_owed(self) -> None:
        """Nothing is said of it: another process goes on with it."""
        self.open -= 1
        self._changed.notify_all()

    def add(self, reply: Reply, *, is_kept: bool = False) -> None:
        """To be told by whoever takes it. `is_kept`: the ledger has it already."""
        self._waiting.append(Letter(reply, is_kept))
        self._tellers.notify_all()

    def take(self) -> list[Letter]:
        """All that wait."""
        letters = list(self._waiting)
        self._waiting.clear()
        return letters

    def abandon(self) -> None:
        """The connection is over: nothing is tried again."""
        self._abandoned = True

    # -- called without it ------------------------------------------------------------------------------

    def reply(self, about: About, answer: Answer) -> Reply:
        """Of a kind that can be sent, whatever a handler returned. With the lock or without."""
        if answer.code is Code.RESULT_UNFIT:
            self._log.warning("result not sent whole", id=about.leaf.hex(), why=answer.reason)
        if answer.code is Code.INTERRUPTED:
            self._log.warning(
                "action ended as unknown", action=about.header.topic, id=about.leaf.hex(),
                requester=about.header.origin, code=answer.code.label,
                next="look what was done of it here, and undo the rest of it or end it by hand",
            )
        try:
            return Reply.to(about, answer, self._connection.identity)
        except Exception as error:  # noqa: BLE001 - an answer of a kind that nobody thought of is not to be silence
            self._log.error("result not sent", error=type(error).__name__, trace=trace_of(error))
            return Reply.to(about, failed(Code.HANDLER_FAILED), self._connection.identity)

    def tell(self, letters: Sequence[Letter]) -> None:
        """Write them down, together, and publish each: what is published after `keep` was called leaves after its
        commit, so nobody waits for that here. Blocks while there is no room."""
        for letter in letters:
            self._keep(letter)
        for letter in letters:
            self._publish_one(letter)

    def _keep(self, letter: Letter) -> None:
        with suppress(FabricError):  # the end of the connection, which publishing finds as well
            if not letter.is_kept:
                kept = self._connection.ledger.keep(letter.reply)
                kept.add_done_callback(lambda done: self._kept(done, letter))

    def _kept(self, done: Future[None], letter: Letter) -> None:
        """On the connection's thread, or at once."""
        error = done.exception()
        if error is not None:  # it was done, and is told nevertheless
            code = error.code.label if isinstance(error, FabricError) else type(error).__name__
            self._log.error("result not kept", id=letter.reply.stamp.correlation.hex(), code=code)

    def _publish_one(self, letter: Letter) -> None:
        try:
            sent = self._publish(letter.reply.stamp, letter.reply.record)
            sent.add_done_callback(lambda done: self._told(done, letter))
        except FabricError as error:
            self._not_told(letter.reply, error)
        with self._changed:
            self.open -= 1
            self._changed.notify_all()

    def _told(self, done: Future[str], letter: Letter) -> None:
        """On the connection's thread, or at once."""
        error = None if done.cancelled() else done.exception()
        if error is None:
            self._connection.ledger.told(letter.reply.id)
            return
        # With the connection's end there is nobody to tell any more.
        if letter.again and isinstance(error, FabricError) and self._connection.ended is None:
            with self._changed:
                if not self._abandoned:
                    self.open += 1
                    self._waiting.append(Letter(letter.reply.bare(error.code.cause), again=False))
                    self._tellers.notify_all()
                    return
        self._not_told(letter.reply, error)

    def _not_told(self, reply: Reply, error: BaseException) -> None:
        code = error.code.label if isinstance(error, FabricError) else type(error).__name__
        self._log.error("result not sent", id=reply.stamp.correlation.hex(), code=code)
