"""Relays whose program somebody changed, so that they hand out what was not approved (SPEC 9.7).

Each is what a turned relay may try with an action that it should hold. `WAYS` has all of them, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from fabric.protocol.core.ready import Ready
from fabric.protocol.envelope.layout import Approved
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.policies import Rule
from tests.simulation.world import SimNode, World

_AGAIN_MS = 12_000
_Way = Callable[[World, SimNode, Relay, Sequence[str]], None]


def _age_ms(core: Relay, action: Verified, now_ms: int) -> int:
    """By the clock, as far as this relay knows the time."""
    return max(0, core.time.now(now_ms) - action.counts_from_ms)


def _at_once(_: World, __: SimNode, core: Relay, ___: Sequence[str]) -> None:
    """It asks nobody."""

    def hold(action: Verified, targets: Sequence[str], _: Rule, now_ms: int, ready: Ready) -> None:
        core.dispatch.release(action, targets, _age_ms(core, action, now_ms), now_ms, ready)

    core.approving.hold = hold  # type: ignore[method-assign]


def _with_few(_: World, __: SimNode, core: Relay, ___: Sequence[str]) -> None:
    """The first who approves is enough for it."""
    judge = core.approving._judge
    core.approving._judge = lambda held, rule, now_ms: judge(  # type: ignore[method-assign]
        held, replace(rule, require=1, escalation=None), now_ms
    )


def _with_those_of_another(_: World, __: SimNode, core: Relay, ___: Sequence[str]) -> None:
    """Once something was approved, everything is with that."""
    hold, release, known = core.approving.hold, core.approving._release, list[Approved]()

    def remember(action: Verified, targets: tuple[str, ...], age_ms: int, now_ms: int, ready: Ready) -> None:
        assert action.envelope.approved is not None
        known.append(action.envelope.approved)
        release(action, targets, age_ms, now_ms, ready)

    def borrow(action: Verified, targets: Sequence[str], rule: Rule, now_ms: int, ready: Ready) -> None:
        if known:
            approved = action.with_approvals(known[-1])
            core.dispatch.release(approved, targets, _age_ms(core, approved, now_ms), now_ms, ready)
        else:
            hold(action, targets, rule, now_ms, ready)

    core.approving._release = remember
    core.approving.hold = borrow  # type: ignore[method-assign]


def _for_more(_: World, __: SimNode, core: Relay, everybody: Sequence[str]) -> None:
    """Whoever executes here by now is for it one of those for whom it was approved."""
    release = core.approving._release

    def grow(action: Verified, targets: tuple[str, ...], age_ms: int, now_ms: int, ready: Ready) -> None:
        approved = action.envelope.approved
        assert approved is not None
        more = tuple(dict.fromkeys([*targets, *everybody]))
        release(action.with_approvals(approved._replace(targets=more)), more, age_ms, now_ms, ready)

    core.approving._release = grow


def _again(world: World, node: SimNode, core: Relay, _: Sequence[str]) -> None:
    """What was approved it hands out a second time, some seconds later."""
    release = core.approving._release

    def twice(action: Verified, targets: tuple[str, ...], age_ms: int, now_ms: int, ready: Ready) -> None:
        release(action, targets, age_ms, now_ms, ready)
        world.after(_AGAIN_MS, partial(world.do, node, core, partial(release, action, targets, age_ms + _AGAIN_MS)))

    core.approving._release = twice


WAYS: dict[str, _Way] = {
    "at once": _at_once, "with few": _with_few, "with those of another": _with_those_of_another,
    "for more": _for_more, "again": _again,
}


def forge(world: World, name: str, way: str, everybody: Sequence[str]) -> None:
    """From now on, over its restarts, until `SimNode.forges` is None."""
    node = world.nodes[name]
    node.lies = lambda _, __, payload: [payload]  # whoever looks on believes nothing of what it says

    def change(core: object) -> None:
        assert isinstance(core, Relay)
        WAYS[way](world, node, core, everybody)

    node.forges = change
    change(node.core)
