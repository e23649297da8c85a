"""What a program publishes, on its way to the relay: drafts by lane, signed in their turn, and their futures.

Guarantees: an urgent record never waits behind others of its program; nothing is taken in beyond what the outbox may
hold, so `publish` waits instead; a future ends when the record is durable (on this node's own disk when it has an
outbox, else at the relay) or refused. A source's position advances past a record only together with it, and never past
an earlier one that still waits, for room or to be sealed. `owed` counts the records whose futures are open; those that
the end of the connection left open are counted for `leaving`, unless somebody looked at them. A record whose future was
cancelled while it waits is never taken; once it is sealed it cannot be cancelled.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import structlog

from fabric.edge.locks import Condition
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer, Draft, Stamp
from fabric.edge.publishing.receipts import (
    Receipt,
    begin,
    is_cancelled,
    is_open,
    no_place,
    refuse,
    succeed,
)
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import LANE_QUOTA_BYTES
from fabric.protocol.core.ready import KeepPosition, Published, Ready, Submit
from fabric.protocol.custody.outbox import Row
from fabric.protocol.envelope.verify import Verified, open_envelope
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.severity import Lane, lane_of
from fabric.protocol.wire.frames import Direction

# Envelopes on their way to the relay at a time. What is published meanwhile gathers into larger batches.
_IN_FLIGHT_MAX = 16
# Records on their way, where their envelopes hold few: what does not gather is not to wait for it.
_RECORDS_IN_FLIGHT_MAX = 256
# Drafts that one burst looks at, and the stamps of those that it signs: mostly each is an envelope. To build many takes
# as long as to hand them over, and who is to take them waits for the first.
_BURST_MAX = 1_024
_BURST_STAMPS_MAX = 256
# Records of one lane that wait to be sealed. Beyond it `publish` waits, so pressure reaches whoever publishes.
WAITING_MAX = 20_000
# Records of one source behind one that was begun and neither added nor cancelled: all that may wait, and what is in
# flight.
BEGUN_MAX = 6 * WAITING_MAX
# Of many that are added at a time: so far beyond the bound above they may go where several threads find room at once.
_RUN_MAX = 512
# Urgent envelopes, and a program's requests, do not wait for others: as many may be on their way at a time.
URGENT_MAX = 1_024


class Publisher:
    """`durable`: this node has an outbox, so a record is done when its turn's commit is."""

    def __init__(
        self, core: Point, composer: Composer, awaiting_keys: AwaitingKeys, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self.durable = False
        self._awaiting_keys = awaiting_keys
        self._core = core
        self._composer = composer
        self._log = log
        self._drafts: list[deque[Draft]] = [deque() for _ in Lane]
        # Of topics that wait for a reader: sealed now they would take the place of what can go.
        self._aside: list[dict[str, deque[Draft]]] = [{} for _ in Lane]
        self._aside_records = [0 for _ in Lane]
        self._room = Condition()  # for whoever waits until some of a lane was sealed
        self._want_room = 0
        self.has_more = False  # whether the last burst left some that may go: nothing else need wake whoever calls
        self._sealed: dict[bytes, Sequence[Draft]] = {}
        self._sources: dict[str, deque[Draft]] = {}  # of which something waits
        self._begun = threading.Lock()  # held for a moment, to look at a source's drafts
        self._fresh: list[bytes] = []
        self._ended: FabricError | None = None
        self._left: list[Future[Any]] = []  # what the end found open: as many as may wait
        self._giving = 0  # records that wait for a place
        self._under_way = 0  # records that left `_drafts`, until the relay holds them or they ended
        self._open = 0  # of these, those of which their program does not know what became of them
        self._empty = Condition()  # for whoever waits until nothing is open; held while these numbers change
        self._lane_of_last: tuple[Stamp | None, Lane] = (None, Lane.LOW)
        self.refused = 0
        self.on_refused: Callable[[str, int, FabricError], None] | None = None

    # -- from any thread --------------------------------------------------------------------------------

    def begin(self, draft: Draft) -> None:
        """Its source does not pass it from now on, until it is taken or cancelled."""
        if draft.position is not None:
            with self._begun:
                drafts = self._sources.setdefault(draft.position.source, deque())
                if len(drafts) >= BEGUN_MAX:
                    raise FabricError(
                        Code.BUSY, f"{BEGUN_MAX} records of {draft.position.source} wait behind an earlier one",
                        "add or cancel what was begun",
                    )
                drafts.append(draft)

    def begin_many(self, drafts: Sequence[Draft]) -> int:
        """The same of each, in order. How many there was room for, from the first on."""
        if not any(draft.position for draft in drafts):
            return len(drafts)
        begun = 0
        with self._begun:
            for draft in drafts:
                if draft.position is not None:
                    waiting = self._sources.setdefault(draft.position.source, deque())
                    if len(waiting) >= BEGUN_MAX:
                        break
                    waiting.append(draft)
                begun += 1
        return begun

    def add(self, draft: Draft, wait_s: float | None = None) -> None:
        """Blocks while too much of its lane waits; longer than `wait_s` raises BUSY, and nothing is taken.

        Begun, and neither added nor cancelled, it holds back its source. Raises what ended the connection.
        """
        lane = self._lane_of(draft.stamp)
        if self._ended is not None:
            raise self._ended
        if self._has_place(lane):
            self._drafts[lane].append(draft)
        elif not self._add_in_time(draft, lane, wait_s):
            return
        if self._ended is not None:  # meanwhile: nobody looks at what was added after the end
            refuse([draft], self._ended)

    def _add_in_time(self, draft: Draft, lane: Lane, wait_s: float | None) -> bool:
        """As soon as there is a place. False where it was cancelled before that."""
        deadline_s = None if wait_s is None else time.monotonic() + wait_s
        self._give(1)  # who leaves waits for what waits for a place too
        try:
            while self._ended is None and not is_cancelled(draft):
                left_s = 1.0 if deadline_s is None else min(1.0, deadline_s - time.monotonic())
                if self._wait_for_room(lane, left_s):
                    self._drafts[lane].append(draft)
                    return True
                if left_s <= 0.0:
                    raise no_place(lane.name.lower(), WAITING_MAX)
            if self._ended is not None:
                raise self._ended
            return False
        finally:
            self._give(-1)

    def add_many(self, drafts: Sequence[Draft], deadline_s: float | None, wake: Callable[[], None]) -> int:
        """How many there was a place for, in order, by the deadline of the monotonic clock; None waits for all. After
        the end of the connection all are told of it. `wake`: called before it waits, so that what is there moves."""
        added = 0
        self._give(len(drafts))
        try:
            while added < len(drafts) and self._ended is None:
                lane = self._lane_of(drafts[added].stamp)
                left_s = 1.0 if deadline_s is None else min(1.0, deadline_s - time.monotonic())
                if not self._has_place(lane):
                    wake()
                if self._wait_for_room(lane, left_s):
                    run = self._run(drafts, added, lane)
                    with self._empty:  # counted once, at any moment
                        self._drafts[lane].extend(run)
                        self._giving -= len(run)
                    added += len(run)
                elif left_s <= 0.0:
                    break
            if self._ended is not None:  # nobody looks at what was added after the end
                refuse(drafts, self._ended)
                return len(drafts)
        finally:
            self._give(added - len(drafts))
        return added

    def _run(self, drafts: Sequence[Draft], at: int, lane: Lane) -> Sequence[Draft]:
        """Those from there on that are of the same lane, as many as have a place, and at least one."""
        most = min(_RUN_MAX, WAITING_MAX - len(self._drafts[lane]) - self._aside_records[lane])
        end, stamp = at + 1, drafts[at].stamp
        while end < len(drafts) and end - at < most:
            if drafts[end].stamp is not stamp:  # mostly they are of one
                stamp = drafts[end].stamp
                if self._lane_of(stamp) is not lane:
                    break
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
        return len(self._drafts[lane]) + self._aside_records[lane] < WAITING_MAX

    @property
    def waiting(self) -> int:
        """Records, from `add` until the relay holds them or they ended."""
        with self._empty:
            return self._under_way + sum(map(len, self._drafts))

    @property
    def owed(self) -> int:
        """Records, from when they are given to `add` until their program can know what became of them."""
        with self._empty:
            return self._giving + self._open + sum(map(len, self._drafts))

    def wait_empty(self, timeout_s: float) -> bool:
        """Until the relay holds all that was published. False when it does not within the time."""
        with self._empty:
            return self._empty.wait_for(lambda: not self.waiting, timeout_s)

    def wait_settled(self, timeout_s: float | None) -> int:
        """Until it is known what became of all that was published, or there is an end: how many are still open."""
        with self._empty:
            self._empty.wait_for(lambda: self.owed <= 0 or self._ended is not None, timeout_s)
            return max(0, self.owed)

    def take_left(self) -> int:
        """After the end, once: how many records it found open, of which their program has not been told."""
        left, self._left = self._left, []
        return sum(1 for token in left if not (isinstance(token, Receipt) and token.looked_at))

    def _give(self, records: int) -> None:
        """So many more wait for a place."""
        with self._empty:
            self._giving += records
            self._tell_if_empty()

    def _count(self, under_way: int, still_open: int) -> None:
        """So many more are under way, and open."""
        with self._empty:
            self._under_way += under_way
            self._open += still_open
            self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if not self.waiting or self.owed <= 0:
            self._empty.notify_all()

    def _lane_of(self, stamp: Stamp) -> Lane:
        last, lane = self._lane_of_last
        if stamp is not last:  # mostly it is that of the one before
            lane = lane_of(stamp.kind.word, stamp.severity, stamp.phase)
            self._lane_of_last = (stamp, lane)
        return lane

    # -- the loop's thread ------------------------------------------------------------------------------

    def compose(self, now_ms: int, ready: Ready) -> None:
        """Seal what may go now, urgent first, and submit it: as much of it as a burst takes."""
        self.has_more = False
        if not (any(self._drafts) or any(self._aside) or self._awaiting_keys):  # as in most turns
            return
        fit, unfit = self._awaiting_keys.sort((), now_ms, ready)
        found: list[Draft] = []
        # Where many wait for keys, others of their lanes wait before that: so pressure reaches whoever publishes.
        is_short = self._awaiting_keys.room < _BURST_MAX
        held = {self._lane_of(draft.stamp) for draft in self._awaiting_keys.waiting()} if is_short else ()
        # What is urgent goes all at once; of the others each has its share of the burst.
        stamps = _BURST_STAMPS_MAX // max(1, sum(map(bool, self._drafts[Lane.CRITICAL:])))
        for lane in Lane:
            if lane not in held:
                found += self._take(lane, _BURST_MAX - len(found), None if lane is Lane.URGENT else stamps)
        if not found and not fit and not unfit:
            return
        taken = begin(found)
        if len(taken) < len(found):
            self._count(len(taken) - len(found), len(taken) - len(found))
        more, more_unfit = self._awaiting_keys.sort(taken, now_ms, ready)
        fit, unfit = [*fit, *more], [*unfit, *more_unfit]
        sealed, failed = self._composer.compose(fit)
        for draft, error in (*unfit, *failed):
            self._unfit([draft], error)
            draft.taken = True
        for envelope, group in sealed:
            try:
                self.submit(envelope, group, now_ms, ready)
            except FabricError as error:
                self._unfit(group, error)
        for draft in fit:
            draft.taken = True
        self.advance(ready)
        self.has_more = bool(found) and any(map(self._may_go, Lane))

    def _may_go(self, lane: Lane) -> bool:
        """Whether something waits for which there is room."""
        can_go = (drafts for topic, drafts in self._aside[lane].items() if not self._is_held_back(lane, topic))
        first = next((drafts[0] for drafts in (self._drafts[lane], *can_go) if drafts), None)
        return first is not None and self._has_room(lane, first.size)

    def _unfit(self, group: Sequence[Draft], error: FabricError) -> None:
        refuse(group, error)
        self._count(-len(group), -len(group))

    def _take(self, lane: Lane, count: int, stamps: int | None) -> list[Draft]:
        drafts, aside = self._drafts[lane], self._aside[lane]
        if not drafts and not aside:  # mostly, in each turn and of each lane
            return []
        first = next((waiting[0] for waiting in (drafts, *aside.values()) if waiting), None)
        if first is None or not self._has_room(lane, first.size):
            return []
        if aside or self._core.put_off_by:
            found = self._take_what_can_go(lane, count, stamps)
        else:
            found = self._leave(lane, count, stamps)
        if found and self._want_room:
            with self._room:
                self._room.notify_all()
        return found

    def _leave(self, lane: Lane, count: int, stamps: int | None = None) -> list[Draft]:
        """The first of a lane; where `stamps` is given, of so many those with the first so many stamps.

        They are under way from now on, also where they are put aside.
        """
        drafts = self._drafts[lane]
        with self._empty:  # each is counted once, at any moment
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
            self._under_way += len(found)
            self._open += len(found)
        return found

    def _take_what_can_go(self, lane: Lane, count: int, stamps: int | None) -> list[Draft]:
        """What was put aside goes before what came since on its topic; no more stamps than `_leave`, up to there."""
        found: list[Draft] = []
        known: set[int] = set()

        def has_place(draft: Draft) -> bool:
            return len(found) < count and (stamps is None or len(known) < stamps or id(draft.stamp) in known)

        aside = self._aside[lane]
        for topic, waiting in list(aside.items()):
            while waiting and has_place(waiting[0]) and not self._is_held_back(lane, topic):
                found.append(waiting.popleft())
                known.add(id(found[-1].stamp))
                self._aside_records[lane] -= 1
            if not waiting:
                del aside[topic]
        drafts = self._drafts[lane]
        while drafts and has_place(drafts[0]):
            (draft,) = self._leave(lane, 1)
            topic = draft.stamp.topic
            if topic in aside or self._is_held_back(lane, topic):
                aside.setdefault(topic, deque()).append(draft)
                self._aside_records[lane] += 1
            else:
                found.append(draft)
                known.add(id(draft.stamp))
        return found

    def _is_held_back(self, lane: Lane, topic: str) -> bool:
        """Whether enough of a topic waits for a reader; with an outbox that is half of what a lane may hold."""
        return self._core.held_back_bytes(lane, topic) > (LANE_QUOTA_BYTES // 2 if self.durable else 0)

    def _has_room(self, lane: Lane, size: int) -> bool:
        if self.durable:
            return not self._core.custody.full(lane, size)
        # What is urgent does not wait for a batch to fill.
        held_back = self._core.held_back
        on_their_way = len(self._sealed) - held_back
        if lane is Lane.URGENT:
            return on_their_way < URGENT_MAX
        return on_their_way < _IN_FLIGHT_MAX or self._under_way - held_back < _RECORDS_IN_FLIGHT_MAX

    def advance(self, ready: Ready) -> None:
        """Sources go as far as nothing before it waits."""
        for source, drafts in list(self._sources.items()):
            last: Draft | None = None
            while drafts and (drafts[0].taken or is_cancelled(drafts[0])):
                draft = drafts.popleft()
                last = draft if draft.taken else last
            if last is not None and last.position is not None:
                ready.persist.append(KeepPosition(source, last.position.position))
            with self._begun:
                if not drafts:
                    del self._sources[source]

    def submit_one(self, draft: Draft, now_ms: int, ready: Ready) -> Verified:
        """A message that waits for nothing else. Raises FabricError when it cannot be sent: BUSY where too many are.
        """
        message = self.seal_one(draft)
        self.send_one(message, draft, now_ms, ready)
        return message

    def seal_one(self, draft: Draft) -> Verified:
        """The first half of that: signed, and not sent."""
        lane = self._lane_of(draft.stamp)
        full = self._core.custody.full(lane, max(1, draft.size)) if self.durable else len(self._sealed) >= URGENT_MAX
        if full:
            raise FabricError(Code.BUSY, f"too much of the lane {lane.name.lower()} waits for the relay", "ask later")
        sealed, failed = self._composer.compose([draft])
        if failed:
            raise failed[0][1]
        return self.opened(sealed[0].envelope)

    def send_one(self, message: Verified, draft: Draft, now_ms: int, ready: Ready) -> None:
        """The other half. It may have been sent before: relays drop what they know."""
        self._count(1, 1)
        self._send(message, [draft], now_ms, ready)

    def submit(self, envelope: bytes, group: Sequence[Draft], now_ms: int, ready: Ready) -> None:
        """Send what was sealed. Raises FabricError where it is not fit to be."""
        self._send(self.opened(envelope), group, now_ms, ready)

    def opened(self, envelope: bytes) -> Verified:
        """Our own envelopes pass the same check as everybody's: nothing leaves that a relay would refuse."""
        message = open_envelope(envelope, self._core.trust.credentials, self._core.roots)
        if isinstance(message, Reject):
            raise FabricError(message.code, message.detail)
        return message

    def _send(self, message: Verified, group: Sequence[Draft], now_ms: int, ready: Ready) -> None:
        self._sealed[message.id] = group
        made = self._core.step(Submit(message), now_ms)
        for ended in [each for each in made.deliver if isinstance(each, Published) and each.id == message.id]:
            # It is refused at once. Its program is told before its source's position is on disk: a kill between the two
            # must not lose what it writes down of it.
            made.deliver.remove(ended)
            self.published(ended)
        ready.merge(made)
        if self.durable and self._core.custody.get(message.id, Direction.UP) is not None:
            self._fresh.append(message.id)

    def restored(self, rows: Sequence[Row]) -> None:
        """What an earlier process left in the outbox."""
        self._count(sum(row.held.message.header.records for row in rows), 0)

    def renewed(self, credential: Credential) -> None:
        """What is sealed from now on is signed under this one."""
        self._composer.renewed(credential)

    def committed(self) -> None:
        """The turn's commit is done: what this node has on its own disk is what its program was promised."""
        fresh, self._fresh = self._fresh, []
        for id_ in fresh:
            group = self._sealed.pop(id_, ())
            succeed(id_, group)
            self._count(0, -len(group))

    def published(self, published: Published) -> None:
        """The relay holds it, or it ended."""
        group = self._sealed.pop(published.id, ())
        error = None
        if published.refused is None:
            succeed(published.id, group)
        else:
            error = FabricError(published.refused.code, published.refused.detail)
            refuse(group, error)
        # Who waits until nothing waits can look at the futures then.
        self._count(-(published.records or len(group)), -len(group))
        if error is not None and not group:
            # Its program was told that it is on disk; nobody waits for this answer any more.
            self.refused += published.records
            self._log.warning("refused", id=published.id.hex(), code=error.code.label, records=published.records)
            if self.on_refused is not None:
                try:
                    self.on_refused(published.id.hex(), published.records, error)
                except Exception as fault:  # noqa: BLE001 - a program's fault is not this connection's end
                    self._log.error("on_refused raised", error=type(fault).__name__)

    def close(self, error: FabricError) -> None:
        self._ended = error
        queued = [self._leave(lane, len(self._drafts[lane])) for lane in Lane]
        put_aside = [drafts for aside in self._aside for drafts in aside.values()]
        for drafts in [*self._sealed.values(), *queued, *put_aside, self._awaiting_keys.end(error)]:
            self._left += [future for draft in drafts if (future := is_open(draft.token)) is not None]
            refuse(drafts, error)
        self._sealed.clear()
        for aside in self._aside:
            aside.clear()
        with self._empty:
            self._empty.notify_all()


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
