"""What an identity was given to execute, on this machine's disk (SPEC 9.3): no action is begun a second time.

Guarantees: an action is on disk before its handler hears of it, so a program that is started again, after whatever end,
does not execute it again; with or without an outbox, since every program of the identity uses this one file, in the
identity's folder. One program executes at a time: another waits some seconds for it to end, and then ends itself with
ALREADY_RUNNING. What was issued before there was a file nobody can know: it is refused (NOT_KNOWN_HERE). Without a disk
that can be written nothing is executed: the connection ends with SPOOL_FAILED.

A machine's clock may be years off when a program begins and be put right while it runs. So the file has the fabric's
time, as it was known; and what an earlier program took is remembered for as long as an action may live from now on,
whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.receiving.attaching import Attaching
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ACTION_SPARE_MS, ACTIONS_SEEN_MAX, TTL_MAX_MS
from fabric.protocol.core.ready import Delivery, KeepPosition, Op, Ready, SeenAction
from fabric.protocol.envelope.layout import Header
from fabric.protocol.point.point import Point
from fabric.spool import Spool

NAME = "ledger"
# A program that is replaced needs this long to end: its handlers have a grace, and what they did is told.
_WAIT_MS = 12_000
_TRY_MS = 250
_SWEEP_MS = 1_000
# The row that says since when there is a ledger: as far as a source was read is what it resembles most.
_SINCE = "since"
# Clocks that were measured over a network agree by this. No program ends and begins anew without its file within it.
_CLOCKS_MS = 1_000
# What an earlier program took can be repeated for no longer than this.
_ACTION_MS_MAX = TTL_MAX_MS["action"] + ACTION_SPARE_MS
# What is over by this machine's clock may fill no more than this of the memory: new actions are to find room.
_OVER_MAX = ACTIONS_SEEN_MAX // 4


class Ledger:
    """Opened when there is the first handler; all but `execute` belongs to the connection's thread."""

    def __init__(self, path: Path, core: Point, mailbox: Mailbox, attaching: Attaching) -> None:
        self._path = path
        self._core = core
        self._mailbox = mailbox
        self._attaching = attaching
        self._take: Callable[[Delivery], None] | None = None  # while the file is waited for
        self._give_up_ms = 0
        self._look_ms = 0
        self.held_up: FabricError | None = None  # why it does not execute yet; read from any thread
        self._spool: Spool | None = None
        # By the fabric's time as far as it was known; of a new file it is when it was opened, by the steady clock.
        self._since_ms: int | None = None
        self._opened_ms = 0
        self._is_settled = False  # what the file says of its beginning is by a clock that the parent confirmed

    def execute(self, take: Callable[[Delivery], None]) -> None:
        """From any thread: actions are for this session from when the file is had; `take` runs on the loop's thread."""
        self._attaching.check_may_execute()

        def begin(now_ms: int, ready: Ready) -> None:
            self._take, self._give_up_ms = take, now_ms + _WAIT_MS
            self.look(now_ms, ready)

        self._attaching.will_execute()
        self._mailbox.call(begin)

    def look(self, now_ms: int, ready: Ready) -> None:
        """Each turn: open it when that is wanted, and let it forget what no longer matters."""
        if now_ms < self._look_ms:
            return
        if self._spool is not None:
            self._look_ms = now_ms + _SWEEP_MS
            self._spool.sweep(self._surely(now_ms))
            self._settle(now_ms)
        elif self._take is not None:
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
            self._attaching.execute(self._take, now_ms, ready)
            self._take = None

    def _by_another(self) -> FabricError:
        return FabricError(
            Code.ALREADY_RUNNING, f"another process executes actions as {self._core.me.id}",
            "stop that process, or give this one an identity of its own",
        )

    def _open(self, now_ms: int) -> None:
        self._spool = Spool(self._path, ballast_bytes=0)
        ops = self._spool.load(self._surely(now_ms))
        self._opened_ms = now_ms
        since = [op.position for op in ops if isinstance(op, KeepPosition) and op.source == _SINCE]
        if since and not self._spool.quarantined:
            self._since_ms = int(since[0])
        else:  # new, or some of it cannot be read
            self._spool.commit([KeepPosition(_SINCE, str(self._core.time.now(now_ms)))])
        actions = sorted((op for op in ops if isinstance(op, SeenAction)), key=lambda op: op.until_ms, reverse=True)
        live = sum(op.until_ms > self._surely(now_ms) + TTL_MAX_MS["action"] for op in actions)
        until_ms = now_ms + _ACTION_MS_MAX
        taken = actions[: max(live, _OVER_MAX)]
        self._core.restore([op._replace(until_ms=until_ms) for op in taken], now_ms)

    def _surely(self, now_ms: int) -> int:
        """What was over then is over, whatever a parent says, and though the clock is ahead by up to an hour."""
        return min(self._core.time.now(now_ms), self._core.time.own(now_ms)) - TTL_MAX_MS["action"]

    def _known_since(self, now_ms: int) -> int:
        """Since when, by the fabric's time: since it was opened at the latest, whatever clock said when it was new."""
        opened_ms = self._opened_ms + self._core.time.now(now_ms) - now_ms
        return opened_ms if self._since_ms is None else min(self._since_ms, opened_ms)

    def _settle(self, now_ms: int) -> None:
        """Now that the time is known for sure: the next program is to read when it began by that."""
        time = self._core.time
        if self._spool is None or self._is_settled or not time.measured or time.suspect:
            return
        self._is_settled = True
        since_ms = self._known_since(now_ms)
        if since_ms != self._since_ms:
            self._spool.commit([KeepPosition(_SINCE, str(since_ms))])

    @property
    def due_ms(self) -> int | None:
        """When `look` must be called again, if it waits for the file."""
        return self._look_ms if self._take is not None else None

    def commit(self, ops: Sequence[Op]) -> None:
        """Of a turn: on disk when this returns. Raises FabricError(SPOOL_FAILED)."""
        ahead_ms = self._core.time.now(0)
        actions = [op._replace(until_ms=op.until_ms + ahead_ms) for op in ops if isinstance(op, SeenAction)]
        if actions and self._spool is not None:
            self._spool.commit(actions)

    def why_not(self, action: Header, now_ms: int) -> Reject | None:
        """Whether this action may have been executed before there was a ledger."""
        before = action.issued_at_ms < self._known_since(now_ms) - _CLOCKS_MS
        return Reject(Code.NOT_KNOWN_HERE, action.topic) if before else None

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None
