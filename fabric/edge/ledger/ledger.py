"""What an identity was given to execute, on this machine's disk (SPEC 9.3): no action is executed a second time.

Guarantees: an action is on disk before the relay hears that it was taken, again before its handler is called, and its
answer before it is told; so whatever ends the program, the next one knows what only waited, what may have been done,
and what is still to be told. With or without an outbox, since every program of the identity uses this one file, in the
identity's folder. One program executes at a time: another waits some seconds for it to end, and then ends itself with
ALREADY_RUNNING. What was issued before there was a file nobody can know: it is refused (NOT_KNOWN_HERE).

Without a disk that can be written nothing is executed. While it is short of room no action is taken in, and the relay
keeps them; where it fails the connection ends with SPOOL_FAILED, an answer first: that is told, and the log says so.

What an earlier program took is remembered for as long as an action may live from now on, whatever the clocks say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import structlog

from fabric.edge.connection.mailbox import Mailbox, fail
from fabric.edge.effects.lease import Stage, Word
from fabric.edge.effects.leasing import Lasts, Leasing, Reverter
from fabric.edge.handling.handlers import Answer
from fabric.edge.handling.replies import About, Reply
from fabric.edge.ledger.auditing import audited
from fabric.edge.ledger.beginning import Beginning
from fabric.edge.ledger.executions import Executions
from fabric.edge.ledger.left_behind import ACTION_MS_MAX, left_behind, seen_before
from fabric.edge.ledger.recovering import Executor, Recovery
from fabric.edge.ledger.requesters import Requesters
from fabric.edge.locks import Pending
from fabric.edge.receiving.attaching import Attaching
from fabric.protocol.access.permissions import fetches
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ledger_ops import KeepAnswer, KeepCancelled, KeepIntent, KeepLease, KeepTold, LedgerOp
from fabric.protocol.core.ready import Delivery, Op, Ready, Repeated, SeenAction
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.point.action_room import ACTION_BYTES
from fabric.protocol.point.point import Point
from fabric.spool import Spool

NAME = "ledger"
# A program that is replaced needs this long to end: its handlers have a grace, and what they did is told.
_WAIT_MS = 12_000
_TRY_MS = 250
_ROOM_MS = 1_000
# What is over is forgotten in steps that hold no action up, and need not be forgotten at once.
_SWEEP_MS = 10_000
# No action is taken in while less is free, so that the answers to those at work find room; the ballast is for them too.
_FREE_BYTES_MIN = 8 * 2**20
_BALLAST_BYTES = 2**20
# A disk failed, and no handler begins any more: those at work have so long until the connection ends.
_LAST_WORDS_MS = 60_000


class Ledger:
    """Opened when there is the first handler."""

    def __init__(
        self, path: Path, core: Point, mailbox: Mailbox, attaching: Attaching, leasing: Leasing,
        log: structlog.typing.FilteringBoundLogger, tell: Callable[[Sequence[Audited]], None] = lambda _: None,
    ) -> None:
        self._tell = tell  # the audit log, before each commit
        self._path = path
        self._core = core
        self._mailbox = mailbox
        self._attaching = attaching
        self._leasing = leasing
        self._log = log
        self._executor: Executor | None = None
        self._reverter: Reverter | None = None
        self._is_wanted = False  # the file is waited for
        self._give_up_ms = 0
        self._look_ms = self._sweep_ms = 0
        self.held_up: FabricError | None = None  # why it does not execute now; read from any thread
        self._spool: Spool | None = None
        self._beginning = Beginning(core.time)
        # Until there is a file, and a handler, an action is the relay's to keep: it may offer one with the link.
        core.action_room.is_open = False
        self._executions = Executions(core.action_room)
        self._recovery: Recovery | None = None
        self._ops: list[LedgerOp] = []  # of this turn
        self._owed: list[LedgerOp] = []  # which may wait: forgotten, something is told once more
        self._told: deque[bytes] = deque()  # by their requesters, and not yet in `_owed`; of what was taken in
        self._to_begin: list[Future[None]] = []  # and to be told by this turn's commit, as these
        self._to_keep: list[Future[None]] = []
        self._requesters = Requesters(core.trust)
        self._failed: FabricError | None = None
        self._end_ms = 0

    # -- from any thread --------------------------------------------------------------------------------

    def execute(self, executor: Executor, reverter: Reverter) -> None:
        """Actions are for this session from when the file is had."""
        self._attaching.check_may_execute()

        def begin(now_ms: int, ready: Ready) -> None:
            self._executor, self._reverter = executor, reverter
            self._is_wanted, self._give_up_ms = True, now_ms + _WAIT_MS
            self.look(now_ms, ready)

        self._attaching.will_execute()
        self._mailbox.call(begin)

    def begin(self, id_: bytes, lasts: Lasts | None = None) -> Future[None]:
        """When it has ended well, it is on disk that this action's handler is called, which it may be now. `lasts`: for
        how long, where something reverts what it does. Raises BUSY while that is being reverted, LEASES_FULL."""
        done: Pending[None] = Pending()
        self._mailbox.later(
            lambda now_ms, _ready: self._begin(done, id_, lasts, now_ms), lambda error: fail(done, error)
        )
        return done

    def keep(self, reply: Reply) -> Future[None]:
        """When it has ended well, it is on disk what this requester is to be told."""
        done: Pending[None] = Pending()

        def keep(now_ms: int, _ready: Ready) -> None:
            no_room = Code.TOO_LARGE.cause
            ops = self._executions.answer(reply.id, reply.pack(), lambda: reply.bare(no_room).pack())
            if self._failed is not None:
                fail(done, self._failed)
            else:
                self._ops += [*ops, *self._leasing.answered(reply.id, reply.record, now_ms)]
                self._to_keep.append(done)

        self._mailbox.later(keep, lambda error: fail(done, error))
        return done

    def told(self, id_: bytes) -> None:
        """The answer to this action is held by somebody else. Nobody waits for that: it is found in the next turn."""
        self._told.append(id_)

    def reverted(self, id_: bytes, answer: Answer) -> None:
        """The revert of this action returned."""
        self._mailbox.call_if_any(
            lambda now_ms, _ready: self._ops.extend(self._leasing.reverted(id_, answer, now_ms))
        )

    def lease_told(self, id_: bytes) -> None:
        """The end of this action's effect is held by somebody else."""
        self._mailbox.call_if_any(lambda _now_ms, _ready: self._owed.extend(self._leasing.told(id_)))

    # -- the connection's thread ------------------------------------------------------------------------

    def requester_of_effect(self, id_: bytes) -> str | None:
        """Whose effect is in force; None where none of this action is."""
        return self._leasing.requester_of(id_)

    def begin_now(self, id_: bytes, lasts: Lasts | None, now_ms: int) -> Future[None]:
        """As `begin`, in this turn: with its commit, or that of `commit_begun`."""
        done: Pending[None] = Pending()
        self._begin(done, id_, lasts, now_ms)
        return done

    def _begin(self, done: Future[None], id_: bytes, lasts: Lasts | None, now_ms: int) -> None:
        known = self._executions.get(id_)
        intent, whose = (known.intent, known.requester) if known is not None else (None, "")
        why_not = self._leasing.why_not(intent, whose, lasts, now_ms) if intent and lasts else None
        ops = self._executions.begin(id_) if why_not is None else []
        if self._failed is not None:
            fail(done, self._failed)
        elif why_not is not None:
            fail(done, FabricError(why_not))
        elif ops is None or intent is None:
            fail(done, FabricError(Code.NOT_KNOWN_HERE, id_.hex()))
        else:
            self._ops += [*ops, *(self._leasing.begin(intent, whose, lasts, now_ms) if lasts else ())]
            self._to_begin.append(done)

    def cancelled(self, ops: Sequence[KeepCancelled]) -> None:
        """What is not to begin if it comes: on disk with what is kept next, or before."""
        self._ops += ops

    def release(self, id_: bytes, tell: Callable[[Word], None]) -> None:
        """End such an effect now; `tell` hears what became of that, on this thread."""
        self._ops += self._leasing.release(id_, tell)

    def look(self, now_ms: int, ready: Ready) -> None:
        """Each turn: open it when that is wanted, go on with what an earlier program left, forget what is over."""
        self._take_told()
        if self._executor is not None:
            self._executor.look(now_ms)
        if self._recovery is not None and self._recovery.is_done(now_ms):
            self._recovery = None
        if self._spool is not None and self._failed is None:
            self._ops += self._leasing.look(now_ms)
        if now_ms < self._look_ms:
            return
        if self._spool is not None:
            self._look_ms = now_ms + _ROOM_MS
            self._owed += self._executions.expire(now_ms)
            if self._failed is not None:
                self._end_if_said(now_ms)
                return
            try:
                self._mind_room()
                if now_ms >= self._sweep_ms:
                    self._sweep_ms = now_ms + _SWEEP_MS
                    self._spool.sweep(self._beginning.surely(now_ms))
            except FabricError as error:
                self._fail(error)
            if self._core.action_room.is_open or self._ops:  # what may wait waits for room on the disk
                self._write(self._beginning.settle(now_ms), [])
        elif self._is_wanted and self._executor is not None:
            self._look_ms = now_ms + _TRY_MS
            try:
                self._open(now_ms)
            except FabricError as error:
                if error.code is not Code.ALREADY_RUNNING:
                    raise
                self.held_up = self._by_another()
                if now_ms >= self._give_up_ms:
                    raise self.held_up from None
                return
            self.held_up = None
            self._is_wanted = False
            self._core.action_room.is_open = True
            self._mind_room()
            self._attaching.execute(self._executor.take, now_ms, ready)

    def _take_told(self) -> None:
        while self._told:
            self._owed += self._executions.tell(self._told.popleft())

    def _by_another(self) -> FabricError:
        return FabricError(
            Code.ALREADY_RUNNING, f"another process executes actions as {self._core.me.id}",
            "stop that process, or give this one an identity of its own",
        )

    def _open(self, now_ms: int) -> None:
        assert self._executor is not None and self._reverter is not None
        self._spool = Spool(self._path, _FREE_BYTES_MIN, ballast_bytes=_BALLAST_BYTES)
        surely_ms = self._beginning.surely(now_ms)
        ops = self._spool.load(surely_ms)
        damaged = self._spool.quarantined
        if damaged:
            self._log.error("some of the ledger cannot be read: set aside", count=len(damaged), what=damaged[:8])
        self._leasing.opened(ops, self._reverter, now_ms, self._spool.leases_set_aside)
        anew = self._beginning.opened(ops, now_ms, is_sound=not damaged)
        open_ = self._restore(ops, now_ms, is_whole=not anew)
        if anew:  # if some of it cannot be read, what is open may have been begun, for all that is known
            self._spool.commit([*anew, *open_])
        self._core.restore(seen_before(ops, surely_ms, now_ms), now_ms)

    def _restore(self, ops: Sequence[Op], now_ms: int, *, is_whole: bool) -> list[KeepIntent]:
        """Take back how far each action is. Those that are open."""
        assert self._executor is not None
        requesters = {op.id: op.requester for op in ops if isinstance(op, SeenAction)}
        intents, answers = left_behind(ops, is_whole=is_whole)
        self._requesters.restore(ops, intents.values())
        words = [op for op in ops if isinstance(op, KeepCancelled)]
        for word in sorted(words, key=lambda word: word.until_ms):
            by = self._core.trust.credentials.get(word.signer)
            if by is not None:  # else it is not believed any more
                self._owed += self._executor.was_cancelled(word, by)
        until_ms = now_ms + ACTION_MS_MAX
        for op in ops:
            if isinstance(op, KeepIntent) and op.id in intents:
                self._executions.restore(intents[op.id], requesters.get(op.id, ""), until_ms)
            elif isinstance(op, KeepAnswer):
                self._executions.restore(op, op.requester, until_ms)
            elif isinstance(op, KeepTold):
                self._owed += self._executions.restore(op, "", until_ms)
        open_ = list(intents.values())
        if open_ or answers:
            self._recovery = Recovery(self._core, self._executor, open_, list(answers.values()), now_ms)
        return open_

    def _mind_room(self) -> None:
        """Take in no action while the disk is short."""
        room, was_open = self._core.action_room, self._core.action_room.is_open
        assert self._spool is not None
        room.is_open = self._spool.intake_allowed()
        if room.is_open != was_open:
            self.held_up = None if room.is_open else FabricError(Code.DISK_SHORT, str(self._path))
            words = "disk is short: actions wait at the relay" if was_open else "disk has room again"
            self._log.warning(words, code=Code.DISK_SHORT.label)

    @property
    def due_ms(self) -> int | None:
        """When `look` must be called again: it waits for the file, goes on with what was left, an effect ends, or
        something is to be said of what is at work."""
        if self._is_wanted:
            return self._look_ms
        recovery, leasing = self._recovery, self._leasing if self._failed is None else None
        due = (
            recovery.due_ms if recovery is not None else None, leasing.due_ms if leasing is not None else None,
            self._executor.due_ms if self._executor is not None else None,
        )
        return min([each for each in due if each is not None], default=None)

    def commit(self, ready: Ready, now_ms: int) -> None:
        """Of a turn: on disk when this returns, what came and what handlers wait for. Raises FabricError(SPOOL_FAILED)
        where what came is not: then it is neither acknowledged nor executed."""
        if self._spool is not None and not (ready.deliver or ready.persist or self._ops):
            self._committed(None)
            return
        seen = {op.id: op for op in ready.persist if isinstance(op, SeenAction)}
        deliveries = [each for each in ready.deliver if isinstance(each, Delivery)]
        # What fetches is begun anew by whoever asked, so nothing of it is kept.
        came = [
            each for each in deliveries
            if each.message.header.kind is Kind.ACTION and not fetches(each.message.header)
        ]
        if self._spool is None:
            for delivery in came:
                message = delivery.message
                self._core.action_room.add(message.header.origin, -ACTION_BYTES - len(message.raw))
            return
        for delivery in came:
            message, until_ms = delivery.message, seen[delivery.message.id].until_ms
            intent = KeepIntent(
                message.id, until_ms, delivery.age_ms, self._core.time.now(now_ms), self._core.time.own(now_ms),
                delivery.hops, message.raw,
            )
            self._ops.append(self._executions.take(
                intent, message.header.origin, until_ms, About(message.header, message.leaf)
            ))
        credentials = self._requesters.keep([delivery.message.credential for delivery in came])
        if seen or self._ops:
            self._write([*credentials, *seen.values()], [*seen])
        else:
            self._committed(None)

    def commit_begun(self) -> None:
        """After what came was acknowledged and taken: on disk when this returns, what found a handler free."""
        if self._spool is not None and self._to_begin:
            self._write([], [])

    def _write(self, ops: Sequence[Op], came: Sequence[bytes]) -> None:
        """One transaction. `came`: the actions that must not be lost."""
        assert self._spool is not None
        ops, self._ops, self._owed = [*ops, *self._ops, *self._owed], [], []
        error = self._failed
        if ops and error is None:
            ahead_ms = self._core.time.now(0)
            try:
                self._tell(list(audited(ops, self._core.me.id, self._read_before)))
                self._spool.commit([_shifted(op, ahead_ms) for op in ops])
            except FabricError as failure:
                error = failure
        self._committed(error)
        if error is None:
            return
        if came:
            raise error
        self._fail(error)

    def _read_before(self, id_: bytes) -> About | None:
        one = self._executions.get(id_)
        return one.about if one is not None else None

    def _fail(self, error: FabricError) -> None:
        if self._failed is None:
            self._failed = self.held_up = error
            self._core.action_room.is_open = False
            self._log.error("ledger cannot be written: no further action is begun", code=error.code.label,
                            why=error.detail, at_work=self._executions.at_work)

    def _committed(self, error: FabricError | None) -> None:
        waiting = [*self._to_begin, *self._to_keep]
        self._to_begin, self._to_keep = [], []
        for done in waiting:
            if error is None:
                done.set_result(None)
            else:
                fail(done, error)
        if error is None:
            self._leasing.committed()

    def _end_if_said(self, now_ms: int) -> None:
        """The disk failed: the connection ends, after what was done is told."""
        assert self._failed is not None
        self._end_ms = self._end_ms or now_ms + _LAST_WORDS_MS
        if not self._executions.at_work or now_ms >= self._end_ms:
            raise self._failed

    def repeated(self, again: Repeated) -> None:
        """An action came again: its requester is told again what it was told, where that is over."""
        if self._spool is None or self._executor is None or self._failed is not None:
            return
        if self._executions.repeats(again.id, again.link):
            reply = Reply.unpack(self._spool.answer(again.id))
            if reply is not None:
                self._executor.tell_again(reply)

    def why_not(self, action: Header, now_ms: int) -> Reject | None:
        """Whether this action may have been executed before there was a ledger."""
        return self._beginning.why_not(action, now_ms)

    def close(self) -> None:
        """What may wait is written now, if it can be, and nothing begins any more."""
        self._take_told()
        if self._spool is not None:
            closed = self._mailbox.ended or FabricError(Code.CLOSED)
            for done in self._to_begin:
                fail(done, closed)
            self._to_begin = []
            self._ops = [op for op in self._ops if not isinstance(op, KeepIntent) and not _begins(op)]
            self._ops += self._leasing.close()
            try:
                self._write([], [])
            finally:
                self._spool.close()
                self._spool = None


def _begins(op: LedgerOp) -> bool:
    """Whether it says of an effect that it begins."""
    return isinstance(op, KeepLease) and op.stage == Stage.IN_FORCE


def _shifted(op: Op, ahead_ms: int) -> Op:
    """As it is on disk: by the fabric's time, as far as that is known."""
    if isinstance(op, SeenAction | KeepIntent | KeepAnswer | KeepTold | KeepCancelled):
        return op._replace(until_ms=op.until_ms + ahead_ms)
    return op
