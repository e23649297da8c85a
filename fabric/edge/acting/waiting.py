"""Actions that wait for a handler (SPEC 9.3): urgent first, within their time, and not while what they do is reverted.

Pure: time is an argument; whoever calls has the lock. No more are kept than `Executing` takes in.
"""

from __future__ import annotations

import heapq
import itertools
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from fabric.edge.acting.attachments import Attachments
from fabric.edge.effects.lasting import Lasting
from fabric.edge.effects.leasing import Lasts
from fabric.edge.handling.handlers import Handler
from fabric.edge.messages import Action
from fabric.protocol.core.ready import Delivery


class Task(NamedTuple):
    """An action and who executes it."""

    delivery: Delivery
    action: Action
    handler: Handler
    lasting: Lasting | None  # its effect; None where nothing here ends it, and it undoes nothing
    arrived_ms: int
    deadline_ms: int  # by this machine's steady clock
    again: bool  # its handler was called before, by a process that ended
    left: Attachments | None  # what its handler leaves to be fetched
    begins: Future[None] | None = None  # of the ledger, where a handler was free when it came

    def lasts(self, now_ms: int) -> Lasts | None:
        """For how long from now on."""
        if self.lasting is None:
            return None
        at_ms = self.delivery.message.counts_from_ms + self.delivery.age_ms + max(0, now_ms - self.arrived_ms)
        lasting = self.lasting
        return Lasts(
            lasting.effect, lasting.variant, lasting.left_ms(at_ms), lasting.ends_itself, lasting.target,
            lasting.undoes, lasting.is_kept_up,
        )


class Entry(NamedTuple):
    """A task in its place: by lane, then in the order of arrival."""

    lane: int
    number: int
    task: Task


@dataclass(slots=True)
class Waiting:
    """`next`, `take` and `put_off` are for handlers; `look_again` is called several times a second."""

    _heap: list[Entry] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _put_off: set[bytes] = field(default_factory=set)  # effects that are being reverted, as far as was heard lately

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, task: Task) -> None:
        """At the end of its lane."""
        heapq.heappush(self._heap, Entry(task.delivery.message.header.lane, next(self._numbers), task))

    def next(self) -> Entry | None:
        """The one whose turn it is."""
        if not self._put_off:
            return self._heap[0] if self._heap else None
        return min(
            (each for each in self._heap if each.task.lasting is None or each.task.lasting.effect not in self._put_off),
            default=None,
        )

    def take(self, entry: Entry) -> Task:
        """It waits no more."""
        self._heap.remove(entry)
        heapq.heapify(self._heap)
        return entry.task

    def put_off(self, entry: Entry) -> None:
        """Back to its place: what it does is just being reverted."""
        if entry.task.lasting is not None:
            self._put_off.add(entry.task.lasting.effect)
        heapq.heappush(self._heap, entry)

    def look_again(self) -> bool:
        """Whether some were put off that may go now."""
        were_put_off = bool(self._put_off)
        self._put_off.clear()
        return were_put_off

    def pop(self, id_: bytes) -> Task | None:
        """The one of this action, which does not wait any more."""
        entry = next((each for each in self._heap if each.task.delivery.message.id == id_), None)
        return None if entry is None else self.take(entry)

    def late(self, now_ms: int) -> list[Task]:
        """Those whose time is over; they wait no more."""
        late = [each.task for each in self._heap if each.task.deadline_ms <= now_ms]
        if late:
            self._heap = [each for each in self._heap if each.task.deadline_ms > now_ms]
            heapq.heapify(self._heap)
        return late

    def all(self) -> list[Task]:
        """In their order; none waits any more."""
        tasks = [entry.task for entry in sorted(self._heap)]
        self._heap.clear()
        return tasks
