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
from queue import Empty, SimpleQueue
from typing import Any

import structlog

from fabric.edge.connection.mailbox import fail
from fabric.edge.locks import Condition, Pending
from fabric.edge.publishing.composer import Composer, Draft
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import LANE_QUOTA_BYTES
from fabric.protocol.core.ready import KeepPosition, Published, Ready, Submit
from fabric.protocol.custody.outbox import Row
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.verify import Verified, open_envelope
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.severity import Lane, lane_of
from fabric.protocol.wire.frames import Direction

# Envelopes on their way to the relay at a time. What is published meanwhile gathers into larger batches.
_IN_FLIGHT_MAX = 16
# Drafts that one burst signs; one Merkle tree holds 1,024 leaves.
_BURST_MAX = 1_024
# Records of one lane that wait to be sealed. Beyond it `publish` waits, so pressure reaches whoever publishes.
WAITING_MAX = 20_000
# Records of one source behind one that was begun and neither added nor cancelled: all that may wait, and what is in
# flight.
BEGUN_MAX = 6 * WAITING_MAX
# Urgent envelopes, and a program's requests, do not wait for others: as many may be on their way at a time.
URGENT_MAX = 1_024


class Publisher:
    """`durable`: this node has an outbox, so a record is done when its turn's commit is."""

    def __init__(self, core: Point, composer: Composer, log: structlog.typing.FilteringBoundLogger) -> None:
        self.durable = False
        self._core = core
        self._composer = composer
        self._log = log
        self._drafts: list[deque[Draft]] = [deque() for _ in Lane]
        # Of topics that wait for a reader: sealed now they would take the place of what can go.
        self._aside: list[dict[str, deque[Draft]]] = [{} for _ in Lane]
        # A place for each record that may wait. To take one is a single step of the interpreter, as threading.Semaphore
        # is not: Ctrl-C in the midst of that left its lock held, and the connection's thread waited for it for ever.
        self._room = [_places(WAITING_MAX) for _ in Lane]
        self._sealed: dict[bytes, Sequence[Draft]] = {}
        self._sources: dict[str, deque[Draft]] = {}  # of which something waits
        self._begun = threading.Lock()  # held for a moment, to look at a source's drafts
        self._fresh: list[bytes] = []
        self._ended: FabricError | None = None
        self._left: list[Future[Any]] = []  # what the end found open: as many as may wait
        self.waiting = 0  # records, from `add` until the relay holds them or they ended
        self.owed = 0  # records, from when they are given to `add` until their program can know what became of them
        self.refused = 0
        self.on_refused: Callable[[str, int, FabricError], None] | None = None
        self.empty = Condition()

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

    def add(self, draft: Draft, wait_s: float | None = None) -> None:
        """Blocks while too much of its lane waits; longer than `wait_s` raises BUSY, and nothing is taken.

        Begun, and neither added nor cancelled, it holds back its source. Raises what ended the connection.
        """
        lane = lane_of(draft.stamp.kind.word, draft.stamp.severity, draft.stamp.phase)
        deadline_s = None if wait_s is None else time.monotonic() + wait_s
        self._count(0, owed=1)  # who leaves waits for what waits for room too
        added = False
        try:
            while self._ended is None and not _cancelled(draft):
                left_s = 1.0 if deadline_s is None else min(1.0, deadline_s - time.monotonic())
                if _take_place(self._room[lane], max(0.0, left_s)):
                    self._count(1)
                    self._drafts[lane].append(draft)
                    added = True
                    break
                if left_s <= 0.0:
                    raise FabricError(
                        Code.BUSY, f"{WAITING_MAX} records of the lane {lane.name.lower()} wait for the relay",
                        "publish less, or wait longer",
                    )
            if self._ended is not None:  # also when it was meanwhile: nobody looks at what was added after the end
                if not added:
                    raise self._ended
                fail(draft.token, self._ended)
        finally:
            if not added:
                self._count(0, owed=-1)

    def wait_empty(self, timeout_s: float) -> bool:
        """Until the relay holds all that was published. False when it does not within the time."""
        with self.empty:
            return self.empty.wait_for(lambda: not self.waiting, timeout_s)

    def wait_settled(self, timeout_s: float | None) -> int:
        """Until it is known what became of all that was published, or there is an end: how many are still open."""
        with self.empty:
            self.empty.wait_for(lambda: self.owed <= 0 or self._ended is not None, timeout_s)
            return max(0, self.owed)

    def take_left(self) -> int:
        """After the end, once: how many records it found open, of which their program has not been told."""
        left, self._left = self._left, []
        return sum(1 for token in left if not (isinstance(token, Receipt) and token.looked_at))

    def _count(self, records: int, owed: int = 0) -> None:
        with self.empty:
            self.waiting += records
            self.owed += owed
            if not self.waiting or self.owed <= 0:
                self.empty.notify_all()

    # -- the loop's thread ------------------------------------------------------------------------------

    def compose(self, now_ms: int, ready: Ready) -> None:
        """Seal what may go now, urgent first, and submit it."""
        taken: list[Draft] = []
        for lane in Lane:
            taken += self._take(lane, _BURST_MAX - len(taken))
        if not taken:
            return
        sealed, failed = self._composer.compose(taken)
        for draft, error in failed:
            self._unfit([draft], error)
        for envelope, group in sealed:
            try:
                self.submit(envelope, group, now_ms, ready)
            except FabricError as error:
                self._unfit(group, error)
        for draft in taken:
            draft.taken = True
        self._advance(ready)

    def _unfit(self, group: Sequence[Draft], error: FabricError) -> None:
        for draft in group:
            fail(draft.token, error)
        self._count(-len(group), owed=-len(group))

    def _take(self, lane: Lane, count: int) -> list[Draft]:
        drafts, aside = self._drafts[lane], self._aside[lane]
        first = next((waiting[0] for waiting in (drafts, *aside.values()) if waiting), None)
        if first is None or not self._has_room(lane, first.size):
            return []
        if aside or self._core.put_off_by:
            found = self._take_what_can_go(lane, count)
        else:
            found = [drafts.popleft() for _ in range(min(len(drafts), count))]
        if found:
            for _ in found:
                self._room[lane].put(None)
        taken = [draft for draft in found if _is_on_its_way(draft)]
        if len(taken) < len(found):
            self._count(len(taken) - len(found), owed=len(taken) - len(found))
        return taken

    def _take_what_can_go(self, lane: Lane, count: int) -> list[Draft]:
        """What was put aside goes before what came since on its topic."""
        found: list[Draft] = []
        aside = self._aside[lane]
        for topic, waiting in list(aside.items()):
            while waiting and len(found) < count and not self._is_held_back(lane, topic):
                found.append(waiting.popleft())
            if not waiting:
                del aside[topic]
        drafts = self._drafts[lane]
        while drafts and len(found) < count:
            draft = drafts.popleft()
            topic = draft.stamp.topic
            if topic in aside or self._is_held_back(lane, topic):
                aside.setdefault(topic, deque()).append(draft)
            else:
                found.append(draft)
        return found

    def _is_held_back(self, lane: Lane, topic: str) -> bool:
        """Whether enough of a topic waits for a reader; with an outbox that is half of what a lane may hold."""
        return self._core.held_back_bytes(lane, topic) > (LANE_QUOTA_BYTES // 2 if self.durable else 0)

    def _has_room(self, lane: Lane, size: int) -> bool:
        if self.durable:
            return not self._core.custody.full(lane, size)
        # What is urgent does not wait for a batch to fill.
        on_their_way = len(self._sealed) - self._core.held_back
        return on_their_way < (URGENT_MAX if lane is Lane.URGENT else _IN_FLIGHT_MAX)

    def _advance(self, ready: Ready) -> None:
        for source, drafts in list(self._sources.items()):
            last: Draft | None = None
            while drafts and (drafts[0].taken or _cancelled(drafts[0])):
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
        lane = lane_of(draft.stamp.kind.word, draft.stamp.severity, draft.stamp.phase)
        full = self._core.custody.full(lane, max(1, draft.size)) if self.durable else len(self._sealed) >= URGENT_MAX
        if full:
            raise FabricError(Code.BUSY, f"too much of the lane {lane.name.lower()} waits for the relay", "ask later")
        sealed, failed = self._composer.compose([draft])
        if failed:
            raise failed[0][1]
        return self.opened(sealed[0].envelope)

    def send_one(self, message: Verified, draft: Draft, now_ms: int, ready: Ready) -> None:
        """The other half. It may have been sent before: relays drop what they know."""
        self._count(1, owed=1)
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
        ready.merge(self._core.step(Submit(message), now_ms))
        if self.durable and self._core.custody.get(message.id, Direction.UP) is not None:
            self._fresh.append(message.id)

    def restored(self, rows: Sequence[Row]) -> None:
        """What an earlier process left in the outbox."""
        self._count(sum(row.held.message.header.records for row in rows))

    def renewed(self, credential: Credential) -> None:
        """What is sealed from now on is signed under this one."""
        self._composer.renewed(credential)

    def committed(self) -> None:
        """The turn's commit is done: what this node has on its own disk is what its program was promised."""
        fresh, self._fresh = self._fresh, []
        for id_ in fresh:
            group = self._sealed.pop(id_, ())
            _succeed(id_, group)
            self._count(0, owed=-len(group))

    def published(self, published: Published) -> None:
        """The relay holds it, or it ended."""
        group = self._sealed.pop(published.id, ())
        error = None
        if published.refused is None:
            _succeed(published.id, group)
        else:
            error = FabricError(published.refused.code, published.refused.detail)
            for draft in group:
                fail(draft.token, error)
        # Who waits until nothing waits can look at the futures then.
        self._count(-(published.records or len(group)), owed=-len(group))
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
        put_aside = [drafts for aside in self._aside for drafts in aside.values()]
        for drafts in [*self._sealed.values(), *self._drafts, *put_aside]:
            for draft in drafts:
                if isinstance(draft.token, Future) and not draft.token.done():
                    self._left.append(draft.token)
                fail(draft.token, error)
        self._sealed.clear()
        for waiting, aside in zip(self._drafts, self._aside, strict=True):
            waiting.clear()
            aside.clear()
        with self.empty:
            self.empty.notify_all()


class Receipt(Pending[str]):
    """The id of a record, when it is durable. `looked_at`: somebody knows, or will be called, how it ended."""

    looked_at = False

    def result(self, timeout: float | None = None) -> str:
        try:
            return super().result(timeout)
        finally:
            self.looked_at |= self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            return super().exception(timeout)
        finally:
            self.looked_at |= self.done()

    def add_done_callback(self, fn: Callable[[Future[str]], object]) -> None:
        self.looked_at = True
        super().add_done_callback(fn)


def _cancelled(draft: Draft) -> bool:
    return isinstance(draft.token, Future) and draft.token.cancelled()


def _is_on_its_way(draft: Draft) -> bool:
    """Whether it is sent, whatever its program wishes from now on: False when it was cancelled before."""
    return not isinstance(draft.token, Future) or draft.token.set_running_or_notify_cancel()


def _succeed(id_: bytes, group: Sequence[Draft]) -> None:
    for index, draft in enumerate(group):
        if isinstance(draft.token, Future) and not draft.token.done():
            draft.token.set_result(id_ if draft.stamp.kind is Kind.ACTION else f"{id_.hex()}.{index}")


def _places(count: int) -> SimpleQueue[None]:
    places: SimpleQueue[None] = SimpleQueue()
    for _ in range(count):
        places.put(None)
    return places


def _take_place(places: SimpleQueue[None], timeout_s: float) -> bool:
    try:
        places.get(timeout=timeout_s)
    except Empty:
        return False
    return True
