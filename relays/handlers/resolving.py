"""The addresses of a name within a bounded time: a resolver may take minutes, and cannot be told to stop.

Guarantees: no more than so many wait for a resolver at a time, in threads that end with it; an address that is written
as one is asked of nobody.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from typing import Final, NamedTuple

# A resolver that is away keeps each for half a minute or so.
_ASKED_MAX: Final = 32
_asked = threading.BoundedSemaphore(_ASKED_MAX)


class Resolved(NamedTuple):
    """As `socket.socket` and `connect` take them."""

    family: socket.AddressFamily
    address: tuple[object, ...]


def resolved(host: str, port: int, kind: socket.SocketKind, within_s: float) -> list[Resolved]:
    """Raises OSError: `socket.gaierror` where there are none, TimeoutError where none came in time."""
    try:
        return _asked_for(host, port, kind, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    until_s, asked = time.monotonic() + within_s, _asked
    if not asked.acquire(timeout=max(0.0, within_s)):
        raise TimeoutError("the resolver does not answer")
    found: Future[list[Resolved]] = Future()
    try:
        threading.Thread(target=_ask, args=(host, port, kind, found, asked), name="resolver", daemon=True).start()
    except RuntimeError:  # there are no more threads
        asked.release()
        raise TimeoutError("nobody can ask the resolver") from None
    try:
        return found.result(max(0.0, until_s - time.monotonic()))
    except TimeoutError:
        raise TimeoutError("the resolver does not answer") from None


def connected(host: str, port: int, within_s: float) -> socket.socket:
    """A TCP connection to the first of its addresses that takes one. Raises OSError."""
    until_s = time.monotonic() + within_s
    failed: OSError = TimeoutError("no connection in time")
    for family, address in resolved(host, port, socket.SOCK_STREAM, within_s):
        left_s = until_s - time.monotonic()
        if left_s <= 0.0:
            break
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.settimeout(left_s)
            made.connect(address)
            made.settimeout(within_s)
            return made
        except OSError as error:
            made.close()
            failed = error
    raise failed


def _ask(
    host: str, port: int, kind: socket.SocketKind, found: Future[list[Resolved]], asked: threading.Semaphore
) -> None:
    try:
        found.set_result(_asked_for(host, port, kind, 0))
    except OSError as error:
        found.set_exception(error)
    finally:
        asked.release()


def _asked_for(host: str, port: int, kind: socket.SocketKind, flags: int) -> list[Resolved]:
    try:
        entries = socket.getaddrinfo(host, port, type=kind, flags=flags)
    except UnicodeError:  # no name can be like that
        raise socket.gaierror(socket.EAI_NONAME, "it is no name") from None
    return [Resolved(family, address) for family, _, _, _, address in entries]
