"""Actions at a relay (SPEC 9): selects targets, hands actions out, checks who may answer, and reports ends.

Guarantees: an action reaches only targets that its selector, its requester's grant and the target's own grant name,
checked here whatever other relays did; a result is taken only from a target that was handed the action; an end is
reported once, and only as much of it as this relay can know.
"""

from __future__ import annotations

from fabric.protocol.access.permissions import Selection, request_grants, turns_at
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX, TARGETS_MAX
from fabric.protocol.core.ready import KeepDispatch, Op, Ready
from fabric.protocol.custody.custody import Destinations
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.outbox import Row
from fabric.protocol.envelope.layout import Header
from fabric.protocol.envelope.reports import NOBODY, SELECTED, build_report
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.dispatches import Dispatches
from fabric.protocol.relay.holding import Holding
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.relay.reporter import Reporter
from fabric.protocol.relay.router import Router
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.wire.frames import Direction, Item

_TARGET_NAMES_BYTES_MAX = 131_072
# Hops, ages and the frame itself.
_FRAMING_BYTES = 4_096


class Commands(Holding):
    """A relay that selects the targets of actions, hands actions out, and checks who answers."""

    router: Router
    report_signer: ReportSigner
    reporter: Reporter

    def set_up(self) -> None:
        super().set_up()
        self.dispatches = Dispatches()
        self._selected: tuple[bytes, tuple[str, ...]] = (b"", ())  # the action of this step and its targets

    def route(self, message: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        raise AssertionError("a subclass routes")

    def on_timers(self, now_ms: int, ready: Ready) -> None:
        super().on_timers(now_ms, ready)
        self.reporter.tick(now_ms, ready)  # before what follows somebody is sent other ways
        self.dispatches.sweep(now_ms)

    # -- who does it ------------------------------------------------------------------------------------

    def _turn(self, action: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """The highest relay that this action reaches: here its targets are selected (SPEC 9.2)."""
        header, targets = action.header, self._select(action)
        self._selected = b"", ()
        if not _fits(action, targets):
            self.custody.saw(action.id, Direction.UP, seen_until_ms(header, now_ms), ready, header)
            self.report(action, End.REFUSED, (), Code.TOO_LARGE, now_ms, ready)
            return
        self.dispatches.turned(action.leaf, header, now_ms, ready)
        self.custody.saw(action.id, Direction.UP, seen_until_ms(header, now_ms), ready, header)
        self.report(action, SELECTED if targets else NOBODY, targets, None, now_ms, ready)
        if targets:
            self._dispatch(action, item._replace(direction=Direction.DOWN), targets, now_ms, ready)

    def _select(self, action: Verified) -> tuple[str, ...]:
        """Who executes it, of all below. Asked twice in a step, for room and to hand it out: the answer is kept."""
        if self._selected[0] != action.leaf:
            selection = Selection(action.credential, action.header)
            self._selected = action.leaf, tuple([
                attachment.node
                for attachment in self.routes.executors()
                if self.routes.via(attachment) and selection.takes(attachment.credential)
            ])
        return self._selected[1]

    def _dispatch(self, action: Verified, item: Item, targets: tuple[str, ...], now_ms: int, ready: Ready) -> None:
        """Hand an action to the links that lead to its targets. Each tier asks again who may be one."""
        header = action.header
        selection = Selection(action.credential, header)
        by_way: dict[str, list[str]] = {}
        follow = []
        for target in dict.fromkeys(targets):
            attachment = self.routes.executor(target)
            way = self.routes.via(attachment) if attachment is not None else ""
            if attachment is None or not way:
                if item.moved or attachment is not None:
                    follow.append(target)
                else:
                    self.report(action, End.UNROUTABLE, (target,), Code.UNROUTABLE, now_ms, ready)
            elif not selection.takes(attachment.credential):
                self.count("refused", Code.EXECUTE_DENIED.reason)
                self.report(action, End.REFUSED, (target,), Code.EXECUTE_DENIED, now_ms, ready)
            else:
                by_way.setdefault(way, []).append(target)
        ways = [(way, tuple(below)) for way, below in by_way.items()]
        if ways or not follow:
            self.hold(action, item, ways, now_ms, ready, Direction.DOWN, moved=item.moved + 1 if item.moved else 0)
        if follow:
            after = [(self.router.upwards, tuple(follow))]
            self.hold(action, item, after, now_ms, ready, Direction.DOWN, moved=item.moved + 1)
            ways += after
        self._hand_out(action, ways, now_ms, ready)

    def _hand_out(self, action: Verified, ways: Destinations, now_ms: int, ready: Ready) -> None:
        """Remember by which way it goes to whom. What is given back from here is for nobody below to give back."""
        for way, targets in ways:
            for target in targets:
                self.dispatches.handed(action.leaf, target, way, action.header, now_ms, ready)

    def no_room_for_action(self, action: Verified, item: Item) -> Reject | None:
        """Whether its requester has to wait: what is remembered of actions is bounded, and nobody's is forgotten."""
        header = action.header
        if item.direction is Direction.DOWN:
            entries = len(item.targets)
        elif item.moved:
            entries = 0  # they are known, or it goes further up
        else:
            grants = request_grants(action.credential, header)
            turns = not isinstance(grants, Reject) and turns_at(grants, self.me.id, is_root=self.is_root)
            entries = 1 + len(self._select(action)) if turns else 0
        if self.custody.dedup.full_of_actions(header.origin) or self.dispatches.full(header.origin, entries):
            self._selected = b"", ()
            return Reject(Code.BUSY, "too many actions of this requester")
        return None

    def _turns_here(self, result: Header) -> bool:
        return self.is_root or self.dispatches.turned_here(result.correlation)

    def check_answer(self, result: Verified) -> Reject | None:
        """Whether its origin was a target. Who handed the action out knows, and where it turned all of them are known.

        On the way between the two nobody does: the target may have another relay by now than when it was handed it.
        """
        header = result.header
        if result.credential.kind is NodeKind.RELAY:
            return None  # a report: whom it may be about is for the requester to judge
        label = self.dispatches.label_of(header.correlation, header.origin)
        if label is None:
            return Reject(Code.NOT_A_TARGET, header.topic) if self._turns_here(header) else None
        return Reject(Code.LABEL_TOO_LOW, header.topic) if header.label < label else None

    # -- what became of it ------------------------------------------------------------------------------

    def report(self, action: Verified, end: str, targets: tuple[str, ...], code: Code | None, now_ms: int,
               ready: Ready, *, climbing: bool = False) -> None:
        """Tell the requester. `climbing`: the action had not turned yet, so the requester is below this relay."""
        report = self.report_signer.sign(build_report(action, str(end), targets, code, self.me), now_ms)
        direction = Direction.DOWN if climbing else Direction.UP
        self.count("reported", str(end))
        self.route(report, Item(direction, 0, [], [], report.raw), now_ms, ready)

    def _action_ended(self, row: Row, refused: Reject, now_ms: int, ready: Ready) -> None:
        """After dispatch silence is `unknown`; only an undispatched row, or the peer's own refusal, says more.

        A parent speaks for itself: what it refuses the one before it may have taken, and its acknowledgement was lost.
        """
        code = refused.code
        climbs = row.destination == UPLINK
        maybe_taken = row.unanswered or row.held.restored
        dispatched = row.tries > 0 or maybe_taken
        turned = not climbs or row.moved > 0
        if turned and ((code in (Code.EXPIRED, Code.SUBSCRIBER_GONE) and dispatched) or (climbs and maybe_taken)):
            end = End.UNKNOWN
        elif code is Code.EXPIRED:
            end = End.EXPIRED
        elif code in (Code.SUBSCRIBER_GONE, Code.UNROUTABLE):
            end = End.UNROUTABLE
        else:
            end = End.REFUSED
        climbing = row.held.direction is Direction.UP
        self.report(row.held.message, end, row.targets, code, now_ms, ready, climbing=climbing)

    def on_restore(self, op: Op, now_ms: int) -> None:
        super().on_restore(op, now_ms)
        if isinstance(op, KeepDispatch):
            self.dispatches.restore(op, now_ms)


def _fits(action: Verified, targets: tuple[str, ...]) -> bool:
    """Whether the action and all its targets go in one frame, and their names in one report."""
    names_bytes = sum(len(name) + 2 for name in targets)
    return (
        len(targets) <= TARGETS_MAX
        and names_bytes <= _TARGET_NAMES_BYTES_MAX
        and names_bytes + len(action.raw) <= FRAME_BYTES_MAX - _FRAMING_BYTES
    )
