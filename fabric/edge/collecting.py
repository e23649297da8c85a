"""Collects what becomes of actions with a key, also while no program of their identity is there.

A second connection, of which an identity has one at a time, whichever program has it: its session is durable, so the
relay keeps what comes for it while nobody is there, and whoever has it next writes it down. Guarantees: an action with
a key is only sent while that session is known to be kept; it is kept for as long as something is awaited of such an
action, and ends with the last program that awaits something, or by itself after a time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import TypeVar

import structlog

from fabric.edge.identity.identity import Identity
from fabric.edge.locks import Condition, Event
from fabric.edge.loop import EdgeLoop
from fabric.edge.requesting.account import RESULTS_MS
from fabric.edge.requesting.recorder import NotKeptError
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import SESSION_KEEP_MS_MAX, TTL_MAX_MS
from fabric.protocol.trust.policies import WITHIN_MS_MAX
from fabric.protocol.wire.frames import SESSION_BYTES
from fabric.spool.book import NAME, Book
from fabric.spool.file import take_lock

T = TypeVar("T")

# What is awaited longest: approvals, then an action's time, and as long as results come after it. A program that ends
# in order says how much less it is.
KEEP_MS = WITHIN_MS_MAX + TTL_MAX_MS["action"] + RESULTS_MS
_TRY_S = 0.02
# How soon after the end of a program that had the session another one has it, and how long it tries that at a time.
_INHERIT_S = 0.5
_INHERIT_MAX_S = 3.0
# While it leaves: a relay that is there confirms it in a few milliseconds.
_LEAVE_S = 2.0


class Collector:
    """Every call may block, and belongs to a thread of the program's."""

    def __init__(
        self, identity: Identity, timeout_s: float | None, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._identity = identity
        self._path = identity.folder / NAME
        self._timeout_s = timeout_s
        self._log = log
        self._turn = Condition()
        self._lock: int | None = None
        self._loop: EdgeLoop | None = None
        self._heir: threading.Thread | None = None
        self._leaves = Event()

    def while_kept(self, ask: Callable[[], Future[T]]) -> T:
        """What this asks for, asked while the session is kept. Raises what it raises, and what keeps it from that."""
        deadline_s = self._deadline_s()
        while True:
            self._collect(deadline_s)
            try:
                return ask().result()
            except NotKeptError:  # another program had it, and has just ended it
                continue

    def collect(self) -> None:
        """Have what comes written down, by this program or by the one that does so now, until this one leaves."""
        self._collect(self._deadline_s())

    def _deadline_s(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def _collect(self, deadline_s: float | None) -> None:
        self._see_that_it_is_kept(deadline_s)
        if self._loop is None and self._heir is None:
            name = f"fabric {self._identity.id} collects"
            self._heir = threading.Thread(target=self._inherit, name=name, daemon=True)
            self._heir.start()

    def _see_that_it_is_kept(self, deadline_s: float | None) -> None:
        with self._turn:
            if self._loop is not None and self._loop.ended is not None:
                self._end()
            while self._loop is None:
                if self._take_lock():
                    self._begin(deadline_s)
                    break
                with closing(Book(self._path)) as book:
                    if book.session()[1]:
                        return
                if deadline_s is not None and time.monotonic() >= deadline_s:
                    raise FabricError(Code.BUSY, "another program is about to collect results", "ask again")
                time.sleep(_TRY_S)

    def _inherit(self) -> None:
        """The program that has the session may end at any moment: what waits for it then is for this one to collect."""
        while not self._leaves.wait(_INHERIT_S):
            try:
                if self._take_over():
                    return
            except FabricError as error:
                self._log.debug("the session for results is not taken over yet", code=error.code.label)

    def _take_over(self) -> bool:
        with self._turn:
            if self._loop is None and not self._leaves.is_set() and self._take_lock():
                self._begin(time.monotonic() + _INHERIT_MAX_S)
            return self._loop is not None

    def _begin(self, deadline_s: float | None) -> None:
        try:
            with closing(Book(self._path)) as book:
                # One that a program left without an end is gone on with: what waits for it is to be had.
                session = book.session()[0] or os.urandom(SESSION_BYTES)
                book.keep(session, is_kept=False)
                self._loop = EdgeLoop(self._identity, session=session, collects=True)
                self._loop.start()
                self._loop.wait_connected(self._left_s(deadline_s), patient=True)
                self._loop.attaching.keep(KEEP_MS)
                self._loop.status.wait_attached(self._left_s(deadline_s))
                book.keep(session, is_kept=True)
        except BaseException:
            self._end()
            raise

    @staticmethod
    def _left_s(deadline_s: float | None) -> float | None:
        return None if deadline_s is None else max(0.0, deadline_s - time.monotonic())

    def _take_lock(self) -> bool:
        try:
            self._lock = take_lock(self._path)
        except FabricError as error:
            if error.code is not Code.ALREADY_RUNNING:
                raise
            return False
        except OSError as error:
            raise FabricError(Code.BOOK_FAILED, f"{self._path}: {error.strerror}") from error
        return True

    def release(self) -> None:
        """The program leaves. The session ends with it, unless somebody still awaits something."""
        if self._heir is not None and self._loop is None:
            self._inherit_the_end()
        self._leaves.set()
        with self._turn:
            try:
                if self._loop is not None and self._loop.status.connected.is_set():
                    self._rest(self._loop)
            except FabricError as error:
                self._log.warning("the session for results is left as it is", code=error.code.label)
            finally:
                self._end()

    def _inherit_the_end(self) -> None:
        """Whoever had the session ended before this one, which is the last: it has to end the session too."""
        with suppress(FabricError):
            with closing(Book(self._path)) as book:
                is_left = book.session()[0] and not book.awaited_until(time.time_ns() // 1_000_000)
            if is_left:
                self._take_over()

    def _rest(self, loop: EdgeLoop) -> None:
        now_ms = loop.clock.now_ms()
        with closing(Book(self._path)) as book:
            is_over = book.let_go(now_ms)
            left_ms = 0 if is_over else max(1, min(book.awaited_until(now_ms) - now_ms, SESSION_KEEP_MS_MAX))
            loop.attaching.keep(left_ms)
            loop.status.wait_attached(_LEAVE_S)
            if is_over:
                book.keep(b"", is_kept=False)

    def _end(self) -> None:
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
        self._let_go_of_lock()

    def _let_go_of_lock(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = None
