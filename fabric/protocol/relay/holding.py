"""What a relay holds (SPEC 7.5): rows for their destinations, what a slow reader loses, and how rows end.

Guarantees: a message is held with all its rows in one step, or remembered as seen; what is held for another relay ends
by an answer, its time or a revocation only; a reader that does not keep up loses its own oldest, which is counted. A
subclass says what messages mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import POINT_QUOTA_BYTES, READERS_BYTES
from fabric.protocol.core.ready import KeepGap, Op, Put, Ready
from fabric.protocol.custody.custody import Destinations
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.sessions import is_point, node_of
from fabric.protocol.custody.sleeping import AWAKE_BYTES
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.lifetime import remaining_ms
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.below import Below
from fabric.protocol.wire.frames import Direction, Item


class Holding(Below):
    """A relay that holds messages for their destinations, and ends their rows."""

    def set_up(self) -> None:
        super().set_up()
        self.readers_bytes_max = READERS_BYTES  # what this relay has for all its readers; its driver may know better

    def on_session_end(self, destination: str, code: Code, now_ms: int, ready: Ready) -> None:
        outbox = self.outboxes.get(destination)
        for row in outbox.rows() if outbox else []:
            # An action or a result was for this node and nobody else: that it left does not make it unwanted.
            read = row.held.message.header.kind in (Kind.EVENT, Kind.INTEL)
            self.ending.end([row], Reject(code if read else Code.SUBSCRIBER_GONE), now_ms, ready)
        self._drop_if_over(destination)

    def on_ended(self, rows: Sequence[Row], ready: Ready) -> None:
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
        self.sleeping.look(held, ready)
        return held

    # -- readers that are slow --------------------------------------------------------------------------

    def shed_readers(self, held: Held, now_ms: int, ready: Ready) -> None:
        """After this message was added or grew: a control point that does not keep up loses its own oldest.

        Nobody else waits for it. Where all else is in flight, it loses this one.
        """
        for row in list(held.rows.values()):
            if row.sheddable:
                self._shed(self._outbox(row.destination), row, now_ms, ready)

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

    def woken(self, now_ms: int) -> Ready:
        """Some of what slept is awake: of readers that had too much it ends."""
        ready = Ready()
        for destination in self.sleeping.over():
            outbox = self.outboxes.get(destination)
            oldest = outbox.least() if outbox is not None else None
            if outbox is not None and oldest is not None:
                rows = outbox.rows()
                self._shed(outbox, rows[-1], now_ms, ready)
        return ready

    def _shed(self, outbox: Outbox, last: Row, now_ms: int, ready: Ready) -> None:
        while self.is_full(outbox) and not last.done:
            row = outbox.least() or last
            if self.sleeping.hides_older(row) and not self.is_full(outbox, -AWAKE_BYTES):
                self.sleeping.has_too_much(outbox.destination)  # that wakes first, and goes
                return
            lost = self.sessions.lose(outbox.destination, row.held.message.header.records)
            if lost:
                ready.persist.append(KeepGap(outbox.destination, lost))
            self.on_settled(row, Reject(Code.SUBSCRIBER_SLOW), now_ms, ready)

    def readers(self) -> dict[str, dict[str, int | bool]]:
        """By name, for whom much waits here: more than a quarter of what it may keep, or while it is away."""
        found: dict[str, dict[str, int | bool]] = {}
        for destination, outbox in self.outboxes.items():
            bytes_ = self.custody.waiting_bytes(outbox) if is_point(destination) else 0
            share_bytes = self.sessions.keep(destination).bytes
            away = self.sessions.is_away(destination)
            if not bytes_ or not (away or bytes_ > share_bytes // 4):
                continue
            reader = found.setdefault(
                node_of(destination), {"bytes": 0, "share_bytes": share_bytes, "asleep": 0, "away": True}
            )
            reader["bytes"] += bytes_
            reader["asleep"] += self.custody.readers_asleep.rows_of(destination)
            reader["away"] = reader["away"] and away
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
