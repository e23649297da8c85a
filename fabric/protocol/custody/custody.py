"""Custody (SPEC 7.5): the messages for which this node is responsible, until each destination has them.

Guarantees: what is put is persisted with all its rows in one `Put`; a row ends once and is persisted as `Done`; when
the last row ends, the message is deleted. A lane's bytes are counted, so that intake can be refused before disk runs
out; what is held is never dropped to make room, and no origin takes all the room that there is, nor do all whom one
issuer vouches for. What waits for readers only has quotas of its own and counts in no lane.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from fabric.protocol.base.limits import LANE_QUOTA_BYTES, MOVED_MAX
from fabric.protocol.base.shares import ISSUER_SHARE, LARGE_SHARE, Holdings, beyond_share
from fabric.protocol.core.ready import Done, Put, Ready, Replace, Seen, SeenAction, Sleep
from fabric.protocol.custody.asleep import Asleep, ReadersAsleep, queue_of
from fabric.protocol.custody.dedup import Dedup, seen_until_ms
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.sessions import CHILD, node_of
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import Direction

# Deadlines of what ended are let go when most are like this, and there are enough to be worth the work.
_DEADLINES_SPARE = 32

HeldKey = tuple[bytes, Direction]
Destinations = Sequence[tuple[str, tuple[str, ...]]]  # (destination, the targets for it)
Moved = Sequence[tuple[str, int]]  # (destination, how often its targets had to be followed)


class Custody:
    """The messages that a node holds, each with a row per destination, and what was seen (`dedup`).

    `outbox_of` gives the outbox of a destination; `quota_bytes` is the bound of each lane.
    """

    def __init__(self, outbox_of: Callable[[str], Outbox], quota_bytes: int = LANE_QUOTA_BYTES) -> None:
        self._outbox_of = outbox_of
        self._quota_bytes = quota_bytes
        self._held: dict[HeldKey, Held] = {}
        self._deadlines: list[tuple[int, int, HeldKey]] = []
        self._sequence = 0
        self.order = 0  # of what was held last; a driver that numbers its rows says of which it was
        self.lane_bytes = [0] * len(Lane)
        self._origin_bytes: Holdings[tuple[Lane, str]] = Holdings()
        self._voucher_bytes: Holdings[tuple[Lane, str]] = Holdings()
        self.intake_open = True
        self.asleep = Asleep()  # the driver's, where it lets a backlog sleep
        self.readers_asleep = ReadersAsleep()  # the same of what waits for readers
        self._readers_bytes = 0  # of all rows for readers that are awake
        self.dedup = Dedup()

    def open_intake(self, is_open: bool) -> None:
        """Whether anything is taken in: its driver closes it when its disk is nearly full."""
        self.intake_open = is_open

    def sleeps(self, asleep: Asleep) -> None:
        """What of a backlog is on disk only, now and later, as its driver counts it."""
        self.asleep = asleep

    def readers_sleep(self, asleep: ReadersAsleep, last_row: int) -> None:
        """The same of what waits for readers. `last_row`: the number of the last row on disk."""
        self.readers_asleep, self.order = asleep, last_row

    def __len__(self) -> int:
        return len(self._held)

    def get(self, id_: bytes, direction: Direction) -> Held | None:
        return self._held.get((id_, direction))

    def full(self, lane: Lane, bytes_: int, origin: str = "", signer: bytes = b"", voucher: str = "") -> bool:
        """Whether a message of this size is not taken in; with an origin also because it holds its share.

        `voucher`: the issuer that vouches for the origin, if one does. All of its members have a share together.
        """
        left_bytes = self._quota_bytes - self.lane_bytes[lane] - self.asleep.bytes[lane]
        if not self.intake_open or bytes_ > left_bytes:
            return True
        if origin:
            held_bytes = self._origin_bytes.get((lane, origin), 0) + self.asleep.signer_bytes.get((lane, signer), 0)
            if beyond_share(held_bytes, bytes_, left_bytes, LARGE_SHARE):
                return True
        if voucher:
            asleep_bytes = self.asleep.voucher_bytes.get((lane, voucher), 0)
            vouched_bytes = self._voucher_bytes.get((lane, voucher), 0) + asleep_bytes
            return beyond_share(vouched_bytes, bytes_, left_bytes, ISSUER_SHARE)
        return False

    def leaves_half(self, lane: Lane, bytes_: int) -> bool:
        """Whether half of the lane is free after so much: what this node says of its own accord takes no more."""
        return not self.full(lane, bytes_ + self._quota_bytes // 2)

    def no_room_for(self, message: Verified) -> bool:
        """Whether this message is not taken in."""
        header = message.header
        return self.full(
            header.lane, len(message.raw), header.origin, message.envelope.signer, message.credential.voucher
        )

    def put(self, held: Held, destinations: Destinations, ready: Ready, moved: Moved = ()) -> None:
        """Take custody for these destinations, at least one."""
        assert destinations
        self.order += 1
        held.order = self.order
        self.adopt(held, destinations, moved)
        ready.persist.append(_put_of(held))

    def adopt(self, held: Held, destinations: Destinations, moved: Moved = ()) -> None:
        """The same for what is on disk already."""
        key = (held.message.id, held.direction)
        header = held.message.header
        if header.kind is Kind.ACTION:
            self.dedup.add_action(*key, seen_until_ms(header, held.received_at_ms), header.origin)
        else:
            self.dedup.add(*key, held.expires_at_ms)
        self._held[key] = held
        self._sequence += 1
        heapq.heappush(self._deadlines, (held.expires_at_ms, self._sequence, key))
        times = dict(moved)
        for destination, targets in destinations:
            row = self._add(held, destination, targets, times.get(destination, 0))
            row.unanswered = held.restored  # whether it was sent before is not on disk

    def _add(self, held: Held, destination: str, targets: tuple[str, ...], moved: int) -> Row:
        row = Row(held, destination, targets, moved=min(moved, MOVED_MAX))
        held.rows[row.destination] = row
        if row.sheddable:
            self._readers_bytes += held.size
        else:
            held.transit_rows += 1
            if held.transit_rows == 1:
                self._count(held, held.size)
        self._outbox_of(row.destination).add(row)
        return row

    def _remove(self, row: Row) -> None:
        held = row.held
        del held.rows[row.destination]
        self._outbox_of(row.destination).end(row)
        if row.sheddable:
            self._readers_bytes -= held.size
        else:
            held.transit_rows -= 1
            if held.transit_rows == 0:
                self._count(held, -held.size)

    def _count(self, held: Held, bytes_: int) -> None:
        self.lane_bytes[held.lane] += bytes_
        self._origin_bytes.add((held.lane, held.message.header.origin), bytes_)
        if voucher := held.message.credential.voucher:
            self._voucher_bytes.add((held.lane, voucher), bytes_)

    def readdress(
        self, held: Held, rows: Sequence[Row], ways: Destinations, ready: Ready, *, moved: int = 1
    ) -> None:
        """Instead of these rows the message is to go other ways as well.

        A row that is there already has further targets then, and is sent again. On disk the message is ended and put
        anew in one commit, with all the rows that it has from now on.
        """
        for row in rows:
            self._remove(row)
        for destination, targets in ways:
            known = held.rows.get(destination)
            if known is not None and not known.targets and not moved:
                continue  # it is for everybody there
            if known is not None:
                targets = tuple(dict.fromkeys([*_targets_of(known), *targets]))
                self._remove(known)
            row = self._add(held, destination, targets, moved if known is None else max(moved, known.moved + 1))
            if known is not None:
                row.tries, row.unanswered = known.tries, known.unanswered  # some of its targets may have had it
        assert held.rows
        self.order += 1  # a new row on disk; in its outboxes it keeps its place
        ready.persist += [Done(held.message.id, held.direction, "", last=True), _put_of(held)]

    def saw(self, id_: bytes, direction: Direction, until_ms: int, ready: Ready, of: Header) -> None:
        """Remember a message under this id: one that has no destination here, or a way that it came.

        Actions are remembered apart (`dedup`).
        """
        if of.kind is Kind.ACTION:
            self.dedup.add_action(id_, direction, until_ms, of.origin)
            ready.persist.append(SeenAction(id_, direction, until_ms, of.origin))
        else:
            self.dedup.add(id_, direction, until_ms)
            ready.persist.append(Seen(id_, direction, until_ms))

    def replace(self, held: Held, fuller: Verified, ready: Ready) -> bool:
        """A copy with more parts came: rows that have not been delivered carry it.

        What it adds is counted like what is taken in. Where there is no room for it, False: the first copy stays.
        """
        more_bytes, credential = len(fuller.raw) - held.size, fuller.credential
        if self.full(
            held.lane, more_bytes, fuller.header.origin, fuller.envelope.signer, credential.voucher
        ):
            return False
        self._grow(held, fuller)
        ready.persist.append(Replace(fuller.id, held.direction, fuller.raw))
        return True

    def unite(self, held: Held, other: Verified) -> None:
        """Another copy was on disk as well, and was counted there: the one that is held has the parts of both."""
        fuller = held.message.united_with(other)
        if fuller is not held.message:
            self._grow(held, fuller)

    def _grow(self, held: Held, fuller: Verified) -> None:
        bytes_ = len(fuller.raw) - held.size
        held.message = fuller
        held.size += bytes_
        if held.transit_rows:
            self._count(held, bytes_)
        for row in held.rows.values():
            self._outbox_of(row.destination).grew(row, bytes_)
            if row.sheddable:
                self._readers_bytes += bytes_

    def end(self, row: Row, ready: Ready) -> None:
        """This destination has it, or never will."""
        held = row.held
        if held.rows.get(row.destination) is not row:
            return
        self._remove(row)
        last = not held.rows
        ready.persist.append(Done(held.message.id, held.direction, row.destination, last))
        if last:
            header = held.message.header
            if header.kind is Kind.ACTION:
                key = held.message.id, held.direction
                ready.persist.append(SeenAction(*key, seen_until_ms(header, held.received_at_ms), header.origin))
            self._let_go(held)

    def put_to_sleep(self, held: Held, ready: Ready) -> None:
        """All that it waits for are readers, and none of them soon: from here on it is on disk only."""
        header, destinations = held.message.header, tuple(held.rows)
        queue = queue_of(held.lane, header.kind)
        for row in list(held.rows.values()):
            self._remove(row)
            self.readers_asleep.add(row.destination, queue, held.size, held.order)
        ready.persist.append(Sleep(held.message.id, held.direction, queue, held.size, destinations))
        self._let_go(held)

    def _let_go(self, held: Held) -> None:
        del self._held[(held.message.id, held.direction)]
        if len(self._deadlines) > 2 * len(self._held) + _DEADLINES_SPARE:
            self._deadlines = [entry for entry in self._deadlines if entry[2] in self._held]
            heapq.heapify(self._deadlines)

    @property
    def readers_bytes(self) -> int:
        """What waits for readers, awake or asleep, once for each."""
        return self._readers_bytes + self.readers_asleep.bytes

    def waiting_bytes(self, outbox: Outbox) -> int:
        """What waits for one of them."""
        return outbox.bytes + self.readers_asleep.bytes_of(outbox.destination)

    def overdue(self, now_ms: int) -> list[Held]:
        """Messages whose time is probably up, each offered once; `later` puts one back."""
        due = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, _, key = heapq.heappop(self._deadlines)
            held = self._held.get(key)
            if held is not None:
                due.append(held)
        return due

    def later(self, held: Held, at_ms: int) -> None:
        self._sequence += 1
        heapq.heappush(self._deadlines, (at_ms, self._sequence, (held.message.id, held.direction)))


def _targets_of(row: Row) -> tuple[str, ...]:
    """Intel without targets is for everybody below the child: where targets are named, that is the child itself."""
    everybody = row.held.message.header.kind is Kind.INTEL and row.destination.startswith(CHILD)
    return (node_of(row.destination),) if everybody and not row.targets else row.targets


def _put_of(held: Held) -> Put:
    rows = held.rows.values()
    return Put(
        held.message.id, held.direction, held.lane, held.message.raw, held.age_ms, held.received_at_ms,
        held.expires_at_ms, held.hops, tuple([(row.destination, row.targets) for row in rows]),
        tuple([(row.destination, row.moved) for row in rows if row.moved]),
    )
