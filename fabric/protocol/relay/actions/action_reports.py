"""What a relay says of actions to those who asked for them (SPEC 9.4): reports that it signs.

Guarantees: an end is reported once, and only as much of it as this relay can know; after dispatch silence is `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import named
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import TARGETS_MAX
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.outbox import Row
from fabric.protocol.envelope.reports import NOBODY, build_report
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.release import target_bytes
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction, Item

# Of the names of targets in one report.
TARGET_NAMES_BYTES_MAX: Final = 131_072


class ActionReports:
    """`count` takes what, and the reason."""

    def __init__(self, signer: ReportSigner, messages: MessagePort, count: Callable[[str, str], None]) -> None:
        self._signer = signer
        self._messages = messages
        self._count = count

    def say(
        self, action: Verified, end: str, targets: Sequence[str], code: Code | None, now_ms: int, ready: Ready, *,
        climbing: bool = False, detail: str = "", more: Mapping[str, object] | None = None,
        labels: Mapping[str, Label] | None = None,
    ) -> None:
        """Tell the requester. `climbing`: the action had not turned yet, so the requester is below this relay.

        `more`, `labels`: as `build_report` has them.
        """
        report = build_report(action, str(end), tuple(targets), code, self._signer.me, detail, more, labels)
        said = self._signer.sign(report, now_ms)
        direction = Direction.DOWN if climbing else Direction.UP
        self._count("reported", str(end))
        if code is not None or end == NOBODY:
            ready.audit.append(Audited(kinds.ACTION_ENDED, self._signer.me.id, {
                "action": action.leaf, "end": str(end), **named(targets), **({"code": code.label} if code else {}),
            }))
        self._messages.route(said, Item(direction, 0, [], [], said.raw), now_ms, ready)

    def say_of_many(
        self, action: Verified, end: str, targets: Sequence[str], code: Code, now_ms: int, ready: Ready
    ) -> None:
        """The same of as many as there are, in as many reports as their names take; of none nothing is said."""
        for some in in_reports(targets):
            self.say(action, end, some, code, now_ms, ready)

    def row_ended(self, row: Row, refused: Reject, now_ms: int, ready: Ready) -> None:
        """After it was sent silence is `unknown`; only a row that never was, or the peer's own refusal, says more.

        A parent speaks for itself: what it refuses the one before it may have taken, and its acknowledgement was lost.
        """
        code = refused.code
        climbs = row.destination == UPLINK
        silent = code in (Code.EXPIRED, Code.SUBSCRIBER_GONE) and row.maybe_taken
        if silent or (climbs and row.moved and row.unanswered):
            end = End.UNKNOWN
        elif code is Code.EXPIRED:
            end = End.EXPIRED
        elif code in (Code.SUBSCRIBER_GONE, Code.UNROUTABLE):
            end = End.UNROUTABLE
        else:
            end = End.REFUSED
        climbing = row.held.direction is Direction.UP
        # As many as a peer put in one frame, and none where it speaks of all of them.
        for some in in_reports(row.targets) if row.targets else [()]:
            self.say(row.held.message, end, some, code, now_ms, ready, climbing=climbing)


def in_reports(targets: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """So many at a time that their names go in one report."""
    some: list[str] = []
    bytes_ = 0
    for name in targets:
        size = target_bytes(name)
        if some and (bytes_ + size > TARGET_NAMES_BYTES_MAX or len(some) == TARGETS_MAX):
            yield tuple(some)
            some, bytes_ = [], 0
        some.append(name)
        bytes_ += size
    if some:
        yield tuple(some)
