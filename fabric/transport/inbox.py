"""What was read from the sockets and waits to be handled: a queue per identity, a fair share for each.

ZeroMQ takes turns among connections, and its queues count frames, not bytes: one peer with 64 connections is served 64
times as often as another, and fills gigabytes. So everything is read at once into here. Guarantees: what waits is
bounded in bytes, whatever its frames are like, and no identity can take the room that a newcomer needs: a frame is
taken when what its identity has waiting, and it, are no more than what is left of the whole. What is beyond that is
dropped and counted; everything that matters is sent again (SPEC 7). Turns are given by the time that handling took, so
that an identity with costly frames waits for them itself. Frames of one link stay in their order, and its end comes
after them: a BYE, or what was sent just before it, is still handled. One thing may pass: DATA of the urgent lanes goes
before what else its identity has waiting, unless anything of its own link is ahead of it that is no DATA. So much
may be under way that is not urgent, and what is urgent need not wait for it. Of every 16 frames one is of those that
were passed, so that none of an identity's links waits for ever for another's.

An identity is the CURVE key of a peer that was accepted. All others are one, `STRANGERS`; each link of theirs may have
a HELLO and its repeat waiting, and no more.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from typing import Final, NamedTuple

from fabric.protocol.base.limits import HELLO_BYTES_MAX
from fabric.protocol.base.shares import beyond_share
from fabric.protocol.vocabulary.severity import LAST_URGENT
from fabric.protocol.wire.codec import lane_claimed

# Two windows of a lane (16 MiB each): one honest peer may have all that its credit allows under way, and half is left.
_BYTES_MAX: Final = 33_554_432
# What an entry costs beside its bytes; it bounds tiny frames to some 65,000.
_ENTRY_BYTES: Final = 512
# Two of the largest HELLOs.
_STRANGER_BYTES_MAX: Final = 2 * (HELLO_BYTES_MAX + _ENTRY_BYTES)
# Nothing is free: a turn that took no time that can be measured is charged this.
_COST_NS_MIN: Final = 1_000
# Identities whose last turn is not paid yet are remembered; there are no more than members of a fabric, and this many.
_DEBTORS_MAX: Final = 4_096
# Urgent frames in a row while others of their identity wait: as outboxes have it (SPEC 7.4).
_PASSING_MAX: Final = 15

STRANGERS: Final = b""


class Entry(NamedTuple):
    """`payload` is None at the end of the link. `peer`: its CURVE key. `is_fixed`: nothing of its link may pass it."""

    link: int
    peer: bytes
    payload: bytes | None
    is_fixed: bool = False


class _Queue:
    """What waits of one identity, in two lines: `urgent` goes before `others`, `passed` so many times in a row by now.

    `start_ns`: when its next turn begins, on the scale of the time spent on all.
    """

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.urgent: deque[Entry] = deque()
        self.others: deque[Entry] = deque()
        self.passed = 0
        self.bytes = 0
        self.start_ns = 0


class _Waiting:
    """What waits of one link, and in which queue.

    `urgent`: how many of its entries are in that line. `fixed`: how many of its entries among the others hold up
    what of this link comes after them: all but DATA that is not urgent.
    """

    __slots__ = ("bytes", "entries", "fixed", "queue", "urgent")

    def __init__(self, queue: _Queue) -> None:
        self.queue = queue
        self.entries = self.bytes = self.fixed = self.urgent = 0


class Inbox:
    """`bytes_max`: of everything that waits, with what holding it costs."""

    def __init__(self, bytes_max: int = _BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self.bytes = 0
        self.dropped: Counter[str] = Counter()
        self._queues: dict[bytes, _Queue] = {}
        # Start-time fair queueing: the queue that was served least is next, and time stands where its turn begins.
        self._turns: list[tuple[int, int, _Queue]] = []
        self._now_ns = 0
        self._number = 0
        self._served: _Queue | None = None
        self._debts_ns: dict[bytes, int] = {}  # of identities that have nothing waiting
        self._links: dict[int, _Waiting] = {}  # that have something waiting

    def __bool__(self) -> bool:
        return bool(self._links)

    def put(self, link: int, identity: bytes, peer: bytes, payload: bytes) -> bool:
        """False when there is no room for it. What waits of a link keeps its place when its identity changes."""
        waiting = self._links.get(link) or _Waiting(self._queues.get(identity) or _Queue(identity))
        queue, size = waiting.queue, len(payload) + _ENTRY_BYTES
        if queue.identity == STRANGERS and waiting.bytes + size > _STRANGER_BYTES_MAX:
            self.dropped["stranger"] += 1
            return False
        if beyond_share(queue.bytes, size, self._bytes_max - self.bytes):
            self.dropped["share"] += 1
            return False
        self._links[link] = waiting
        waiting.bytes += size
        queue.bytes += size
        self.bytes += size
        lane = lane_claimed(payload)
        is_urgent = lane is not None and lane <= LAST_URGENT
        if is_urgent and not waiting.fixed and queue.identity != STRANGERS:  # nothing of theirs is urgent for others
            waiting.urgent += 1
            self._add(waiting, queue.urgent, Entry(link, peer, payload))
        else:
            self._add(waiting, queue.others, Entry(link, peer, payload, is_fixed=lane is None or is_urgent))
        return True

    def end(self, link: int, peer: bytes) -> bool:
        """The link is over. True when nothing of it waits; else `take` says so in its turn."""
        if link not in self._links:
            return True
        waiting = self._links[link]
        self._add(waiting, waiting.queue.others, Entry(link, peer, None, is_fixed=True))
        return False

    def _add(self, waiting: _Waiting, line: deque[Entry], entry: Entry) -> None:
        line.append(entry)
        waiting.entries += 1
        waiting.fixed += entry.is_fixed
        queue = waiting.queue
        if queue.identity not in self._queues:
            self._queues[queue.identity] = queue
            queue.start_ns = max(self._now_ns, self._debts_ns.pop(queue.identity, 0))
            self._line_up(queue)

    def _line_up(self, queue: _Queue) -> None:
        self._number += 1
        heapq.heappush(self._turns, (queue.start_ns, self._number, queue))

    def take(self) -> Entry | None:
        """The next entry. `spent` says afterwards what it cost."""
        if self._served is not None:
            self.spent(0)
        if not self._turns:
            return None
        self._now_ns, _, queue = heapq.heappop(self._turns)
        self._served = queue
        is_urgent = self._urgent_is_next(queue)
        queue.passed = queue.passed + 1 if is_urgent and queue.others else 0
        entry = (queue.urgent if is_urgent else queue.others).popleft()
        waiting = self._links[entry.link]
        waiting.urgent -= is_urgent
        size = 0 if entry.payload is None else len(entry.payload) + _ENTRY_BYTES
        waiting.entries -= 1
        waiting.bytes -= size
        waiting.fixed -= entry.is_fixed
        if not waiting.entries:
            del self._links[entry.link]
        queue.bytes -= size
        self.bytes -= size
        return entry

    def _urgent_is_next(self, queue: _Queue) -> bool:
        if not queue.urgent or not queue.others or queue.passed < _PASSING_MAX:
            return bool(queue.urgent)
        other = queue.others[0]
        # What is urgent came before it, where it is of the same link; what comes after it there stays behind it.
        return other.is_fixed and self._links[other.link].urgent > 0

    def spent(self, time_ns: int) -> None:
        """What handling the entry that was taken last cost; the identity's next turn is later by that."""
        queue, self._served = self._served, None
        if queue is None:
            return
        queue.start_ns += max(_COST_NS_MIN, time_ns)
        if queue.urgent or queue.others:
            self._line_up(queue)
            return
        del self._queues[queue.identity]
        self._debts_ns[queue.identity] = queue.start_ns
        if len(self._debts_ns) > _DEBTORS_MAX:
            self._forgive()

    def _forgive(self) -> None:
        """Forget debts that are paid; and where that is not enough, the smaller half."""
        owed = {identity: until for identity, until in self._debts_ns.items() if until > self._now_ns}
        if len(owed) > _DEBTORS_MAX // 2:
            owed = dict(sorted(owed.items(), key=lambda item: item[1])[-_DEBTORS_MAX // 2:])
        self._debts_ns = owed
