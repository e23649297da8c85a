"""Readers that are slow (SPEC 7.5): what one loses that does not keep up, and who waits for one that loses nothing.

Guarantees: a reader that does not keep up loses its own oldest, which is counted, or waits where its credential says
so: then it loses nothing, and what would have to go to it is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import POINT_QUOTA_BYTES, READERS_BYTES
from fabric.protocol.core.ready import KeepGap, Ready
from fabric.protocol.core.standing import Standing
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.custody import Custody, Destinations
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.outboxes import Outboxes
from fabric.protocol.custody.sessions import Sessions, is_point, node_of, session_of
from fabric.protocol.custody.sleeping import AWAKE_BYTES, Sleeping
from fabric.protocol.custody.waiting import Waiting, reader_of
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore

# So many rows of a reader that had too much end at once, and the others a moment later.
_SHED_ROWS = 1_000
# What is held back of a topic of one origin, for a reader further on, before the next of it is refused here too.
HELD_BACK_BYTES_MAX = 1_048_576
# A reader that was full takes again when so much of its share is free: it opens for more than one message at a time.
_ROOM_SHARE = 8


class Readers:
    """`settle`: a row has ended, for this reason. It keeps which other relays hold something back for a reader."""

    def __init__(
        self, outboxes: Outboxes, sessions: Sessions, waiting: Waiting, sleeping: Sleeping, custody: Custody,
        routes: RouteTable, trust: TrustStore, time: Timekeeper, settle: Callable[[Row, Reject, int, Ready], None],
    ) -> None:
        self._outboxes: Mapping[str, Outbox] = outboxes.by_destination
        self._outbox_of = outboxes.of
        self._sessions = sessions
        self._waiting = waiting
        self._sleeping = sleeping
        self._custody = custody
        self._routes = routes
        self._standing = Standing(trust, time)
        self._trust = trust
        self._settle = settle
        self._held_back: dict[str, None] = {}  # other relays that do not take something because a reader waits
        self._bytes_max = READERS_BYTES

    def have(self, bytes_max: int) -> None:
        """What this relay has for all its readers, as its driver knows."""
        self._bytes_max = bytes_max

    def tick(self, _now_ms: int, _: Ready) -> None:
        """Forget the relays that hold nothing back any more."""
        for destination in list(self._held_back):
            outbox = self._outboxes.get(destination)
            if outbox is None or not outbox.waiting_for():
                del self._held_back[destination]

    # -- what is taken ----------------------------------------------------------------------------------

    def shed(self, held: Held, now_ms: int, ready: Ready) -> None:
        """After this message was added or grew: a control point that does not keep up loses its own oldest.

        Nobody else waits for it. Where all else is in flight, it loses this one.
        """
        for row in list(held.rows.values()):
            if row.sheddable:
                self._shed(self._outbox_of(row.destination), row, now_ms, ready)

    def full_reader(self, ways: Destinations, message: Verified, now_ms: int) -> str:
        """The reader because of whom this message is not taken on these ways; empty: none.

        One that is here and full, or one further on for whom much of the topic is held back already.
        """
        header = message.header
        for way, _ in ways:
            outbox = self._outboxes.get(way)
            if outbox is None:
                continue
            if self._sessions.waits(way):
                if self._holds_up(outbox, now_ms):
                    return node_of(way)
            elif not is_point(way):
                reader, bytes_ = outbox.held_back(header.lane, header.origin, header.topic)
                if bytes_ > HELD_BACK_BYTES_MAX:
                    return reader
        return ""

    def _holds_up(self, outbox: Outbox, now_ms: int) -> bool:
        """Whether a reader that waits has no room, or has only just got a little."""
        destination = outbox.destination
        was_full = self._waiting.is_full(destination)
        spare_bytes = self._sessions.keep(destination).bytes // _ROOM_SHARE if was_full else 0
        if not self.is_full(outbox, spare_bytes) and not self._waiting.pauses(destination, now_ms):
            self._waiting.forget(destination)
            return False
        if not self._may_wait(destination, now_ms):
            return False
        if not was_full:
            self._waiting.filled(destination, now_ms)
        self._waiting.refused(destination)
        return True

    def _may_wait(self, destination: str, now_ms: int) -> bool:
        """Whether it loses nothing and others wait for it: by a credential that holds, and for its time at most."""
        if not self._sessions.waits(destination):
            return False
        known = self._routes.get(session_of(destination))
        holds = known is None or self._holds(known.credential, now_ms)
        return holds and not self._waiting.is_over(destination, self._sessions.keep(destination).ms, now_ms)

    def _holds(self, credential: Credential, now_ms: int) -> bool:
        problem = self._standing.check_for_now(credential, now_ms)
        return problem is None or problem.code is Code.BUSY  # nothing is lost for what cannot be said now

    def waits_to_grow(self, held: Held, now_ms: int) -> bool:
        """Whether it is for a reader that is full and loses nothing: a fuller copy finds no room there."""
        outboxes = (self._outboxes.get(destination) for destination in held.rows if self._sessions.waits(destination))
        return any(o is not None and self.is_full(o) and self._may_wait(o.destination, now_ms) for o in outboxes)

    @property
    def may_wait(self) -> bool:
        """Whether a message may have to wait for a reader at all: mostly not."""
        return self._sessions.anybody_waits or bool(self._held_back)

    def put_off(self, row: Row, reason: Reject) -> None:
        """The next hop does not take it now."""
        if reader_of(reason.detail):
            self._held_back[row.destination] = None

    def is_full(self, outbox: Outbox, more_bytes: int = 0) -> bool:
        """Whether a reader has all that its credential gives it, and all sessions of its node have; or its relay has.

        What everybody has (SPEC 7.5) each session has, whatever the others do.
        """
        destination, custody = outbox.destination, self._custody
        keep = self._sessions.keep(destination)
        own_bytes = custody.waiting_bytes(outbox) + more_bytes
        if own_bytes <= min(keep.bytes, POINT_QUOTA_BYTES):
            return False
        others = (self._outboxes.get(other) for other in self._sessions.siblings(destination))
        others_bytes = sum(custody.waiting_bytes(other) for other in others if other is not None)
        return own_bytes + others_bytes > keep.bytes or custody.readers_bytes + more_bytes > self._bytes_max

    def look_at_room(self, destination: str, now_ms: int) -> None:
        """Less may be kept for a reader than before: what is too much goes in parts, the oldest first."""
        outbox = self._outboxes.get(destination) if is_point(destination) else None
        if outbox is not None and self._has_too_much(outbox, now_ms):
            self._sleeping.shrinks(outbox)

    def woken(self, destination: str, now_ms: int) -> Ready:
        """Some of what slept for this reader is awake: it may go, or, where it had too much, ends."""
        ready = Ready()
        self._sleeping.woke(destination)
        self.end_too_much(now_ms, ready)
        return ready

    def end_too_much(self, now_ms: int, ready: Ready) -> None:
        """End a part of what readers have beyond what they may, the oldest first."""
        for destination in self._sleeping.over():
            outbox = self._outboxes.get(destination)
            if outbox is None:
                continue
            for _ in range(_SHED_ROWS):
                row = outbox.least()
                if not self._has_too_much(outbox, now_ms):
                    self._sleeping.is_served(destination)
                    break
                if row is None or self._sleeping.hides_older(row):
                    self._sleeping.has_too_much(destination)
                    break
                self._lose(outbox, row, now_ms, ready)
            else:
                self._sleeping.has_too_much(destination)

    def _shed(self, outbox: Outbox, last: Row, now_ms: int, ready: Ready) -> None:
        if not self._has_too_much(outbox, now_ms):
            return
        while self.is_full(outbox) and not last.done:
            row = outbox.least() or last
            wakes_first = self._sleeping.hides_older(row) and not self.is_full(outbox, -AWAKE_BYTES)
            if wakes_first or self._sleeping.may_have(outbox):
                self._sleeping.has_too_much(outbox.destination)  # its oldest go before this
                return
            self._lose(outbox, row, now_ms, ready)

    def _has_too_much(self, outbox: Outbox, now_ms: int) -> bool:
        """Whether some of it is to go. Who waits has as much as it may, and gets nothing until some of it is read."""
        return self.is_full(outbox) and not self._may_wait(outbox.destination, now_ms)

    def _lose(self, outbox: Outbox, row: Row, now_ms: int, ready: Ready) -> None:
        lost = self._sessions.lose(outbox.destination, row.held.message.header.records)
        if lost:
            ready.persist.append(KeepGap(outbox.destination, lost))
        self._settle(row, Reject(Code.SUBSCRIBER_SLOW), now_ms, ready)

    def waits_for(self, now_ms: int) -> dict[str, dict[str, int]]:
        """By name, the readers that others wait for: since when here, or how much is held back for one further on."""
        found: dict[str, dict[str, int]] = {}
        for destination, since_ms, refused in self._waiting.full():
            outbox = self._outboxes.get(destination)
            if outbox is not None and self.is_full(outbox) and self._may_wait(destination, now_ms):
                reader = found.setdefault(node_of(destination), {"since_ms": since_ms, "refused": 0, "held_back": 0})
                reader["since_ms"] = min(reader["since_ms"], since_ms)
                reader["refused"] += refused
        for outbox in [self._outboxes[destination] for destination in self._held_back if destination in self._outboxes]:
            for name, rows in outbox.waiting_for().items():
                found.setdefault(name, {"since_ms": 0, "refused": 0, "held_back": 0})["held_back"] += rows
        return found
