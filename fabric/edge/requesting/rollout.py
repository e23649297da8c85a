"""An action in steps: to some of its targets first, and to the next ones only while it goes well.

Guarantees: the targets are fixed before the first step, each is in one step, and a step's selectors select those of
them that the action's own selector still selects, and nobody else. Whom no step reaches is named. Pure: a step is asked
for by whoever runs the plan, so both faces of a control point can.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fabric.edge.messages import Outcome
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import SELECTOR_BYTES_MAX
from fabric.protocol.vocabulary.openc2 import End

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%|([0-9]{1,6})")
_GOOD = (End.COMPLETED, End.READY)


class Share(NamedTuple):
    """A number of targets, or a share of them."""

    number: float
    is_percent: bool

    @classmethod
    def parse(cls, text: str) -> Share:
        """`10%`, `5`. Raises USAGE: a share is above 0 and at most 100 %."""
        found = _SHARE.fullmatch(text.strip())
        share = None if found is None else cls(float(found[1] or found[2]), found[1] is not None)
        if share is None or not share.number or (share.is_percent and share.number > 100):
            raise FabricError(Code.USAGE, f"{text[:40]!r} is no number of targets", "write e.g. 5, or 10%")
        return share

    def of(self, total: int) -> int:
        """At least one, and no more than there are: 10% of 4 is 1."""
        count = -(-total * self.number // 100) if self.is_percent else self.number
        return min(total, max(1, int(count)))


@dataclass
class Rollout:
    """`limit`: how many targets in all; `batch`: how many in a step. None: all of them.

    `stop_on`: after a step in which a target ended like this, or in another way that is not good, nothing more is
    begun. Empty: it always goes on.
    """

    to: str
    targets: tuple[str, ...]
    limit: Share | None = None
    batch: Share | None = None
    stop_on: frozenset[End] = frozenset()
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    stopped_by: Outcome | None = None
    _next: int = 0

    @property
    def chosen(self) -> tuple[str, ...]:
        """The targets of all steps, in their order."""
        return self.targets if self.limit is None else self.targets[: self.limit.of(len(self.targets))]

    @property
    def not_begun(self) -> tuple[str, ...]:
        """Whom no step has been for."""
        return self.targets[self._next :]

    @property
    def steps(self) -> int:
        """How many there are when it goes well."""
        return -(-len(self.chosen) // self._size) if self.chosen else 0

    @property
    def _size(self) -> int:
        return max(1, len(self.chosen) if self.batch is None else self.batch.of(len(self.chosen)))

    def next_step(self) -> tuple[str, ...]:
        """The targets of the next step, which begins now; empty where there is none any more."""
        if self.stopped_by is not None:
            return ()
        step = self.chosen[self._next : self._next + self._size]
        self._next += len(step)
        return step

    def ended(self, outcomes: Iterable[Outcome]) -> None:
        """What became of a step. A target that was unknown and then ended counts by its last word."""
        last = {outcome.target: outcome for outcome in outcomes}
        self.outcomes.update(last)
        bad = [outcome for outcome in last.values() if outcome.end in self.stop_on]
        if bad and self.stopped_by is None:
            self.stopped_by = bad[0]


def stop_on(words: Sequence[str]) -> frozenset[End]:
    """The ends at which a rollout stops. `failed` means every end that is not good. Raises USAGE."""
    ends: set[End] = set()
    for word in words:
        if word == End.FAILED:
            ends.update(end for end in End if end not in _GOOD)
        elif word in {str(end) for end in End if end not in _GOOD}:
            ends.add(End(word))
        else:
            known = ", ".join(str(end) for end in End if end not in _GOOD)
            raise FabricError(Code.USAGE, f"{word[:40]!r} is no end to stop on", f"write one of {known}")
    return frozenset(ends)


def selectors_for(to: str, targets: Sequence[str]) -> list[str]:
    """Selectors that select these of whom `to` selects, as few as their length allows. Raises BAD_SELECTOR.

    The action's own selector stays in each: who changed since the targets were fixed is not reached by mistake.
    """
    selectors: list[str] = []
    some: list[str] = []
    for target in targets:
        if some and len(_selector(to, [*some, target]).encode()) > SELECTOR_BYTES_MAX:
            selectors.append(_selector(to, some))
            some = []
        some.append(target)
    if some:
        selectors.append(_selector(to, some))
    for selector in selectors:
        if len(selector.encode()) > SELECTOR_BYTES_MAX:
            raise FabricError(
                Code.BAD_SELECTOR, f"with a target's id it has more than {SELECTOR_BYTES_MAX} bytes",
                "shorten the selector, or ask for all targets at once",
            )
    return selectors


def _selector(to: str, targets: Sequence[str]) -> str:
    return f"id in ({', '.join(targets)}) and ({to})"
