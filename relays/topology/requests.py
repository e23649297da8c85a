"""What lint says of requests: whom they select, where they turn, and at which relay they are withheld.

Warnings only. An action means something only whole: one hop that may not hold it is enough to stop it. The relays here
are those that the nodes prefer; what a backup changes, lint says of the backup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.tlp import Audience
from relays.topology.holding import first_refusal, own, rule_against
from relays.topology.matching import able, executors
from relays.topology.model import PointSpec, RelaySpec, RequestGrant, Topology
from relays.topology.problems import Problem, listed, warning


def judge_requests(topology: Topology) -> Iterator[Problem]:
    """In the order of the questions: does it select anybody, where does it turn, does it get to its targets."""
    yield from _selecting_nobody(topology)
    requests = _Requests(topology)
    for point in topology.points.values():
        if point.relay is not None:
            yield from requests.of(point, topology.path_to_root(point.relay))
    yield from _scopes(topology)


def _selecting_nobody(topology: Topology) -> Iterator[Problem]:
    played = {point.role for point in topology.points.values()}
    for role in topology.roles.values():
        for index, grant in enumerate(role.request):
            if role.name in played and not executors(topology, grant):
                where = f" below {grant.scope}" if grant.scope else ""
                yield warning(
                    f"roles.{role.name}.request.{index}",
                    f"no point{where} that '{grant.to}' selects may execute '{grant.action}'",
                    "correct the selector, or add an execute grant to the role of the targets",
                    Code.NOBODY,
                )


@dataclass(slots=True)
class _Withheld:
    """Which actions to whom a relay stops."""

    actions: dict[str, None] = field(default_factory=dict)
    targets: dict[str, None] = field(default_factory=dict)


class _Requests:
    """Remembers what does not depend on who asks: requesters are many, grants few."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._label = topology.defaults.label
        self._targets: dict[tuple[RequestGrant, bool], dict[str, list[str]]] = {}
        self._stops: dict[tuple[RequestGrant, str, Audience], list[tuple[str, list[str]]]] = {}

    def of(self, point: PointSpec, climbing: Sequence[RelaySpec]) -> Iterator[Problem]:
        """Of a control point at the first of these relays, which lead to the root."""
        topology, names = self._topology, [relay.id for relay in climbing]
        elsewhere: dict[str, None] = {}
        stopped: dict[str, _Withheld] = {}
        for grant in topology.roles[point.role].request:
            turn = grant.scope or topology.root.id
            if turn not in names:
                elsewhere[turn] = None
                turn = topology.root.id
            up = first_refusal(climbing[: names.index(turn) + 1], self._label, own(point))
            if up is None:
                stops = self._on_the_way_down(grant, turn, own(point))
            else:
                everybody = self._targets_at(grant, turn != grant.scope).values()
                stops = [(up.id, [target for some in everybody for target in some])]
            for stop, targets in stops:
                if targets:
                    held = stopped.setdefault(stop, _Withheld())
                    held.actions[grant.action] = None
                    held.targets.update(dict.fromkeys(targets))
        for turn in elsewhere:
            yield warning(
                f"points.{point.id}",
                f"requests of {point.id} turn at the root {topology.root.id} and not at {turn}, "
                f"which is not above {names[0]}",
                f"it may be meant; else move {point.id} below {turn}, or use a role with another scope",
                Code.UNROUTABLE,
            )
        for name, held in stopped.items():
            yield _withheld(topology, point, topology.relays[name], held)

    def _on_the_way_down(self, grant: RequestGrant, turn: str, audience: Audience) -> list[tuple[str, list[str]]]:
        """Each relay that stops it, with whom it does not reach for that."""
        key = grant, turn, audience
        if key not in self._stops:
            found: dict[str, list[str]] = {}
            for relay, targets in self._targets_at(grant, turn != grant.scope).items():
                above = self._topology.path_to_root(relay)
                down = above[: [each.id for each in above].index(turn) + 1]
                stop = first_refusal(reversed(down), self._label, audience)
                if stop is not None:
                    found.setdefault(stop.id, []).extend(targets)
            self._stops[key] = list(found.items())
        return self._stops[key]

    def _targets_at(self, grant: RequestGrant, anywhere: bool) -> dict[str, list[str]]:
        """By their relays; `anywhere`: also outside of its scope."""
        key = grant, anywhere
        if key not in self._targets:
            found: dict[str, list[str]] = {}
            for target in able(self._topology, grant) if anywhere else executors(self._topology, grant):
                if target.relay is not None:
                    found.setdefault(target.relay, []).append(target.id)
            self._targets[key] = found
        return self._targets[key]


def _withheld(topology: Topology, point: PointSpec, relay: RelaySpec, held: _Withheld) -> Problem:
    label, name = topology.defaults.label, relay.id
    if label > relay.clearance:
        rule, less = f"{name} {relay.clearance.short}", relay.clearance.short
    else:
        rule, less = f"{name} is of another audience ({rule_against(relay, label)})", "clear"
    return warning(
        f"points.{point.id}",
        f"{listed(list(held.actions))} from {point.id} to {listed(list(held.targets))}: "
        f"arguments {label.short} (the default label), {rule}: will be withheld",
        f"it may be meant; else label such actions {less}, request them below {name}, or "
        f"seal them to their targets (fabric act --seal --label {less}) with carries_sealed = true at {name}",
        Code.WITHHELD,
    )


def _scopes(topology: Topology) -> Iterator[Problem]:
    """Requesters that leave the subtree in which their requests turn when they go to a backup."""
    for point in topology.points.values():
        scopes = dict.fromkeys(grant.scope for grant in topology.roles[point.role].request if grant.scope)
        for scope in scopes:
            within = {relay.id for relay in topology.subtree(scope)}
            if point.relay not in within:
                continue
            for index, backup in enumerate(point.backups):
                if backup not in within:
                    yield warning(
                        f"points.{point.id}.backups.{index}",
                        f"while {point.id} is at its backup {backup}, its requests turn at the root "
                        f"{topology.root.id} and not at {scope}, which is not above {backup}",
                        f"it may be meant; else name a backup at or below {scope}",
                        Code.UNROUTABLE,
                    )
