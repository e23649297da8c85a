"""One row: a fresh tree, the honest at work, an attacker for so long, and what became of all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from scripts.attacks.attacker import PREPARES_S, Attacker
from scripts.attacks.flood import Attack, Tally
from scripts.attacks.honest import EVENTS_PER_S, Actions, Reader, Sensor
from scripts.attacks.known import name_of
from scripts.attacks.trees import CELL, LOW, MID, Plan, Tree, tree_of
from scripts.attacks.verdicts import Honest, Row, honest_of
from tests.integration.harness import wait_for

PLANS = {"stranger": MID, "point": MID, "child": LOW, "parent": CELL}
# Far above the bound: the row has failed, and this machine has other things to do.
MEMORY_STOP_MB = 1_500.0
_SETTLE_S = 1.5
_START_S = 20.0
_LOOK_S = 0.1
# How long after the attack events that were due in it may still come, and actions that were asked for end.
_EVENTS_LATE_S = 3.0
_ACTIONS_LATE_S = 13.0
# A flood that cannot even open its links is let loose after this: it was turned away, and goes on trying.
_ENTERS_S = 25.0


@dataclass(frozen=True)
class Seen:
    """A window of time in the life of a tree."""

    honest: Honest
    seconds: float
    rss_mb: float
    cpu_s: float
    survived: bool
    whole: bool
    remark: str


class Stage:
    """A tree with its honest at work."""

    def __init__(self, tree: Tree, sensor: Sensor, reader: Reader, actions: Actions) -> None:
        self.tree, self._sensor, self._reader, self._actions = tree, sensor, reader, actions

    def watch(self, seconds: float, attacker: Attacker | None) -> Seen:
        """Let so much time pass, less where memory says that it is enough, and look what happened in it."""
        tree, remark = self.tree, ""
        cpu_s, began_s = tree.cpu_s(), time.monotonic()
        peak_mb, used_s = 0.0, 0.0
        if attacker is not None:
            attacker.begin()
        while (now_s := time.monotonic()) - began_s < seconds:
            time.sleep(min(_LOOK_S, began_s + seconds - now_s))
            peak_mb = max(peak_mb, tree.peak_mb())
            used_s = max(used_s, tree.cpu_s() - cpu_s)
            if peak_mb > MEMORY_STOP_MB:
                remark = "stopped early, at its memory"
                break
            if attacker is not None and not attacker.running:
                remark = "the attacker ended early"
                attacker = None
        end_s = time.monotonic()
        if attacker is not None:
            attacker.__exit__()
        whole = tree.becomes_whole()
        honest = self._honest(began_s, end_s)
        peak_mb = max(peak_mb, tree.peak_mb())
        remarks = [word for word in (remark, *tree.faults()) if word]
        return Seen(honest, end_s - began_s, peak_mb, used_s, tree.survived(), whole, "; ".join(remarks))

    def _honest(self, began_s: float, end_s: float) -> Honest:
        sensor, reader, actions = self._sensor, self._reader, self._actions
        last = int((end_s - sensor.began_s) * EVENTS_PER_S)
        first = int((began_s - sensor.began_s) * EVENTS_PER_S) + 1
        actions.say("stop")
        _wait(lambda: all(n in reader.arrivals for n in range(first, last)), end_s + _EVENTS_LATE_S)
        looked_s = time.monotonic()
        _wait(lambda: actions.pending == 0, end_s + _ACTIONS_LATE_S)
        return honest_of(
            dict(reader.arrivals), sensor.began_s, EVENTS_PER_S, (began_s, end_s), looked_s, list(actions.ends.values())
        )


def _wait(condition: object, until_s: float) -> None:
    while time.monotonic() < until_s and not condition():  # type: ignore[operator]
        time.sleep(_LOOK_S)


@contextmanager
def stage_of(plan: Plan) -> Iterator[Stage]:
    """Raises AssertionError in words when the tree or its honest do not come up."""
    with tree_of(plan) as tree, ExitStack() as stack:
        house = tree.house
        reader = stack.enter_context(Reader(house, "reader"))
        wait_for(reader.ready.is_set, "the honest reader", _START_S)
        sensor = stack.enter_context(Sensor(house, "sensor"))
        actions = stack.enter_context(Actions(house, "soar", "wall"))
        wait_for(lambda: reader.arrivals, "the first event of the honest sensor", _START_S)
        wait_for(lambda: "completed" in {end for _, end in list(actions.ends.values())}, "the first action", _START_S)
        time.sleep(_SETTLE_S)
        yield Stage(tree, sensor, reader, actions)


def quiet_row(plan: Plan, who: str, seconds: float) -> Row:
    """Nobody attacks: what the others are held against."""
    with stage_of(plan) as stage:
        seen = stage.watch(seconds, None)
    return _row(who, "(quiet)", seen, Tally(), seen.honest.rate_per_s)


def row_of(attack: Attack, seconds: float, quiet_rate_per_s: float, *, equal: bool = False) -> Row:
    """`equal`: the attacker does not give way to the honest, but fights for the processors."""
    plan = PLANS[attack.who]
    with stage_of(plan) as stage, Attacker(stage.tree.house, name_of(attack), seconds + 1, equal=equal) as attacker:
        _wait(lambda: attacker.ready.is_set() or not attacker.running, time.monotonic() + min(_ENTERS_S, PREPARES_S))
        turned_away = "" if attacker.ready.is_set() else "not let in"
        seen = stage.watch(seconds, attacker)
    strong = attack.strong(attacker.tally)
    return _row(attack.who, attack.kind, seen, attacker.tally, quiet_rate_per_s, turned_away, strong=strong)


def _row(who: str, kind: str, seen: Seen, tally: Tally, quiet_rate_per_s: float, turned_away: str = "", *,
         strong: bool = True) -> Row:
    return Row(
        who, kind, seen.seconds, tally.frames, tally.bytes, tally.connections, tally.entered, tally.cut,
        seen.survived, seen.whole, seen.rss_mb, seen.cpu_s, seen.honest, quiet_rate_per_s,
        "; ".join(word for word in (turned_away, seen.remark) if word), strong,
    )
