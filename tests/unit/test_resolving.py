"""Names are resolved in a bounded time, whatever the resolver does."""

import socket
import threading
import time

import pytest

from relays.handlers import resolving
from relays.handlers.resolving import connected, resolved

TCP = socket.SOCK_STREAM


@pytest.fixture
def resolver(monkeypatch):
    """Where names are asked for: it answers when it is let go. `asked`: which."""
    go, asked, ask = threading.Event(), [], socket.getaddrinfo

    def getaddrinfo(host, port, *, flags, **more):
        if flags:
            return ask(host, port, flags=flags, **more)
        asked.append(host)
        go.wait(20)
        return ask("127.0.0.1", port, flags=socket.AI_NUMERICHOST, **more)

    monkeypatch.setattr(resolving.socket, "getaddrinfo", getaddrinfo)
    yield go, asked
    go.set()


def test_an_address_is_asked_of_nobody(resolver):
    assert [each.address[:2] for each in resolved("127.0.0.1", 9, TCP, 0.0)] == [("127.0.0.1", 9)]
    assert [each.address[:2] for each in resolved("::1", 9, TCP, 0.0)] == [("::1", 9)] and resolver[1] == []


def test_a_resolver_that_does_not_answer_is_not_waited_for(resolver):
    go, asked = resolver
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        resolved("siem.example", 9, TCP, 0.1)
    with pytest.raises(TimeoutError):
        connected("siem.example", 9, 0.1)
    assert time.monotonic() - began_s < 10 and asked == ["siem.example"] * 2
    go.set()
    assert [each.address[:2] for each in resolved("siem.example", 9, TCP, 10)] == [("127.0.0.1", 9)]


def test_no_more_than_so_many_wait_for_it(resolver, monkeypatch):
    go, asked = resolver
    monkeypatch.setattr(resolving, "_asked", threading.BoundedSemaphore(2))
    for number in range(4):
        with pytest.raises(TimeoutError):
            resolved(f"{number}.example", 9, TCP, 0.05)
    assert asked == ["0.example", "1.example"]
    go.set()
    assert resolved("4.example", 9, TCP, 10)


def test_what_is_no_name_is_said_as_one_that_is_not_known():
    with pytest.raises(socket.gaierror):
        resolved("a" * 64 + ".example", 9, TCP, 10)


def test_the_next_address_is_tried_and_why_none_took_it_is_said(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        both = [resolving.Resolved(socket.AF_INET, (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(resolving, "resolved", lambda *_: both)
        with connected("siem.example", port, 10) as made:
            assert made.getpeername() == ("127.0.0.1", port)
        monkeypatch.setattr(resolving, "resolved", lambda *_: both[:1])
        with pytest.raises(ConnectionRefusedError):
            connected("siem.example", port, 10)
