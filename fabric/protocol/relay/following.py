"""Messages on their way down follow nodes that moved (SPEC 7.8): rows are readdressed, down by the new way or back up.

Guarantees: a row that was not handed over follows the node that it is for, and goes to nobody else; an action that may
have been handed over stays where it is, and goes down again only from a relay from which it went down before. Refuses
events, and what has followed somebody too often.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import MOVED_MAX
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.outbox import Row
from fabric.protocol.custody.sessions import CHILD, NOWHERE, node_of
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.commands import Commands
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.vocabulary.topics import matches
from fabric.protocol.wire.frames import Direction, Item

# How often what is on its way up is compared with who is below: no message waits for it where nothing was missed.
_FIND_MS = 1_000
# A node that moved, and all that were below it.
Moved = tuple[Attachment, list[Attachment]]
Ways = list[tuple[str, tuple[str, ...]]]


def _interested(moved: list[Moved], topic: str) -> list[str]:
    """Who of them takes intel on a topic; for all below a relay the relay itself stands."""
    return [
        first.node for first, with_it in moved
        if any(matches(pattern, topic) for a in (first, *with_it) for pattern in a.subscriptions)
    ]


class Following(Commands):
    """A relay that readdresses what waits for nodes that moved."""

    def set_up(self) -> None:
        super().set_up()
        # The destination by which they were reached before -> who moved, each once however often until the next look.
        self._moves: dict[str, dict[str, Moved]] = {}
        self._finds: dict[str, Moved] = {}
        self._find_at_ms = 0

    # -- what comes after somebody ----------------------------------------------------------------------

    def _check_moved(self, link: Link, item: Item, message: Verified, now_ms: int) -> Reject | None:
        """Nothing gets a new direction by this: what moved goes down only where it went down before (SPEC 7.8)."""
        header = message.header
        if header.kind is Kind.EVENT or not item.targets:
            return Reject(Code.WRONG_DIRECTION, f"{header.kind.word} that moved")
        if header.kind is Kind.RESULT and item.targets != [header.to]:
            return Reject(Code.WRONG_DIRECTION, "a result that moved after somebody else")
        if item.moved >= MOVED_MAX:
            return Reject(Code.UNROUTABLE, "it follows somebody who moves too often")
        if item.direction is Direction.DOWN:
            return None
        if not self._goes_down_here(message, now_ms):
            never = Reject(Code.WRONG_DIRECTION, f"{header.kind.word} that never went down from here")
            return never if self.is_root else None
        ways = self.dispatches.ways(message.leaf, item.targets) if header.kind is Kind.ACTION else []
        if not all(self._leads_there(way, link.destination) for way in ways):
            return Reject(Code.WRONG_DIRECTION, "an action that went down another way")
        return None

    def _goes_down_here(self, message: Verified, now_ms: int) -> bool:
        """Whether what climbs because somebody moved goes down from here: it did before, or turns here at the latest.

        An action that turned here went down in the same step, so of actions only what came before counts.
        """
        header, seen = message.header, self.custody.dedup.seen
        turns = (header.kind is Kind.RESULT and self._turns_here(header)) or (
            header.kind is Kind.INTEL and self.is_root and seen(message.id, Direction.UP, now_ms)
        )
        return turns or seen(message.id, Direction.DOWN, now_ms)

    def _is_forgotten(self, message: Verified, item: Item, now_ms: int) -> bool:
        """Whether this root took such intel long ago, or never: nobody can tell. It is for everybody, like what is new.

        It waits for a reader for up to 30 days; what was seen is known for some minutes where much comes.
        """
        given_back = item.moved and item.targets and item.direction is Direction.UP
        return bool(
            given_back and self.is_root and message.header.kind is Kind.INTEL
            and not self._goes_down_here(message, now_ms)
        )

    def _leads_there(self, way: str, destination: str) -> bool:
        """Whether what was sent by this way may come back from this destination: it is the same, or has moved there."""
        below = [self.routes.via(attachment) for attachment in self.routes.of_node(node_of(way))]
        return way == destination or (way.startswith(CHILD) and destination in below)

    def _route_moved(self, message: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """To whoever moved, and to nobody else; further up, when the way there does not begin here."""
        if item.direction is Direction.UP and not self._goes_down_here(message, now_ms):
            self._hold(message, item, [(UPLINK, tuple(item.targets))], now_ms, ready, moved=item.moved + 1)
            return
        if message.header.kind is Kind.ACTION:
            self._dispatch(message, item, tuple(item.targets), now_ms, ready)
            return
        self.counters["followed"] += 1
        here, ways = self._ways_of_moved(message, item)
        if here or not ways:
            self._hold(message, item, here, now_ms, ready)
        if ways:
            self._hold(message, item, ways, now_ms, ready, moved=item.moved + 1)

    def _ways_of_moved(self, message: Verified, item: Item) -> tuple[Ways, Ways]:
        """To whom it goes here, where it followed this relay for whoever is below; and to the others."""
        others = [target for target in item.targets if target != self.me.id]
        interested = self.routes.interested(message.header.topic) if len(others) < len(item.targets) else []
        return self._destinations(interested), self._ways(message, others)

    def _ways(self, message: Verified, targets: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Where to send a message for these nodes from here; up, for those who are not below."""
        action = message.header.kind is Kind.ACTION
        by_way: dict[str, list[str]] = {}
        for target in dict.fromkeys(targets):
            executor = self.routes.executor(target)
            known = ([executor] if executor else []) if action else self.routes.of_node(target)
            ways = [way for way, _ in self._destinations(known)]
            for way in ways or [self._upwards]:
                by_way.setdefault(way, []).append(target)
        return [(way, tuple(below)) for way, below in by_way.items()]

    # -- what goes after somebody -----------------------------------------------------------------------

    def on_moved(self, destination: str, moved: Moved, now_ms: int, ready: Ready) -> None:
        self._moves.setdefault(destination, {})[moved[0].node] = moved

    def on_found(self, attachment: Attachment, now_ms: int, ready: Ready) -> None:
        """What came for a node before it did, and is on its way back up."""
        if self._homing:
            below = self.routes.below_relay(attachment.node) if attachment.is_relay else []
            self._finds[attachment.node] = attachment, below

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        """A few times a second: when many move together, what waits for them is looked through once for all."""
        super().on_timers(now_ms, ready)
        moves, self._moves = self._moves, {}
        for destination, moved in moves.items():
            outbox = self.outboxes.get(destination)
            self._follow_all(outbox.rows() if outbox is not None else [], list(moved.values()), now_ms, ready)
        if now_ms >= self._find_at_ms:
            self._find_at_ms = now_ms + _FIND_MS
            self._find_again()
        for destination in self.sleeping.parted():
            self.on_gone(destination, now_ms, ready)
        finds, self._finds = self._finds, {}
        if finds:
            self._follow_all(self._homing_rows(UPLINK, NOWHERE), list(finds.values()), now_ms, ready)

    def _find_again(self) -> None:
        """Nodes that are below by now, though nobody has said so since something for them was sent up: that slept, or
        came back after they were found. Relays above believe that they are here, and refuse it until it expires."""
        for row in self._homing_rows(UPLINK, NOWHERE):
            for node in row.targets:
                known = next((each for each in self.routes.of_node(node) if self.routes.via(each)), None)
                if known is not None:
                    self._finds.setdefault(node, (known, []))

    def _follow_all(self, rows: list[Row], moved: list[Moved], now_ms: int, ready: Ready) -> None:
        nodes = {attachment.node: None for first, with_it in moved for attachment in (first, *with_it)}
        interested: dict[str, list[str]] = {}
        for row in rows:
            header = row.held.message.header
            match header.kind:
                case Kind.RESULT:
                    concerned = [header.to] if header.to in nodes else []
                case Kind.INTEL if not row.targets:
                    if header.topic not in interested:
                        interested[header.topic] = _interested(moved, header.topic)
                    concerned = interested[header.topic]
                case _:
                    concerned = [target for target in row.targets if target in nodes]
            if concerned:
                self._follow(row, concerned, now_ms, ready)

    def on_gone(self, destination: str, now_ms: int, ready: Ready) -> None:
        self.sleeping.parts(destination)
        node, outbox = node_of(destination), self.outboxes.get(destination)
        for row in outbox.rows() if outbox is not None else []:
            kind = row.held.message.header.kind
            if kind is Kind.RESULT:
                self._follow(row, [row.held.message.header.to], now_ms, ready)
            elif kind is Kind.INTEL:
                self._follow(row, list(row.targets) or [node], now_ms, ready, whole=True)
            elif kind is Kind.ACTION:
                self._follow(row, list(row.targets), now_ms, ready)

    def on_revoked(self, destination: str, below: list[Attachment], now_ms: int, ready: Ready) -> None:
        """Those who were below it find another relay, and each gets there what was for all of them."""
        child, outbox = node_of(destination), self.outboxes.get(destination)
        for row in outbox.rows() if outbox is not None else []:
            header = row.held.message.header
            if header.kind is Kind.INTEL and (not row.targets or child in row.targets):
                row.targets = tuple(_interested([(attachment, []) for attachment in below], header.topic))
                if not row.targets:
                    self.on_settled(row, Reject(Code.REVOKED, child), now_ms, ready)
        self.on_gone(destination, now_ms, ready)

    def _follow(self, row: Row, concerned: list[str], now_ms: int, ready: Ready, *, whole: bool = False) -> None:
        """What of a row is for these nodes is sent after them. `whole`: nobody else is behind its destination."""
        held, kind = row.held, row.held.message.header.kind
        if kind is Kind.ACTION and (row.tries or row.unanswered or held.restored) and row.destination != NOWHERE:
            return  # it may have got there: after dispatch silence is `unknown`, and nothing is dispatched twice
        ways = [way for way in self._ways(held.message, concerned) if way[0] != row.destination]
        if not ways:
            return
        found = {target for _, targets in ways for target in targets}
        left = tuple(target for target in row.targets if target not in found)
        stays = bool(left) or (kind is Kind.INTEL and not row.targets and not whole)
        if stays:
            row.targets = left
        self._readdress(held, [] if stays else [row], ways, now_ms, ready, moved=row.moved + 1)
        self.counters["followed"] += 1
        if kind is Kind.ACTION:
            self._hand_out(held.message, ways, now_ms, ready)
