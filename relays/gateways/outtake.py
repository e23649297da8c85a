"""What a running sink gets: the messages of a durable subscription of its own, in groups.

Guarantees: no message has anything above what its declaration hands out at most, whatever its identity is cleared for;
what is left out as a whole is counted. A group is acknowledged when the sink came for the next one, or ended in order;
what was not comes again. A topic that is declared no more is forgotten, so that nothing waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import Identity
from fabric.edge.messages import Message
from fabric.edge.receiving.iterators import Messages
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.board import Board, Entry, State
from relays.gateways.declared import DeclaredSink
from relays.gateways.narrowing import narrowed
from relays.gateways.rejecting import Rejects

_CLOSE_S = 5.0


class PointOuttake:
    """The outtake of one sink, with a connection of its own that remembers in `outbox`. For its thread, but for
    `stop` and `look`."""

    def __init__(
        self, declared: DeclaredSink, identity: Identity, outbox: Path, entry: Entry, board: Board, rejects: Rejects,
        stop: threading.Event,
    ) -> None:
        self.identity = identity
        self._declared = declared
        self._entry = entry
        self._board = board
        self._rejects = rejects
        self._stop = stop
        self._point = ControlPoint(identity, outbox=outbox, connect_timeout_s=None, wait_for_relay=True)
        self._messages: Messages | None = None
        self._opened = ExitStack()
        self._log = structlog.get_logger().bind(sink=declared.name)
        self._is_held_up = False

    def open(self) -> None:
        """Connect. Raises FabricError."""
        self._point.connect()

    def groups(self, records_max: int) -> Iterator[list[Message]]:
        """As `kinds.Outtake` says."""
        first, *more = self._declared.topics
        messages = self._point.subscribe(first, durable=True, also=more)
        self._messages = self._opened.enter_context(messages)
        for pattern in self._point.wanted:
            if pattern not in self._declared.topics:
                self._point.forget(pattern)
        if messages.in_force:
            self._board.enter(self._entry, State.RUNNING)
        if self._stop.is_set():  # it was told before there was anything to close
            messages.close_later()
        while found := messages.group(records_max):
            if self._entry.state is not State.RUNNING:
                self._board.enter(self._entry, State.RUNNING)
            given = [each for message in found if (each := narrowed(message, self._declared.label_max)) is not None]
            if given:
                yield given
            self._board.count(self._entry, taken=len(given), withheld=len(found) - len(given), position=found[-1].id)

    def close(self, error: BaseException | None) -> None:
        """It ended: in order, or with this, and then the last group is not acknowledged."""
        with suppress(FabricError):
            self._opened.__exit__(type(error) if error is not None else None, error, None)
            self._point.close(_CLOSE_S)

    def stop(self) -> None:
        """Its sink is to end. From any thread."""
        if self._messages is not None:
            self._messages.close_later()
        else:
            with suppress(FabricError):
                self._point.close(0.0)

    def look(self) -> None:
        """Now and then: whether its relay is there."""
        why = self._point.held_up
        if why is not None and self._entry.state in (State.STARTING, State.RUNNING):
            self._is_held_up = True
            self._board.enter(self._entry, State.WAITING, why)
        elif why is None and self._is_held_up:
            self._is_held_up = False
            if self._entry.state is State.WAITING:
                self._board.enter(self._entry, State.RUNNING)

    def waits(self, why: FabricError | None) -> None:
        """As `kinds.Outtake` says."""
        self._is_held_up = False
        self._board.enter(self._entry, State.RUNNING if why is None else State.WAITING, why)

    def count(self, reason: str, count: int) -> None:
        """As `kinds.Outtake` says."""
        self._board.count_as(self._entry, reason, count)

    def reject(self, message: Message, error: FabricError) -> None:
        """As `kinds.Outtake` says."""
        self._board.count(self._entry, rejected=1)
        try:
            self._rejects.keep(self._declared.name, message.to_json(), error, message.id)
        except (FabricError, OSError) as fault:
            raise FabricError(Code.SINK_AWAY, f"what it rejects cannot be kept: {fault}") from fault

    def note(self, words: str) -> None:
        """As `kinds.Outtake` says."""
        self._log.info(words)
