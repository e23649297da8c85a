"""What OpenC2 1.0 says of an action: its response, and the features that a control point has.

Guarantees: every end of an action has one status of OpenC2 (3.3.2.1), whatever a handler or a peer says; a response's
`results` has OpenC2's own names, and under `x-fabric` what OpenC2 has no name for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import ACTIONS_PER_S
from fabric.protocol.vocabulary.openc2 import ACTIONS, End, Status, action_matches
from fabric.protocol.vocabulary.target_types import TARGETS

VERSION: Final = "1.0"
# Of a command that only asks whether somebody is there: none of them.
QUERY_FEATURES: Final = ("query", "features")

# Of a refusal, by its code; of others by what kind of code it is.
_BY_CODE: Final[Mapping[Code, Status]] = {
    Code.DRAINING: Status.SERVICE_UNAVAILABLE,
    Code.TOO_MANY_SESSIONS: Status.SERVICE_UNAVAILABLE,
    Code.LIST_EXPIRED: Status.SERVICE_UNAVAILABLE,
    Code.RATE_EXCEEDED: Status.SERVICE_UNAVAILABLE,
    Code.TTL_TOO_LONG: Status.BAD_REQUEST,
    Code.BAD_LABEL: Status.BAD_REQUEST,
    Code.NOBODY: Status.NOT_FOUND,
    Code.ARTIFACT_GONE: Status.NOT_FOUND,
    Code.ARTIFACT_CHANGED: Status.INTERNAL_ERROR,
    Code.ARTIFACT_NOT_KEPT: Status.INTERNAL_ERROR,
    Code.BAD_SELECTOR: Status.BAD_REQUEST,
    Code.BAD_ACTION: Status.BAD_REQUEST,
    Code.NOT_NOW: Status.BAD_REQUEST,
    Code.NO_HANDLER: Status.NOT_IMPLEMENTED,
    Code.NOT_REVERTED: Status.NOT_IMPLEMENTED,
    Code.LEASE_TOO_LONG: Status.BAD_REQUEST,
    Code.HANDLER_FAILED: Status.INTERNAL_ERROR,
    Code.CANNOT_RUN: Status.INTERNAL_ERROR,
    Code.RESULT_UNFIT: Status.INTERNAL_ERROR,
    Code.PROTECTED: Status.FORBIDDEN,
    Code.NOT_THERE: Status.NOT_FOUND,
}
_BY_HUNDREDS: Final = {
    1: Status.BAD_REQUEST,
    2: Status.UNAUTHORIZED,
    3: Status.UNAUTHORIZED,
    4: Status.FORBIDDEN,
    5: Status.SERVICE_UNAVAILABLE,
    6: Status.FORBIDDEN,
    7: Status.SERVICE_UNAVAILABLE,
    8: Status.INTERNAL_ERROR,
    9: Status.INTERNAL_ERROR,
}
_OWN: Final = tuple(status for status in Status if status is not Status.PROCESSING)


def status_of_code(code: Code) -> Status:
    """The status of an action that was refused for this."""
    return _BY_CODE.get(code) or _BY_HUNDREDS[code.number // 100]


def status_of(end: End, code: Code | None = None, own: int = 0) -> Status:
    """The status of an end. `own`: what the target said, which counts where it may: of what it did."""
    match end:
        case End.COMPLETED:
            return Status(own) if own in _OWN else Status.OK
        case End.FAILED:
            return Status(own) if own in _OWN and own != Status.OK else Status.INTERNAL_ERROR
        case End.REFUSED:
            return Status.FORBIDDEN if code is None else status_of_code(code)
        case End.READY:
            return Status.OK
        case _:
            return Status.SERVICE_UNAVAILABLE


# Results that OpenC2 names itself (3.3.2.2); any other is under a profile's name.
_COMMON: Final = ("versions", "profiles", "pairs", "rate_limit")
_NSID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,15}")
FABRIC: Final = "x-fabric"


def response(
    status: Status, text: str = "", result: Mapping[str, Any] | None = None, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`more`: what this fabric says of it. Of a result it is all that is neither OpenC2's nor a map under the name of a
    profile, too."""
    named = {
        name: value for name, value in (result or {}).items()
        if name in _COMMON or (_NSID.fullmatch(str(name)) and isinstance(value, Mapping) and name != FABRIC)
    }
    rest = {name: value for name, value in (result or {}).items() if name not in named}
    own = {**(more or {}), **({"result": rest} if rest else {})}
    results = {**named, **({FABRIC: own} if own else {})}
    return {
        "status": int(status),
        **({"status_text": text} if text else {}),
        **({"results": results} if results else {}),
    }


def response_message(
    content: Mapping[str, Any], *, from_: str, to: str, created_ms: int, request_id: str = ""
) -> dict[str, Any]:
    """A response with the elements of its message (3.2), as the HTTPS transfer writes them."""
    headers: dict[str, Any] = {"request_id": request_id} if request_id else {}
    headers.update({"created": created_ms, "from": from_, "to": [to]})
    return {"headers": headers, "body": {"openc2": {"response": dict(content)}}}


def features_of(
    wanted: Sequence[str], patterns: Sequence[str], granted: Sequence[str], profiles: Sequence[str]
) -> dict[str, Any]:
    """The answer to `query features` (4.1): of a control point with handlers for these patterns, as far as grants allow
    what they match. A relay passes on so many actions of one requester; more no control point gets."""
    known: dict[str, Any] = {
        "versions": [VERSION],
        "profiles": list(profiles),
        "pairs": _pairs(patterns, granted),
        "rate_limit": 60 * ACTIONS_PER_S,
    }
    return {name: known[name] for name in wanted}


def _pairs(patterns: Sequence[str], granted: Sequence[str]) -> dict[str, list[str]]:
    """Pairs of OpenC2, and those of extensions that a pattern names."""
    named = [pattern.split(" ", 1) for pattern in patterns if " " in pattern]
    actions = dict.fromkeys([*ACTIONS, *(action for action, _ in named if action != "*")])
    targets = dict.fromkeys([*TARGETS, *(type_ for _, type_ in named if type_ != "*")])
    served = [*patterns, " ".join(QUERY_FEATURES)]
    pairs = {
        action: [
            type_ for type_ in targets
            if any(action_matches(each, action, type_) for each in served)
            and any(action_matches(each, action, type_) for each in granted)
        ]
        for action in actions
    }
    return {action: types for action, types in pairs.items() if types}
