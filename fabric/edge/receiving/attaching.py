"""What a control point takes, as it tells its relay: patterns, whether they are durable, whether it executes.

Guarantees: every change is told to the relay, and `Standing.attached` is set when the relay has confirmed the latest; a
session is durable or executes, never both, since a session that is away executes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.edge.connection.mailbox import Calls
from fabric.edge.connection.status import Standing
from fabric.edge.publishing.outbox import batch_source
from fabric.edge.receiving.subscriptions import Incoming, Subscription
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Attach, Attached, Delivery, KeepPosition, Ready
from fabric.protocol.point.point import Point

_ONE_OR_THE_OTHER = (
    "who is away executes nothing: a control point has durable subscriptions or handlers of actions",
    "open a second one, with the same identity, for the other",
)


class Attaching:
    """The attachment of one control point: what its program takes now, and what its relay has confirmed."""

    def __init__(self, core: Point, calls: Calls, standing: Standing, incoming: Incoming) -> None:
        self._core = core
        self._calls = calls
        self._standing = standing
        self._incoming = incoming
        self._durable = False  # there is an outbox to remember in
        self._epoch = 0
        self.take_action: Callable[[Delivery], None] | None = None
        self._is_to_execute = False  # it will, when what it needs for that is there

    # -- from any thread --------------------------------------------------------------------------------

    def subscribe(self, subscription: Subscription) -> None:
        if subscription.durable and not self._durable:
            raise FabricError(
                Code.USAGE, "a durable subscription needs an outbox to be remembered in",
                "open the control point with one",
            )
        if subscription.durable and self.take_action is not None:
            raise FabricError(Code.USAGE, *_ONE_OR_THE_OTHER)

        def add(now_ms: int, ready: Ready) -> None:
            if self._incoming.add(subscription):
                self._attach(now_ms, ready)
                subscription.epoch = self._epoch

        self._standing.attached.clear()
        self._calls.call(add, subscription.fail)

    def unsubscribe(self, subscription: Subscription) -> None:
        def drop(now_ms: int, ready: Ready) -> None:
            if self._incoming.drop(subscription):
                self._attach(now_ms, ready)

        self._calls.call_if_any(drop)

    def stopped_in(self, batch: str, records: int) -> None:
        """The program stops with so many records of an unfinished batch taken: the next run begins behind them."""
        if self._durable and self._incoming.is_single:
            stopped = KeepPosition(batch_source(batch), str(records))
            self._calls.call_if_any(lambda _now, ready: ready.persist.append(stopped))

    def forget(self, pattern: str) -> None:
        """A durable pattern ends: nothing waits for it any more."""

        def drop(now_ms: int, ready: Ready) -> None:
            self._incoming.forget(pattern)
            self._attach(now_ms, ready)

        self._standing.attached.clear()
        self._calls.call(drop)

    def check_may_execute(self) -> None:
        """Raises USAGE where there are durable subscriptions."""
        if self._incoming.keep_ms:
            raise FabricError(Code.USAGE, *_ONE_OR_THE_OTHER)

    def will_execute(self) -> None:
        """`execute` is about to be called: until the relay has confirmed that, `Standing.attached` waits, whatever the
        relay confirms before."""
        self._is_to_execute = True
        self._standing.attached.clear()

    # -- the connection's thread ------------------------------------------------------------------------

    def restore(self) -> None:
        """There is an outbox, and the core has what an earlier run took."""
        self._durable = True
        self._incoming.restore(self._core.wanted.subscriptions)
        self._epoch = self._core.wanted.epoch

    def execute(self, take: Callable[[Delivery], None], now_ms: int, ready: Ready) -> None:
        """From now on actions are for this session; `take` runs on this thread."""
        self.take_action = take
        self._is_to_execute = False
        self._attach(now_ms, ready)

    def refused(self, reason: Reject) -> None:
        """The relay takes none, or not all, of it."""
        if self._incoming.refused(reason) or self.take_action is not None:
            self._calls.later(self._attach)

    def confirmed(self, attached: Attached) -> None:
        if attached.epoch >= self._epoch and not self._is_to_execute:
            self._standing.attached.set()
        self._incoming.confirmed(attached.epoch)

    def _attach(self, now_ms: int, ready: Ready) -> None:
        self._epoch = max(self._epoch + 1, now_ms)
        self._standing.attached.clear()
        incoming = self._incoming
        wanted = Attach(self._epoch, self.take_action is not None, incoming.patterns, incoming.keep_ms)
        ready.merge(self._core.step(wanted, now_ms))
