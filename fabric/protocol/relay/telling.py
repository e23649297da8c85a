"""Messages of a relay's own (SPEC 7.5, 7.9, 9.4): gap markers, notices, reports, all of them results that it signs.

Guarantees: each bears the label and the audience of what it is about; a count is written to disk together with what was
counted, and deleted together with the message that tells it, so that nothing is told twice or forgotten. A
subclass says what messages mean.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import KeepGap, KeepNotice, Op, Ready
from fabric.protocol.custody.outbox import Row
from fabric.protocol.custody.sessions import node_of
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.reports import Report, build_gap, build_notice
from fabric.protocol.envelope.verify import Verified, open_envelope
from fabric.protocol.relay.holding import Holding
from fabric.protocol.relay.notices import SEEK_MS, About, Notices, Tally, ending_of, entries_of
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Direction, Item


class Telling(Holding):
    """A relay that signs messages of its own: gap markers, notices, reports."""

    def set_up(self) -> None:
        super().set_up()
        self.notices = Notices()
        self._markers: dict[str, bytes] = {}  # session -> the gap marker that it has yet to acknowledge
        self._said = 0

    def route(self, message: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        raise AssertionError("a subclass routes")

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        super().on_timers(now_ms, ready)
        if self.time.unknown:
            return  # what is signed with a wrong time is refused by everybody who knows the right one
        for destination, records in self.sessions.gaps():
            self._mark_gap(destination, records, now_ms, ready)
        for about, tally in self.notices.due(now_ms):
            self._tell_origin(about, tally, now_ms, ready)
        if self.notices.dropped:
            self.counters["notices_dropped"] = self.notices.dropped

    def on_turn_end(self, ready: Ready) -> None:
        self.sleeping.turn_ends(ready)
        ready.persist += self.notices.unsaved()

    def on_session_end(self, destination: str, code: Code, now_ms: int, ready: Ready) -> None:
        self._markers.pop(destination, None)
        super().on_session_end(destination, code, now_ms, ready)

    def say(self, report: Report, now_ms: int) -> Verified:
        """Sign it. Its sender believes it like anybody else: by opening it."""
        self._said += 1
        # A report cannot wait for the time, and is about something that says when it was.
        at_ms = report.header.issued_at_ms if self.time.unknown else self.time.now(now_ms)
        raw = report.sealed(self.me, self.signer, self._said, at_ms, self.entropy)
        said = open_envelope(raw, {self.me.digest: self.me}, self.roots)
        assert isinstance(said, Verified)
        return said

    # -- readers ----------------------------------------------------------------------------------------

    def _mark_gap(self, destination: str, records: int, now_ms: int, ready: Ready) -> None:
        """Tell a reader that is there how much it lost, one marker at a time."""
        unread = self._markers.get(destination)
        if destination not in self.by_destination or (unread and self.custody.get(unread, Direction.DOWN)):
            return
        marker = self.say(build_gap(node_of(destination), records, self.me), now_ms)
        self._markers[destination] = marker.id
        self.sessions.told(destination)
        ready.persist.append(KeepGap(destination, 0))
        self._hold(marker, Item(Direction.DOWN, 0, [], [], marker.raw), [(destination, ())], now_ms, ready)

    # -- origins ----------------------------------------------------------------------------------------

    def note_end(self, row: Row, refused: Reject, now_ms: int) -> None:
        """A row ended and was not delivered: its origin will be told."""
        message = row.held.message
        ending = ending_of(row, refused)
        if ending is not None and message.header.kind is not Kind.ACTION and message.credential.kind != NodeKind.RELAY:
            self.notices.note(message.header, ending, now_ms)

    def _tell_origin(self, about: About, tally: Tally, now_ms: int, ready: Ready) -> None:
        """To where the origin is; one that is not below is waited for, then looked for from above.

        While nothing goes that way it is counted on: notices would pile up, one every half minute, in no quota.
        """
        below = self._destinations(self.routes.of_node(about.origin))
        if not below and (self.is_root or now_ms - tally.since_ms < SEEK_MS):
            return
        if not any(way in self.by_destination for way, _ in below or self._uplink()):
            return
        self.notices.told(about, now_ms)
        self.count("told", "notice")
        since_ms = self.time.now(tally.since_ms)
        notice = self.say(
            build_notice(about.origin, about.label, about.audience, since_ms, entries_of(tally), self.me), now_ms
        )
        self.route(notice, Item(Direction.DOWN, 0, [], [], notice.raw), now_ms, ready)

    # -- after a restart --------------------------------------------------------------------------------

    def on_restore(self, op: Op, now_ms: int) -> None:
        super().on_restore(op, now_ms)
        match op:
            case KeepGap(destination, records):
                self.sessions.restore_lost(destination, records)
            case KeepNotice():
                self.notices.restore(op, now_ms)
