"""Targets of an action that have not answered when the requester stops waiting: that does not stop the action."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from fabric.edge.messages import Approvals, Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.vocabulary.openc2 import End

UNANSWERED, HELD, WOULD_HOLD = "unanswered", "held", "would be held"
# Of an action's id: enough to tell some thousand apart.
ID_CHARS = 12


def clock_time(at_s: float) -> str:
    """In UTC, as the book, the log and `fabric status` have it."""
    return time.strftime("%H:%M:%SZ", time.gmtime(at_s))


class Open(NamedTuple):
    """What was asked for, and until when it may be executed (seconds since 1970, by this machine's clock)."""

    request: Request | None
    ends_s: float

    @property
    def approval(self) -> Approvals | None:
        """Of what is held for approvals, or was approved."""
        return self.request.approval if self.request is not None else None

    @property
    def until_s(self) -> float:
        """Until when it may be executed; where it is held for approvals, until when it is."""
        return self.approval.until_ms / 1000 if self.approval is not None and self.approval.is_asked else self.ends_s

    def waits(self, *, as_json: bool) -> Iterator[str | dict[str, Any]]:
        """Of what is held for approvals: one sentence, or an object of each target, with an end that is none."""
        approval, request = self.approval, self.request
        if approval is None or approval.given or request is None:
            return
        if not approval.is_asked:
            yield from self._would_wait(request, approval) if as_json else [approval.text]
            return
        for name in (request.targets or ()) if as_json else ():
            more = {"end": HELD, "until_ms": approval.until_ms, "approval": approval.to_json()}
            yield {**Outcome(name, End.UNKNOWN, "").to_json(), **more}
        if not as_json:
            yield (f"held: {approval.text} until {clock_time(self.until_s)}, by the rule {approval.rule}; they see it in "
                   f"`fabric approvals`, and decide with `fabric approve {request.action_id[:ID_CHARS]}`")

    @staticmethod
    def _would_wait(request: Request, approval: Approvals) -> Iterator[dict[str, Any]]:
        for name in request.targets or ():
            yield {**Outcome(name, End.UNKNOWN, "").to_json(), "end": WOULD_HOLD, "approval": approval.to_json()}

    def held(self, *, as_json: bool) -> Iterator[str | dict[str, Any]]:
        """Of those who are away: one sentence, or an object of each, like an outcome, with an end that is none."""
        names = self.request.held if self.request is not None else ()
        for name in names if as_json else ():
            yield {**Outcome(name, End.UNKNOWN, "").to_json(), "end": HELD, "until_ms": int(self.until_s * 1000)}
        if names and not as_json:
            yield f"away, and get it if they are back before {clock_time(self.until_s)}: {', '.join(names)}"

    def lines(self, *, as_json: bool) -> Iterator[str | dict[str, Any]]:
        """Of each target that has not answered: a sentence, or an object like an outcome, with an end that is none."""
        until = f"not answered; may still be executed until {clock_time(self.until_s)}"
        waits = self.approval is not None and self.approval.is_asked and not self.approval.given
        if waits and self.approval is not None and self.request is not None:
            until = (f"held, and stays so: {self.approval.text} until {clock_time(self.until_s)}; `fabric cancel "
                     f"{self.request.action_id[:ID_CHARS]}` ends it")
        targets = self.request.targets if self.request is not None else None
        if targets is None and not (self.request is not None and (self.request.nobody or self.request.outcomes)):
            targets = ("",)
        for target in targets or ():
            if self.request is not None and target in self.request.outcomes:
                continue
            if as_json:
                more = {"end": UNANSWERED, "until_ms": int(self.until_s * 1000)}
                yield {**Outcome(target, End.UNKNOWN, "").to_json(), **more}
            else:
                yield f"{target or 'whoever it selects'}: {until}"
