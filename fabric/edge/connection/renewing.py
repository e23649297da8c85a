"""Renews a control point's credential on its thread: takes up a newer one from its folder, or asks for one in time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from fabric.edge.connection.mailbox import Mailbox, fail
from fabric.edge.identity.renewal import Renewal
from fabric.edge.locks import Pending
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Answered, Ready, Renewed
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Credential

_LOOK_MS = 1_000
# One answer is everybody's. More are a program that does not wait for it.
ASKED_MAX = 16


class Renewing:
    """The renewal of one control point's credential, while its connection lasts. `sign_with` is told the newer one."""

    def __init__(
        self, core: Point, mailbox: Mailbox, sign_with: Callable[[Credential], None], renewal: Renewal
    ) -> None:
        self._core = core
        self._mailbox = mailbox
        self._sign_with = sign_with
        self._renewal = renewal
        self._look_at_ms = 0
        self._asked: dict[bytes, Future[None]] = {}  # question -> who waits for what becomes of it

    # -- from any thread --------------------------------------------------------------------------------

    def renew(self) -> Future[None]:
        """Ask this node's issuer for a newer credential now; the future ends when it is in force, or with why not."""
        future: Pending[None] = Pending()
        held = self._renewal.held
        if not held.issuers:
            raise FabricError(
                Code.USAGE, f"the authority itself vouches for {held.id}",
                f"run `fabric credential renew {held.id}` where the authority is",
            )

        def ask(now_ms: int, ready: Ready) -> None:
            if len(self._asked) >= ASKED_MAX:
                fail(future, FabricError(Code.BUSY, f"asked {ASKED_MAX} times already", "wait for the answer"))
                return
            question = self._renewal.ask(self._core.time.now(now_ms))
            self._asked[question.id] = future
            ready.merge(self._core.step(question, now_ms))

        self._mailbox.call(ask, lambda error: fail(future, error))
        return future

    # -- the connection's thread ------------------------------------------------------------------------

    def look(self, now_ms: int, ready: Ready) -> None:
        """Once a second: take up a newer one from the folder, or ask for one when it is time."""
        if now_ms < self._look_at_ms:
            return
        self._look_at_ms = now_ms + _LOOK_MS
        fresh = self._renewal.newer()
        if fresh is not None:
            self._take_up(fresh, now_ms, ready)
        elif self._core.connected and (ask := self._renewal.due(self._core.time.now(now_ms))) is not None:
            ready.merge(self._core.step(ask, now_ms))

    def answered(self, answered: Answered) -> None:
        fresh = self._renewal.answered(answered)
        waiting = self._asked.pop(answered.id, None) or Pending()
        if isinstance(fresh, Credential):
            renewed = fresh

            def take_up(now_ms: int, ready: Ready) -> None:
                self._take_up(renewed, now_ms, ready)
                if waiting.set_running_or_notify_cancel():
                    waiting.set_result(None)

            self._mailbox.later(take_up, lambda error: fail(waiting, error))
        elif fresh is not None:
            fail(waiting, FabricError(fresh.code, fresh.detail))

    def end(self, error: FabricError) -> None:
        """Whoever waits for an answer is told why there is none."""
        asked, self._asked = self._asked, {}
        for waiting in asked.values():
            fail(waiting, error)

    def _take_up(self, fresh: Credential, now_ms: int, ready: Ready) -> None:
        self._sign_with(fresh)
        ready.merge(self._core.step(Renewed(fresh), now_ms))
