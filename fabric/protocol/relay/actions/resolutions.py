"""What became of each action that turned here (SPEC 9.6): open until each of its targets has ended, then resolved.

Guarantees: an action is resolved when all its targets have ended, and at the latest when its time, and the patience for
who said nothing, is over: of those nobody knows. It is resolved again only where a target whose end was unknown says
how it ended. A resolution names every target, says nothing that the action's header does not say of what was asked for,
and bears the action's label and audience. What has ended is on disk in the commit of the message that said so.

No more is kept than `Dispatches` takes in: an action's targets are entries there, for longer.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fabric.protocol.access.permissions import fetches
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import named
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.limits import SLOW_HANDLER_MS, TTL_MAX_MS
from fabric.protocol.core.ready import KeepEnd, KeepOpen, Note, Op, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.envelope.reports import names_in
from fabric.protocol.envelope.resolution import (
    About,
    Resolution,
    about,
    for_requester,
    for_subscribers,
    read_about,
    write_about,
)
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.lifecycle import State, may_follow
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.wire.frames import Direction, Item

# A target may begin at the end of the action's time, and a handler is stopped after half a minute by itself.
_PATIENCE_MS: Final = 60_000
# Who is at work says so more often than this.
_AT_WORK_MS: Final = 90_000
# What was unknown is often told by many at once, when the way to them is back.
_REVISE_MS: Final = 10_000
# Actions that end in the same moment are resolved so many a turn: an hour of them stops no relay.
_SOME: Final = 64


@dataclass(slots=True)
class _Open:
    about: About
    states: dict[str, State]  # of every target
    silent_ms: int  # whoever has not ended then is unknown
    until_ms: int  # nobody may answer any more
    revision: int = 0  # how often it was resolved
    is_late: bool = False  # somebody ended who was unknown when it was resolved
    look_ms: int = 0  # when it is looked at next
    ended: int = field(init=False)

    def __post_init__(self) -> None:
        self.ended = sum(state.end is not None for state in self.states.values())

    @property
    def is_over(self) -> bool:
        return self.ended == len(self.states)

    def names_by_end(self) -> dict[str, list[str]]:
        by_end: dict[str, list[str]] = {}
        for target, state in self.states.items():
            by_end.setdefault(state.word, []).append(target)
        return by_end


class Resolutions:
    """The actions that are open, and those of which the end of some target is unknown."""

    def __init__(
        self, signer: ReportSigner, time: Timekeeper, messages: MessagePort, count: Callable[[str, str], None]
    ) -> None:
        self._signer = signer
        self._time = time
        self._messages = messages
        self._count = count
        self._open: dict[bytes, _Open] = {}
        self._timers: list[tuple[int, bytes]] = []  # when to look at which; it may be too early

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unresolved(self) -> int:
        """How many actions have targets that have not ended."""
        return sum(not open_.is_over for open_ in self._open.values())

    def awaited(self, action: bytes) -> frozenset[str]:
        """Those of its targets of which it is not known how they ended; none of one that is resolved for good."""
        open_ = self._open.get(action)
        states = open_.states.items() if open_ is not None else ()
        return frozenset([name for name, state in states if state.end in (None, End.UNKNOWN)])

    # -- what the relay tells it ------------------------------------------------------------------------

    def turned(
        self, action: Verified, targets: Sequence[str], now_ms: int, ready: Ready, *, held_ms: int = 0
    ) -> None:
        """An action turned here; these are its targets. A dry run is not resolved, nor what fetches: nothing is done.

        `held_ms`: so long it may wait for approvals before its time begins.
        """
        header = action.header
        if header.terms.dry_run or fetches(header):
            return
        ends_ms = now_ms + held_ms + header.ttl_ms
        open_ = _Open(
            about(header), dict.fromkeys(targets, State.NONE), ends_ms + _PATIENCE_MS, ends_ms + SLOW_HANDLER_MS
        )
        self._open[action.leaf] = open_
        ready.persist.append(_kept(action.leaf, open_))
        # Where it selects nobody that is said first, and this at the end of the turn.
        self._look_at(action.leaf, open_, now_ms if open_.is_over else open_.silent_ms)

    def released(self, action: Verified, now_ms: int) -> None:
        """It was approved, and its time begins: nobody waits for what approvers would have had left."""
        open_ = self._open.get(action.leaf)
        if open_ is not None and not open_.is_over:
            open_.silent_ms = min(open_.silent_ms, now_ms + action.header.ttl_ms + _PATIENCE_MS)
            self._look_at(action.leaf, open_, open_.silent_ms)

    def heard(self, result: Verified, now_ms: int, ready: Ready) -> None:
        """A target, or a relay, said something of an action, and it is on its way to the requester."""
        leaf, state = result.header.correlation, result.header.state
        open_ = self._open.get(leaf)
        if open_ is None or state is State.NONE:
            return
        by_target = result.credential.kind is not NodeKind.RELAY
        who = [result.credential.id] if by_target else _named(result, open_)
        is_awaited = any(name in open_.states and open_.states[name].end is None for name in who)
        ended = [target for target in who if self._learn(leaf, open_, target, state, by_target, ready)]
        if ended and by_target:  # what a relay says of them is in its log
            ready.audit.append(Audited(kinds.ACTION_ENDED, result.credential.id, {
                "action": leaf, "end": state.word, **named(ended),
            }))
        if state in _AT_WORK and by_target and is_awaited:
            open_.silent_ms = max(open_.silent_ms, min(now_ms + _AT_WORK_MS, open_.until_ms))
        if open_.is_over and not open_.revision:
            self._resolve(leaf, open_, now_ms, ready)

    def restored(self, op: Op, now_ms: int) -> None:
        """This was read back from disk."""
        match op:
            case KeepOpen(leaf, raw, targets, until_ms, revision, is_late):
                # The clock may have been set back while we were off.
                ends_ms = min(until_ms - SLOW_HANDLER_MS, now_ms + TTL_MAX_MS["approval"] + TTL_MAX_MS["action"])
                open_ = _Open(
                    read_about(raw), dict.fromkeys(targets, State.NONE), ends_ms + _PATIENCE_MS,
                    ends_ms + SLOW_HANDLER_MS, revision, is_late,
                )
                self._open[leaf] = open_
                self._look_at(leaf, open_, now_ms + _REVISE_MS if revision else open_.silent_ms)
            case KeepEnd(leaf, target, state) if leaf in self._open:
                open_ = self._open[leaf]
                if target in open_.states and state in _ENDS and open_.states[target] is State.NONE:
                    open_.states[target] = State(state)
                    open_.ended += 1

    def tick(self, now_ms: int, ready: Ready) -> None:
        """A few times a second: end what nobody will hear of any more, and tell what was learnt late."""
        if self._time.unknown:
            return  # what is signed with a wrong time is refused by everybody who knows the right one
        left = _SOME
        while left and self._timers and self._timers[0][0] <= now_ms:
            at_ms, leaf = heapq.heappop(self._timers)
            open_ = self._open.get(leaf)
            if open_ is not None and open_.look_ms == at_ms:
                left -= self._look(leaf, open_, now_ms, ready)

    # -- inside -------------------------------------------------------------------------------------------

    def _look_at(self, leaf: bytes, open_: _Open, at_ms: int) -> None:
        open_.look_ms = min(at_ms, open_.until_ms)
        heapq.heappush(self._timers, (open_.look_ms, leaf))

    def _learn(
        self, leaf: bytes, open_: _Open, target: str, state: State, by_target: bool, ready: Ready
    ) -> bool:
        """Whether it ended by this."""
        before = open_.states.get(target)
        if before is None or not may_follow(before, state, by_target=by_target):
            return False
        open_.states[target] = state
        if state.end is None:
            return False
        open_.ended += before.end is None
        ready.persist.append(KeepEnd(leaf, target, int(state), open_.until_ms))
        if open_.revision and before is State.UNKNOWN and not open_.is_late:
            open_.is_late = True
            ready.persist.append(_kept(leaf, open_))
        return True

    def _look(self, leaf: bytes, open_: _Open, now_ms: int, ready: Ready) -> bool:
        """Whether that was work: something to sign, or to forget."""
        if now_ms >= open_.until_ms and open_.revision:
            self._forget(leaf, open_, ready)
            return True
        if not open_.is_over and now_ms < open_.silent_ms:
            self._look_at(leaf, open_, open_.silent_ms)  # somebody was at work
            return False
        for target, state in open_.states.items():
            if state.end is None:
                self._learn(leaf, open_, target, State.UNKNOWN, False, ready)
        if not open_.revision or open_.is_late:
            self._resolve(leaf, open_, now_ms, ready)
            return True
        self._look_at(leaf, open_, now_ms + _REVISE_MS)
        return False

    def _resolve(self, leaf: bytes, open_: _Open, now_ms: int, ready: Ready) -> None:
        open_.revision += 1
        open_.is_late = False
        by_end = open_.names_by_end()
        resolution = Resolution(leaf, open_.about, outcome_of(by_end), by_end, open_.revision)
        me = self._signer.me
        for report in (for_requester(resolution, me), for_subscribers(resolution, me)):
            said = self._signer.sign(report, now_ms)
            self._messages.route(said, Item(Direction.UP, 0, [], [], said.raw), now_ms, ready)
        self._count("resolved", resolution.outcome)
        ready.audit.append(Audited(kinds.ACTION_RESOLVED, "", {
            "action": leaf, "outcome": resolution.outcome, "revision": open_.revision,
            **{f"n_{end}": len(names) for end, names in by_end.items()},
        }))
        ready.notes.append(Note("action resolved", {
            "action": leaf.hex(), "outcome": resolution.outcome, "targets": len(open_.states),
            "revision": open_.revision, **{end: len(names) for end, names in by_end.items()},
        }))
        if State.UNKNOWN.word in by_end:
            ready.persist.append(_kept(leaf, open_))
            self._look_at(leaf, open_, now_ms + _REVISE_MS)
        else:
            self._forget(leaf, open_, ready)

    def _forget(self, leaf: bytes, open_: _Open, ready: Ready) -> None:
        del self._open[leaf]
        ready.persist.append(KeepOpen(leaf))
        ready.persist += [KeepEnd(leaf, target, 0) for target, state in open_.states.items() if state.end is not None]


_AT_WORK: Final = (State.ACCEPTED, State.RUNNING)
_ENDS: Final = frozenset(int(state) for state in State if state.end is not None)


def _kept(leaf: bytes, open_: _Open) -> KeepOpen:
    return KeepOpen(leaf, write_about(open_.about), tuple(open_.states), open_.until_ms, open_.revision, open_.is_late)


def _named(report: Verified, open_: _Open) -> list[str]:
    """Whom a relay's report is about: all who have not ended, where it names nobody."""
    names = names_in(report)
    if names is None:
        return []
    return names or [target for target, state in open_.states.items() if state.end is None]


def outcome_of(by_end: dict[str, list[str]]) -> str:
    """In one word: `nobody`; how all of them ended; `partly` where some completed, else `failed`."""
    ends = Counter({end: len(names) for end, names in by_end.items()})
    if not ends:
        return "nobody"
    if len(ends) == 1:
        return next(iter(ends))
    return "partly" if State.COMPLETED.word in ends else State.FAILED.word
