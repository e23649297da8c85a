"""What a control point receives: its subscriptions, and the deliveries that they have not finished.

Guarantees: a delivery is acknowledged when every subscription that gets it is done; what comes for a durable pattern
before its program has subscribed again waits, unacknowledged, and the relay's credit bounds how much. A gap marker
reaches every durable subscription. All of it runs on the loop's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from fabric.edge.locks import Event
from fabric.edge.receiving.batch import Batch
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import SESSION_KEEP_MS_MAX, SUBSCRIPTIONS_MAX
from fabric.protocol.vocabulary.topics import matches

# Who may take what one control point takes; each is asked about each delivery.
SUBSCRIBERS_MAX = 1_024


class Done(Protocol):
    """Acknowledges a delivery; with a problem, as one that could not be read."""

    def __call__(self, problem: Reject | None = None) -> None: ...


class Subscription:
    """Patterns and who takes what they bring. `sink(batch, done)` runs on the loop's thread; `done` acknowledges.

    `durable`: the patterns outlive it, so that what comes while nobody is there waits. `also`: patterns besides the
    first; what several of them match comes once.
    """

    def __init__(self, pattern: str, sink: Callable[[Batch, Done], None],
                 fail: Callable[[FabricError], None], durable: bool = False, also: Sequence[str] = ()) -> None:
        self.patterns = (pattern, *also)
        self.sink = sink
        self.fail = fail
        self.durable = durable
        self.epoch = 0
        self.in_force = Event()  # the relay has it


class Subscriptions:
    """`handled(id, problem)` is called, from any thread, when a delivery is done, or was found to be unreadable."""

    def __init__(self, handled: Callable[[bytes, Reject | None], None]) -> None:
        self._handled = handled
        self._subscriptions: list[Subscription] = []
        self._durable: dict[str, None] = {}  # patterns, of this run and of the last
        self._parked: list[tuple[bytes, str, Batch]] = []

    # -- what is taken ----------------------------------------------------------------------------------

    def restore(self, patterns: tuple[str, ...]) -> None:
        """What an earlier run of this reader took."""
        self._durable.update(dict.fromkeys(patterns))

    @property
    def patterns(self) -> tuple[str, ...]:
        taken = (pattern for subscription in self._subscriptions for pattern in subscription.patterns)
        return tuple(dict.fromkeys([*self._durable, *taken]))

    @property
    def is_single(self) -> bool:
        """Whether one subscription alone says what was taken."""
        return len(self._subscriptions) == 1

    @property
    def keep_ms(self) -> int:
        return SESSION_KEEP_MS_MAX if self._durable else 0

    def add(self, subscription: Subscription) -> bool:
        """False when there are too many; the subscription was told."""
        if len(dict.fromkeys([*self.patterns, *subscription.patterns])) > SUBSCRIPTIONS_MAX:
            subscription.fail(FabricError(Code.TOO_LARGE, f"more than {SUBSCRIPTIONS_MAX} subscriptions"))
            return False
        if len(self._subscriptions) >= SUBSCRIBERS_MAX:
            subscription.fail(FabricError(Code.TOO_LARGE, f"more than {SUBSCRIBERS_MAX} that subscribe"))
            return False
        self._subscriptions.append(subscription)
        if subscription.durable:
            self._durable.update(dict.fromkeys(subscription.patterns))
        parked, self._parked = self._parked, []
        for id_, topic, batch in parked:
            self.take(id_, topic, batch)
        return True

    def drop(self, subscription: Subscription) -> bool:
        """Whether it was there. A durable pattern stays."""
        if subscription not in self._subscriptions:
            return False
        self._subscriptions.remove(subscription)
        return True

    def forget(self, pattern: str) -> None:
        """A durable pattern ends; what it brought and nobody took is let go."""
        self._durable.pop(pattern, None)
        parked, self._parked = self._parked, []
        for id_, topic, batch in parked:
            self.take(id_, topic, batch)

    def refused(self, reason: Reject) -> bool:
        """The relay takes none, or not all, of it. True when the others are worth another try."""
        error = FabricError(reason.code, reason.detail)
        guilty = [s for s in self._subscriptions if reason.detail in s.patterns] or list(self._subscriptions)
        for subscription in guilty:
            self._subscriptions.remove(subscription)
            for pattern in subscription.patterns:
                self._durable.pop(pattern, None)
            subscription.fail(error)
        known = self._durable.pop(reason.detail, "") is None
        return bool(self._subscriptions) or (known and bool(self._durable))

    def confirmed(self, epoch: int) -> None:
        for subscription in self._subscriptions:
            if subscription.epoch <= epoch:
                subscription.in_force.set()

    def fail_all(self, error: FabricError) -> None:
        for subscription in self._subscriptions:
            subscription.fail(error)

    # -- what comes -------------------------------------------------------------------------------------

    def take(self, id_: bytes, topic: str, batch: Batch) -> None:
        takers = [s for s in self._subscriptions if any(matches(pattern, topic) for pattern in s.patterns)]
        if takers:
            self._give(id_, takers, batch)
        elif any(matches(pattern, topic) for pattern in self._durable):
            self._parked.append((id_, topic, batch))
        else:
            self._handled(id_, None)

    def gap(self, id_: bytes, batch: Batch) -> None:
        """The relay had no room for some of what waited: every durable subscription is told."""
        takers = [s for s in self._subscriptions if s.durable]
        if takers:
            self._give(id_, takers, batch)
        else:
            self._handled(id_, None)

    def _give(self, id_: bytes, takers: list[Subscription], batch: Batch) -> None:
        done = _Countdown(len(takers), lambda problem: self._handled(id_, problem))
        for subscription in takers:
            subscription.sink(batch, done.once())


class _Countdown:
    """Calls back when everybody is done; nobody counts twice."""

    def __init__(self, count: int, finish: Callable[[Reject | None], None]) -> None:
        self._left = count
        self._finish = finish
        self._problem: Reject | None = None
        self._lock = threading.Lock()

    def once(self) -> Done:
        spoken = threading.Lock()

        def done(problem: Reject | None = None) -> None:
            if not spoken.acquire(blocking=False):
                return
            with self._lock:
                self._problem = self._problem or problem
                self._left -= 1
                last = self._left == 0
            if last:
                self._finish(self._problem)

        return done
