"""What becomes of records: a future for each that was published alone, one for all that were published together.

Guarantees: each record has one outcome, its id or why it was refused, whoever comes first with it; `Many` is done when
the outcome of all that were taken is known. Of any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING, RUNNING
from itertools import groupby
from typing import Any, TypeVar

from fabric.edge.connection.mailbox import fail
from fabric.edge.locks import Condition, Pending
from fabric.edge.publishing.drafts import Draft
from fabric.protocol.base.errors import FabricError
from fabric.protocol.envelope.header import Kind

T = TypeVar("T")
# Of one of many: its number, and why. It must not block.
Tell = Callable[[int, FabricError], None]

# Held while a receipt at which nobody has looked changes, or becomes one that somebody looks at. One thread may be in
# here twice: what a garbage collection lets go may look at one.
_UNTOUCHED = threading.RLock()


class Receipt(Pending[T]):
    """A record's id, when it is durable. `looked_at`: somebody knows, or will be called, how it ended.

    There is one for each record, and at most of them nobody ever looks: what is needed to wait for one is made when
    somebody first does.
    """

    looked_at = False
    is_touched = False  # nobody waits for it, and nobody does from now on while `_UNTOUCHED` is held
    _state: str = PENDING
    _result: Any = None
    _exception = None

    def __init__(self) -> None:
        """As a future, without what is made later."""

    def __getattr__(self, name: str) -> Any:
        """What is not there yet: all of it at once, and so without another lock for who has the condition."""
        if name not in ("_condition", "_waiters", "_done_callbacks"):
            raise AttributeError(name)
        with _UNTOUCHED:
            self.is_touched = True  # first: Ctrl-C may come in between
            # So may a signal handler or a finaliser that looks at this one, too: what is there stays, in one step each.
            made = self.__dict__
            made.setdefault("_waiters", [])
            made.setdefault("_done_callbacks", [])
            made.setdefault("_condition", Condition())
            return made[name]

    def done(self) -> bool:
        return self._state not in (PENDING, RUNNING)

    def result(self, timeout: float | None = None) -> T:
        try:
            return super().result(timeout)
        finally:
            self.looked_at |= self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            return super().exception(timeout)
        finally:
            self.looked_at |= self.done()

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        self.looked_at = True
        super().add_done_callback(lambda future: _call(fn, future))


def _call(fn: Callable[[Future[T]], object], future: Future[T]) -> None:
    """Mostly on the connection's thread, which `sys.exit` is not to end: it is logged as all that a callback raises."""
    try:
        fn(future)
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__} in a callback") from error


class Many:
    """What becomes of records that were published together.

    `taken`: how many of them were, from the first on; what is behind had no place in time, and its outcome is BUSY.
    `future` is done when the outcome of each is known: a list in the order of the records, an id or a FabricError for
    each. It cannot be cancelled, and what waits can be withdrawn. `tell` hears of each that was taken and is refused,
    before its position is passed.
    """

    def __init__(self, count: int, tell: Tell | None = None) -> None:
        self.future: Receipt[list[str | FabricError]] = Receipt()
        self.future.set_running_or_notify_cancel()
        self.taken = 0
        self._tell = tell
        self._outcomes: list[str | FabricError | None] = [None] * count
        self._open = count
        self._on_their_way = bytearray(count)
        self._is_withdrawn = False
        # One thread may be in here twice: what a garbage collection lets go, or a signal handler, may ask too.
        self._lock = threading.RLock()
        if not count:
            self.future.set_result([])

    def result(self, timeout_s: float | None = None) -> list[str | FabricError]:
        """An id, or why it was refused, for each, when that is known of all. Raises TimeoutError."""
        return self.future.result(timeout_s)

    def outcomes(self) -> list[str | FabricError | None]:
        """As far as they are known."""
        with self._lock:
            return list(self._outcomes)

    def withdraw(self, error: FabricError) -> None:
        """What still waits is not taken, with this as its outcome: of each lane it is what was given last. What is on
        its way is not touched, and its outcome follows."""
        with self._lock:
            self._is_withdrawn = True
            waits = [n for n, outcome in enumerate(self._outcomes) if outcome is None and not self._on_their_way[n]]
        self._end([(number, error) for number in waits])

    def is_withdrawn(self, number: int) -> bool:
        """Whether it will not be taken any more."""
        return self._is_withdrawn and not self._on_their_way[number]

    def send(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        """These are on their way from now on; none of them where it was withdrawn before."""
        with self._lock:
            if self._is_withdrawn:
                return ()
            for draft in drafts:
                self._on_their_way[draft.number] = 1
        return drafts

    def succeed(self, outcomes: Sequence[tuple[int, str]]) -> None:
        """These numbers have these ids."""
        self._end(outcomes)

    def refuse(self, number: int, error: FabricError) -> None:
        """This one is not published."""
        try:
            if self._outcomes[number] is None and self._tell is not None:
                self._tell(number, error)
        finally:
            self._end([(number, error)])

    def cut(self, taken: int, error: FabricError) -> None:
        """No more than these were taken: the others are as if they had not been given."""
        self.taken = taken
        self._end([(number, error) for number in range(taken, len(self._outcomes))])

    def _end(self, outcomes: Sequence[tuple[int, str]] | Sequence[tuple[int, FabricError]]) -> None:
        is_last = False  # of all threads only one comes with the last outcome
        with self._lock:
            for number, outcome in outcomes:
                if self._outcomes[number] is None:
                    self._outcomes[number] = outcome
                    left = self._open = self._open - 1
                    is_last = not left
        if is_last:
            self.future.set_result(list(self._outcomes))  # type: ignore[arg-type]  # none is None any more


def is_cancelled(draft: Draft) -> bool:
    """Whether its program does not want it any more."""
    token = draft.token
    if isinstance(token, Many):
        return draft.dropped or token.is_withdrawn(draft.number)
    return draft.dropped or (isinstance(token, Future) and token.cancelled())


def begin_sending(drafts: Iterable[Draft]) -> list[Draft]:
    """Those that are sent, whatever their program wishes from now on: the others were cancelled before."""
    begun: list[Draft] = []
    for token, group in groupby(drafts, _shared_token):
        together = [draft for draft in group if not draft.dropped]
        if isinstance(token, Many):
            begun += token.send(together)
        elif token is Receipt:
            begun += _begin_each(together)
        else:
            begun += [draft for draft in together if _begin_one(draft.token)]
    return begun


def _shared_token(draft: Draft) -> Any:
    """What is asked once for all that share it: that of many, or of what kind each has one of its own."""
    kind = type(draft.token)
    return draft.token if kind is Many else kind


def _begin_each(drafts: Sequence[Draft]) -> list[Draft]:
    """Each with a receipt of its own."""
    touched = {}
    with _UNTOUCHED:
        for draft in drafts:
            if draft.token.is_touched:
                touched[id(draft)] = draft
            else:
                draft.token._state = RUNNING
    cancelled = {number for number, draft in touched.items() if not _begin_one(draft.token)}
    return [draft for draft in drafts if id(draft) not in cancelled]


def _begin_one(token: Any) -> bool:
    """Whether it is sent: it was not cancelled before, and cannot be from now on."""
    return not isinstance(token, Future) or token.set_running_or_notify_cancel()


def open_future(token: Any) -> Future[Any] | None:
    """The future of whom nobody told yet; None where there is none."""
    future = token.future if isinstance(token, Many) else token
    return future if isinstance(future, Future) and not future.done() else None


def succeed(id_: bytes, group: Sequence[Draft]) -> None:
    """It is held, or on disk: the message that these are in."""
    name, together = id_.hex(), dict[Many, list[tuple[int, str]]]()
    others: list[tuple[Any, str]] = []
    with _UNTOUCHED:
        for index, draft in enumerate(group):
            token, result = draft.token, f"{name}.{index}"
            if type(token) is Many:
                together.setdefault(token, []).append((draft.number, result))
            elif type(token) is Receipt and not token.is_touched:
                token._result, token._state = result, FINISHED
            else:
                others.append((token, result))
    is_action = bool(group) and group[0].stamp.kind is Kind.ACTION
    for token, result in others:
        if isinstance(token, Future) and not token.done():
            token.set_result(id_ if is_action else result)
    for many, outcomes in together.items():
        many.succeed(outcomes)


def refuse(group: Sequence[Draft], error: FabricError) -> None:
    """None of these is published."""
    for draft in group:
        if isinstance(draft.token, Many):
            draft.token.refuse(draft.number, error)
        else:
            fail(draft.token, error)
