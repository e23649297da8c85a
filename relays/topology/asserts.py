"""`[[assert]]`: what must never, and what must always, be possible in a topology, and the proof of it (`flow`).

    never = "amber from ot-1 reaches dmz"      by no way, whichever parents the nodes have
    must  = "green from ot-1 reaches hq"       by every one

Both speak of whatever begins at a relay or below it, or at a control point wherever it can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fabric.protocol.base.errors import Code
from relays.topology.flow import Flows
from relays.topology.holding import holds, rule_against
from relays.topology.loader import check
from relays.topology.model import AssertSpec, Topology
from relays.topology.problems import Problem, TopologyErrors
from relays.topology.starts import Start


def load_proven(path: Path) -> Topology:
    """A topology that is to run. Raises TopologyErrors as `load` does, and for asserts that do not hold."""
    checked = check(path)
    if checked.topology is None:
        raise TopologyErrors(path, list(checked.problems))
    if broken := [replace(problem, line=checked.lines.of(problem.key)) for problem in prove(checked.topology)]:
        raise TopologyErrors(path, broken)
    return checked.topology


def prove(topology: Topology) -> Iterator[Problem]:
    """The asserts that do not hold, as errors."""
    if not topology.asserts:
        return
    flows = Flows(topology)
    for index, claim in enumerate(topology.asserts):
        word = "must" if claim.must else "never"
        told = _broken_must(flows, claim) if claim.must else _broken_never(flows, claim)
        if told is not None:
            yield Problem(Code.TOPOLOGY_INVALID, f"assert.{index}.{word}", *told)


def _broken_never(flows: Flows, claim: AssertSpec) -> tuple[str, str] | None:
    way = flows.first(flows.starts.below(claim.source), claim.target, claim.label)
    if way is None:
        return None
    label = claim.label.short
    return (
        f"{label} from {claim.source} can reach {claim.target} {way.carrier}: {way}",
        f"clear a relay on that path for less than {label}, or remove the assert",
    )


def _broken_must(flows: Flows, claim: AssertSpec) -> tuple[str, str] | None:
    """Whatever begins there and is for the target has to get there; and something has to be for it."""
    label, target = claim.label, claim.target
    concerned = [start for start in _may_say(flows, claim) if flows.goes_there(start, target)]
    if not concerned:
        return _nothing_there(flows, claim)
    for start in concerned:
        if not flows.always(start, target, label):
            return _missed(flows, claim, start)
    return None


def _may_say(flows: Flows, claim: AssertSpec) -> list[Start]:
    """Those who can say something with the label, where their relay may hold it."""
    found = []
    for start in flows.starts.below(claim.source):
        cleared = start.point is None or claim.label <= start.point.clearance
        # A relay below the one that is named may be cleared for less, and says less; a control point that is named has
        # to be heard wherever it is.
        is_below = claim.source in flows.topology.relays and start.relay != claim.source
        may_pass = flows.walks.cleared(claim.label, start.own, sealed=flows.is_sealed(start))
        if cleared and (not is_below or start.relay in may_pass):
            found.append(start)
    return found


def _nothing_there(flows: Flows, claim: AssertSpec) -> tuple[str, str]:
    label, point = claim.label, flows.topology.points.get(claim.source)
    if point is not None and label > point.clearance:
        return (
            f"nobody says what is above their clearance, and that of {point.id} is {point.clearance.short}",
            f'write clearance = "{label.short}" there, or claim less',
        )
    return (
        f"no message of {claim.source} is for {claim.target}",
        "events climb, intel descends where it is subscribed to, actions to whom they select: correct the names, "
        "or the roles",
    )


def _missed(flows: Flows, claim: AssertSpec, start: Start) -> tuple[str, str]:
    """By which hop and rule it does not get there, or by which way it goes past."""
    label, target, topology = claim.label, claim.target, flows.topology
    what = f"{label.short} from {start.point.id if start.point is not None else start.relay}"
    receiver = topology.points.get(target)
    if receiver is not None and not holds(receiver, label, start.own):
        return (
            f"{what} is withheld from {target} ({rule_against(receiver, label)})",
            f"clear {target} for {label.short}, or claim less",
        )
    way = flows.hindrance(start, target, label)
    if not way:
        stop = flows.stop((start,), target, label)
        if stop.node:
            return (
                f"{what} stops at {stop} on its way to {target}: {stop.way}",
                f"clear {stop.node} for {label.short}, or claim less",
            )
        return (
            f"{what} does not reach {target} by every parent that the file allows",
            "remove backups that lead another way, or claim less",
        )
    last, by = topology.relays[way[-1]], " -> ".join(way)
    if last.id in flows.walks.cleared(label, start.own, sealed=flows.is_sealed(start)):
        return (
            f"{what} does not pass {target} on this way: {by}",
            "remove the backup that leads past it, or claim less",
        )
    return (
        f"{what} stops at {last.id} ({rule_against(last, label)}) on this way: {by}",
        f"clear {last.id} for {label.short}, or remove the backup that leads there",
    )
