"""The rows of one origin in an outbox (SPEC 7.4), and those of its topics that wait for a reader (SPEC 7.5).

Guarantees: first come, first served, those from before a restart first; a row that is offered again has its old place,
in whatever order the answers come. A topic that the peer does not take because a reader waits has a line of its own, in
the order in which its rows came: one of them asks now and then, the others stay behind it, and what the origin says on
other topics goes by. So many topics of an origin wait apart; of more, the row that was refused holds up its origin, for
a moment each time.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Container, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fabric.protocol.custody.outbox import Row

# Whether it is of this run of its relay, and its number: what is less goes first.
Place = tuple[bool, int]

TOPICS_APART_MAX: Final = 64
# How long until one asks again, doubling with each refusal: soon for a reader that reads, seldom for one that is away.
_ASK_MS: Final = 200
_ASK_MS_MAX: Final = 5_000


class _Apart:
    """The rows of one topic, in the order in which they came."""

    __slots__ = ("_asking", "_bytes", "_closed", "_not_before_ms", "_refusals", "_rows", "reader")

    def __init__(self) -> None:
        self._rows: list[tuple[Place, int, Row]] = []
        self._bytes = 0
        self._closed = False
        self._not_before_ms = 0
        self._refusals = 0
        self._asking: Row | None = None  # the one that was sent while it is closed
        self.reader = ""

    def push(self, row: Row) -> None:
        heapq.heappush(self._rows, (row.place, row.held.size, row))
        self._bytes += row.held.size
        if row is self._asking:
            self._asking = None

    def close(self, reader: str, now_ms: int) -> None:
        """The peer said that this reader waits. Of what was under way together each is refused: that counts once."""
        self.reader = reader
        if not self._closed or now_ms >= self._not_before_ms:
            self._not_before_ms = now_ms + min(_ASK_MS << min(self._refusals, 8), _ASK_MS_MAX)
            self._refusals += 1
        self._closed = True

    def ask(self) -> None:
        """Without waiting: something has changed, and the peer may take it now."""
        self._not_before_ms = self._refusals = 0

    def head(self, now_ms: int, in_flight: Container[bytes]) -> tuple[Row | None, int]:
        dead = 0
        while self._rows and self._rows[0][2].done:
            self.pop()
            dead += 1
        if not self._is_closed:
            self._asking, self._closed, self._refusals = None, False, 0
        waits = self._closed and (self._asking is not None or now_ms < self._not_before_ms)
        if waits or not self._rows:
            return None, dead
        first = self._rows[0][2]
        return (None if first.not_before_ms > now_ms or first.visit in in_flight else first), dead

    def pop(self) -> Row:
        _, bytes_, row = heapq.heappop(self._rows)
        self._bytes -= bytes_
        if self._closed and not row.done:
            self._asking = row
        return row

    def drop_dead(self) -> None:
        self._rows = [entry for entry in self._rows if not entry[2].done]
        heapq.heapify(self._rows)
        self._bytes = sum(bytes_ for _, bytes_, _ in self._rows)

    @property
    def is_over(self) -> bool:
        """Whether nothing of the topic waits, or asks."""
        return not self._rows and (self._asking is None or self._asking.done)

    @property
    def _is_closed(self) -> bool:
        """Not when the one that asked was taken, or is over by itself: the next one tells."""
        return self._closed and not (self._asking is not None and self._asking.done)

    @property
    def bytes(self) -> int:
        return self._bytes if self._is_closed else 0

    @property
    def closed_rows(self) -> int:
        """How many wait, with the one that asks; of those that ended meanwhile some are still counted."""
        return len(self._rows) + (self._asking is not None) if self._is_closed else 0

    def __iter__(self) -> Iterator[Row]:
        return (entry[2] for entry in sorted(self._rows, key=lambda entry: entry[0]))


class Line:
    """What one origin has in one lane of an outbox. `head` finds the next row that may go, `pop` takes it out."""

    __slots__ = ("_apart", "_later", "_next", "_restored")

    def __init__(self) -> None:
        self._restored: deque[Row] = deque()
        self._later: deque[Row] = deque()
        self._apart: OrderedDict[str, _Apart] = OrderedDict()  # by topic
        self._next: _Apart | deque[Row] = self._later  # where `head` found its row

    def push(self, row: Row) -> None:
        apart = self._apart.get(_topic_of(row)) if self._apart else None
        queue = self._later if row.place[0] else self._restored
        if apart is not None:
            apart.push(row)
        elif not queue or queue[-1].place < row.place:
            queue.append(row)
        else:  # it is offered again, or slept
            queue.insert(bisect_left(queue, row.place, key=_place_of), row)

    def head(self, now_ms: int, in_flight: Container[bytes]) -> tuple[Row | None, int]:
        """The next row that may go, for `pop`, and how many dead ones were let go on the way to it."""
        first, dead = self._main_head()
        if first is not None and (first.not_before_ms > now_ms or first.visit in in_flight):
            first = None
        for topic, apart in list(self._apart.items()):
            other, passed = apart.head(now_ms, in_flight)
            dead += passed
            if other is not None and (first is None or other.place < first.place):
                first, self._next = other, apart
            if apart.is_over:
                del self._apart[topic]
        return first, dead

    def _main_head(self) -> tuple[Row | None, int]:
        dead = 0
        while queue := self._restored or self._later:
            apart = self._apart.get(_topic_of(queue[0])) if self._apart else None
            if queue[0].done:
                queue.popleft()
                dead += 1
            elif apart is not None:
                apart.push(queue.popleft())
            else:
                self._next = queue
                return queue[0], dead
        return None, dead

    def pop(self) -> Row:
        """The row that `head` found."""
        return self._next.pop() if isinstance(self._next, _Apart) else self._next.popleft()

    def hold_back(self, row: Row, reader: str, now_ms: int) -> bool:
        """This row was refused because a reader waits: its topic has its own line. False where too many have."""
        topic = _topic_of(row)
        apart = self._apart.get(topic)
        if apart is None and len(self._apart) < TOPICS_APART_MAX:
            apart = self._apart[topic] = _Apart()
        self.push(row)
        if apart is not None:
            apart.close(reader, now_ms)
        return apart is not None

    def ask(self) -> None:
        for apart in self._apart.values():
            apart.ask()

    def held_back(self, topic: str) -> tuple[str, int]:
        apart = self._apart.get(topic)
        return ("", 0) if apart is None else (apart.reader, apart.bytes)

    def waiting_for(self) -> Iterator[tuple[str, int]]:
        return ((apart.reader, rows) for apart in self._apart.values() if (rows := apart.closed_rows))

    def drop_dead(self) -> None:
        for queue in (self._restored, self._later):
            if any(row.done for row in queue):
                left = [row for row in queue if not row.done]
                queue.clear()
                queue.extend(left)
        for apart in self._apart.values():
            apart.drop_dead()

    def __bool__(self) -> bool:
        return bool(self._restored or self._later) or not all(apart.is_over for apart in self._apart.values())

    def __iter__(self) -> Iterator[Row]:
        return chain(self._restored, self._later, *self._apart.values())


def _place_of(row: Row) -> Place:
    return row.place


def _topic_of(row: Row) -> str:
    return row.held.message.header.topic
