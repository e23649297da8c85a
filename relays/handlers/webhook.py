"""`--handler webhook`: posts actions to a URL, and takes its answer as the result.

The body is the action as `--exec` gets it, with `phase` ("execute" or "revert") and `target_id` (this control point).
2xx is completed; 5xx, 408, 429 and what gave no answer is tried again, with longer and longer pauses, until the
action's deadline; anything else failed. Each attempt has the same `Idempotency-Key`, by which the other side knows a
second one: an answer may have been lost on its way. With a secret each attempt is signed,

    X-Fabric-Signature: t=1795910400,v1=<hex of HMAC-SHA256(secret, "1795910400." + body)>

The endpoint is outside of the fabric: whoever starts this decides that it may have what its actions say. Of the URL
only scheme, host and port are ever shown, and secrets come from files or the environment.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from fabric.documents import parse_object
from fabric.edge.handling.handlers import Answer
from fabric.edge.messages import Action
from fabric.files import open_regular
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import check_action_pattern
from relays.handlers.kinds import YES, Kind, Need, Option, Options, Pair, Place, failed
from relays.handlers.posting import Cut, Endpoint, NoReplyError, Reply, endpoint_of, post
from relays.wall import wall_ms

_SECRET_BYTES_MAX: Final = 4_096
_AGAIN: Final = (408, 429)
_PAUSE_S: Final = 0.5
_PAUSE_S_MAX: Final = 30.0


class Delivery(NamedTuple):
    """How to post. `attempt_s`: one attempt; `all_s`: all of them, where the action's deadline does not come first."""

    endpoint: Endpoint
    secret: bytes
    token: str
    attempt_s: float
    all_s: float
    tls: Callable[[], ssl.SSLContext]


class Webhook:
    """`pause_s`: before the second attempt; each later pause is twice as long."""

    def __init__(self, delivery: Delivery, place: Place, pause_s: float = _PAUSE_S) -> None:
        self._how = delivery
        self._place = place
        self._pause_s = pause_s
        self._cuts: set[Cut] = set()
        self._stopped = False

    def start(self) -> None:
        """Nothing of it is in force on this machine."""

    def tend(self) -> None:
        """Nothing of it is in force on this machine."""

    def stop(self) -> None:
        self._stopped = True
        for cut in list(self._cuts):
            cut.cut()

    def __call__(self, action: Action) -> Answer:
        # By this machine's clock. One that is wrong makes it one attempt, or as many as fit into `for`.
        left_s = (action.deadline_ms - wall_ms()) / 1000
        return self._deliver(action, "execute", min(self._how.all_s, left_s))

    def revert(self, action: Action) -> Answer:
        """Says to the other side that the effect is to end."""
        return self._deliver(action, "revert", self._how.all_s)

    def _deliver(self, action: Action, phase: str, all_s: float) -> Answer:
        cut = Cut()
        self._cuts.add(cut)
        try:
            if phase == "execute":
                action.control.on_cancel(cut.cut)
            if self._stopped:  # by who did not find this one
                cut.cut()
            return self._attempts(action, phase, time.monotonic() + all_s, cut)
        finally:
            self._cuts.discard(cut)

    def _attempts(self, action: Action, phase: str, until_s: float, cut: Cut) -> Answer:
        body = json.dumps({**action.to_json(), "phase": phase, "target_id": self._place.id}).encode()
        pause_s, attempts, may_have_come = self._pause_s, 0, False
        while True:
            attempts += 1
            wait_s = pause_s
            left_s = until_s - time.monotonic()
            try:
                reply = post(
                    self._how.endpoint, body, self._headers(action, phase, body),
                    min(self._how.attempt_s, left_s) if left_s > 0 else self._how.attempt_s, cut, self._how.tls,
                )
            except NoReplyError as error:
                why, may_have_come, again = str(error), may_have_come or error.may_have_come, error.again
            else:
                if not _is_again(reply.status):
                    return _answer(reply)
                why, wait_s, again = f"HTTP {reply.status}", max(pause_s, reply.retry_after_s or 0.0), True
            times = f"{why}, {attempts} attempt(s)" + ("; it may have come" if may_have_come else "")
            if not again or time.monotonic() + wait_s >= until_s:
                return failed(Code.ENDPOINT_FAILED, times)
            with suppress(FabricError):
                action.control.report(note=f"{why}: again in {wait_s:.0f} s")
            if cut.wait(wait_s):
                code = Code.HANDLER_FAILED if self._stopped else Code.CANCELLED
                return failed(code, f"ended after {times}")
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    def _headers(self, action: Action, phase: str, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json", "Accept": "application/json", "User-Agent": "message-fabric",
            "Idempotency-Key": action.id if phase == "execute" else f"{action.id}-{phase}",
        }
        if self._how.token:
            headers["Authorization"] = f"Bearer {self._how.token}"
        if self._how.secret:
            headers["X-Fabric-Signature"] = signature(self._how.secret, body, wall_ms() // 1000)
        return headers


def signature(secret: bytes, body: bytes, at_s: int) -> str:
    """With the time in it, a copy that somebody kept is known as old."""
    digest = hmac.new(secret, f"{at_s}.".encode() + body, hashlib.sha256)
    return f"t={at_s},v1={digest.hexdigest()}"


def _is_again(status: int) -> bool:
    return status in _AGAIN or (status >= 500 and status != 501)


def _answer(reply: Reply) -> Answer:
    if not 200 <= reply.status < 300:
        what = "it redirects, which is not followed" if 300 <= reply.status < 400 else "it refuses"
        return failed(Code.ENDPOINT_FAILED, f"HTTP {reply.status}: {what}", http_status=reply.status)
    if reply.body is None:
        return Answer(code=Code.RESULT_UNFIT, reason="its answer is longer than 1 MB")
    if not reply.body.strip():
        return Answer()
    try:
        result: dict[str, Any] = parse_object(reply.body)
    except ValueError:  # it did it: what it says of it is another matter
        return Answer(code=Code.RESULT_UNFIT, reason="its answer is no JSON object")
    return Answer(result=result)


# -- options ------------------------------------------------------------------------------------------------------


def _said(options: Options, name: str) -> str:
    """An option, or what is in the file or in the variable of the environment that an option names. Raises USAGE,
    HANDLER_UNFIT."""
    file, variable = options.one(f"{name}-file"), options.one(f"{name}-env")
    given = [each for each in (options.one(name), file, variable) if each]
    if len(given) > 1:
        raise FabricError(Code.USAGE, f"--handler webhook: {name} is said more than once", "say it once")
    if variable:
        if not os.environ.get(variable):
            raise FabricError(Code.HANDLER_UNFIT, f"webhook: {variable} is not in the environment", f"set {variable}")
        return os.environ[variable].strip()
    if not file:
        return options.one(name)
    try:
        with open_regular(os.path.realpath(file)) as opened:  # over links: secrets are mounted as such
            text = opened.read(_SECRET_BYTES_MAX + 1).decode("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise FabricError(Code.HANDLER_UNFIT, f"webhook: {file}: {why}", f"name a file for {name}-file=") from None
    if not text or len(text) > _SECRET_BYTES_MAX or not text.isprintable():
        raise FabricError(
            Code.HANDLER_UNFIT, f"webhook: {file} is not one line of text", f"write the {name} into it, and no more"
        )
    return text


def make(options: Options, place: Place) -> Webhook:
    """Raises USAGE, HANDLER_UNFIT."""
    url = _said(options, "url")
    if not url:
        raise FabricError(Code.USAGE, "--handler webhook: no URL", "add url=https://..., url-file=FILE or url-env=NAME")
    try:
        endpoint = endpoint_of(url)
    except ValueError as error:
        raise FabricError(Code.USAGE, f"--handler webhook: url: {error}", "write url=https://soc.example") from None
    token = _said(options, "token")
    if not token.isascii():
        raise FabricError(Code.USAGE, "--handler webhook: the token has letters that no header may have", "correct it")
    return Webhook(
        Delivery(
            endpoint, _said(options, "secret").encode(), token, _seconds(options, "timeout", "10s"),
            _seconds(options, "for", "60s"), _tls(options),
        ),
        place,
    )


def _seconds(options: Options, name: str, default: str) -> float:
    seconds = options.seconds(name, default)
    if seconds <= 0:
        raise options.wrong(name, options.one(name), "a time above 0")
    return seconds


def _tls(options: Options) -> Callable[[], ssl.SSLContext]:
    """Made anew for each attempt: certificates are renewed. Raises HANDLER_UNFIT."""
    file = options.one("ca-file") or None

    def made() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=file)

    try:
        made()
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        raise FabricError(
            Code.HANDLER_UNFIT, f"webhook: {file} holds no certificates ({type(error).__name__})",
            "name a file of certificates in PEM for ca-file=",
        ) from None
    return made


def pairs(options: Options) -> list[Pair]:
    """What `on` says, or all that is granted. Raises USAGE."""
    found = []
    for text in options.many("on") or ["* *"]:
        action, _, target_type = text.partition(" ")
        pair = Pair(action, target_type.strip() or ("*" if action == "*" else ""), "posts it",
                    options.choice("reverts", YES, "no") == "yes")
        if check_action_pattern(pair.text) is not None:
            raise options.wrong("on", text, "e.g. on='deny ipv4_net'")
        found.append(pair)
    return found


def needs(options: Options) -> Sequence[Need]:
    """A URL, and files that can be read."""
    if not any(options.one(name) for name in ("url", "url-file", "url-env")):
        return [Need("a URL", "", "say url=https://..., url-file=FILE or url-env=NAME")]
    try:
        make(options, Place("", Path(), list, None))  # type: ignore[arg-type]
    except FabricError as error:
        return [Need("a URL, and files that can be read", error.detail, error.next_step)]
    return [Need("a URL, and files that can be read")]


KIND: Final = Kind(
    "webhook",
    "Post actions as JSON to a URL; its answer is the result.",
    pairs,
    [
        Option("url", "https://...", "Where to; http:// for this machine only."),
        Option("url-file", "FILE", "A file with the URL, where that is a secret."),
        Option("url-env", "NAME", "A variable of the environment with it."),
        Option("on", "'ACTION TARGET'", "What to take; default: all that is granted.", True),
        Option("secret-file", "FILE", "Sign each post with this secret (HMAC-SHA256)."),
        Option("secret-env", "NAME", "A variable of the environment with it."),
        Option("token-file", "FILE", "A bearer token for the header Authorization."),
        Option("token-env", "NAME", "A variable of the environment with it."),
        Option("timeout", "10s", "For one attempt; default: 10s."),
        Option("for", "60s", "Try no longer than this, nor after the deadline; default: 60s."),
        Option("ca-file", "FILE", "Certificates to trust instead of the system's."),
        Option("reverts", "yes|no", "Whether it understands the phase revert; default: no."),
    ],
    needs,
    make,
    arguments=None,
)
