"""Messages on their way down follow nodes that moved (SPEC 7.8): rows are readdressed, down by the new way or back up.

Guarantees: a row that was not handed over follows the node that it is for, and goes to nobody else; an action that may
have been handed over stays where it is, and goes down again only from a relay from which it went down before. Refuses
events, and what has followed somebody too often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import MOVED_MAX, SESSION_GRACE_MS
from fabric.protocol.core.ready import Op, Put, Ready
from fabric.protocol.custody.custody import Custody, HeldKey
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.sessions import CHILD, NOWHERE, UNSENT, child_relay, node_of
from fabric.protocol.custody.sleeping import Sleeping
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.release import fits_in_frame
from fabric.protocol.relay.actions.answerers import Answerers
from fabric.protocol.relay.actions.dispatch import Dispatch
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.router import Router, Way, wants
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.vocabulary.fetching import SESSION_MARK
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.protocol.wire.frames import Direction, Item

# How often what is on its way up is compared with who is below: no message waits for it where nothing was missed.
_FIND_MS = 1_000
# A node that moved, and all that were below it.
Moved = tuple[Attachment, list[Attachment]]


def _interested(moved: list[Moved], header: Header) -> list[str]:
    """Who of them takes this intel; for all below a relay the relay itself stands."""
    return [first.node for first, with_it in moved if any(wants(each, header) for each in (first, *with_it))]


class Rerouting:
    """`me`: the id of this relay. `sleeping` knows which readers are elsewhere while something for them sleeps."""

    def __init__(
        self, me: str, routes: RouteTable, router: Router, custody: Custody, sleeping: Sleeping,
        outbox_of: Callable[[str], Outbox | None], dispatch: Dispatch, answerers: Answerers, messages: MessagePort,
        counters: Counter[str],
    ) -> None:
        self._me = me
        self._routes = routes
        self._router = router
        self._custody = custody
        self._sleeping = sleeping
        self._outbox_of = outbox_of
        self._dispatch = dispatch
        self._answerers = answerers
        self._messages = messages
        self._counters = counters
        # The destination by which they were reached before -> who moved, each once however often until the next look.
        self._moves: dict[str, dict[str, Moved]] = {}
        self._rests: dict[str, dict[str, None]] = {}  # the same of who does not execute there any more
        self._finds: dict[str, Moved] = {}
        self._find_at_ms = 0
        # Messages for whoever moved away, on their way up, or where that ends -> since when.
        self._homing: dict[HeldKey, int] = {}

    # -- what the relay tells it ----------------------------------------------------------------------------

    def moved(self, destination: str, moved: Moved) -> None:
        """A control point, or a relay and all below it, is not to be reached by this destination any more."""
        self._moves.setdefault(destination, {})[moved[0].node] = moved

    def executes_no_more(self, node: str, destination: str) -> None:
        """By this destination this node does not execute any more. What of actions was never sent is not for there."""
        self._rests.setdefault(destination, {})[node] = None

    def session_ended(self, destination: str, now_ms: int, ready: Ready) -> None:
        """A control point took leave, or did not come back: actions that were never sent go to where it executes.

        A result was for the node: where that has another session below by now, as after a crash, it is for this one.
        """
        for row in self._rows_for(destination):
            header = row.held.message.header
            if header.kind is Kind.ACTION:
                self._follow(row, list(row.targets), now_ms, ready)
            elif header.kind is Kind.RESULT and self._router.down_to(header.to):
                self._follow(row, [header.to], now_ms, ready)

    def found(self, attachment: Attachment) -> None:
        """A node is below that was not. What came for it before it did, and is on its way back up, may go there."""
        if self._homing:
            below = self._routes.below_relay(attachment.node) if attachment.is_relay else []
            self._finds[attachment.node] = attachment, below

    def gone(self, destination: str, now_ms: int, ready: Ready) -> None:
        """Nobody is to be reached by this destination any more: all that waits there is sent after them."""
        self._sleeping.parts(destination)
        node = node_of(destination)
        for row in self._rows_for(destination):
            kind = row.held.message.header.kind
            if kind is Kind.RESULT:
                self._follow(row, [row.held.message.header.to], now_ms, ready)
            elif kind is Kind.INTEL:
                self._follow(row, list(row.targets) or [node], now_ms, ready, whole=True)
            elif kind is Kind.ACTION:
                self._follow(row, list(row.targets), now_ms, ready)

    def revoked(self, destination: str, below: list[Attachment], now_ms: int, ready: Ready) -> None:
        """Those who were below a revoked child find another relay, and each gets there what was for all of them."""
        child = node_of(destination)
        for row in self._rows_for(destination):
            header = row.held.message.header
            if header.kind is Kind.INTEL and (not row.targets or child in row.targets):
                row.targets = tuple(_interested([(attachment, []) for attachment in below], header))
                if not row.targets:
                    self._messages.settle(row, Reject(Code.REVOKED, child), now_ms, ready)
        self.gone(destination, now_ms, ready)

    def rows_changed(self, held: Held, now_ms: int) -> None:
        """Rows of this message were made, or have ended."""
        key = (held.message.id, held.direction)
        up, nowhere = held.rows.get(UPLINK), held.rows.get(NOWHERE)
        if (up is not None and up.moved) or (nowhere is not None and nowhere.moved):
            self._homing.setdefault(key, now_ms)
        else:
            self._homing.pop(key, None)

    def restored(self, op: Op, now_ms: int) -> None:
        """This was read back from disk."""
        if isinstance(op, Put) and any(destination in (UPLINK, NOWHERE) for destination, _ in op.moved):
            self._homing[(op.id, op.direction)] = now_ms

    def expire(self, now_ms: int, ready: Ready) -> None:
        """A few times a second: end what has waited long enough for its targets to be somewhere."""
        for row in self._homing_rows(NOWHERE):
            if now_ms - self._homing[(row.held.message.id, row.held.direction)] > SESSION_GRACE_MS:
                self._messages.settle(row, Reject(Code.UNROUTABLE), now_ms, ready)

    def tick(self, now_ms: int, ready: Ready) -> None:
        """A few times a second: when many move together, what waits for them is looked through once for all."""
        moves, self._moves = self._moves, {}
        for destination, moved in moves.items():
            self._follow_all(self._rows_for(destination), list(moved.values()), now_ms, ready)
        rests, self._rests = self._rests, {}
        for destination, nodes in rests.items():
            for row in self._rows_for(destination):
                concerned = [target for target in row.targets if target in nodes]
                if concerned and row.held.message.header.kind is Kind.ACTION:
                    self._follow(row, concerned, now_ms, ready)
        if now_ms >= self._find_at_ms:
            self._find_at_ms = now_ms + _FIND_MS
            self._find_again(now_ms, ready)
        for destination in self._sleeping.parted():
            self.gone(destination, now_ms, ready)
        finds, self._finds = self._finds, {}
        if finds:
            self._follow_all(self._homing_rows(UPLINK, NOWHERE), list(finds.values()), now_ms, ready)

    # -- what comes after somebody --------------------------------------------------------------------------

    def check(self, source: str, message: Verified, item: Item, now_ms: int) -> Reject | None:
        """Nothing gets a new direction by this: what moved goes down only where it went down before (SPEC 7.8).

        `source`: the destination that leads to the peer that sends it.
        """
        header = message.header
        if header.kind in (Kind.EVENT, Kind.APPROVAL) or not item.targets:
            return Reject(Code.WRONG_DIRECTION, f"{header.kind.word} that moved")
        if header.kind is Kind.RESULT and item.targets != [header.to]:
            return Reject(Code.WRONG_DIRECTION, "a result that moved after somebody else")
        if not fits_in_frame(message, item.targets):
            return Reject(Code.TOO_LARGE, "targets")  # with one more hop it is larger than the frame that it came in
        if item.moved >= MOVED_MAX:
            return Reject(Code.UNROUTABLE, "it follows somebody who moves too often")
        if item.direction is Direction.DOWN:
            return None
        down, _ = self._apart(message, item, now_ms)
        if not down:
            never = Reject(Code.WRONG_DIRECTION, f"{header.kind.word} that never went down from here")
            return never if self._router.is_root else None
        if header.kind is Kind.ACTION and not all(self._had_it(message, target, source) for target in down):
            return Reject(Code.WRONG_DIRECTION, "an action that went down another way")
        return None

    def _apart(self, message: Verified, item: Item, now_ms: int) -> tuple[list[str], list[str]]:
        """For whom of its targets it goes down from here, and for whom it climbs on.

        What of an action this relay gave back upwards itself others handed out since: only they know to whom.
        """
        if item.direction is Direction.DOWN:
            return item.targets, []
        if not self.goes_down_here(message, now_ms):
            return [], item.targets
        if message.header.kind is not Kind.ACTION:
            return item.targets, []
        ways = self._dispatch.ways(message, item.targets)
        climbs = [target for target, way in zip(item.targets, ways, strict=True) if way == UPLINK]
        return [target for target in item.targets if target not in climbs], climbs

    def goes_down_here(self, message: Verified, now_ms: int) -> bool:
        """Whether what climbs because somebody moved goes down from here: it did before, or turns here at the latest.

        An action that turned here went down in the same step, so of actions only what came before counts.
        """
        header, seen = message.header, self._custody.dedup.seen
        turns = (header.kind is Kind.RESULT and self._answerers.turn_here(header)) or (
            header.kind is Kind.INTEL and self._router.is_root and seen(message.id, Direction.UP, now_ms)
        )
        return turns or seen(message.id, Direction.DOWN, now_ms)

    def is_forgotten(self, message: Verified, item: Item, now_ms: int) -> bool:
        """Whether this root took such intel long ago, or never: nobody can tell. It is for everybody, like what is new.

        It waits for a reader for up to 30 days; what was seen is known for some minutes where much comes.
        """
        given_back = item.moved and item.targets and item.direction is Direction.UP
        return bool(
            given_back and self._router.is_root and message.header.kind is Kind.INTEL
            and not self.goes_down_here(message, now_ms)
        )

    def not_yet(self, source: str, message: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether its way will be known, or free, in a moment: it is not taken before."""
        down, up = self._apart(message, item, now_ms)
        ways = self._ways_to(message, down, now_ms) if down else []
        if up:
            ways = [*ways, (UPLINK, tuple(up))]
        back = item.direction is Direction.UP and any(way == source for way, _ in ways)
        if not back and any(row.maybe_taken for way, _ in ways for row in self._rows_by(message, way)):
            # One row holds what is for all of them: grown now, it would go again to those who have it.
            return Reject(Code.BUSY, "it is under way there to others")
        if any(not self._fits_with_others(message, way, targets) for way, targets in ways):
            return Reject(Code.BUSY, "it waits there for many others")
        return Reject(Code.BUSY, "the ways change") if back else None

    def _ways_to(self, message: Verified, nodes: Iterable[str], now_ms: int) -> list[Way]:
        if message.header.kind is Kind.ACTION:
            return self._dispatch.ways_to(message, nodes, now_ms)
        return self._router.to(nodes)

    def _fits_with_others(self, message: Verified, way: str, targets: Sequence[str]) -> bool:
        """Whether these and those for whom it waits by this way go in one frame: a larger one would end the link."""
        others = [target for row in self._rows_by(message, way) for target in row.targets]
        return not others or fits_in_frame(message, dict.fromkeys([*others, *targets]))

    def _rows_by(self, message: Verified, way: str) -> list[Row]:
        held = [self._custody.get(message.id, direction) for direction in Direction]
        return [each.rows[way] for each in held if each is not None and way in each.rows]

    def _had_it(self, action: Verified, target: str, source: str) -> bool:
        """Whether what went to this target may come back from there: who was handed it, or was on the way to it then,
        is there now."""
        (way,) = self._dispatch.ways(action, [target])
        ways = [way, *map(child_relay, self._dispatch.between(action, target))]
        return any(self._leads_there(each, source) for each in ways)

    def _leads_there(self, way: str, destination: str) -> bool:
        """Whether what was sent by this way may come back from this destination: it is the same, or has moved there."""
        below = [self._routes.via(attachment) for attachment in self._routes.of_node(node_of(way))]
        return way == destination or (way.startswith(CHILD) and destination in below)

    def route(self, message: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """To whoever moved, and to nobody else; further up, when the way there does not begin here."""
        hold = self._messages.hold
        down, up = self._apart(message, item, now_ms)
        if up:
            hold(message, item, [(UPLINK, tuple(up))], now_ms, ready, moved=item.moved + 1)
        if not down:
            return
        if message.header.kind is Kind.ACTION:
            if item.direction is Direction.UP:
                self._was_taken(message, down, now_ms, ready)
            self._dispatch.hand_out(message, item, down, now_ms, ready)
            return
        self._counters["followed"] += 1
        here, ways = self.ways_of(message, item)
        if here or not ways:
            hold(message, item, here, now_ms, ready)
        if ways:
            hold(message, item, ways, now_ms, ready, moved=item.moved + 1)

    def _was_taken(self, action: Verified, targets: Sequence[str], now_ms: int, ready: Ready) -> None:
        """Whoever gives it back had it, also where its answer was lost: it must not wait there for the same targets."""
        for way in dict.fromkeys(self._dispatch.ways(action, targets)):
            for row in self._rows_by(action, way):
                left = tuple([target for target in row.targets if target not in targets])
                if len(left) == len(row.targets):
                    continue
                if row.maybe_taken or not left:
                    self._messages.settle(row, None, now_ms, ready)
                else:
                    self._messages.readdress(row, [], left, now_ms, ready)

    def ways_of(self, message: Verified, item: Item) -> tuple[list[Way], list[Way]]:
        """To whom it goes here, where it followed this relay for whoever is below; and to the others."""
        others = [target for target in item.targets if target != self._me]
        here = self._router.down_to_readers(message.header) if len(others) < len(item.targets) else []
        return here, self._router.to(others)

    # -- what goes after somebody ---------------------------------------------------------------------------

    def _rows_for(self, destination: str) -> list[Row]:
        outbox = self._outbox_of(destination)
        return outbox.rows() if outbox is not None else []

    def _homing_rows(self, *destinations: str) -> list[Row]:
        held = [self._custody.get(*key) for key in self._homing]
        return [h.rows[d] for h in held if h is not None for d in destinations if d in h.rows and h.rows[d].moved]

    def _find_again(self, now_ms: int, ready: Ready) -> None:
        """Nodes that are below by now, though nobody has said so since something for them was sent up: that slept, or
        came back after they were found. Relays above believe that they are here, and refuse it until it expires."""
        for row in self._homing_rows(NOWHERE):
            if row.held.message.header.kind is Kind.ACTION:
                self._follow(row, list(row.targets), now_ms, ready)  # where it was under way, there may be an answer
        for row in self._homing_rows(UPLINK, NOWHERE):
            for node in row.targets:
                known = next((each for each in self._routes.of_node(node) if self._routes.via(each)), None)
                if known is not None:
                    self._finds.setdefault(node, (known, []))

    def _follow_all(self, rows: list[Row], moved: list[Moved], now_ms: int, ready: Ready) -> None:
        nodes = {attachment.node: None for first, with_it in moved for attachment in (first, *with_it)}
        interested: dict[tuple[str, Label, Audience], list[str]] = {}
        for row in rows:
            header = row.held.message.header
            match header.kind:
                case Kind.RESULT:
                    concerned = [header.to] if header.to.partition(SESSION_MARK)[0] in nodes else []
                case Kind.INTEL if not row.targets:
                    about = header.topic, header.label, header.audience
                    if about not in interested:
                        interested[about] = _interested(moved, header)
                    concerned = interested[about]
                case _:
                    concerned = [target for target in row.targets if target in nodes]
            if concerned:
                self._follow(row, concerned, now_ms, ready)

    def _not_under_way(self, row: Row, ways: list[Way]) -> list[Way]:
        """Where an action is under way to others, it would go to those again: it waits here for an answer."""
        free = [way for way in ways if not row.held.is_under_way(way[0])]
        busy = tuple([target for way, some in ways if row.held.is_under_way(way) for target in some])
        upwards = self._dispatch.upwards(row.held.message)
        if busy and upwards and row.destination not in (UPLINK, *UNSENT):
            free.append((upwards if upwards in UNSENT else NOWHERE, busy))
        return free

    def _follow(self, row: Row, concerned: list[str], now_ms: int, ready: Ready, *, whole: bool = False) -> None:
        """What of a row is for these nodes is sent after them. `whole`: nobody else is behind its destination."""
        held, kind = row.held, row.held.message.header.kind
        if kind is Kind.ACTION and (row.maybe_taken or row.moved >= MOVED_MAX):
            return  # it may have got there: after dispatch silence is `unknown`, and nothing is dispatched twice
        ways = [way for way in self._ways_to(held.message, concerned, now_ms) if way[0] != row.destination]
        if kind is Kind.ACTION:
            ways = self._not_under_way(row, ways)
        if not ways:
            return
        found = {target for _, targets in ways for target in targets}
        left = tuple(target for target in row.targets if target not in found)
        stays = bool(left) or (kind is Kind.INTEL and not row.targets and not whole)
        self._messages.readdress(row, ways, left if stays else None, now_ms, ready)
