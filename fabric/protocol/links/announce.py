"""Telling a peer who is where (SPEC 7.6): the parent all that is below, a child what moved away from it.

The parent gets a full table when a link opens and changes after that; a child only what it cannot know: newer
statements of nodes that it still believes to be below. One ROUTES frame is on its way at a time and is repeated until
it is answered, so the order holds and nothing is lost. `source` is everywhere the child or control point whose routes
they are, as far as this node knows: those take turns.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import INTRO_MAX, RETRY_MS, ROUTES_ENTRIES_MAX
from fabric.protocol.custody.sessions import node_of
from fabric.protocol.links.link import Link
from fabric.protocol.routes.attachments import Attachment, RouteKey
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.wire.frames import Intro, Routed, Routes

_LATER_MS = 500


def announce_all(link: Link, table: RouteTable) -> None:
    """Begin again with the whole table."""
    out = link.routes_out
    out.full, out.frame = True, None
    out.changes.clear()
    for attachment in table.all():
        out.changes.say(attachment.key, None, node_of(table.via(attachment)))


def announce(link: Link, key: RouteKey, source: str) -> None:
    """What the table has under this key."""
    link.routes_out.changes.say(key, None, source)


def withdraw(link: Link, key: RouteKey, epoch: int, source: str, *, known: bool) -> None:
    """Nothing is under this key any more, since this epoch. `known`: whether anything was, as far as was known here."""
    link.routes_out.changes.say(key, epoch, source, known=known)


def pass_on(link: Link, attachment: Attachment, source: str) -> None:
    """A statement that is not, or not any more, about somebody below."""
    link.routes_out.changes.say(attachment.key, attachment, source)


def next_frames(link: Link, table: RouteTable, now_ms: int) -> list[Intro | Routes]:
    """What is due: the unanswered frame again, or the next changes, with introductions before them."""
    out = link.routes_out
    if out.frame is not None:
        if now_ms - out.sent_at_ms < RETRY_MS:
            return []
        out.sent_at_ms = now_ms
        return [*_introductions(link, again=True), out.frame]
    if (not out.changes and not out.full) or now_ms < out.not_before_ms:
        return []
    withdrawals: list[tuple[str, bytes, int]] = []
    out.pending = []
    for key, said, source in out.changes.take(ROUTES_ENTRIES_MAX):
        attachment = table.get(key)
        if attachment is None and not isinstance(said, int):
            # What the table has of a relay under a newer session has overtaken what was to be said of an older one.
            attachment = table.of_relay(key[0]) or said
        if attachment is not None:
            out.pending.append((attachment, source))
        elif isinstance(said, int):
            withdrawals.append((*key, said))
    out.sequence += 1
    out.frame = Routes(out.sequence, out.full, [attachment.raw for attachment, _ in out.pending], withdrawals)
    out.full, out.sent_at_ms = False, now_ms
    return [*_introductions(link, again=False), out.frame]


def _introductions(link: Link, *, again: bool) -> list[Intro | Routes]:
    raw: list[bytes] = []
    for attachment, _ in link.routes_out.pending:
        credential = attachment.credential
        if link.introductions.due(credential.digest) or (again and credential.raw not in raw):
            raw.append(credential.raw)
    return [Intro(raw[i : i + INTRO_MAX]) for i in range(0, len(raw), INTRO_MAX)]


def answered(link: Link, routed: Routed) -> list[tuple[RouteKey, Reject]]:
    """The peer's answer: refusals that are final. Attachments whose signer it did not know go again."""
    out = link.routes_out
    if out.frame is None or routed.sequence != out.sequence:
        return []
    final = []
    refused = {index: Reject(code, detail) for index, code, detail in routed.refusals}
    for index, reason in refused.items():
        if index >= len(out.pending):
            continue
        attachment, source = out.pending[index]
        if reason.code is Code.UNKNOWN_SIGNER:
            link.introductions.all_forgotten()
            out.changes.say_again(attachment.key, attachment, source)
        elif reason.code is Code.BUSY:
            # The peer waits for another to say the same. Until then it is told again, for as long as it is true.
            out.changes.say_again(attachment.key, None, source)
            out.not_before_ms = out.sent_at_ms + _LATER_MS
        else:
            final.append((attachment.key, reason))
    out.frame, out.pending = None, []
    return final


def settled(link: Link) -> bool:
    """Whether the peer has applied all that it was told."""
    return link.routes_out.frame is None and not link.routes_out.changes and not link.routes_out.full
