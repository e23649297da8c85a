"""What a request is answered: outcomes, and errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.giving import Outcome
from relays.gateways.http.records import is_unsupported

# Of what was rejected so many are named.
REJECTED_MAX: Final = 1_000
_RETRY_S: Final = 2
_STATUS: Final = {
    Code.HTTP_UNKNOWN: 401, Code.HTTP_DENIED: 403, Code.PUBLISH_DENIED: 403, Code.SEVERITY_DENIED: 403,
    Code.CLEARANCE_DENIED: 403, Code.HTTP_RATE: 429, Code.HTTP_BODY: 400, Code.HTTP_SIZE: 413, Code.TOO_LARGE: 413,
    Code.HTTP_KEY: 422, Code.HTTP_BUSY: 503,
}


def answer_to(outcome: Outcome, is_single: bool) -> Response:
    """202 where all is durable, 207 where some was rejected, 503 where some was not taken; where nothing was taken and
    all is rejected, what is wrong with it."""
    content: dict[str, Any] = {"accepted": outcome.accepted, "ids": outcome.ids}
    if outcome.rejected:
        content["rejected"] = [
            {"record": number, **_words(error)} for number, error in list(outcome.rejected.items())[:REJECTED_MAX]
        ]
        content["rejected_count"] = len(outcome.rejected)
    if outcome.busy is not None:
        return problem(outcome.busy, content if outcome.accepted or outcome.rejected else {"accepted": 0})
    if not outcome.rejected:
        return _json(202, content)
    if outcome.accepted:
        return _json(207, content)
    error = next(iter(outcome.rejected.values()))
    return problem(error, {} if is_single else content)


def problem(
    error: FabricError, more: Mapping[str, Any] = {}, *, status: int = 0, retry_s: float = _RETRY_S  # noqa: B006
) -> Response:
    """An error, with its number and the next step. `status`: where it is another than the error's."""
    status = status or (415 if is_unsupported(error) else _STATUS.get(error.code, 400))
    words = _words(error)
    kind = f"urn:message-fabric:{words['code']}"
    content = {"type": kind, "title": words["cause"], "status": status, **words, **more}
    headers = {}
    if status == 401:  # noqa: PLR2004 - as HTTP has it
        headers["www-authenticate"] = "Bearer"
    if status in (429, 503):
        headers["retry-after"] = str(math.ceil(retry_s))
    return _json(status, content, headers, "application/problem+json")


def _words(error: FabricError) -> dict[str, str]:
    return {"code": error.code.label, "cause": error.code.cause, "detail": error.detail, "next": error.next_step}


def plain(content: Mapping[str, Any]) -> Response:
    """What is no outcome of a request."""
    return _json(200, content)


def _json(
    status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    body = json.dumps(content).encode() + b"\n"
    return Response(body, status, {"cache-control": "no-store", **(headers or {})}, media_type)
