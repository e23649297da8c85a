"""What a fault means for what was published: it may be taken later, or never will be.

Guarantees: of what a server says only its number is said; what it says may be anything.
"""

from __future__ import annotations

import ssl
from typing import Final

from nats import errors
from nats.js import errors as stream_errors

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing.trying import NotNowError, NotUsError
from relays.handlers.posting import words_of as socket_words_of

_LET_IN: Final = "look at its token, password, nkey or credentials, and whether they may publish there"
_FULL: Final = "make room in the stream: it waits for that"
# JetStream's own numbers, of server/errors.json.
_TOO_LARGE: Final = 10_054
NO_ANSWER: Final = -1
_STEPS: Final = {
    10_047: _FULL, 10_077: _FULL, 10_023: _FULL, 10_122: _FULL,
    10_060: "its subject belongs to another stream: correct stream or subject",
    10_059: "make the stream, or write create = true",
    10_058: "the stream is there with other subjects: correct subject, or add it to the stream",
    10_065: "another stream has its subject: correct subject, or name that stream",
    10_039: "enable JetStream for its account", 10_076: "enable JetStream on the server",
}


class AnswerError(Exception):
    """A stream did not take what was published. `number`: JetStream's; 0 where no stream is there, NO_ANSWER where what
    came is none."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def refusal_of(error: BaseException, where: str, subject: str) -> FabricError:
    """Why what was published on this subject never will be taken. Raises NotNowError where it may be."""
    number = _number_of(error)
    if isinstance(error, errors.MaxPayloadError) or number == _TOO_LARGE:
        return FabricError(Code.TOO_LARGE, f"{where} takes no message of its size",
                           "raise max_payload of the server, or max_msg_size of the stream")
    if number == 0:
        raise NotUsError(f"{where}: no stream takes the subject {subject}",
                         "make the stream with this subject, or write create = true")
    if number is not None:
        step = _STEPS.get(number, "see what this number means at the server")
        refused = NotNowError if step == _FULL or number == NO_ANSWER else NotUsError
        raise refused(f"{where}: error {number} of JetStream", step)
    raise not_now(error, where)


def not_now(error: BaseException, where: str) -> NotNowError:
    """For a fault of the connection."""
    refused = NotUsError if _is_denied(error) else NotNowError
    return refused(f"{where}: {words_of(error)}", _next_step_of(error))


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, AnswerError):
        return error.number
    if isinstance(error, stream_errors.NoStreamResponseError):
        return 0
    return (error.err_code or error.code or NO_ANSWER) if isinstance(error, stream_errors.APIError) else None


def words_of(error: BaseException) -> str:
    """Of a fault of the connection."""
    if _is_denied(error):
        return "it does not let us in, or not do this"
    if isinstance(error, TimeoutError | errors.TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return socket_words_of(error)
    return f"the connection was closed ({type(error).__name__})"


def _next_step_of(error: BaseException) -> str:
    """What to do about it; empty where waiting may be all."""
    if isinstance(error, ssl.SSLError):
        return "look at the server's certificate, and at ca"
    return _LET_IN if _is_denied(error) else ""


def _is_denied(error: BaseException) -> bool:
    words = str(error).lower()
    return isinstance(error, errors.AuthorizationError) or "authorization" in words or "permissions" in words
