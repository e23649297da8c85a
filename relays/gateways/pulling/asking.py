"""Asks a server over HTTP(S), for as long as a source goes through its pages.

Guarantees: an answer is here whole within its time once the name is resolved, however slowly the other side speaks, and
holds no more bytes than it may, inflated; nothing waits for it once the source is to stop. Certificates are verified.
Credentials go to the place that is declared and nowhere else: a redirect to another one is not followed, and no proxy
and no credentials of the environment are used. What goes wrong is told in words of this module, with scheme, host and
port: neither the rest of an address, nor a secret, nor what the other side wrote is in them.
"""

from __future__ import annotations

import base64
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing.tls import make_context
from relays.gateways.http.bodies import inflated
from relays.gateways.pulling.settings import How
from relays.gateways.secret import Secret
from relays.handlers.posting import Cut, endpoint_of, retry_after_s

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_REDIRECTS_MAX: Final = 3
_READ_BYTES: Final = 65_536
# How soon it is noticed that the time is over, or that it is to stop.
_LOOK_S: Final = 0.2
_CHECK: Final = "look whether the secret that the source names is the right one, still valid, and may read this"
_NEXT_STEPS: Final = {
    401: _CHECK,
    403: _CHECK,
    404: "look whether the url is still right",
    406: "look whether it speaks what this kind of source does, in this version",
    407: "let the proxy take this machine without a password",
    410: "look whether the url is still right",
    429: "ask less often: every",
}
# The server is there, and refuses who asks.
_REFUSED: Final = (401, 403, 407)
# Their own lines hold whole addresses, in which secrets may be.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Request(NamedTuple):
    """`params`: of the query, in place of those of the same name. `body` with its Content-Type in `headers`."""

    url: str
    method: str = "GET"
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Reply(NamedTuple):
    """`headers` by lower-case name. `url`: that which answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class NoAnswerError(FabricError):
    """There is no answer that can be used. `retry_after_s`: as the other side wants it. `status`: HTTP's; 0 where there
    was none. `anew`: whoever asks begins with the first page again."""

    def __init__(
        self, detail: str, next_step: str = "", *, retry_after_s: float = 0.0, status: int = 0, anew: bool = False
    ) -> None:
        code = Code.SOURCE_REFUSED if status in _REFUSED else Code.SOURCE_AWAY
        super().__init__(code, detail, next_step or "it is asked again by itself")
        self.retry_after_s = retry_after_s
        self.status = status
        self.anew = anew

    def at_first(self) -> NoAnswerError:
        """The same, after which it is begun with the first page."""
        return NoAnswerError(
            self.detail, self.next_step, retry_after_s=self.retry_after_s, status=self.status, anew=True
        )


class Asking:
    """A client. `stop`: it is to end at once. Secrets and certificates are as they are when it is made. Raises
    NO_SECRET, and SOURCE_UNFIT for certificates that cannot be used."""

    def __init__(self, how: How, stop: threading.Event) -> None:
        import httpx  # noqa: PLC0415 - it is an extra, and takes a while to import

        self._httpx = httpx
        self._how = how
        self._stop = stop
        self._headers = _headers(how)
        self._params = {name: _said(value) for name, value in how.params.items()}
        self._cut = Cut()
        self._held: socket.socket | None = None
        self._until_s: float | None = None  # of what is on its way
        self._over = threading.Event()
        self._client = httpx.Client(
            verify=_context(how), timeout=how.timeout_s, follow_redirects=False, trust_env=False,
            proxy=how.proxy or None, limits=httpx.Limits(max_connections=1),
        )
        self._watch = threading.Thread(target=self._end_in_time, name="an answer in time", daemon=True)
        self._watch.start()

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watch.join()
        self._client.close()
        self._let_go()

    def __call__(self, request: Request) -> Reply:
        """The answer, with a status from 200 to 299, or 304. Raises NoAnswerError; CLOSED when it is to stop."""
        self._until_s = time.monotonic() + self._how.timeout_s
        try:
            return self._followed(request)
        except self._httpx.HTTPError as error:
            if self._stop.is_set():
                raise FabricError(Code.CLOSED) from None
            raise NoAnswerError(f"{self._how.endpoint}: {self._words(error)}") from None
        except (self._httpx.InvalidURL, self._httpx.StreamError, OSError, ValueError) as error:
            raise NoAnswerError(f"{self._how.endpoint}: {type(error).__name__}") from None
        finally:
            self._until_s = None

    def _followed(self, request: Request) -> Reply:
        url = with_params(request.url, {**self._params, **request.params})
        for _ in range(_REDIRECTS_MAX + 1):
            reply = self._once(url, request)
            if reply.status not in _REDIRECTS:
                break
            if request.method != "GET" and reply.status < 307:
                raise NoAnswerError(f"{self._how.endpoint}: it redirects what was posted", "name where it leads as url")
            url = self.there(reply.headers.get("location", ""), url)
        else:
            raise NoAnswerError(f"{self._how.endpoint}: it redirects again and again", "look whether the url is right")
        if 200 <= reply.status < 300 or reply.status == 304:
            return reply
        next_step = _NEXT_STEPS.get(reply.status, "")
        after_s = retry_after_s(reply.headers.get("retry-after"), reply.headers.get("date")) or 0.0
        raise NoAnswerError(
            f"{self._how.endpoint}: HTTP {reply.status}", next_step, retry_after_s=after_s, status=reply.status
        )

    def there(self, link: str, url: str) -> str:
        """Where a link of the other side leads, from this address. Raises NoAnswerError for another place than that
        which is declared: it would be given the credentials."""
        try:
            led = urljoin(url, link.strip())
            endpoint = endpoint_of(led)
        except ValueError:
            raise NoAnswerError(f"{self._how.endpoint}: it leads to what is no address") from None
        if endpoint[:3] != self._how.endpoint[:3]:
            raise NoAnswerError(
                f"{self._how.endpoint}: it leads to another place, {endpoint}", "name that as url, if it may be asked"
            )
        return led

    def _once(self, url: str, request: Request) -> Reply:
        with self._client.stream(
            request.method, url, headers={**self._headers, **request.headers}, content=request.body or None,
            extensions={"trace": self._hold},
        ) as answer:
            body = bytearray()
            for piece in answer.iter_raw(_READ_BYTES):
                body += piece
                if len(body) > self._how.answer_max:
                    raise self._too_large()
            headers = {name.lower(): value for name, value in answer.headers.items()}
        try:
            whole = inflated(bytes(body), headers.get("content-encoding", ""), self._how.answer_max)
        except FabricError as error:
            if error.code is Code.HTTP_SIZE:
                raise self._too_large() from None
            raise NoAnswerError(f"{self._how.endpoint}: {error.detail}") from None
        return Reply(answer.status_code, headers, whole, url)

    def _too_large(self) -> NoAnswerError:
        return NoAnswerError(
            f"{self._how.endpoint}: its answer has more than {self._how.answer_max:,} bytes",
            "ask for less at a time, with limit or params, or raise answer_max",
        )

    def _hold(self, event: str, info: Mapping[str, Any]) -> None:
        """What was connected, so that it can be cut: by a descriptor of its own, for TLS takes over that of the first.
        """
        if not event.endswith("connect_tcp.complete"):
            return
        made = info["return_value"].get_extra_info("socket")
        self._let_go()
        self._held = socket.socket(fileno=os.dup(made.fileno()))
        self._cut.hold(self._held)

    def _let_go(self) -> None:
        self._cut.hold(None)
        if self._held is not None:
            self._held.close()

    def _end_in_time(self) -> None:
        while not self._over.wait(_LOOK_S):
            until_s = self._until_s
            if until_s is not None and (self._stop.is_set() or time.monotonic() > until_s):
                self._cut.shut()

    def _words(self, error: Exception) -> str:
        until_s = self._until_s
        late = until_s is not None and time.monotonic() >= until_s
        if late or isinstance(error, self._httpx.TimeoutException):
            return f"no whole answer within {self._how.timeout_s:g} s"
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"its certificate is not accepted: {cause.verify_message}"
            if isinstance(cause, ssl.SSLError):
                return f"TLS: {(cause.reason or 'the connection was closed').lower().replace('_', ' ')}"
            if isinstance(cause, socket.gaierror):
                return "its name is not known"
            if isinstance(cause, OSError):
                return (cause.strerror or "the connection was closed").lower()
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, self._httpx.ProxyError):
            return "the proxy does not connect to it"
        if isinstance(error, self._httpx.RemoteProtocolError):
            return "the answer is no HTTP, or has no end"
        return "the connection was closed"


def with_params(url: str, params: Mapping[str, str]) -> str:
    """The same address with these in its query, in place of those of the same name."""
    if not params:
        return url
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in params]
    return urlunsplit(parts._replace(query=urlencode([*kept, *params.items()])))


def _said(value: str | Secret) -> str:
    """What goes into a header or a query. Raises NO_SECRET."""
    if not isinstance(value, Secret):
        return value
    said = value.read()
    if not said.isascii() or not said.isprintable():
        raise FabricError(Code.NO_SECRET, f"{value.name}: it has letters that no header may have", "write it anew")
    return said


def _headers(how: How) -> dict[str, str]:
    headers = {"User-Agent": "message-fabric", "Accept": "application/json", "Accept-Encoding": "gzip"}
    if how.token is not None:
        headers["Authorization"] = f"Bearer {_said(how.token)}"
    if how.password is not None:
        pair = f"{how.user}:{how.password.read()}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    own = {name.lower(): name for name in headers}
    for name, value in how.headers.items():
        headers.pop(own.get(name.lower(), ""), None)
        headers[name] = _said(value)
    return headers


def _context(how: How) -> ssl.SSLContext:
    """Made anew each time: certificates are renewed. Raises SOURCE_UNFIT."""
    if not how.endpoint.tls:  # nothing of it is used; one without authorities accepts nobody, and takes no time
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return make_context(how.tls)
