"""`fabric act` in steps: `--limit`, `--batch`, `--pause` and `--stop-on` (`fabric.edge.requesting.rollout`).

A dry run goes first: whom the action selects is fixed by it, and named where no step reaches them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fabric.edge.blocking import ControlPoint
from fabric.edge.messages import Outcome
from fabric.edge.requesting.request import Request
from fabric.edge.requesting.rollout import Rollout, Share, selectors_for, stop_on
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.vocabulary.openc2 import End
from relays.cli.actions.asked import Asked


@dataclass(frozen=True, slots=True)
class Steps:
    """How an action is to be rolled out, as it was typed."""

    limit: Share | None
    batch: Share | None
    pause_s: float
    stop_on: frozenset[End]

    @classmethod
    def typed(cls, limit: str | None, batch: str | None, pause: str | None, stops: list[str] | None) -> Steps | None:
        """None where it is not to be rolled out. Raises USAGE for what is wrong, or means nothing without the rest."""
        if limit is None and batch is None:
            if pause is not None or stops:
                raise FabricError(Code.USAGE, "--pause and --stop-on are between steps", "add --batch 5, or --limit 10%")
            return None
        return cls(
            None if limit is None else Share.parse(limit), None if batch is None else Share.parse(batch),
            parse_duration(pause or "0s") / 1000, stop_on(stops or []),
        )


class Rolling:
    """`tell` hears of each outcome, `say` of the steps."""

    def __init__(
        self, point: ControlPoint, asked: Asked, steps: Steps, options: Mapping[str, Any],
        tell: Callable[[Outcome], None], say: Callable[[str], None],
    ) -> None:
        self._point = point
        self._asked = asked
        self._steps = steps
        self._options = dict(options)
        self._tell = tell
        self._say = say
        self.selected: tuple[str, ...] | None = None

    def run(self, watch: Callable[[Request], None]) -> Rollout:
        """All steps, or those before it stops. Raises what the selection or a relay says."""
        rollout = Rollout(
            self._asked.to, self._select(), self._steps.limit, self._steps.batch, self._steps.stop_on
        )
        number = 0
        while step := rollout.next_step():
            if number:
                self._say(f"next in {self._steps.pause_s:g} s: step {number + 1} of {rollout.steps}, {', '.join(step)}")
                time.sleep(self._steps.pause_s)
            number += 1
            rollout.ended([
                outcome for selector in selectors_for(self._asked.to, step) for outcome in self._ask(selector, watch)
            ])
        return rollout

    def _select(self) -> tuple[str, ...]:
        """Whom it selects now: those who would begin it first, then those who are away, then the rest."""
        seen: list[Request] = []
        ends = {
            outcome.target: outcome.end
            for outcome in self._request(self._asked.to, seen.append, **{**self._options, "dry_run": True})
        }
        self.selected = (seen[-1].targets if seen else None) or ()
        held = seen[-1].held if seen else ()
        rank = {target: 0 if ends.get(target) is End.READY else 1 if target in held else 2 for target in self.selected}
        return tuple(sorted(self.selected, key=lambda target: rank[target]))

    def _ask(self, selector: str, watch: Callable[[Request], None]) -> list[Outcome]:
        outcomes = []
        for outcome in self._request(selector, watch, **self._options):
            outcomes.append(outcome)
            self._tell(outcome)
        return outcomes

    def _request(self, to: str, watch: Callable[[Request], None], **options: Any) -> Any:
        asked = self._asked
        return self._point.request(
            asked.action, asked.target, to=to, args=asked.args, command_id=asked.command_id, watch=watch, **options
        )
