"""Gives the records of a request to the control point, and waits until they are durable.

Guarantees: every record is in what is returned: with its id, which is durable, or with why not. What was not durable in
time was not taken: it is never published later. For a thread that may wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.keys import Work
from relays.gateways.http.records import Fault, Found
from relays.gateways.http.tokens import Token
from relays.gateways.kinds import Given, Intake
from relays.gateways.mapping import Mapped, Unfit

# The id of what was taken before the gateway was killed.
UNKNOWN: Final = "unknown"


class Fit(NamedTuple):
    """A record that can be published. `number`: from 1."""

    number: int
    record: dict[str, Any]
    mapped: Mapped


class _KeptError(FabricError):
    """What refused a record that is in the dead letters already."""


@dataclass
class Outcome:
    """`ids`: one for each record in order, None for what was not taken. `rejected`: by number, from 1, and kept in the
    dead letters. `busy`: why the rest was not taken."""

    ids: list[str | None]
    rejected: dict[int, FabricError] = field(default_factory=dict)
    busy: FabricError | None = None

    @property
    def accepted(self) -> int:
        return sum(id_ is not None for id_ in self.ids)


def give(
    found: Found, intake: Intake, token: Token, topic: str, peer: str, wait_s: float, work: Work | None = None,
    now_s: Callable[[], float] = time.monotonic,
) -> Outcome:
    """`topic`: instead of the declared one, or empty. `wait_s`: in which it has to be durable. `work`: it has a key;
    its records are given in groups, one after the other: what was taken is what comes first in their order."""
    outcome = Outcome([None] * len(found))
    until_s = now_s() + wait_s
    wheres = f"{token.name} {peer} record "
    fit: list[Fit] = []
    for number, item in enumerate(found, 1):
        try:
            fit.append(_fit(number, item, intake, token, topic))
        except FabricError as error:
            outcome.rejected[number] = error
    groups = [fit] if work is None else _groups(fit)
    order = [] if work is None else [each.number for group in groups for each in group]
    passed = before = work.resume(order) if work is not None else 0
    if work is not None and work.before is not None:
        ids = [*work.before.ids, *[UNKNOWN] * before]
        for number, id_ in zip(order[:before], ids, strict=False):
            if id_:
                outcome.ids[number - 1] = id_
            else:
                outcome.rejected[number] = _KeptError(Code.BAD_INPUT, "it was refused before: see the dead letters")
    for group in groups:
        skipped = min(before, len(group))
        before -= skipped
        rest = group[skipped:]
        given = [
            Given(record, None if work is None else work.position(count), f"{wheres}{number}", by=token.name)
            for count, (number, record, _) in enumerate(rest, passed + 1)
        ]
        _publish(rest, given, intake, outcome, max(0.0, until_s - now_s()))
        if outcome.busy is not None:
            break
        passed += len(rest)
    if work is None or outcome.busy is None:  # else it is said of them with the answer
        for number, why in sorted(outcome.rejected.items()):
            if not isinstance(why, _KeptError):
                refused = found[number - 1]
                raw = refused.raw if isinstance(refused, Fault) else refused
                _reject(number, raw, why, intake, outcome, f"{wheres}{number}", token.name)
    if work is not None and outcome.busy is not None:
        ended = [outcome.ids[n - 1] is not None or n in outcome.rejected for n in order]
        taken = ended.index(False) if False in ended else len(order)
        work.interrupted(taken, [outcome.ids[n - 1] or "" for n in order[:taken]])
    return outcome


def _groups(fit: list[Fit]) -> list[list[Fit]]:
    """Of what is on its way in the order in which it was given."""
    groups: dict[Any, list[Fit]] = {}
    for each in fit:
        groups.setdefault((each.mapped.topic, each.mapped.severity, each.mapped.phase), []).append(each)
    return list(groups.values())


def _fit(number: int, item: dict[str, Any] | Fault, intake: Intake, token: Token, topic: str) -> Fit:
    if isinstance(item, Fault):
        raise item.error
    mapped = intake.mapped(item, topic=topic, checked=True)
    if isinstance(mapped, Unfit):
        raise mapped.error
    if not token.is_for(mapped.topic):
        raise FabricError(Code.HTTP_DENIED, f"{token.name}: no topic of it covers {mapped.topic}")
    return Fit(number, item, mapped)


def _publish(fit: list[Fit], given: list[Given], intake: Intake, outcome: Outcome, wait_s: float) -> None:
    if not fit:
        return
    try:
        ended = intake.publish_many(given, [each.mapped for each in fit], wait_s)
    except FabricError as error:
        outcome.busy = _busy(error)
        return
    for each, became in zip(fit, ended, strict=True):
        if isinstance(became, str):
            outcome.ids[each.number - 1] = became
        elif became.code in (Code.CLOSED, Code.BUSY):
            outcome.busy = outcome.busy or _busy(became)
        else:
            outcome.rejected[each.number] = _KeptError(became.code, became.detail, became.next_step)


def _reject(
    number: int, raw: bytes | dict[str, Any], why: FabricError, intake: Intake, outcome: Outcome, where: str,
    by: str,
) -> None:
    """What the disk has no room for was not taken."""
    try:
        intake.reject(raw, why, where, waits=False, by=by)
    except FabricError as error:
        del outcome.rejected[number]
        outcome.busy = outcome.busy or _busy(error)


def _busy(error: FabricError) -> FabricError:
    return FabricError(Code.HTTP_BUSY, error.detail or error.code.cause)
