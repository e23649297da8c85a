"""Locks between a program's threads and its connection's that are in order after Ctrl-C, wherever that came.

`threading.Condition` enters and leaves its lock in Python code, where a signal may be handled between the lock and the
`with`: it stays held, and the other thread waits for it for ever. So do `threading.Event`, `queue.Queue` and
`concurrent.futures.Future`, which are made of it. Here the interpreter takes and gives back a lock in one step each.
"""

from __future__ import annotations

import threading
from _thread import RLock
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class _Waiting:
    """Waiting for others with a lock that is held, and waking those who wait here."""

    _waiters: threading.Condition | None = None  # most are never waited for

    def _lock(self) -> RLock:
        raise NotImplementedError

    def wait(self, timeout: float | None = None) -> bool:
        try:
            return self._ready_to_wait().wait(timeout)
        except BaseException:
            self._take_back()
            raise

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        try:
            return self._ready_to_wait().wait_for(predicate, timeout)
        except BaseException:
            self._take_back()
            raise

    def notify(self) -> None:
        if self._waiters is not None:
            self._waiters.notify()

    def notify_all(self) -> None:
        if self._waiters is not None:
            self._waiters.notify_all()

    def _take_back(self) -> None:
        """Whoever waits has the lock afterwards, also where Ctrl-C came just when it was given up."""
        lock = self._lock()
        if not lock._is_owned():  # type: ignore[attr-defined]
            lock.acquire()

    def _ready_to_wait(self) -> threading.Condition:
        if self._waiters is None:
            # In one step: a signal handler may wait here in between, and others since, who are woken where they are.
            waiters: threading.Condition = self.__dict__.setdefault("_waiters", threading.Condition(self._lock()))
            return waiters
        return self._waiters


class Condition(_Waiting, RLock):  # type: ignore[misc]  # it can be, and a test of its own holds it
    """As `threading.Condition`, and its own lock: to enter and to leave it no Python code runs."""

    def _lock(self) -> RLock:
        return self


class Room(_Waiting):
    """Another place to wait in with the lock of a condition: whom one wakes, those in others sleep on."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    def _lock(self) -> RLock:
        return self._condition


class Event:
    """As `threading.Event`."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        with self._condition:
            self._is_set = True
            self._condition.notify_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        with self._condition:
            return self._condition.wait_for(self.is_set, timeout)


class Pending(Future[T]):
    """As `concurrent.futures.Future`, of which this is one."""

    def __init__(self) -> None:
        super().__init__()
        # What `Future` and `concurrent.futures.wait` use of it: acquire, release, wait, notify_all and `with`.
        self._condition = Condition()  # type: ignore[assignment]
