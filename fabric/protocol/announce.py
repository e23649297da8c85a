"""Telling a peer who is where (SPEC 7.6): the parent all that is below, a child what moved away from it.

The parent gets a full table when a link opens and changes after that; a child only what it cannot know: newer
statements of nodes that it still believes to be below. One ROUTES frame is on its way at a time and is repeated until
it is answered, so the order holds and nothing is lost.
"""

from __future__ import annotations

from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import RETRY_MS
from fabric.protocol.link import Link
from fabric.protocol.routing import Attachment, RouteKey, RouteTable
from fabric.protocol.wire import Intro, Routed, Routes

# A frame's worth: 64 attachments of up to 1 KB, and the credentials that they need, fit with room.
_ENTRIES_MAX = 64
_LATER_MS = 500


def announce_all(link: Link, table: RouteTable) -> None:
    """Begin again with the whole table."""
    out = link.routes_out
    out.full, out.frame = True, None
    out.changes = dict.fromkeys((attachment.key for attachment in table.all()), None)


def announce(link: Link, key: RouteKey, withdrawn_epoch: int | None = None) -> None:
    """What the table has under this key, or that it has nothing any more since this epoch."""
    link.routes_out.changes.pop(key, None)
    link.routes_out.changes[key] = withdrawn_epoch


def pass_on(link: Link, attachment: Attachment) -> None:
    """A statement that is not, or not any more, about somebody below."""
    link.routes_out.changes.pop(attachment.key, None)
    link.routes_out.changes[attachment.key] = attachment


def next_frames(link: Link, table: RouteTable, now_ms: int) -> list[Intro | Routes]:
    """What is due: the unanswered frame again, or the next changes, with introductions before them."""
    out = link.routes_out
    if out.frame is not None:
        if now_ms - out.sent_at_ms < RETRY_MS:
            return []
        out.sent_at_ms = now_ms
        return [*_introductions(link, out.pending, again=True), out.frame]
    if (not out.changes and not out.full) or now_ms < out.not_before_ms:
        return []
    withdrawals: list[tuple[str, bytes, int]] = []
    due, out.pending = list(out.changes)[:_ENTRIES_MAX], []
    for key in due:
        said = out.changes.pop(key)
        attachment = table.get(key) or (said if isinstance(said, Attachment) else None)
        if attachment is not None:
            out.pending.append(attachment)
        elif isinstance(said, int):
            withdrawals.append((*key, said))
    out.sequence += 1
    out.frame = Routes(out.sequence, out.full, [attachment.raw for attachment in out.pending], withdrawals)
    out.full, out.sent_at_ms = False, now_ms
    return [*_introductions(link, out.pending, again=False), out.frame]


def _introductions(link: Link, attachments: list[Attachment], *, again: bool) -> list[Intro | Routes]:
    raw: list[bytes] = []
    for attachment in attachments:
        credential = attachment.credential
        if again or credential.digest not in link.introduced:
            link.introduced[credential.digest] = None
            raw.append(credential.raw)
    return [Intro(raw[i : i + 16]) for i in range(0, len(raw), 16)]


def answered(link: Link, routed: Routed) -> list[tuple[RouteKey, Reject]]:
    """The peer's answer: refusals that are final. Attachments whose signer it did not know go again."""
    out = link.routes_out
    if out.frame is None or routed.sequence != out.sequence:
        return []
    final = []
    for index, code, detail in routed.refusals:
        if index >= len(out.pending):
            continue
        attachment = out.pending[index]
        if code is Code.UNKNOWN_SIGNER:
            link.introduced.clear()
            out.changes.setdefault(attachment.key, attachment)
        elif code is Code.BUSY:
            # The peer waits for another to say the same. Until then it is told again, for as long as it is true.
            out.changes.setdefault(attachment.key, None)
            out.not_before_ms = out.sent_at_ms + _LATER_MS
        else:
            final.append((attachment.key, Reject(code, detail)))
    out.frame, out.pending = None, []
    return final


def settled(link: Link) -> bool:
    """Whether the peer has applied all that it was told."""
    return link.routes_out.frame is None and not link.routes_out.changes and not link.routes_out.full
