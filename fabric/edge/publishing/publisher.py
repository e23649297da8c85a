"""What a program published, from its lane to the relay: signed in its turn, sent, and its program told.

Guarantees: a future ends when the record is durable (on this node's own disk when it has an outbox, else at the relay)
or refused. A record that was cancelled before its turn is never sealed; from then on it cannot be cancelled. Every
envelope passes the checks of a relay before it is sent. What the end of the connection left open is counted for
`leaving`, unless somebody looked at it. Belongs to the connection's thread, but for `take_left`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import structlog

from fabric.edge.logging.faults import contained
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import Composer
from fabric.edge.publishing.drafts import Draft
from fabric.edge.publishing.in_flight import InFlight
from fabric.edge.publishing.lanes import BURST_MAX, Lanes
from fabric.edge.publishing.receipts import Receipt, begin_sending, open_future, refuse, succeed
from fabric.edge.publishing.sources import Sources
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Published, Ready, Submit
from fabric.protocol.custody.outbox import Row
from fabric.protocol.envelope.verify import Verified, open_envelope
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.frames import Direction


class Publisher:
    """`has_more`: the last burst left some that may go, for which nothing else need wake whoever calls."""

    def __init__(
        self, core: Point, lanes: Lanes, sources: Sources, in_flight: InFlight, composer: Composer,
        awaiting_keys: AwaitingKeys, log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._core = core
        self._lanes = lanes
        self._counts = lanes.counts
        self._sources = sources
        self._in_flight = in_flight
        self._composer = composer
        self._awaiting_keys = awaiting_keys
        self._log = log
        self.has_more = False
        self._fresh: list[bytes] = []  # on disk with the commit of this turn
        self._sealing: Sequence[Draft] = []  # in the midst of `compose`, also where a fault ends it there
        self._left: list[Future[Any]] = []  # what the end found open: as many as may wait
        self.refused = 0
        self.on_refused: Callable[[str, int, FabricError], None] | None = None

    @property
    def durable(self) -> bool:
        """This node has an outbox, so a record is done when its turn's commit is."""
        return self._in_flight.durable

    def keeps(self, rows: Sequence[Row]) -> None:
        """This node has an outbox from now on, and these in it of an earlier process."""
        self._in_flight.durable = True
        self._counts.resumed(sum(row.held.message.header.records for row in rows))

    def take_left(self) -> int:
        """After the end, once: how many records it found open, of which their program has not been told."""
        left, self._left = self._left, []
        return sum(1 for token in left if not (isinstance(token, Receipt) and token.looked_at))

    def compose(self, now_ms: int, ready: Ready) -> None:
        """Seal what may go now, urgent first, and submit it: as much of it as a burst takes."""
        self.has_more = False
        if not (self._lanes or self._awaiting_keys):  # as in most turns
            return
        fit, unfit = self._awaiting_keys.sort((), now_ms, ready)
        # Where many wait for keys, others of their lanes wait before that: so pressure reaches whoever publishes.
        is_short = self._awaiting_keys.room < BURST_MAX
        held = {self._lanes.of(draft.stamp) for draft in self._awaiting_keys.waiting()} if is_short else ()
        found = self._lanes.take(held)
        if not found and not fit and not unfit:
            return
        taken = begin_sending(found)
        if len(taken) < len(found):
            self._counts.ended(len(found) - len(taken), len(found) - len(taken))
        self._sealing = [*fit, *taken]
        more, more_unfit = self._awaiting_keys.sort(taken, now_ms, ready)
        fit, unfit = [*fit, *more], [*unfit, *more_unfit]
        sealed, failed = self._composer.compose(fit)
        for draft, error in (*unfit, *failed):
            self._unfit([draft], error)
            draft.taken = True
        for envelope, group in sealed:
            try:
                self._send(self.opened(envelope), group, now_ms, ready)
            except FabricError as error:
                self._unfit(group, error)
        for draft in fit:
            draft.taken = True
        self._sealing = []
        self._sources.advance(ready)
        self.has_more = bool(found) and self._lanes.has_more

    def _unfit(self, group: Sequence[Draft], error: FabricError) -> None:
        refuse(group, error)
        self._counts.ended(len(group), len(group))

    def seal_one(self, draft: Draft) -> Verified:
        """A message that waits for no others of its lane: signed, and not sent. Raises FabricError where it cannot be
        sent: BUSY where too many are."""
        lane = self._lanes.of(draft.stamp)
        if not self._in_flight.has_room_alone(lane, draft.size):
            raise FabricError(Code.BUSY, f"too much of the lane {lane.name.lower()} waits for the relay", "ask later")
        sealed, failed = self._composer.compose([draft])
        if failed:
            raise failed[0][1]
        return self.opened(sealed[0].envelope)

    def send_one(self, message: Verified, draft: Draft, now_ms: int, ready: Ready) -> None:
        """What `seal_one` has signed. It may have been sent before: relays drop what they know."""
        self._counts.sent_alone()
        self._send(message, [draft], now_ms, ready)

    def opened(self, envelope: bytes) -> Verified:
        """Our own envelopes pass the same check as everybody's: nothing leaves that a relay would refuse."""
        message = open_envelope(envelope, self._core.trust.credentials, self._core.roots)
        if isinstance(message, Reject):
            raise FabricError(message.code, message.detail)
        return message

    def _send(self, message: Verified, group: Sequence[Draft], now_ms: int, ready: Ready) -> None:
        self._in_flight.put(message.id, group)
        made = self._core.step(Submit(message), now_ms)
        for ended in [each for each in made.deliver if isinstance(each, Published) and each.id == message.id]:
            # It is refused at once. Its program is told before its source's position is on disk: a kill between the two
            # must not lose what it writes down of it.
            made.deliver.remove(ended)
            self.published(ended)
        ready.merge(made)
        if self.durable and self._core.custody.get(message.id, Direction.UP) is not None:
            self._fresh.append(message.id)

    def renewed(self, credential: Credential) -> None:
        """What is sealed from now on is signed under this one."""
        self._composer.renewed(credential)

    def committed(self) -> None:
        """The turn's commit is done: what this node has on its own disk is what its program was promised."""
        fresh, self._fresh = self._fresh, []
        for id_ in fresh:
            group = self._in_flight.pop(id_)
            succeed(id_, group)
            self._counts.told(len(group))

    def published(self, published: Published) -> None:
        """The relay holds it, or it ended."""
        group = self._in_flight.pop(published.id)
        error = None
        if published.refused is None:
            succeed(published.id, group)
        else:
            error = FabricError(published.refused.code, published.refused.detail)
            refuse(group, error)
        # Who waits until nothing waits can look at the futures then.
        self._counts.ended(published.records or len(group), len(group))
        if error is not None and not group:
            # Its program was told that it is on disk; nobody waits for this answer any more.
            self.refused += published.records
            self._log.warning("refused", id=published.id.hex(), code=error.code.label, records=published.records)
            if self.on_refused is not None:
                with contained(self._log, "on_refused"):
                    self.on_refused(published.id.hex(), published.records, error)

    def close(self, error: FabricError) -> None:
        """The connection has ended: whoever still waits for a record is told this."""
        others = [*self._in_flight.end(), *self._lanes.end(error), self._awaiting_keys.end(error)]
        known = {id(draft) for drafts in others for draft in drafts}
        for drafts in [*others, [draft for draft in self._sealing if id(draft) not in known]]:
            self._left += [future for draft in drafts if (future := open_future(draft.token)) is not None]
            for draft in drafts:
                with suppress(Exception):  # of a function that its program gave: all others are told nevertheless
                    refuse([draft], error)
        self._sealing = []
        self._counts.end()
