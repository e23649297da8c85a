"""The state of a control point's connection: connected or why not, and whether its relay knows its attachment.

The connection's thread reports what happened, and other threads wait for it. Guarantees: a wait ends with what it was
for, or with the reason that is known; with several relays one refusal does not decide for the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fabric.edge.locks import Event
from fabric.protocol.base.errors import Code, FabricError

# Where there is something to do without a relay: a refusal may come soon, a connection when it comes.
_FIRST_WORD_S = 1.0


class Status:
    """`addresses`: of all relays that it may connect to."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._silent: dict[str, None] = {}  # relays that did not answer, or would not have us, since the last that did
        self._revoking: dict[str, None] = {}  # relays that say that this node is revoked, since one last took it
        self.problem: FabricError | None = None  # why there is no connection, as far as is known
        self.connected = Event()
        self.attached = Event()  # the relay has confirmed what this node takes by now
        self._first_word = Event()
        self._ended = False
        self._is_attached = False  # since the last relay was there
        self._tell_link: Callable[[FabricError | None], None] = lambda _problem: None

    # -- from any thread --------------------------------------------------------------------------------

    def wait_connected(self, timeout_s: float | None, *, needed: bool, patient: bool = False) -> None:
        """Until the link is open. Raises with the reason when it is refused for good, or the time is up; None: never.

        Not `needed`: a relay that does not answer is no reason not to begin. `patient`: it is no reason to give up
        before the time is up.
        """
        first_s = _FIRST_WORD_S if timeout_s is None else min(timeout_s, _FIRST_WORD_S)
        if not needed and not self._first_word.wait(first_s):
            return
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            has_answer = self._first_word.wait(left_s)
            if self.connected.is_set():
                return
            silent = not self._ended and (self.problem is None or self.problem.code is Code.UNREACHABLE)
            if has_answer and silent and not needed:
                return
            if not (has_answer and silent and patient):
                raise self.problem or FabricError(Code.UNREACHABLE, ", ".join(self._addresses))
            self._first_word.clear()  # until the next relay is silent, or one is there
            if self.connected.is_set():
                return

    def wait_attached(self, timeout_s: float | None) -> None:
        """Until the relay knows what this node takes by now."""
        # A call that found it ended may have said that something is to be confirmed: nobody will.
        if self._ended or not self.attached.wait(timeout_s) or self._ended:
            raise self.problem or FabricError(Code.TIMED_OUT, "the relay did not confirm what this node takes")

    def on_link(self, tell: Callable[[FabricError | None], None]) -> None:
        """`tell` gets None when a relay has confirmed what this node takes, and when it is there no more, why."""
        self._tell_link = tell

    # -- the connection's thread ------------------------------------------------------------------------

    def relays(self, addresses: Sequence[str]) -> None:
        """It may connect to these from now on. What others said is over."""
        self._addresses = addresses
        self._silent.clear()
        self._revoking.clear()

    def is_connected(self) -> None:
        self.problem = None
        self._silent.clear()
        self._revoking.clear()
        self.connected.set()
        self._first_word.set()

    def is_attached(self) -> None:
        """The relay has confirmed what this node takes by now."""
        self.attached.set()
        if not self._is_attached:
            self._is_attached = True
            self._tell_link(None)

    def is_refused(self, problem: FabricError, *, final: bool) -> None:
        """`final`: trying again cannot help until somebody acts."""
        self._is_not(problem, final=final and self._has_one_relay)

    def is_revoked(self, relay: str) -> bool:
        """This relay says that the node is revoked. Whether all of its relays do: one alone may lie."""
        self._revoking[relay] = None
        return len(self._revoking) >= len(self._addresses)

    def has_no_answer(self, relay: str, problem: FabricError) -> None:
        """A connection to this relay did not come about, or ended."""
        self._silent[relay] = None
        all_silent = len(self._silent) == len(self._addresses)
        self._is_not(problem, final=problem.code is not Code.CLOSED if self._has_one_relay else all_silent)

    def was_cut_off(self, problem: FabricError) -> None:
        """A connection did not come about, and nobody can say yet whether the next one will."""
        self._is_not(problem, final=False)

    def has_ended(self, problem: FabricError) -> None:
        """For good: whoever waits is told now."""
        self.problem = problem
        self._ended = True
        self.connected.clear()
        self._is_detached(problem)
        self._first_word.set()
        self.attached.set()

    def forked(self, problem: FabricError) -> None:
        """This process is a fork: nobody waits here, and who held the locks may not be here."""
        self.connected, self.attached, self._first_word = Event(), Event(), Event()
        self.problem, self._ended = problem, True

    @property
    def _has_one_relay(self) -> bool:
        return len(self._addresses) == 1

    def _is_not(self, problem: FabricError, *, final: bool) -> None:
        self.connected.clear()
        self.attached.clear()  # until the next link's relay confirms it again
        # A later CLOSED is only the echo of the reason that came first.
        if self.problem is None or problem.code is not Code.CLOSED:
            self.problem = problem
        self._is_detached(problem)
        if final:
            self._first_word.set()

    def _is_detached(self, problem: FabricError) -> None:
        if self._is_attached:
            self._is_attached = False
            self._tell_link(problem)
