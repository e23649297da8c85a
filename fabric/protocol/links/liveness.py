"""Which links live (SPEC 7.2, 7.7): what is looked at a few times a second, on a link in whatever state it is.

Guarantees: a peer that says nothing, or takes nothing while there is another parent, is given up; what may have been
lost is said again; a link that was left ends when nothing comes on it any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    BACKED_PING_MS,
    HELLO_RETRY_MS,
    HELLO_WAIT_MS,
    LEAVING_MS,
    LINK_SILENCE_MS,
    PARENT_SILENCE_MS,
    PING_MS,
    PINGS_PER_S,
    SPARED_MS_MAX,
    STALL_MS,
    UNEASY_MS,
    UNEASY_PING_MS,
)
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.outbox import Outbox
from fabric.protocol.links.announce import settled
from fabric.protocol.links.link import Link, State
from fabric.protocol.links.links import UPLINK, Links
from fabric.protocol.links.opening import Opening
from fabric.protocol.links.policy_distribution import PolicyDistribution
from fabric.protocol.links.transfer import Handler, Transfer
from fabric.protocol.links.trust_distribution import TrustDistribution
from fabric.protocol.links.uplink import Uplink
from fabric.protocol.wire.frames import Ping, Role

# How often a link is looked at on which nothing happens, but that its peer asks whether we are there. Where its peer is
# spared, it is so much less often.
_QUIET_LOOK_MS = PING_MS
# Those that are spared ask together, so often by this node's clock: a turn answers dozens, and takes milliseconds.
_TOGETHER_MS = 250
# So many of them, or their share where there are more than can be spared long enough.
_AT_ONCE = PINGS_PER_S * _TOGETHER_MS // 1_000
# Longer between two looks than ever where this node was at work: it stood still, and so could not hear anybody.
_STOOD_STILL_MS = 2_000


class Liveness:
    """What it goes by is on the link, and in its outbox. It keeps by what peers were judged when it last looked."""

    def __init__(
        self, links: Links, outboxes: Mapping[str, Outbox], uplink: Uplink, opening: Opening, transfer: Transfer,
        trust_distribution: TrustDistribution, policies: PolicyDistribution, counters: Counters, handler: Handler, *,
        is_relay: bool,
    ) -> None:
        self._links = links
        self._outboxes = outboxes
        self._uplink = uplink
        self._opening = opening
        self._transfer = transfer
        self._trust_distribution = trust_distribution
        self._policies = policies
        self._count = counters.count
        self._handler = handler
        self._is_relay = is_relay
        self._judged_by = trust_distribution.judged_by
        self._looked_ms = 0
        self._expected: Counter[int] = Counter()  # PINGs, by the time when they come together

    def tick(self, now_ms: int, ready: Ready) -> None:
        """A few times a second. There may be thousands of links, on nearly all of which nothing happens."""
        self._forgive_silence(now_ms)
        judged_by = self._trust_distribution.judged_by
        if judged_by != self._judged_by:
            self._judged_by = judged_by
            for link in self._links.by_number.values():
                link.stirs()
        for link in list(self._links.by_number.values()):
            if now_ms >= link.look_at_ms:
                self._links.contained(self._look_at, link, now_ms, ready)

    def _forgive_silence(self, now_ms: int) -> None:
        """A relay that stood still has yet to read what its peers said meanwhile: it waits for them as long as before.

        What waits for a control point was read by now.
        """
        still_ms, self._looked_ms = now_ms - self._looked_ms, now_ms
        if self._is_relay and still_ms > _STOOD_STILL_MS:
            for link in self._links.by_number.values():
                link.heard_at_ms = min(now_ms, link.heard_at_ms + still_ms)

    def due_ms(self, link: Link) -> int:
        """When an open link to a parent is looked at next: a ping is due, or the parent was to be heard by then."""
        can_leave = self._can_leave(link)
        patience_ms = (UNEASY_MS if can_leave else LINK_SILENCE_MS) + link.spared_ms
        return min(link.pinged_at_ms + _ping_ms(link, can_leave), link.heard_at_ms + patience_ms + 1)

    def is_calm(self) -> bool:
        """Whether every link is open, stays, and has been told all that it is to be told.

        One that is to be looked at later was so when it was looked at, and nothing has happened on it since.
        """
        return all(link.look_at_ms or _is_calm(link) for link in self._links.by_number.values())

    def spares(self, link: Link, now_ms: int) -> int:
        """How much longer than usual its peer may wait before it asks again whether we are there, in milliseconds.

        The answers to all control points together are to cost no more than those to a few hundred.
        """
        crowd_ms = len(self._links.by_destination) * 1_000 // PINGS_PER_S  # strangers are no crowd
        longer_ms = min(SPARED_MS_MAX, crowd_ms - PING_MS) if link.peer_role == Role.POINT else 0
        if longer_ms > 0:
            longer_ms = max(0, self._ask_at(link, now_ms, longer_ms) - now_ms - PING_MS)
        link.spare(max(0, longer_ms))
        return link.spared[0]

    def _ask_at(self, link: Link, now_ms: int, longer_ms: int) -> int:
        """The last time by then when not too many ask, or the one when the fewest do. Those who all asked at once, as
        after an outage, would do so for ever, and whoever has something urgent to say would wait for all of them."""
        if len(self._expected) > 2 * (PING_MS + SPARED_MS_MAX) // _TOGETHER_MS:
            now = now_ms // _TOGETHER_MS
            self._expected = Counter({at: count for at, count in self._expected.items() if at >= now})
        if link.asks_at in self._expected:
            self._expected[link.asks_at] -= 1
        share = max(_AT_ONCE, len(self._links.by_destination) * _TOGETHER_MS // (PING_MS + SPARED_MS_MAX) + 1)
        first, last = (now_ms + PING_MS) // _TOGETHER_MS + 1, (now_ms + PING_MS + longer_ms) // _TOGETHER_MS
        times = range(last, first - 1, -1)
        found = next((at for at in times if self._expected[at] < share), None)
        link.asks_at = found or min(times, key=self._expected.__getitem__, default=last)
        self._expected[link.asks_at] += 1
        return link.asks_at * _TOGETHER_MS

    def is_spared(self, link: Link, ms: int) -> None:
        """Our parent says how much longer than usual we may wait. A relay never does: others wait for it."""
        if not self._is_relay:
            link.spare(min(ms, SPARED_MS_MAX))

    def _can_leave(self, link: Link) -> bool:
        return self._uplink.alternatives and link.destination == UPLINK and self._links.is_current(link)

    def _look_at(self, link: Link, now_ms: int, ready: Ready) -> None:
        if link.state is State.WAITING:
            said_ms = link.since_ms if link.hello is None else link.hello_at_ms
            if now_ms - said_ms > HELLO_WAIT_MS:
                self._links.refuse(link, Reject(Code.NOT_READY, "no HELLO"), now_ms, ready)
        elif link.state is State.GREETED and now_ms - link.heard_at_ms > LINK_SILENCE_MS:
            # A host that is gone, or a process that hangs: its connection may stay for a quarter of an hour.
            self._count("links_silent", "unanswered")
            self._links.end(link, Code.CLOSED, now_ms, ready, patient=False)
        elif link.state is State.GREETED and now_ms - link.greeted_at_ms >= HELLO_RETRY_MS:
            self._opening.greet(link, now_ms, ready)
        elif link.state is State.OPEN:
            self._look_after(link, now_ms, ready)

    def _look_after(self, link: Link, now_ms: int, ready: Ready) -> None:
        """An open link: does it live, is a ping due, what is to be sent again."""
        outbox = self._outboxes[link.destination]
        current = self._links.is_current(link)
        problem = self._trust_distribution.check_peer(link, now_ms) or self._policies.check_peer(link, now_ms)
        if problem is not None:
            self._links.refuse(link, problem, now_ms, ready)
            return
        silence_ms = now_ms - link.heard_at_ms - link.spared_ms
        can_leave = self._can_leave(link)
        if silence_ms > (PARENT_SILENCE_MS if can_leave else LINK_SILENCE_MS):
            self._give_up(link, "links_silent", now_ms, ready)
            return
        if can_leave and outbox.stalled(now_ms, STALL_MS):
            self._give_up(link, "links_stalled", now_ms, ready)
            return
        if not current and link.leaving_at_ms is not None and now_ms - link.leaving_at_ms > LEAVING_MS:
            self._links.part(link, now_ms, ready)
            return
        every_ms = UNEASY_PING_MS if can_leave and silence_ms > UNEASY_MS else _ping_ms(link, can_leave)
        if link.peer_role == Role.PARENT and now_ms - link.pinged_at_ms >= every_ms:
            link.pinged_at_ms = now_ms
            self._links.send(link, Ping(now_ms), ready)
        if not current:
            self._handler.make_routes(link, now_ms, ready)
            return
        for row in outbox.overdue(now_ms):
            link.credit.refund(row.held.lane, row.wire_bytes)
            self._count("sent_again", row.held.lane.name.lower())
        if not outbox.empty or not settled(link):
            self._transfer.mark_due(link.destination)
        if link.credit.stinted:  # by now there may be room
            self._transfer.answer_later(link)
        if link.peer_role != Role.PARENT and outbox.empty and _is_calm(link):
            # Until it would have been silent for too long, or its peer's time may be over.
            silent_at_ms = link.heard_at_ms + link.spared_ms + LINK_SILENCE_MS + 1
            over_at_ms = self._trust_distribution.over_at_ms(link, now_ms)
            link.look_at_ms = min(silent_at_ms, over_at_ms, now_ms + _QUIET_LOOK_MS + link.spared_ms)

    def _give_up(self, link: Link, why: str, now_ms: int, ready: Ready) -> None:
        """The peer is there and does nothing, or is not there any more: whoever has another parent goes there."""
        self._count(why, link.peer_role.name.lower())
        self._links.end(link, Code.CLOSED, now_ms, ready, patient=False)


def _is_calm(link: Link) -> bool:
    return link.is_open and link.leaving_at_ms is None and settled(link) and not link.credit.stinted


def _ping_ms(link: Link, can_leave: bool) -> int:
    """One that was not answered is followed by the next one as soon as ever."""
    is_answered = link.heard_at_ms >= link.pinged_at_ms
    return (BACKED_PING_MS if can_leave else PING_MS) + (link.spared_ms if is_answered else 0)
