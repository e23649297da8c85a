"""What a relay holds (SPEC 7.5): a message with its rows, and what ends with a session or a revocation.

Guarantees: a message is held with all its rows in one step, or remembered as seen; what is held for another relay ends
by an answer, its time or a revocation only.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.kept_credentials import KeptCredentials
from fabric.protocol.core.ready import Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.custody import Custody, Destinations
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.ending import Ending
from fabric.protocol.custody.outbox import Held, Row
from fabric.protocol.custody.outboxes import Outboxes
from fabric.protocol.custody.sessions import Sessions, is_point
from fabric.protocol.custody.sleeping import Sleeping
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.lifetime import remaining_ms
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.messages.readers import Readers
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.wire.frames import Direction, Item


class Holding:
    """It keeps nothing itself: what is held is `custody`'s, and rows wait in `outboxes`."""

    def __init__(
        self, custody: Custody, outboxes: Outboxes, sessions: Sessions, readers: Readers, sleeping: Sleeping,
        ending: Ending, kept: KeptCredentials, trust: TrustStore, time: Timekeeper, skew_ms: int, counters: Counters,
    ) -> None:
        self._custody = custody
        self._outboxes = outboxes.by_destination
        self._sessions = sessions
        self._readers = readers
        self._sleeping = sleeping
        self._ending = ending
        self._kept = kept
        self._trust = trust
        self._time = time
        self._skew_ms = skew_ms
        self._count = counters.count

    def hold(self, message: Verified, item: Item, destinations: Destinations, now_ms: int, ready: Ready,
              direction: Direction | None = None, *, moved: int = 0) -> Held | None:
        """The message with these rows; None where it is remembered only, as it has no destination here."""
        header = message.header
        direction = item.direction if direction is None else direction
        known = self._custody.get(message.id, direction)
        if known is not None:
            if destinations:
                self._custody.readdress(known, [], destinations, ready, moved=moved)
            return known
        expires_at_ms = now_ms + remaining_ms(
            issued_at_ms=message.counts_from_ms, ttl_ms=header.ttl_ms, age_ms=item.age_ms,
            now_ms=self._time.now(now_ms), skew_ms=self._skew_ms, by_age_only=self._time.by_age_only(now_ms),
        )
        if not destinations:
            self._count("ended", Code.NO_INTEREST.reason)
            until_ms = seen_until_ms(header, now_ms) if header.kind is Kind.ACTION else expires_at_ms
            self._custody.saw(message.id, direction, until_ms, ready, header)
            return None
        self._kept.keep(message.credential, ready)
        held = Held(message, direction, header.lane, item.age_ms, now_ms, expires_at_ms, tuple(item.hops))
        self._custody.put(held, destinations, ready, [(way, moved) for way, _ in destinations] if moved else ())
        self._readers.shed(held, now_ms, ready)
        self._sleeping.taken(held, ready)
        return held

    def readdress(self, row: Row, ways: Destinations, left: tuple[str, ...] | None, ready: Ready) -> None:
        """Instead of by this row its message goes these ways; `left`: for whom the row stays, None where it goes."""
        if left is not None:
            row.targets = left
        self._custody.readdress(row.held, [row] if left is None else [], ways, ready, moved=row.moved + 1)

    # -- how rows end -----------------------------------------------------------------------------------

    def session_ended(self, destination: str, code: Code, now_ms: int, ready: Ready) -> None:
        """End what waits for a session that is over."""
        outbox = self._outboxes.get(destination)
        if outbox is not None:
            # An action or a result was for this node and nobody else: that it left does not make it unwanted.
            self._ending.end(outbox.rows(), Reject(code), now_ms, ready, awaited=Reject(Code.SUBSCRIBER_GONE))
        self._drop_if_over(destination)

    def ended(self, rows: Sequence[Row]) -> None:
        """These rows were ended a part at a time: the outbox of a session that is over goes with its last one."""
        for destination in {row.destination: None for row in rows}:
            self._drop_if_over(destination)

    def _drop_if_over(self, destination: str) -> None:
        outbox = self._outboxes.get(destination)
        if outbox is not None and outbox.empty and is_point(destination) and not self._sessions.knows(destination):
            del self._outboxes[destination]

    def list_changed(self, now_ms: int, ready: Ready) -> None:
        """Queued messages of a revoked origin end; they would be refused at every hop."""
        for outbox in list(self._outboxes.values()):
            for row in outbox.rows():
                revoked = self._trust.revocations.check(row.held.message.credential)
                if revoked is not None:
                    self._ending.end([row], revoked, now_ms, ready)
