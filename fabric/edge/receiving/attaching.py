"""What a control point takes, as it tells its relay: patterns, whether they are durable, whether it executes.

Guarantees: every change is told to the relay, and `Status.attached` is set when the relay has confirmed the latest; a
session is durable or executes, never both, since a session that is away executes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.connection.status import Status
from fabric.edge.publishing.outbox import batch_source
from fabric.edge.receiving.subscriptions import Subscription, Subscriptions
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Attach, Attached, Delivery, KeepPosition, Ready
from fabric.protocol.point.point import Point

_ONE_OR_THE_OTHER = (
    "who is away executes nothing: a control point has durable subscriptions or handlers of actions",
    "open a second one, with the same identity, for the other",
)


class Attaching:
    """The attachment of one control point: what its program takes now, and what its relay has confirmed."""

    def __init__(self, core: Point, mailbox: Mailbox, status: Status, subscriptions: Subscriptions) -> None:
        self._core = core
        self._mailbox = mailbox
        self._status = status
        self._subscriptions = subscriptions
        self._durable = False  # there is an outbox to remember in
        self._epoch = 0
        self.take_action: Callable[[Delivery], None] | None = None
        self._is_to_execute = False  # it will, when what it needs for that is there
        self._keep_ms = 0  # without a durable subscription
        self._has_been_connected = False
        self._is_to_keep = 0  # changes of that which the connection's thread has yet to make

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
            if self._subscriptions.add(subscription):
                self._attach(now_ms, ready)
                subscription.epoch = self._epoch

        self._status.attached.clear()
        self._mailbox.call(add, subscription.fail)

    def unsubscribe(self, subscription: Subscription) -> None:
        def drop(now_ms: int, ready: Ready) -> None:
            if self._subscriptions.drop(subscription):
                self._attach(now_ms, ready)

        self._mailbox.call_if_any(drop)

    def stopped_in(self, batch: str, records: int) -> None:
        """The program stops with so many records of an unfinished batch taken: the next run begins behind them."""
        if self._durable and self._subscriptions.is_single:
            stopped = KeepPosition(batch_source(batch), str(records))
            self._mailbox.call_if_any(lambda _now, ready: ready.persist.append(stopped))

    @property
    def patterns(self) -> tuple[str, ...]:
        """Those in force and those that are durable."""
        return self._subscriptions.patterns

    def forget(self, pattern: str) -> None:
        """A durable pattern ends: nothing waits for it any more."""

        def drop(now_ms: int, ready: Ready) -> None:
            self._subscriptions.forget(pattern)
            self._attach(now_ms, ready)

        self._status.attached.clear()
        self._mailbox.call(drop)

    def keep(self, keep_ms: int) -> None:
        """What comes for this session waits for so long while it is away, also without a subscription; 0: no more."""

        def change(now_ms: int, ready: Ready) -> None:
            self._keep_ms = keep_ms
            self._is_to_keep -= 1
            self._attach(now_ms, ready)

        self._is_to_keep += 1
        self._status.attached.clear()
        self._mailbox.call(change)

    def check_may_execute(self) -> None:
        """Raises USAGE where there are durable subscriptions."""
        if self._subscriptions.keep_ms:
            raise FabricError(Code.USAGE, *_ONE_OR_THE_OTHER)

    def will_execute(self) -> None:
        """`execute` is about to be called: until the relay has confirmed that, `Status.attached` waits, whatever the
        relay confirms before."""
        self._is_to_execute = True
        self._status.attached.clear()

    # -- the connection's thread ------------------------------------------------------------------------

    def restore(self) -> None:
        """There is an outbox, and the core has what an earlier run took."""
        self._durable = True
        self._subscriptions.restore(self._core.wanted.subscriptions)
        self._epoch = self._core.wanted.epoch

    def execute(self, take: Callable[[Delivery], None], now_ms: int, ready: Ready) -> None:
        """From now on actions are for this session; `take` runs on this thread."""
        self.take_action = take
        self._is_to_execute = False
        self._attach(now_ms, ready)

    def connected(self) -> None:
        """A link is open. Where this executes it says so anew: a program elsewhere that stood in for it, under
        the same identity, has said something newer than it had, and relays further up would take it for away."""
        if self._has_been_connected and self.take_action is not None:
            self._mailbox.later(self._attach)
        self._has_been_connected = True

    def refused(self, reason: Reject) -> None:
        """The relay takes none, or not all, of it."""
        if self._subscriptions.refused(reason) or self.take_action is not None:
            self._mailbox.later(self._attach)

    def confirmed(self, attached: Attached) -> None:
        if attached.epoch >= self._epoch and not (self._is_to_execute or self._is_to_keep):
            self._status.is_attached()
        self._subscriptions.confirmed(attached.epoch)

    def _attach(self, now_ms: int, ready: Ready) -> None:
        self._epoch = max(self._epoch + 1, now_ms)
        self._status.attached.clear()
        taken = self._subscriptions
        wanted = Attach(self._epoch, self.take_action is not None, taken.patterns, max(taken.keep_ms, self._keep_ms))
        ready.merge(self._core.step(wanted, now_ms))
