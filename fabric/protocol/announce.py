"""Telling the parent who is below (SPEC 7.6): a full table when a link opens, changes after that.

One ROUTES frame is on its way at a time and is repeated until it is answered, so the order holds and nothing is
lost. Works on a `RouteTable` and a link's `RoutesOut`; the same for a relay's subtree and a control point's own
attachment.
"""

from __future__ import annotations

from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import RETRY_MS
from fabric.protocol.link import Link
from fabric.protocol.routing import RouteKey, RouteTable
from fabric.protocol.wire import Intro, Routed, Routes

# A frame's worth: 64 attachments of up to 1 KB, and the credentials that they need, fit with room.
_ENTRIES_MAX = 64


def announce_all(link: Link, table: RouteTable) -> None:
    """Begin again with the whole table."""
    out = link.routes_out
    out.full, out.frame = True, None
    out.changes = dict.fromkeys((route.attachment.key for route in table.all()), None)


def announce(link: Link, key: RouteKey, withdrawn_epoch: int | None = None) -> None:
    link.routes_out.changes.pop(key, None)
    link.routes_out.changes[key] = withdrawn_epoch


def next_frames(link: Link, table: RouteTable, now_ms: int) -> list[Intro | Routes]:
    """What is due: the unanswered frame again, or the next changes, with introductions before them."""
    out = link.routes_out
    if out.frame is not None:
        if now_ms - out.sent_at_ms < RETRY_MS:
            return []
        out.sent_at_ms = now_ms
        return [*_introductions(link, table, out.pending, again=True), out.frame]
    if not out.changes and not out.full:
        return []
    attachments: list[bytes] = []
    withdrawals: list[tuple[str, bytes, int]] = []
    due, out.pending = list(out.changes)[:_ENTRIES_MAX], []
    for key in due:
        epoch = out.changes.pop(key)
        route = table.get(key)
        if route is not None:
            out.pending.append(key)
            attachments.append(route.attachment.raw)
        elif epoch is not None:
            withdrawals.append((*key, epoch))
    out.sequence += 1
    out.frame = Routes(out.sequence, out.full, attachments, withdrawals)
    out.full, out.sent_at_ms = False, now_ms
    return [*_introductions(link, table, out.pending, again=False), out.frame]


def _introductions(link: Link, table: RouteTable, keys: list[RouteKey], *, again: bool) -> list[Intro | Routes]:
    raw: list[bytes] = []
    for key in keys:
        route = table.get(key)
        if route is None:
            continue
        credential = route.attachment.credential
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
        if code is Code.UNKNOWN_SIGNER:
            link.introduced.clear()
            out.changes.setdefault(out.pending[index], None)
        else:
            final.append((out.pending[index], Reject(code, detail)))
    out.frame, out.pending = None, []
    return final
