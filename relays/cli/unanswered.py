"""Targets of an action that have not answered when the requester stops waiting: that does not stop the action."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from fabric.edge.messages import Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.vocabulary.openc2 import End

UNANSWERED, HELD = "unanswered", "held"


def clock_time(at_s: float) -> str:
    """In UTC, as the book, the log and `fabric status` have it."""
    return time.strftime("%H:%M:%SZ", time.gmtime(at_s))


class Open(NamedTuple):
    """What was asked for, and until when it may be executed (seconds since 1970, by this machine's clock)."""

    request: Request | None
    ends_s: float

    def held(self, *, as_json: bool) -> Iterator[str | dict[str, Any]]:
        """Of those who are away: one sentence, or an object of each, like an outcome, with an end that is none."""
        names = self.request.held if self.request is not None else ()
        for name in names if as_json else ():
            yield {**Outcome(name, End.UNKNOWN, "").to_json(), "end": HELD, "until_ms": int(self.ends_s * 1000)}
        if names and not as_json:
            yield f"away, and get it if they are back before {clock_time(self.ends_s)}: {', '.join(names)}"

    def lines(self, *, as_json: bool) -> Iterator[str | dict[str, Any]]:
        """Of each target that has not answered: a sentence, or an object like an outcome, with an end that is none."""
        until = f"not answered; may still be executed until {clock_time(self.ends_s)}"
        targets = self.request.targets if self.request is not None else None
        if targets is None and not (self.request is not None and (self.request.nobody or self.request.outcomes)):
            targets = ("",)
        for target in targets or ():
            if self.request is not None and target in self.request.outcomes:
                continue
            if as_json:
                more = {"end": UNANSWERED, "until_ms": int(self.ends_s * 1000)}
                yield {**Outcome(target, End.UNKNOWN, "").to_json(), **more}
            else:
                yield f"{target or 'whoever it selects'}: {until}"
