"""Who may answer an action (SPEC 9.3): its targets, each for itself, and relays for those to whom it went by them.

Guarantees: where an action turned nobody says how it ended at a target but that target, this relay, and those by whom
it goes there; so a relay elsewhere in the tree, whatever it signs, ends nothing that never went by it. On the way to
the turn relay a relay that handed the action to a target asks the same of what climbs. Where nobody knows, it passes.
A relay that was on the way to a target, and moved since with what it holds, says from where it is now how that ended.
"""

from __future__ import annotations

from typing import Final

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.sessions import CHILD, node_of
from fabric.protocol.envelope.header import Header
from fabric.protocol.envelope.reports import names_in
from fabric.protocol.envelope.resolution import claim_in
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.actions.dispatches import Dispatches
from fabric.protocol.relay.router import Router
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.fetching import SESSION_MARK
from fabric.protocol.vocabulary.lifecycle import BY_RELAY, BY_TARGET, State
from fabric.protocol.wire.frames import Direction, Item


class Answerers:
    """`me`: the id of this relay. `dispatches` knows by which way each target was handed which action."""

    def __init__(self, me: str, dispatches: Dispatches, routes: RouteTable, router: Router, custody: Custody) -> None:
        self._me = me
        self._dispatches = dispatches
        self._custody = custody
        self._routes = routes
        self._router = router

    def turn_here(self, result: Header) -> bool:
        """Whether a result turns here: its action did, or nobody is above."""
        return self._router.is_root or self._dispatches.turned_here(result.correlation)

    def check(self, source: str, result: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether its origin may say this. `source`: the destination that leads to the peer by which it came.

        A relay that handed the action out knows to whom, and the one where it turned knows all targets. Another relay
        on the way back does not: a target may have moved since it was handed the action. A relay that knows the action
        takes answers for its requester only, and under the action's audience only.
        """
        header, leaf = result.header, result.header.correlation
        by_relay = result.credential.kind is NodeKind.RELAY
        if header.state not in (State.NONE, *(BY_RELAY if by_relay else BY_TARGET)):
            return Reject(Code.NOT_A_TARGET, f"{header.state.word} is not for {result.credential.id} to say")
        if self._dispatches.was_for_others(leaf, header.audience):
            return Reject(Code.AUDIENCE_DENIED, f"{header.topic}: not the action's")
        if by_relay:
            return None if self._was_here(result, item, now_ms) else self._check_report(source, result, item)
        requester = self._dispatches.requester_of(leaf)
        if requester and header.to.partition(SESSION_MARK)[0] != requester:
            return Reject(Code.NOT_A_TARGET, f"{header.topic}: for another than who asked")
        label = self._dispatches.label_of(leaf, header.origin)
        if label is None:
            return Reject(Code.NOT_A_TARGET, header.topic) if self.turn_here(header) else None
        return Reject(Code.LABEL_TOO_LOW, header.topic) if header.label < label else None

    def check_resolution(self, event: Verified) -> Reject | None:
        """Whether its origin may say what became of an action, in its own name: where it turned, nobody else may.

        Elsewhere nobody knows where that was.
        """
        claim, origin = claim_in(event), event.credential.id
        if claim is None or claim.by != origin:
            return Reject(Code.NOT_A_TARGET, f"{origin} says it in another name")
        if origin != self._me and self._dispatches.turned_here(claim.action):
            return Reject(Code.NOT_A_TARGET, f"{origin} resolves what did not turn there")
        return None

    def _was_here(self, report: Verified, item: Item, now_ms: int) -> bool:
        """Whether it was asked this when it came first: now it follows its requester, who moved."""
        if report.credential.id == self._me:
            return True
        seen = self._custody.dedup.seen
        return item.moved > 0 and any(seen(report.id, direction, now_ms) for direction in Direction)

    def _check_report(self, source: str, report: Verified, item: Item) -> Reject | None:
        """Whether these targets were handed their action by the way by which this relay's word of them comes.

        Not by who signed it: who is below whom there, is known to those only who are in between.
        """
        leaf, by = report.header.correlation, report.credential.id
        turned = self._dispatches.turned_here(leaf)
        if not turned and (item.direction is Direction.DOWN or not self._dispatches.knows(leaf)):
            return None  # from where it turned, or of what nobody here knows
        names = names_in(report)
        if names is None or (turned and not names):
            return Reject(Code.NOT_A_TARGET, f"{by} speaks of all targets, or of none")
        for name, way in zip(names, self._dispatches.ways(leaf, names), strict=True):
            if not turned and way in _ELSEWHERE:
                continue
            if not (self._leads_there(way, source, by) or self._dispatches.was_between(leaf, name, by)):
                return Reject(Code.NOT_A_TARGET, f"{name} was not handed it by {by}")
        return None

    def _leads_there(self, way: str, source: str, by: str) -> bool:
        """Whether what went by this way may be spoken of from there: it is the way, or who was there has moved."""
        if not way.startswith(CHILD):
            return False  # who is connected here answers itself, and of whom it is held for only this relay knows
        child = node_of(way)
        return way == source or child == by or source in [
            self._routes.via(attachment) for attachment in self._routes.of_node(child)
        ]


# It was never handed to them from here, or was given back: who has it by now, others know.
_ELSEWHERE: Final = ("", UPLINK)
