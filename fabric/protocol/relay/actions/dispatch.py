"""Actions at a relay (SPEC 9): selects targets, and hands actions out.

Guarantees: an action reaches only targets that its selector, its requester's grant and the target's own grant name,
checked here whatever other relays did. Who may answer it says `answerers`, what is told of it `action_reports`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fabric.protocol.access.approvals import asked_of
from fabric.protocol.access.permissions import cancels, fetches, request_grants, turns_at
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import named
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import TARGETS_MAX
from fabric.protocol.core.ready import KeepDispatch, Op, Ready
from fabric.protocol.custody.custody import Custody, Destinations
from fabric.protocol.custody.dedup import seen_until_ms
from fabric.protocol.custody.sessions import AWAY, CHILD, UNSENT
from fabric.protocol.envelope.effects import lasts_ms
from fabric.protocol.envelope.reports import HELD, NOBODY, SELECTED
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.release import fits_in_frame, target_bytes
from fabric.protocol.relay.actions.action_reports import TARGET_NAMES_BYTES_MAX, ActionReports
from fabric.protocol.relay.actions.approving import Approving
from fabric.protocol.relay.actions.cancelling import Cancelling
from fabric.protocol.relay.actions.dispatches import Dispatches
from fabric.protocol.relay.actions.held_action import asks
from fabric.protocol.relay.actions.held_action import fits as fits_with_approvals
from fabric.protocol.relay.actions.resolutions import Resolutions
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.router import Router, Way
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.policies import Policies, Rule, demand_of
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.wire.frames import Direction, Item


class _Selected(NamedTuple):
    """The targets of an action: those that are below and those that are away, each in an order of their own."""

    here: tuple[str, ...] = ()
    away: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.here, *self.away)


class Dispatch:
    """`custody` remembers which actions were seen; `is_open`: whether a link leads that way now; `count` takes what,
    and the reason."""

    def __init__(
        self, me: str, dispatches: Dispatches, reports: ActionReports, custody: Custody, routes: RouteTable,
        router: Router, roster: Roster, resolutions: Resolutions, approving: Approving, cancelling: Cancelling,
        messages: MessagePort, policies: Callable[[], Policies], is_open: Callable[[str], bool],
        count: Callable[[str, str], None],
    ) -> None:
        self._me = me
        self._dispatches = dispatches
        self._reports = reports
        self._custody = custody
        self._routes = routes
        self._router = router
        self._roster = roster
        self._resolutions = resolutions
        self._approving = approving
        self._cancelling = cancelling
        self._policies = policies
        self._messages = messages
        self._is_open = is_open
        self._count = count
        self._selected: tuple[bytes, _Selected] = (b"", _Selected())  # the action of this step and its targets

    # -- what the relay tells it ----------------------------------------------------------------------------

    def tick(self, now_ms: int, _: Ready) -> None:
        """A few times a second: forget actions whose results would come too late."""
        self._dispatches.sweep(now_ms)

    def restored(self, op: Op, now_ms: int) -> None:
        """This was read back from disk."""
        if isinstance(op, KeepDispatch):
            self._dispatches.restore(op, now_ms)

    # -- what it knows --------------------------------------------------------------------------------------

    def turns(self, action: Verified) -> bool:
        """Whether its targets are selected at this relay (SPEC 9.2): its grant says so, or this is the root.

        What cancels another action turns where that one did.
        """
        if cancelled := cancels(action.header):
            return self._router.is_root or self._dispatches.turned_here(cancelled)
        grants = request_grants(action.credential, action.header)
        return not isinstance(grants, Reject) and turns_at(grants, self._me, is_root=self._router.is_root)

    def turned(self, action: Verified) -> bool:
        """Whether it turned here."""
        return self._dispatches.turned_here(action.leaf)

    def ways(self, action: Verified, targets: Iterable[str]) -> list[str]:
        """By which destinations it went to these targets; empty for one to which it did not go."""
        return self._dispatches.ways(action.leaf, targets)

    def between(self, action: Verified, target: str) -> list[str]:
        """The relays on the way to this target when it went there, below this one's child."""
        return self._dispatches.between(action.leaf, target)

    # -- who does it ----------------------------------------------------------------------------------------

    def turn(self, action: Verified, item: Item, now_ms: int, ready: Ready) -> None:
        """Select its targets, and hand it out: this is the highest relay that it reaches (SPEC 9.2)."""
        header, selected = action.header, self._select(action, now_ms)
        self._selected = b"", _Selected()
        if refused := self._cancelling.why_not(action):
            self._custody.saw(action.id, Direction.UP, seen_until_ms(header, now_ms), ready, header)
            self._reports.say(action, End.REFUSED, (), refused, now_ms, ready)
            return
        targets = selected.all
        if not _fits(action, targets):
            self._custody.saw(action.id, Direction.UP, seen_until_ms(header, now_ms), ready, header)
            # Who is away counts: it is for all that it selects, or it would be said of some that nobody asked them.
            code, many = Code.TOO_MANY_TARGETS, f"{len(selected.here):,} here and {len(selected.away):,} away"
            detail = f"{many}, of at most {TARGETS_MAX:,}, or fewer with long names; {code.next_step}"
            self._reports.say(action, End.REFUSED, (), code, now_ms, ready, detail=detail)
            return
        demanded = self._demand(action, targets, now_ms)
        rule = None if header.terms.dry_run else demanded  # nothing is executed
        if rule is not None and not fits_with_approvals(action, targets, rule):
            self._custody.saw(action.id, Direction.UP, seen_until_ms(header, now_ms), ready, header)
            self._reports.say(action, End.REFUSED, (), Code.TOO_LARGE, now_ms, ready, detail="for who is to approve it")
            return
        held_ms = rule.within_ms if rule is not None else 0
        lasting_ms = 0 if cancels(header) or header.terms.dry_run else lasts_ms(action)
        self._dispatches.turned(action.leaf, header, now_ms + held_ms, ready, lasting_ms)
        self._resolutions.turned(action, targets, now_ms, ready, held_ms=held_ms)
        self._custody.saw(action.id, Direction.UP, seen_until_ms(header, now_ms), ready, header)
        ready.audit.append(Audited(kinds.ACTION_TURNED, header.origin, {
            "action": action.leaf, **named(targets), "away": len(selected.away),
            **({"rule": rule.name} if rule is not None else {}),
        }))
        if not (targets and fetches(header)):  # who fetches knows from whom, and asks a hundred times
            would = asks(demanded) if demanded is not None and rule is None else None
            self._reports.say(action, SELECTED if targets else NOBODY, targets, None, now_ms, ready, more=would)
        if self._not_all_here(action, selected, now_ms, ready):
            return
        if rule is not None:
            self._approving.hold(action, targets, rule, now_ms, ready)
            return
        if cancels(header) and not header.terms.dry_run:
            self._cancelling.end_unsent(action, now_ms, ready)
        if selected.away:
            self._reports.say(action, HELD, selected.away, None, now_ms, ready)
        held_for = () if header.terms.dry_run else selected.away
        if selected.here or held_for:
            self.hand_out(
                action, item._replace(direction=Direction.DOWN), selected.here, now_ms, ready, away=held_for
            )

    def _not_all_here(self, action: Verified, selected: _Selected, now_ms: int, ready: Ready) -> bool:
        """Whether it requires all, and they are not: then it is refused for all of them."""
        missing = self._missing(selected, now_ms) if action.header.terms.require_all else ()
        if not missing:
            return False
        self._reports.say(action, End.REFUSED, missing, Code.AWAY, now_ms, ready)
        if others := tuple([target for target in selected.all if target not in missing]):
            self._reports.say(action, End.REFUSED, others, Code.NOT_ALL_HERE, now_ms, ready)
        return True

    def _demand(self, action: Verified, targets: Sequence[str], now_ms: int) -> Rule | None:
        """The rule by which it has to be approved first. What fetches is not: nothing is executed."""
        known = [node for target in targets if (node := self._roster.known(target, now_ms)) is not None]
        return None if fetches(action.header) else demand_of(self._policies(), asked_of(action.header), known)

    def release(self, action: Verified, targets: Sequence[str], age_ms: int, now_ms: int, ready: Ready) -> None:
        """Approved for these targets, so long ago: it goes to those that are here, and is held for the others."""
        self._resolutions.released(action, now_ms)
        here = tuple([target for target in targets if self._roster.executor(target, now_ms) is not None])
        away = tuple([target for target in targets if target not in here])
        if self._not_all_here(action, _Selected(here, away), now_ms, ready):
            return  # some left while it was held
        if cancels(action.header):
            self._cancelling.end_unsent(action, now_ms, ready)
        if away:
            self._reports.say(action, HELD, away, None, now_ms, ready)
        self.hand_out(action, Item(Direction.DOWN, age_ms, [], [], action.raw), here, now_ms, ready, away=away)

    def _select(self, action: Verified, now_ms: int) -> _Selected:
        """Who executes it, here or away. Asked twice in a step, for room and to hand it out: the answer is kept."""
        if self._selected[0] != action.leaf:
            selection = self._cancelling.selection(action)
            below = self._roster.executors(now_ms)
            present = {attachment.node: None for attachment in below}
            here, away = below, self._roster.members(now_ms, but=present)
            if cancelled := cancels(action.header):
                had_it = self._dispatches.had_it(cancelled)
                # Where its effect lasts, whoever had it may have that in force.
                lasts = self._dispatches.lasts(cancelled)
                may_have_it = had_it if lasts else had_it & self._resolutions.awaited(cancelled)
                here = [executor for executor in here if executor.node in had_it]
                away = (member for member in away if member.id in may_have_it)
            self._selected = action.leaf, _Selected(
                tuple([executor.node for executor in here if selection.takes(executor.credential)]),
                tuple([member.id for member in away if selection.takes(member)]),
            )
        return self._selected[1]

    def _missing(self, selected: _Selected, now_ms: int) -> tuple[str, ...]:
        """Who is away, or cannot be reached at this moment, as far as this relay knows."""
        found = {target: self._roster.executor(target, now_ms) for target in selected.here}
        cut_off = [
            target for target, executor in found.items()
            if executor is None or not self._is_open(self._routes.via(executor))
        ]
        return (*selected.away, *cut_off)

    def hand_out(
        self, action: Verified, item: Item, targets: Iterable[str], now_ms: int, ready: Ready, *,
        away: tuple[str, ...] = (),
    ) -> None:
        """Hand an action to the links that lead to its targets. Each tier asks again who may be one.

        Those who are not to be reached, or may not execute it, are reported together: a frame may name thousands, and
        to sign is work. `away`: for whom it is held until they are back.
        """
        selection = self._cancelling.selection(action)
        by_way: dict[str, list[str]] = {}
        follow: list[str] = []
        denied: list[str] = []
        unroutable: list[str] = []
        upwards = self.upwards(action)
        for target in self._not_handed(action, item, targets, now_ms):
            executor = self._roster.executor(target, now_ms)
            if executor is None:
                (follow if upwards else unroutable).append(target)
            elif not selection.takes(executor.credential):
                self._count("refused", Code.EXECUTE_DENIED.reason)
                denied.append(target)
            else:
                by_way.setdefault(self._routes.via(executor), []).append(target)
        self._reports.say_of_many(action, End.REFUSED, denied, Code.EXECUTE_DENIED, now_ms, ready)
        self._reports.say_of_many(action, End.UNROUTABLE, unroutable, Code.UNROUTABLE, now_ms, ready)
        ways: list[Way] = [(way, tuple(below)) for way, below in by_way.items()]
        hold = self._messages.hold
        if ways or not (follow or away or item.moved):
            hold(action, item, ways, now_ms, ready, Direction.DOWN, moved=item.moved + 1 if item.moved else 0)
        if follow:
            # It left while the action was on its way to it.
            after = [(upwards, tuple(follow))]
            hold(action, item, after, now_ms, ready, Direction.DOWN, moved=item.moved + 1)
            ways += after
        if away:
            # As what follows somebody: when it goes, it comes by relays that had it for others.
            held_for = [(AWAY, away)]
            hold(action, item, held_for, now_ms, ready, Direction.DOWN, moved=item.moved + 1)
            ways += held_for
        self.handed(action, ways, now_ms, ready)

    def _not_handed(self, action: Verified, item: Item, targets: Iterable[str], now_ms: int) -> list[str]:
        """Those of them who have not had it from here. One that follows somebody may name others who have.

        Who was handed it and executes by another way now is one that it follows: a relay that was on its way gave it
        back past this one. What a target has begun it does not begin again, whoever hands it to it.
        """
        names = list(dict.fromkeys(targets))
        if not item.moved or item.direction is not Direction.DOWN:
            return names  # new here, or given back by those who had it
        return [
            name for name, way in zip(names, self.ways(action, names), strict=True)
            if way in ("", UPLINK, *UNSENT) or self._left(name, way, now_ms)
        ]

    def _left(self, target: str, way: str, now_ms: int) -> bool:
        """Whether it executes, and not by this way any more."""
        executor = self._roster.executor(target, now_ms)
        return executor is not None and self._routes.via(executor) != way

    def upwards(self, action: Verified) -> str:
        """Where it waits for, or is sent after, a target that is not below; empty where it ends for it.

        Where it turned nobody above knows of it: it is held there. A dry run is held for nobody (SPEC 9.2).
        """
        if not self.turned(action):
            return self._router.upwards
        return "" if action.header.terms.dry_run else AWAY

    def ways_to(self, action: Verified, targets: Iterable[str], now_ms: int) -> list[Way]:
        """To these targets, each by the way by which it executes now; to those without one as `upwards` says."""
        upwards = self.upwards(action)
        by_way: dict[str, list[str]] = {}
        for target in dict.fromkeys(targets):
            executor = self._roster.executor(target, now_ms)
            way = self._routes.via(executor) if executor is not None else upwards
            if way:
                by_way.setdefault(way, []).append(target)
        return [(way, tuple(some)) for way, some in by_way.items()]

    def handed(self, action: Verified, ways: Destinations, now_ms: int, ready: Ready) -> None:
        """Remember by which way it goes to whom. What is given back from here is for nobody below to give back."""
        for way, targets in ways:
            ready.audit.append(Audited(kinds.ACTION_HANDED, action.header.origin, {
                "action": action.leaf, "way": way.partition("/")[0], **named(targets),
            }))
            for target in targets:
                between = self._between(target) if way.startswith(CHILD) else ""
                self._dispatches.handed(action.leaf, target, way, action.header, now_ms, ready, between)

    def _between(self, target: str) -> str:
        """The relays between it and the child that leads there: they may speak of it, also after they moved."""
        executor = self._routes.executor(target)
        return "/".join(self._routes.between(executor)) if executor is not None else ""

    def no_room_for(self, action: Verified, item: Item, now_ms: int) -> Reject | None:
        """Whether its requester has to wait: what is remembered of actions is bounded, and nobody's is forgotten."""
        header = action.header
        if item.direction is Direction.DOWN:
            entries = len(item.targets)
        elif item.moved:
            entries = 0  # they are known, or it goes further up
        else:
            entries = 1 + len(self._select(action, now_ms).all) if self.turns(action) else 0
        is_full = self._custody.dedup.full_of_actions(header.origin) or self._dispatches.full(header.origin, entries)
        if is_full or (item.direction is Direction.UP and self._approving.full(action)):
            self._selected = b"", _Selected()
            return Reject(Code.BUSY, "too many actions of this requester")
        return None


def _fits(action: Verified, targets: tuple[str, ...]) -> bool:
    """Whether the action and all its targets go in one frame, and their names in one report."""
    return sum(map(target_bytes, targets)) <= TARGET_NAMES_BYTES_MAX and fits_in_frame(action, targets)
