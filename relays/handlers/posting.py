"""One POST over HTTP(S), by the standard library: bounded in time and bytes, and ended from outside at any moment.

Guarantees: an attempt takes no longer than twice what it was given, half of it to connect, however slowly a resolver or
the other side speaks; no more than so many bytes of an answer are read; a certificate is verified, no redirect is
followed, no proxy and no credentials of the environment are used. What goes wrong is told in words of this module:
neither the path of the address nor what is sent or came is in them.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from relays.handlers.resolving import connected

ANSWER_BYTES_MAX: Final = 1_000_000
_RETRY_AFTER_S_MAX: Final = 3_600.0
_URL_CHARS_MAX: Final = 4_096
_INTERIM_MAX: Final = 100
# Of an answer that nobody needs: it is heard out a while, since some who answer take its reader's end for a fault.
_REST_S: Final = 1.0
_REST_BYTES: Final = 65_536


class Endpoint(NamedTuple):
    """Where to post. `path` may hold secrets: it is shown nowhere."""

    tls: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Endpoint({self})"


def endpoint_of(url: str) -> Endpoint:
    """Raises ValueError, in words that show nothing of it."""
    if len(url) > _URL_CHARS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("it is no URL of printable ASCII letters")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:  # in whose words it may be
        raise ValueError("its host or port is none") from None
    if port == 0:
        raise ValueError("its host or port is none")
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("it does not begin with https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a name or password is in it: give a token instead")
    tls = parts.scheme == "https"
    if not tls and not is_loopback(host):
        raise ValueError("http:// is for this machine only")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(tls, host, port or (443 if tls else 80), path)


def is_loopback(host: str) -> bool:
    """Whether what goes there stays on this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Reply(NamedTuple):
    """`body` is None where it was longer than what is read. `retry_after_s`: as the other side wants it."""

    status: int
    body: bytes | None
    retry_after_s: float | None


class Response(http.client.HTTPResponse):
    """That of the standard library takes any interim answer but 100 for the last one (RFC 9110, 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_INTERIM_MAX):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not http.client.CONTINUE < status < http.client.OK or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("too many interim answers")


class NoReplyError(Exception):
    """There was none. `may_have_come`: the other side may have what was sent; `again`: another attempt may get one."""

    def __init__(self, words: str, *, may_have_come: bool, again: bool = True) -> None:
        super().__init__(words)
        self.may_have_come = may_have_come
        self.again = again


class Cut:
    """Ends what is on its way, and all that comes later. From any thread, and from a handler of signals."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._socket: socket.socket | None = None

    @property
    def done(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Until it is cut, or so long: whether it is."""
        return self._event.wait(seconds)

    def cut(self) -> None:
        self._event.set()
        self.shut()

    def shut(self) -> None:
        """What is on its way only. Whoever reads gets the end of the stream."""
        if self._socket is not None:
            with suppress(OSError):
                # Of the socket below TLS: that of TLS would throw away what its reader uses.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def hold(self, made: socket.socket | None) -> None:
        """This is on its way now."""
        self._socket = made
        if self.done:
            self.shut()


def post(
    endpoint: Endpoint, body: bytes, headers: Mapping[str, str], timeout_s: float, cut: Cut,
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context, needs_body: bool = True,
) -> Reply:
    """Raises NoReplyError. `needs_body`: else the status is all that counts, whatever becomes of what follows it."""
    sent = False
    late = threading.Event()  # set before the cut, of which the reader may hear at once
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
    connection.response_class = Response
    timer = threading.Timer(0.0, cut.shut)
    try:
        made = connected(endpoint.host, endpoint.port, timeout_s)
        connection.sock = made
        cut.hold(made)
        timer = _timer(timeout_s, cut, late)
        if endpoint.tls:
            secure = tls().wrap_socket(made, server_hostname=endpoint.host, do_handshake_on_connect=False)
            connection.sock = secure
            cut.hold(secure)  # before the handshake, which may take as long as the other side likes
            secure.do_handshake()
        sent = True
        with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has all, and want no more
            connection.request("POST", endpoint.path, body, {"Host": _host(endpoint), **headers})
        answer = connection.getresponse()
        if not needs_body:
            timer.cancel()
            timer = _timer(_REST_S, cut, late)
            with suppress(OSError, http.client.HTTPException, ValueError):
                answer.read(_REST_BYTES)
            return Reply(answer.status, b"", retry_after_s(answer.getheader("Retry-After"), answer.getheader("Date")))
        read = answer.read(ANSWER_BYTES_MAX + 1)
        if answer.length and len(read) <= ANSWER_BYTES_MAX:
            raise http.client.IncompleteRead(b"", answer.length)
        after = retry_after_s(answer.getheader("Retry-After"), answer.getheader("Date"))
        return Reply(answer.status, read if len(read) <= ANSWER_BYTES_MAX else None, after)
    except ssl.SSLCertVerificationError as error:
        raise NoReplyError(words_of(error), may_have_come=False, again=False) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        in_time = not isinstance(error, TimeoutError) and not late.is_set()
        raise NoReplyError(words_of(error) if in_time else "no answer in time", may_have_come=sent) from None
    finally:
        timer.cancel()
        cut.hold(None)
        with suppress(OSError):
            connection.close()


def _timer(seconds: float, cut: Cut, late: threading.Event) -> threading.Timer:
    def end() -> None:
        late.set()
        cut.shut()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def _host(endpoint: Endpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return host if endpoint.port == (443 if endpoint.tls else 80) else f"{host}:{endpoint.port}"


def words_of(error: OSError | http.client.HTTPException | ValueError) -> str:
    """What went wrong with a connection, without what the other side wrote."""
    if not isinstance(error, OSError):
        return f"its answer is no HTTP ({type(error).__name__})"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'the connection was closed'}"
    if error.errno:  # in whose words asyncio writes the address
        return os.strerror(error.errno).lower()
    return (error.strerror or "the connection was closed").lower()


def retry_after_s(after: str | None, now: str | None) -> float | None:
    """What Retry-After says, bounded: seconds, or a date, of which the answer's own date is taken."""
    if after is None:
        return None
    if after.isascii() and after.strip().isdigit() and len(after) < 10:
        return min(float(after), _RETRY_AFTER_S_MAX)
    try:
        left = email.utils.parsedate_to_datetime(after) - email.utils.parsedate_to_datetime(now or "")
        return min(max(0.0, left.total_seconds()), _RETRY_AFTER_S_MAX)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
