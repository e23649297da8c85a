"""What a relay tells readers and origins (SPEC 7.5, 7.9): gap markers, and notices of what ended undelivered.

Guarantees: each bears the label and the audience of what it is about; a count is written to disk together with what was
counted, and deleted together with the message that tells it, so that nothing is told twice or forgotten. Says nothing
while the time is not known, of what relays said, and of actions: those have reports of their own (`dispatch`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import KeepGap, KeepNotice, Op, Ready
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Row
from fabric.protocol.custody.sessions import Sessions, node_of
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.reports import build_gap, build_notice
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.port import LinkPort
from fabric.protocol.relay.messages.notices import SEEK_MS, About, EndedKind, Notices, Tally, ending_of, entries_of
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.relay.router import Router
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import Direction, Item


class Reporter:
    """`sessions` counts what readers lost; `custody` knows which markers still wait.

    `fabric_now`: the root's time at a time of the relay's own clock.
    """

    def __init__(
        self, signer: ReportSigner, sessions: Sessions, custody: Custody, router: Router, links: LinkPort,
        messages: MessagePort, fabric_now: Callable[[int], int], time_unknown: Callable[[], bool],
        counters: Counter[str],
    ) -> None:
        self._signer = signer
        self._sessions = sessions
        self._custody = custody
        self._router = router
        self._links = links
        self._messages = messages
        self._fabric_now = fabric_now
        self._time_unknown = time_unknown
        self._counters = counters
        self._notices = Notices()
        self._markers: dict[str, bytes] = {}  # session -> the gap marker that it has yet to acknowledge

    # -- what the relay tells it ----------------------------------------------------------------------------

    def tick(self, now_ms: int, ready: Ready) -> None:
        """A few times a second: tell what is due."""
        if self._time_unknown():
            return  # what is signed with a wrong time is refused by everybody who knows the right one
        for destination, records in self._sessions.gaps():
            self._mark_gap(destination, records, now_ms, ready)
        for about, tally in self._notices.due(now_ms):
            self._tell_origin(about, tally, now_ms, ready)
        if self._notices.dropped:
            self._counters["notices_dropped"] = self._notices.dropped

    def turn_ended(self, ready: Ready) -> None:
        """Everything that a turn brought is decided: what it changed in the counts is committed with it."""
        ready.persist += self._notices.unsaved()

    def session_ended(self, destination: str) -> None:
        """Nobody will acknowledge its marker."""
        self._markers.pop(destination, None)

    def row_ended(self, row: Row, refused: Reject, now_ms: int) -> None:
        """A row ended and was not delivered: its origin will be told."""
        message = row.held.message
        ending = ending_of(row, refused)
        if ending is not None and message.header.kind is not Kind.ACTION and message.credential.kind != NodeKind.RELAY:
            self._notices.note(message.header, ending, now_ms)

    def recipient_unknown(self, message: Verified, now_ms: int) -> None:
        """It names a recipient whom the root does not know: it goes on to the others, and its origin will be told."""
        header = message.header
        if message.credential.kind != NodeKind.RELAY:
            self._notices.note(header, EndedKind(Code.RECIPIENT_UNKNOWN, header.kind, header.topic, "reader"), now_ms)

    def restored(self, op: Op, now_ms: int) -> None:
        """This was read back from disk."""
        match op:
            case KeepGap(destination, records):
                self._sessions.restore_lost(destination, records)
            case KeepNotice():
                self._notices.restore(op, now_ms)

    # -- readers --------------------------------------------------------------------------------------------

    def _mark_gap(self, destination: str, records: int, now_ms: int, ready: Ready) -> None:
        """Tell a reader that is there how much it lost, one marker at a time."""
        unread = self._markers.get(destination)
        if destination not in self._links.by_destination or (unread and self._custody.get(unread, Direction.DOWN)):
            return
        marker = self._signer.sign(build_gap(node_of(destination), records, self._signer.me), now_ms)
        self._markers[destination] = marker.id
        self._sessions.told(destination)
        ready.persist.append(KeepGap(destination, 0))
        self._messages.hold(marker, Item(Direction.DOWN, 0, [], [], marker.raw), [(destination, ())], now_ms, ready)

    # -- origins --------------------------------------------------------------------------------------------

    def _tell_origin(self, about: About, tally: Tally, now_ms: int, ready: Ready) -> None:
        """To where the origin is; one that is not below is waited for, then looked for from above.

        While nothing goes that way it is counted on: notices would pile up, one every half minute, in no quota.
        """
        below = self._router.down_to(about.origin)
        if not below and (self._router.is_root or now_ms - tally.since_ms < SEEK_MS):
            return
        if not any(way in self._links.by_destination for way, _ in below or self._router.up()):
            return
        self._notices.told(about, now_ms)
        self._links.count("told", "notice")
        since_ms = self._fabric_now(tally.since_ms)
        notice = self._signer.sign(
            build_notice(about.origin, about.label, about.audience, since_ms, entries_of(tally), self._signer.me),
            now_ms,
        )
        self._messages.route(notice, Item(Direction.DOWN, 0, [], [], notice.raw), now_ms, ready)
