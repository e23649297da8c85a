"""What a relay holds (SPEC 7.5): rows for their destinations, what a slow reader loses, and how rows end.

Guarantees: a message is held with all its rows in one step, or remembered as seen; what is held for another relay ends
by an answer, its time or a revocation only; a reader that does not keep up loses its own oldest, which is counted, or
waits where its credential says so: then it loses nothing, and what would have to go to it is not taken. A subclass says
what messages mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import POINT_QUOTA_BYTES, READERS_BYTES
from fabric.protocol.core.ready import KeepGap, Op, Put, Ready
from fabric.protocol.custody.asleep import ReadersAsleep
from fabric.protocol.custody.custody import Destinations
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.sessions import is_point, node_of, session_of
from fabric.protocol.custody.sleeping import AWAKE_BYTES
from fabric.protocol.custody.waiting import reader_of
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.lifetime import remaining_ms
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.link import Link
from fabric.protocol.relay.below import Below
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.frames import Direction, Item

# So many rows of a reader that had too much end at once, and the others a moment later.
_SHED_ROWS = 1_000
# What is held back of a topic of one origin, for a reader further on, before the next of it is refused here too.
HELD_BACK_BYTES_MAX = 1_048_576
# A reader that was full takes again when so much of its share is free: it opens for more than one message at a time.
_ROOM_SHARE = 8


class Holding(Below):
    """A relay that holds messages for their destinations, and ends their rows."""

    def set_up(self) -> None:
        super().set_up()
        self._held_back: dict[str, None] = {}  # other relays that do not take something because a reader waits
        self.readers_bytes_max = READERS_BYTES  # what this relay has for all its readers; its driver may know better

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        super().on_timers(now_ms, ready)
        for destination in list(self._held_back):
            outbox = self.outboxes.get(destination)
            if outbox is None or not outbox.waiting_for():
                del self._held_back[destination]

    def on_session_end(self, destination: str, code: Code, now_ms: int, ready: Ready) -> None:
        outbox = self.outboxes.get(destination)
        if outbox is not None:
            # An action or a result was for this node and nobody else: that it left does not make it unwanted.
            self.ending.end(outbox.rows(), Reject(code), now_ms, ready, awaited=Reject(Code.SUBSCRIBER_GONE))
        self._drop_if_over(destination)

    def on_ended(self, rows: Sequence[Row]) -> None:
        for destination in {row.destination: None for row in rows}:
            self._drop_if_over(destination)

    def _drop_if_over(self, destination: str) -> None:
        """The outbox of a session that is over goes with its last row."""
        outbox = self.outboxes.get(destination)
        if outbox is not None and outbox.empty and is_point(destination) and not self.sessions.knows(destination):
            del self.outboxes[destination]

    # -- what is held -----------------------------------------------------------------------------------

    def _hold(self, message: Verified, item: Item, destinations: Destinations, now_ms: int, ready: Ready,
              direction: Direction | None = None, *, moved: int = 0) -> Held | None:
        """The message with these rows; None where it is remembered only, as it has no destination here."""
        header = message.header
        direction = item.direction if direction is None else direction
        known = self.custody.get(message.id, direction)
        if known is not None:
            if destinations:
                self.custody.readdress(known, [], destinations, ready, moved=moved)
            return known
        expires_at_ms = now_ms + remaining_ms(
            issued_at_ms=header.issued_at_ms, ttl_ms=header.ttl_ms, age_ms=item.age_ms,
            now_ms=self.time.now(now_ms), skew_ms=self.skew_ms, by_age_only=self.time.by_age_only(now_ms),
        )
        if not destinations:
            self.count("ended", Code.NO_INTEREST.reason)
            until_ms = seen_until_ms(header, now_ms) if header.kind is Kind.ACTION else expires_at_ms
            self.custody.saw(message.id, direction, until_ms, ready, header)
            return None
        self.keep(message.credential, ready)
        held = Held(message, direction, header.lane, item.age_ms, now_ms, expires_at_ms, tuple(item.hops))
        self.custody.put(held, destinations, ready, [(way, moved) for way, _ in destinations] if moved else ())
        self.shed_readers(held, now_ms, ready)
        self.sleeping.taken(held, ready)
        return held

    # -- readers that are slow --------------------------------------------------------------------------

    def shed_readers(self, held: Held, now_ms: int, ready: Ready) -> None:
        """After this message was added or grew: a control point that does not keep up loses its own oldest.

        Nobody else waits for it. Where all else is in flight, it loses this one.
        """
        for row in list(held.rows.values()):
            if row.sheddable:
                self._shed(self._outbox(row.destination), row, now_ms, ready)

    def full_reader(self, ways: Destinations, message: Verified, now_ms: int) -> str:
        """The reader because of whom this message is not taken on these ways; empty: none.

        One that is here and full, or one further on for whom much of the topic is held back already.
        """
        header = message.header
        for way, _ in ways:
            outbox = self.outboxes.get(way)
            if outbox is None:
                continue
            if self.sessions.waits(way):
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
        was_full = self.waiting.is_full(destination)
        spare_bytes = self.sessions.keep(destination).bytes // _ROOM_SHARE if was_full else 0
        if not self.is_full(outbox, spare_bytes) and not self.waiting.pauses(destination, now_ms):
            self.waiting.forget(destination)
            return False
        if not self._may_wait(destination, now_ms):
            return False
        if not was_full:
            self.waiting.filled(destination, now_ms)
        self.waiting.refused(destination)
        return True

    def _may_wait(self, destination: str, now_ms: int) -> bool:
        """Whether it loses nothing and others wait for it: by a credential that holds, and for its time at most."""
        if not self.sessions.waits(destination):
            return False
        known = self.routes.get(session_of(destination))
        holds = known is None or self._holds(known.credential, now_ms)
        return holds and not self.waiting.is_over(destination, self.sessions.keep(destination).ms, now_ms)

    def _holds(self, credential: Credential, now_ms: int) -> bool:
        problem = self.time.for_now(self.trust.check(credential, self.time.clocks(now_ms)))
        return problem is None or problem.code is Code.BUSY  # nothing is lost for what cannot be said now

    def waits_to_grow(self, held: Held, now_ms: int) -> bool:
        """Whether it is for a reader that is full and loses nothing: a fuller copy finds no room there."""
        outboxes = (self.outboxes.get(destination) for destination in held.rows if self.sessions.waits(destination))
        return any(o is not None and self.is_full(o) and self._may_wait(o.destination, now_ms) for o in outboxes)

    @property
    def may_wait(self) -> bool:
        """Whether a message may have to wait for a reader at all: mostly not."""
        return self.sessions.anybody_waits or bool(self._held_back)

    def on_put_off(self, row: Row, reason: Reject) -> None:
        if reader_of(reason.detail):
            self._held_back[row.destination] = None

    def is_full(self, outbox: Outbox, more_bytes: int = 0) -> bool:
        """Whether a reader has all that its credential gives it, and all sessions of its node have; or its relay has.

        What everybody has (SPEC 7.5) each session has, whatever the others do.
        """
        destination, custody = outbox.destination, self.custody
        keep = self.sessions.keep(destination)
        own_bytes = custody.waiting_bytes(outbox) + more_bytes
        if own_bytes <= min(keep.bytes, POINT_QUOTA_BYTES):
            return False
        others = (self.outboxes.get(other) for other in self.sessions.siblings(destination))
        others_bytes = sum(custody.waiting_bytes(other) for other in others if other is not None)
        return own_bytes + others_bytes > keep.bytes or custody.readers_bytes + more_bytes > self.readers_bytes_max

    def on_attached(self, attachment: Attachment, link: Link, now_ms: int, ready: Ready) -> None:
        super().on_attached(attachment, link, now_ms, ready)
        self._look_at_room(link.destination, now_ms)

    def readers_sleep(self, asleep: ReadersAsleep, awake_rows: int, last_row: int, now_ms: int) -> None:
        super().readers_sleep(asleep, awake_rows, last_row, now_ms)
        for destination in self.outboxes:
            self._look_at_room(destination, now_ms)

    def _look_at_room(self, destination: str, now_ms: int) -> None:
        """Less may be kept for a reader than before: what is too much goes in parts, the oldest first."""
        outbox = self.outboxes.get(destination) if is_point(destination) else None
        if outbox is not None and self._has_too_much(outbox, now_ms):
            self.sleeping.shrinks(outbox)

    def woken(self, destination: str, now_ms: int) -> Ready:
        """Some of what slept for this reader is awake: it may go, or, where it had too much, ends."""
        ready = Ready()
        self.sleeping.woke(destination)
        self.end_too_much(now_ms, ready)
        return ready

    def end_too_much(self, now_ms: int, ready: Ready) -> None:
        """End a part of what readers have beyond what they may, the oldest first."""
        for destination in self.sleeping.over():
            outbox = self.outboxes.get(destination)
            if outbox is None:
                continue
            for _ in range(_SHED_ROWS):
                row = outbox.least()
                if not self._has_too_much(outbox, now_ms):
                    self.sleeping.is_served(destination)
                    break
                if row is None or self.sleeping.hides_older(row):
                    self.sleeping.has_too_much(destination)
                    break
                self._lose(outbox, row, now_ms, ready)
            else:
                self.sleeping.has_too_much(destination)

    def _shed(self, outbox: Outbox, last: Row, now_ms: int, ready: Ready) -> None:
        if not self._has_too_much(outbox, now_ms):
            return
        while self.is_full(outbox) and not last.done:
            row = outbox.least() or last
            wakes_first = self.sleeping.hides_older(row) and not self.is_full(outbox, -AWAKE_BYTES)
            if wakes_first or self.sleeping.may_have(outbox):
                self.sleeping.has_too_much(outbox.destination)  # its oldest go before this
                return
            self._lose(outbox, row, now_ms, ready)

    def _has_too_much(self, outbox: Outbox, now_ms: int) -> bool:
        """Whether some of it is to go. Who waits has as much as it may, and gets nothing until some of it is read."""
        return self.is_full(outbox) and not self._may_wait(outbox.destination, now_ms)

    def _lose(self, outbox: Outbox, row: Row, now_ms: int, ready: Ready) -> None:
        lost = self.sessions.lose(outbox.destination, row.held.message.header.records)
        if lost:
            ready.persist.append(KeepGap(outbox.destination, lost))
        self.on_settled(row, Reject(Code.SUBSCRIBER_SLOW), now_ms, ready)

    def waits_for(self, now_ms: int) -> dict[str, dict[str, int]]:
        """By name, the readers that others wait for: since when here, or how much is held back for one further on."""
        found: dict[str, dict[str, int]] = {}
        for destination, since_ms, refused in self.waiting.full():
            outbox = self.outboxes.get(destination)
            if outbox is not None and self.is_full(outbox) and self._may_wait(destination, now_ms):
                reader = found.setdefault(node_of(destination), {"since_ms": since_ms, "refused": 0, "held_back": 0})
                reader["since_ms"] = min(reader["since_ms"], since_ms)
                reader["refused"] += refused
        for outbox in [self.outboxes[destination] for destination in self._held_back if destination in self.outboxes]:
            for name, rows in outbox.waiting_for().items():
                found.setdefault(name, {"since_ms": 0, "refused": 0, "held_back": 0})["held_back"] += rows
        return found

    # -- how rows end -----------------------------------------------------------------------------------

    def end_revoked(self, now_ms: int, ready: Ready) -> None:
        """Queued messages of a revoked origin end; they would be refused at every hop."""
        for outbox in list(self.outboxes.values()):
            for row in outbox.rows():
                revoked = self.trust.revocations.check(row.held.message.credential)
                if revoked is not None:
                    self.ending.end([row], revoked, now_ms, ready)

    # -- after a restart --------------------------------------------------------------------------------

    def on_restore(self, op: Op, now_ms: int) -> None:
        super().on_restore(op, now_ms)
        if isinstance(op, Put):
            for destination, _ in op.destinations:
                if is_point(destination):
                    self.sessions.left(destination, now_ms, restored=True)
