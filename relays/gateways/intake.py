"""What a running source gets, on a control point: records are mapped, published and counted; what is refused is kept.

Guarantees: a record is durable, or in the dead letters with why, or it was not taken and its position stands before it.
While no more is taken in, or the disk has no room for a dead letter, whoever gives waits, and its state says why.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import structlog

from fabric.edge.blocking import ControlPoint
from fabric.edge.messages import Outcome
from fabric.edge.publishing.publications import Publication
from fabric.edge.publishing.receipts import Many
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Severity
from relays.gateways.board import Board, Entry, State
from relays.gateways.declared import DeclaredSource
from relays.gateways.feed import PointFeed
from relays.gateways.kinds import Given, Taken
from relays.gateways.mapping import Mapped, Unfit
from relays.gateways.rejecting import Rejected, Rejecting, Rejects
from relays.gateways.taking import Taking, known_in_time
from relays.label_watch import WINDOW_RECORDS, LabelWatch
from relays.wall import wall_ms

# How long it is waited for room at a time, before it is said that there is none.
_ROOM_S = 0.5
# Of what the mapping says of records; more are not told apart any more.
_NOTES_MAX = 100


def _where(given: Given) -> str:
    return given.where or (given.position[1] if given.position is not None else "")


def _publications(given: Sequence[Given], mapped: Sequence[Mapped | Unfit]) -> list[Publication]:
    return [
        Publication(each.topic, each.content, whole.position, each.options)
        for whole, each in zip(given, mapped, strict=True) if isinstance(each, Mapped)
    ]


def _rejected(given: Given, error: FabricError) -> Rejected:
    return Rejected(given.raw if given.raw is not None else given.record, error, given.where, given.severity, given.by)


class PointIntake:
    """The intake of one source. `stop`: its source is to stop; `notes` gets what it says to people."""

    def __init__(
        self, declared: DeclaredSource, point: ControlPoint, entry: Entry, board: Board, rejects: Rejects,
        stop: threading.Event,
    ) -> None:
        self.identity = point.identity
        self._mapping = declared.mapping
        self._point = point
        self._entry = entry
        self._board = board
        self._rejecting = Rejecting(
            declared.name, rejects, lambda: board.count(entry, rejected=1), self.waits, stop
        )
        self._stop = stop
        labels = {name: label for name, label in self._mapping.labels.items() if name != "*"}
        self._watch = LabelWatch(labels, required=False)
        self._noted: set[str] = set()  # of the mapping, each once
        self._log = structlog.get_logger().bind(source=declared.name)
        self._open = 0  # records whose future is not done
        self._settled = threading.Condition()
        self.ended: FabricError | None = None  # the control point's connection, for good

    def take(
        self, record: Mapping[str, Any], *, position: tuple[str, str] | None = None, where: str = "",
        raw: bytes | None = None, severity: Severity | None = None, checked: bool = False,
    ) -> Future[str]:
        """As `kinds.Intake` says."""
        only: Future[str] = Future()

        def ended(outcomes: Future[list[str | FabricError]]) -> None:
            (outcome,) = outcomes.result()
            if isinstance(outcome, FabricError):
                only.set_exception(outcome)
            else:
                only.set_result(outcome)

        self.take_many([Given(record, position, where, raw, severity, checked)]).ended.add_done_callback(ended)
        return only

    def mapped(
        self, record: Mapping[str, Any], *, topic: str = "", severity: Severity | None = None, checked: bool = False
    ) -> Mapped | Unfit:
        """As `kinds.Intake` says."""
        mapping = self._mapping.on(topic) if topic else self._mapping
        mapped = mapping.apply(record, now_ms=wall_ms(), severity=severity, checked=checked)
        if isinstance(mapped, Mapped):
            for note in mapped.notes:
                self._note_once(note)
            for name in self._watch.saw(record if isinstance(record, dict) else dict(record)):
                self.note(f"warning {name}: no such field in the last {WINDOW_RECORDS:,} records")
        return mapped

    def take_many(self, given: Sequence[Given]) -> Taken:
        """As `kinds.Intake` says."""
        if not self._rejecting.wait():
            raise FabricError(Code.CLOSED)
        taking, at = Taking(), 0
        mapped = [self.mapped(each.record, severity=each.severity, checked=each.checked) for each in given]
        unfit = [number for number, each in enumerate(mapped) if isinstance(each, Unfit)]
        for stop in (*unfit, len(given)):
            at += self._publish_many(given[at:stop], mapped[at:stop], taking)
            if at < stop or stop == len(given):
                break
            error = mapped[at].error  # type: ignore[union-attr]
            try:
                self._reject(_rejected(given[at], error), given[at].position)
            except FabricError:
                break
            taking.reject(error)
            at += 1
        if given and not at:
            raise FabricError(Code.CLOSED)
        return Taken(at, taking.whole())

    def _publish_many(self, given: Sequence[Given], mapped: Sequence[Mapped | Unfit], taking: Taking) -> int:
        """How many were taken: fewer only when it is to stop."""
        publications = _publications(given, mapped)
        at, giver = 0, threading.get_ident()
        while at < len(given) and not self._stop.is_set():
            rest = given[at:]

            def tell(number: int, error: FabricError, rest: Sequence[Given] = rest) -> None:
                if self.ended is None and error.code is not Code.CLOSED:
                    rejected = _rejected(rest[number], error)
                    if threading.get_ident() != giver:  # the connection's thread, which does not wait for a disk
                        self._rejecting.add(rejected)
                    elif not self._rejecting.add_and_wait(rejected):
                        self._log.error("a rejected record was not kept", where=rest[number].where)

            try:
                many = self._point.publish_each_later(
                    publications[at:], labels_required=False, wait_s=_ROOM_S, tell=tell
                )
            except FabricError:  # of one of them it would be told: nothing is taken any more
                break
            at += self._taken(many, rest, taking)
            if at < len(given):
                self.waits(self._point.held_up or FabricError(Code.BUSY))
            elif self._entry.state is not State.RUNNING:
                self.waits(None)
        return at

    def publish_many(self, given: Sequence[Given], mapped: Sequence[Mapped], wait_s: float) -> list[str | FabricError]:
        """As `kinds.Intake` says."""
        until_s = time.monotonic() + wait_s
        if self._stop.is_set():
            raise FabricError(Code.CLOSED)
        if (why := self._rejecting.keep_up()) is not None:
            self.waits(why)
            raise why

        def tell(number: int, error: FabricError) -> None:
            if self.ended is None and error.code is not Code.CLOSED:
                self._rejecting.add(_rejected(given[number], error))

        many = self._point.publish_each_later(
            _publications(given, mapped), labels_required=False, wait_s=wait_s, tell=tell
        )
        self._taken(many, given)
        if many.taken < len(given):
            self.waits(self._point.held_up or FabricError(Code.BUSY))
        elif self._entry.state is not State.RUNNING:
            self.waits(None)
        return known_in_time(many, max(0.0, until_s - time.monotonic()))

    def _taken(self, many: Many, given: Sequence[Given], taking: Taking | None = None) -> int:
        if many.taken:
            with self._settled:
                self._open += many.taken
            taken = given[: many.taken]
            many.future.add_done_callback(lambda ended: self._done_many(ended, taken))
            if taking is not None:
                taking.add(many)
        return many.taken

    def _done_many(self, ended: Future[list[str | FabricError]], taken: Sequence[Given]) -> None:
        """On the connection's thread, mostly."""
        durable = [(given, id_) for given, id_ in zip(taken, ended.result(), strict=False) if isinstance(id_, str)]
        if durable:
            self._board.count(self._entry, taken=len(durable), position=_where(durable[-1][0]))
            self._board.sent(self._entry, [id_ for _, id_ in durable])
        with self._settled:
            self._open -= len(taken)
            if not self._open:
                self._settled.notify_all()

    def _note_once(self, note: str) -> None:
        if note not in self._noted and len(self._noted) < _NOTES_MAX:
            self._noted.add(note)
            self.note(note)

    def keep_up(self) -> None:
        """Write what was rejected and is not on disk. From time to time, from any thread."""
        self._rejecting.keep_up()

    def _reject(self, rejected: Rejected, position: tuple[str, str] | None) -> None:
        if not self._rejecting.add_and_wait(rejected):
            if position is not None:  # it is read again
                self._rejecting.take_back(rejected)
                raise FabricError(Code.CLOSED)
            self._log.error("a rejected record was not kept", where=rejected.where)
        if position is not None:
            with suppress(FabricError):  # where it has no room it is passed with the next record
                self._point.pass_over(*position)

    def settle(self) -> None:
        """Until it is known what became of all that was taken, or the connection ended."""
        with self._settled:
            self._settled.wait_for(lambda: not self._open or self.ended is not None)

    def position_of(self, name: str) -> str | None:
        """As `kinds.Intake` says."""
        return self._point.position_of(name)

    def request(
        self, action: str, target: Mapping[str, Any], *, to: str, args: Mapping[str, Any], command_id: str, key: str,
        watch: Callable[[Request], None],
    ) -> Iterator[Outcome]:
        """As `kinds.Intake` says."""
        return self._point.request(action, target, to=to, args=args, command_id=command_id, key=key, watch=watch)

    def is_asked(self, key: str) -> bool:
        """As `kinds.Intake` says."""
        return any(account.key == key for account in self._point.actions())

    def reject(
        self, raw: bytes | Mapping[str, Any], error: FabricError, where: str,
        position: tuple[str, str] | None = None, waits: bool = True, by: str = "",
    ) -> None:
        """As `kinds.Intake` says."""
        rejected = Rejected(raw, error, where, None, by)
        if waits:
            self._reject(rejected, position)
        else:
            self._rejecting.add_now(rejected)

    def pass_over(self, position: tuple[str, str]) -> None:
        """As `kinds.Intake` says."""
        self._point.pass_over(*position)

    def waits(self, why: FabricError | None) -> None:
        """As `kinds.Intake` says."""
        self._board.enter(self._entry, State.RUNNING if why is None else State.WAITING, why)

    def lost(self, error: FabricError) -> None:
        """As `kinds.Intake` says."""
        self._board.count(self._entry, lost=1)
        self._log.warning("lost", code=error.code.label, why=error.detail)

    def feed(self, topics: Sequence[str], tell: Callable[[FabricError | None], None]) -> PointFeed:
        """As `kinds.Intake` says."""
        return PointFeed(self.identity, topics, tell)

    def read_by(self, readers: int, away: FabricError | None) -> None:
        """As `kinds.Intake` says."""
        self._board.read_by(self._entry, readers, away)

    def left_out(self, files: int) -> None:
        """As `kinds.Intake` says."""
        self._entry.left_out = files

    def note(self, words: str) -> None:
        """As `kinds.Intake` says."""
        self._log.info(words)
