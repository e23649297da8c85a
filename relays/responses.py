"""What OpenC2 says of the outcomes of an action: one response for each target, or one for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fabric.edge.messages import Outcome
from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.openc2 import Status
from fabric.protocol.vocabulary.responses import response, status_of

_CODES: Final = {code.label: code for code in Code}


def response_of(outcome: Outcome, end: str) -> dict[str, Any]:
    """What OpenC2 says of an end; under `x-fabric` whose it is, for a relay may have said it, and its name here."""
    status = Status.SERVICE_UNAVAILABLE if end != outcome.end else status_of(
        outcome.end, _CODES.get(outcome.code), outcome.status
    )
    code = {"code": outcome.code} if outcome.code else {}
    label = {"label": outcome.label.short} if outcome.by else {}
    denied = {"denied_by": outcome.denied_by, "why": outcome.why} if outcome.denied_by else {}
    left = {"artifacts": [artifact.to_json() for artifact in outcome.artifacts]} if outcome.artifacts else {}
    return response(
        status, f"{outcome.code} {outcome.reason}".strip() if status != Status.OK or outcome.code else "",
        outcome.result, {"target": outcome.target, "end": end, **code, **label, **left, **denied},
    )


def combined(
    outcomes: Sequence[Outcome], targets: Sequence[str] | None, more: Mapping[str, Any], *, done: bool
) -> dict[str, Any]:
    """One response for all targets: that of the only one where there is no other. Else its status is the highest of
    theirs, so it is 200 where each did it, and 102 while one is open; each one's own is under `x-fabric`. `targets`:
    None while nobody said who they are."""
    each = [response_of(outcome, str(outcome.end)) for outcome in outcomes]
    if done and len(each) == 1:
        return each[0]
    status = Status(max(one["status"] for one in each)) if done and each else Status.PROCESSING
    count = len(each) if targets is None else len(targets)
    good = sum(one["status"] == Status.OK for one in each)
    words = f"{good} of {count} completed" if done else f"{len(each)} of {count} ended"
    who = {} if targets is None else {"targets": list(targets)}
    return response(status, words if count else "", None, {**who, "responses": each, **more})
