"""Drafts that wait to be sealed, by lane: any thread adds, the connection's thread takes what may go.

Guarantees: an urgent record never waits behind others of its program; no more than `WAITING_MAX` wait in a lane, nor
more than `BYTES_MAX` of large ones, and whoever adds waits for a place instead; of a topic that waits for a reader
nothing takes the place of what can go, and its order stays. Of one source none is taken before an earlier one of its
lane, but for one that waits for a reader: the source stays there, and what passed it is said again after a kill.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import Final

from fabric.edge.locks import Condition
from fabric.edge.publishing.counts import Counts
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.edge.publishing.in_flight import InFlight
from fabric.edge.publishing.receipts import is_cancelled, refuse
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import LANE_QUOTA_BYTES
from fabric.protocol.vocabulary.severity import Lane, lane_of

# Drafts that one burst looks at, and the stamps of those that it takes: mostly each is an envelope. To build many takes
# as long as to hand them over, and who is to take them waits for the first.
BURST_MAX: Final = 1_024
_BURST_STAMPS_MAX: Final = 256
# Records of one lane that wait to be sealed. Beyond it `publish` waits, so pressure reaches whoever publishes.
WAITING_MAX: Final = 20_000
# So it is beyond so many bytes of large ones: as many as a lane of an outbox may hold. All that may wait of small ones
# have no more, and their bytes are not counted, which would take as long as to add them.
BYTES_MAX: Final = LANE_QUOTA_BYTES
LARGE_BYTES: Final = 2_048
# Of many that are added at a time: so far beyond the bound above they may go where several threads find room at once.
_RUN_MAX: Final = 512


class Lanes:
    """`counts`: of all that was added, until it ended."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._queued: list[deque[Draft]] = [deque() for _ in Lane]
        self.counts = Counts(self._queued)
        # Of topics that wait for a reader: sealed now they would take the place of what can go.
        self._aside: list[dict[str, deque[Draft]]] = [{} for _ in Lane]
        self._aside_records = [0 for _ in Lane]
        self._large_bytes = [0 for _ in Lane]  # of large records, queued and put aside
        self._room = Condition()  # for whoever waits until some of a lane was taken
        self._want_room = 0
        self._lane_of_last: tuple[Stamp | None, Lane] = (None, Lane.LOW)
        self._ended: FabricError | None = None

    def of(self, stamp: Stamp) -> Lane:
        """The lane in which records with this stamp wait."""
        last, lane = self._lane_of_last
        if stamp is not last:  # mostly it is that of the one before
            lane = lane_of(stamp.kind.word, stamp.severity, stamp.phase)
            self._lane_of_last = (stamp, lane)
        return lane

    # -- from any thread --------------------------------------------------------------------------------

    def add(self, draft: Draft, wait_s: float | None = None) -> None:
        """Blocks while too much of its lane waits; longer than `wait_s` raises BUSY, and nothing is taken.

        Begun, and neither added nor cancelled, it holds back its source. Raises what ended the connection.
        """
        lane = self.of(draft.stamp)
        if self._ended is not None:
            raise self._ended
        if self._has_place(lane):
            if draft.size < LARGE_BYTES:
                self._queued[lane].append(draft)
            else:
                with self.counts.steady:
                    self._put(lane, [draft])
        elif not self._add_in_time(draft, lane, wait_s):
            return
        if self._ended is not None:  # meanwhile: nobody looks at what was added after the end
            refuse([draft], self._ended)

    def _add_in_time(self, draft: Draft, lane: Lane, wait_s: float | None) -> bool:
        """As soon as there is a place. False where it was cancelled before that."""
        deadline_s = None if wait_s is None else time.monotonic() + wait_s
        wants, me = self.counts.without_place, object()
        try:
            wants[me] = 1  # who leaves waits for what waits for a place too
            while self._ended is None and not is_cancelled(draft):
                left_s = 1.0 if deadline_s is None else min(1.0, deadline_s - time.monotonic())
                if self._wait_for_room(lane, left_s):
                    with self.counts.steady:
                        self._put(lane, [draft])
                        wants.pop(me, None)
                    return True
                if left_s <= 0.0:
                    raise self._busy(lane)
            if self._ended is not None:
                raise self._ended
            return False
        finally:
            wants.pop(me, None)
            self.counts.look()

    def _busy(self, lane: Lane) -> FabricError:
        what = f"{WAITING_MAX} records" if self._records(lane) >= WAITING_MAX else f"{BYTES_MAX} bytes"
        return FabricError(
            Code.BUSY, f"{what} of the lane {lane.name.lower()} wait for the relay", "publish less, or wait longer"
        )

    def add_many(self, drafts: Sequence[Draft], deadline_s: float | None, wake: Callable[[], None]) -> int:
        """How many there was a place for, in order, by the deadline of the monotonic clock; None waits for all. After
        the end of the connection all are told of it. `wake`: called before it waits, so that what is there moves."""
        added = 0
        wants, me = self.counts.without_place, object()
        try:
            wants[me] = len(drafts)
            while added < len(drafts) and self._ended is None:
                lane = self.of(drafts[added].stamp)
                left_s = 1.0 if deadline_s is None else min(1.0, deadline_s - time.monotonic())
                if not self._has_place(lane):
                    wake()
                if self._wait_for_room(lane, left_s):
                    run = self._run(drafts, added, lane)
                    added += len(run)
                    with self.counts.steady:
                        self._put(lane, run)
                        wants[me] = len(drafts) - added
                elif left_s <= 0.0:
                    break
            if self._ended is not None:  # nobody looks at what was added after the end
                refuse(drafts, self._ended)
                return len(drafts)
        finally:
            wants.pop(me, None)
            self.counts.look()
        return added

    def _put(self, lane: Lane, drafts: Sequence[Draft]) -> None:
        """Into its lane; while `steady` is held, so that whoever counts finds each once."""
        self._large_bytes[lane] += _large_bytes(drafts)
        self._queued[lane].extend(drafts)

    def _run(self, drafts: Sequence[Draft], at: int, lane: Lane) -> Sequence[Draft]:
        """Those from there on that are of the same lane, as many as have a place, and at least one."""
        most = min(_RUN_MAX, WAITING_MAX - self._records(lane))
        room = BYTES_MAX - self._large_bytes[lane] - _large_bytes(drafts[at : at + 1])
        end, stamp = at + 1, drafts[at].stamp
        while end < len(drafts) and end - at < most:
            draft = drafts[end]
            if draft.stamp is not stamp:  # mostly they are of one
                stamp = draft.stamp
                if self.of(stamp) is not lane:
                    break
            if draft.size >= LARGE_BYTES:
                if room <= 0:
                    break
                room -= draft.size
            end += 1
        return drafts[at:end]

    def _wait_for_room(self, lane: Lane, timeout_s: float) -> bool:
        """Whether there is room for a record. Of threads that find the last place at once each has one."""
        if self._has_place(lane):
            return True
        with self._room:
            self._want_room += 1
            try:
                return self._room.wait_for(lambda: self._has_place(lane), max(0.0, timeout_s))
            finally:
                self._want_room -= 1

    def _has_place(self, lane: Lane) -> bool:
        return (
            len(self._queued[lane]) + self._aside_records[lane] < WAITING_MAX and self._large_bytes[lane] < BYTES_MAX
        )

    def _records(self, lane: Lane) -> int:
        return len(self._queued[lane]) + self._aside_records[lane]

    # -- the connection's thread ------------------------------------------------------------------------

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(self._queued) or any(self._aside)

    @property
    def has_more(self) -> bool:
        """Whether something waits for nothing but its turn."""
        return any(map(self._may_go, Lane))

    def _may_go(self, lane: Lane) -> bool:
        holds_back = self._in_flight.holds_back
        can_go = (drafts for topic, drafts in self._aside[lane].items() if not holds_back(lane, topic))
        first = next((drafts[0] for drafts in (self._queued[lane], *can_go) if drafts), None)
        return first is not None and self._has_room(lane, first)

    def take(self, without: Container[Lane] = ()) -> list[Draft]:
        """What may go now, urgent first: as much as a burst holds, and nothing of the lanes `without`. It is under way
        from now on; some of it may have been cancelled."""
        # What is urgent goes all at once; of the others each has its share of the burst.
        stamps = _BURST_STAMPS_MAX // max(1, sum(map(bool, self._queued[Lane.CRITICAL:])))
        taken: list[Draft] = []
        for lane in Lane:
            if lane not in without:
                taken += self._take(lane, BURST_MAX - len(taken), None if lane is Lane.URGENT else stamps)
        return taken

    def _take(self, lane: Lane, count: int, stamps: int | None) -> list[Draft]:
        drafts, aside = self._queued[lane], self._aside[lane]
        if not drafts and not aside:  # mostly, in each turn and of each lane
            return []
        first = next((waiting[0] for waiting in (drafts, *aside.values()) if waiting), None)
        if first is None or not self._has_room(lane, first):
            return []
        if aside or self._in_flight.is_held_back:
            found = self._take_what_can_go(lane, count, stamps)
        else:
            found = self._leave(lane, count, stamps)
        if found and self._want_room:
            with self._room:
                self._room.notify_all()
        return found

    def _has_room(self, lane: Lane, first: Draft) -> bool:
        return self._in_flight.has_room(lane, first.size, self.counts.under_way)

    def _leave(self, lane: Lane, count: int, stamps: int | None = None) -> list[Draft]:
        """The first of a lane; where `stamps` is given, of so many those with the first so many stamps.

        They are under way from now on, also where they are put aside.
        """
        drafts = self._queued[lane]
        with self.counts.steady:
            count = min(len(drafts), count)
            if stamps is None or count <= stamps:
                found = [drafts.popleft() for _ in range(count)]
            else:
                found, others = _of_first_stamps([drafts[n] for n in range(count)], stamps)
                # Those that stay keep their places, of which other threads take what is free.
                self._aside_records[lane] += len(others)
                for _ in range(count):
                    drafts.popleft()
                drafts.extendleft(reversed(others))
                self._aside_records[lane] -= len(others)
            if self._large_bytes[lane]:
                self._large_bytes[lane] -= _large_bytes(found)
            self.counts.left_lane(len(found))
        return found

    def _take_what_can_go(self, lane: Lane, count: int, stamps: int | None) -> list[Draft]:
        """What was put aside goes before what came since on its topic; no more stamps than `_leave`, up to there."""
        found: list[Draft] = []
        known: set[int] = set()

        def has_place(draft: Draft) -> bool:
            return len(found) < count and (stamps is None or len(known) < stamps or id(draft.stamp) in known)

        aside = self._aside[lane]
        for topic, waiting in list(aside.items()):
            while waiting and has_place(waiting[0]) and not self._in_flight.holds_back(lane, topic):
                found.append(waiting.popleft())
                known.add(id(found[-1].stamp))
                self._put_aside(lane, found[-1], -1)
            if not waiting:
                del aside[topic]
        drafts = self._queued[lane]
        while drafts and has_place(drafts[0]):
            (draft,) = self._leave(lane, 1)
            topic = draft.stamp.topic
            if topic in aside or self._in_flight.holds_back(lane, topic):
                aside.setdefault(topic, deque()).append(draft)
                self._put_aside(lane, draft, 1)
            else:
                found.append(draft)
                known.add(id(draft.stamp))
        return found

    def _put_aside(self, lane: Lane, draft: Draft, records: int) -> None:
        """It keeps its place, until it goes."""
        self._aside_records[lane] += records
        if draft.size >= LARGE_BYTES:
            with self.counts.steady:
                self._large_bytes[lane] += records * draft.size

    def end(self, error: FabricError) -> list[Sequence[Draft]]:
        """What waits. Nobody takes it any more, and whoever adds is told of this error."""
        self._ended = error
        queued = [self._leave(lane, len(self._queued[lane])) for lane in Lane]
        put_aside = [drafts for aside in self._aside for drafts in aside.values()]
        self._aside = [{} for _ in Lane]
        return [*queued, *put_aside]


def _large_bytes(drafts: Sequence[Draft]) -> int:
    return sum([draft.size for draft in drafts if draft.size >= LARGE_BYTES])


def _of_first_stamps(drafts: Sequence[Draft], stamps: int) -> tuple[list[Draft], list[Draft]]:
    """Those that have one of the first so many stamps, and the others, both in order.

    Of a source none goes before an earlier one: committed without it, it would be said again after a kill. Stamps are
    told apart by identity, as equal ones mostly are the same: where not, fewer are found.
    """
    known: set[int] = set()
    behind: set[str] = set()  # sources
    found: list[Draft] = []
    others: list[Draft] = []
    for draft in drafts:
        stamp, position = id(draft.stamp), draft.position
        if (stamp in known or len(known) < stamps) and not (position and position.source in behind):
            known.add(stamp)
            found.append(draft)
        else:
            others.append(draft)
            if position:
                behind.add(position.source)
    return found, others
