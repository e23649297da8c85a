"""OpenC2 commands that are posted, and their responses (OpenC2 HTTPS transfer 1.1, sections 3.2 to 3.4).

200 is a response for the whole command, 202 one that says how far it is: the same command again, under the same
request_id, is the same action, and says more. What is wrong with a command is an OpenC2 response, too, whose status is
the one of HTTP; what is wrong with the request is a problem, as everywhere else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.vocabulary.commands import COMMAND_BYTES_MAX, Command, both, read_command
from fabric.protocol.vocabulary.openc2 import Status
from fabric.protocol.vocabulary.plain_json import parse_ijson
from fabric.protocol.vocabulary.responses import response, response_message, status_of_code
from fabric.protocol.vocabulary.text_types import command_id
from relays.gateways.http.asking import Asking, Open, Wanted
from relays.gateways.http.tokens import Token
from relays.responses import combined

MEDIA_TYPE: Final = "application/openc2+json;version=1.0"
# Of transfer 1.0.
MEDIA_TYPE_OLD: Final = "application/openc2-cmd+json;version=1.0"
_ANSWER_OLD: Final = "application/openc2-rsp+json;version=1.0"
# JSON may escape each character of a command.
BODY_BYTES_MAX: Final = 6 * COMMAND_BYTES_MAX
_STATUS: Final[Mapping[Code, Status]] = {
    Code.KEY_TAKEN: Status.BAD_REQUEST, Code.BAD_INPUT: Status.BAD_REQUEST, Code.HTTP_DENIED: Status.FORBIDDEN,
    Code.TOO_DEEP: Status.BAD_REQUEST, Code.USAGE: Status.BAD_REQUEST, Code.TOO_LARGE: Status.BAD_REQUEST,
    Code.SOURCE_FAILED: Status.INTERNAL_ERROR, Code.CLOSED: Status.SERVICE_UNAVAILABLE,
}


class UnsupportedError(FabricError):
    """Of another content type."""


def check_type(content_type: str) -> str:
    """The content type of the response to this one. Raises UnsupportedError."""
    given = content_type.replace(" ", "").replace('"', "").lower()
    for known, answer in ((MEDIA_TYPE, MEDIA_TYPE), (MEDIA_TYPE_OLD, _ANSWER_OLD)):
        if given in (known, known.partition(";")[0]):
            return answer
    raise UnsupportedError(Code.HTTP_BODY, "its Content-Type is no OpenC2 message", f"send it as {MEDIA_TYPE}")


class Commands:
    """`me`: the control point that asks. `answer_s`: how long the end of an action is waited for."""

    def __init__(self, asking: Asking, me: str, answer_s: float, now_ms: Callable[[], int]) -> None:
        self._asking = asking
        self._me = me
        self._answer_s = answer_s
        self._now_ms = now_ms

    async def answer(self, request: Request, token: Token, body: bytes, media_type: str) -> Response:
        """To a request with this body."""
        request_id = request.headers.get("x-request-id", "")
        try:
            command = _command(body)
            request_id = _request_id(request_id, command)
            open_ = self._asking.ask(Wanted(token.name, request_id, command, _whom(token, command)))
            content, status = await self._content(open_)
        except FabricError as error:
            of_it = _STATUS.get(error.code) or status_of_code(error.code)
            content, status = _wrong(error, of_it), int(of_it)
            request_id = request_id if command_id(request_id) is not None else ""
            open_ = None
        headers = {"cache-control": "no-store"}
        if request_id and request_id.isascii():
            headers["x-request-id"] = request_id
        if content is None:
            return Response(None, status, headers)
        outcomes = list(open_.request.outcomes.values()) if open_ is not None and open_.request is not None else []
        message = response_message(
            content, from_=outcomes[0].by or self._me if len(outcomes) == 1 and status == 200 else self._me,  # noqa: PLR2004
            to=token.name, created_ms=self._now_ms(), request_id=request_id,
        )
        if status == Status.SERVICE_UNAVAILABLE:
            headers["retry-after"] = "2"
        return Response(json.dumps(message).encode() + b"\n", status, headers, media_type)

    async def _content(self, open_: Open) -> tuple[dict[str, Any] | None, int]:
        """The response, or that none is wanted; and the status of HTTP. Raises what nothing becomes of it for."""
        wants = open_.wanted.command.args.get("response_requested", "complete")
        until = open_.ended if wants == "complete" else open_.begun
        await asyncio.wait([open_.awaited(until)], timeout=self._answer_s)
        done = open_.ended.done()
        if open_.error is not None:
            raise open_.error
        if not done and not await asyncio.to_thread(self._asking.is_asked, open_):
            raise FabricError(Code.HTTP_BUSY, "whether it was asked for is not known yet",
                              "ask again under the same request_id: it is the same action")
        if wants == "none":
            return None, 200
        known = open_.request
        more = {} if known is None or known.approval is None else {"approval": known.approval.to_json()}
        content = combined(
            [] if known is None else list(known.outcomes.values()), None if known is None else known.targets, more,
            done=done,
        )
        return content, 200 if done else 202


def _command(body: bytes) -> Command:
    """Raises BAD_INPUT, BAD_ACTION, TOO_DEEP."""
    try:
        document = parse_ijson(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise FabricError(Code.BAD_INPUT, "no UTF-8", "send one OpenC2 message as JSON") from None
    except ValueError as error:
        raise FabricError(Code.BAD_INPUT, str(error), "send one OpenC2 message as JSON") from None
    command = read_command(document)
    if isinstance(command, Reject):
        raise FabricError(command.code, command.detail, "correct what is named")
    return command


def _request_id(header: str, command: Command) -> str:
    """What the message is called: it has to be called something, so that it can be sent again (3.3.3)."""
    if header and command_id(header) is None:
        raise FabricError(Code.BAD_INPUT, "X-Request-ID: 1 to 36 characters, without spaces", "send e.g. a UUID")
    if header and command.request_id and header != command.request_id:
        raise FabricError(Code.BAD_INPUT, "X-Request-ID and headers.request_id differ", "send the same in both")
    found = header or command.request_id or command.id
    if not found:
        raise FabricError(Code.BAD_INPUT, "the message has no request_id", "send one, also as X-Request-ID: a UUID")
    return found


def _whom(token: Token, command: Command) -> str:
    """The selector of those whom both select. Raises HTTP_DENIED."""
    words = f"{command.action} {command.target.type}"
    if command.action == "cancel":
        raise FabricError(Code.HTTP_DENIED, "an action is cancelled by its id, by who operates the gateway",
                          "run there: fabric cancel ID")
    if not token.may_ask(command.action, command.target.type):
        raise FabricError(Code.HTTP_DENIED, f"{token.name}: no action of it allows {words}")
    return both(token.to, command.selector)


def _wrong(error: FabricError, status: Status) -> dict[str, Any]:
    words = f"{error.code.label} {error.code.cause}{f': {error.detail}' if error.detail else ''}"
    return response(status, words, None, {"code": error.code.label, "next": error.next_step})
