"""What an answer means for what was posted: it was taken, may be later, or never will.

Guarantees: of an answer only its status is said. What tells that the declaration is wrong, or a secret, refuses no
message: it is waited until somebody has looked at it.
"""

from __future__ import annotations

from typing import Final

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing.trying import NotNowError, NotUsError
from relays.handlers.posting import Endpoint, NoReplyError, Reply

TOO_LARGE: Final = 413
_LATER: Final = (408, 425, 429)
_PROOF: Final = "look whether its token and secret are the right ones, still valid, and may post there"
_URL: Final = "look whether its url is still right, and takes POST"
_DECLARED: Final = {401: _PROOF, 403: _PROOF, 407: _URL, 404: _URL, 405: _URL, 410: _URL}


def refusal_of(endpoint: Endpoint, reply: Reply) -> FabricError | None:
    """None where it was taken; else why it never will be. Raises NotNowError where it may be."""
    status, words = reply.status, f"{endpoint} answered {reply.status}"
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        raise NotUsError(f"{words}: it redirects, which is not followed", "name where it leads as url")
    if status in _DECLARED:
        raise NotUsError(words, _DECLARED[status])
    if status in _LATER or status >= 500 or status < 200:  # 101: it went on to speak something else
        raise NotNowError(words, after_s=reply.retry_after_s or 0.0)
    if status == TOO_LARGE:
        return FabricError(Code.TOO_LARGE, words, "raise what it takes, or let less be in one message")
    return FabricError(
        Code.SINK_REFUSED, f"{words}: it does not take this message", "see why in the receiver's own log"
    )


def no_reply(endpoint: Endpoint, error: NoReplyError) -> NotNowError:
    """Nothing came, or nothing whole: it may have been taken, and is sent again under the same id."""
    next_step = "" if error.again else "look at the receiver's certificate, and at ca"
    return NotNowError(f"{endpoint}: {error}", next_step)
