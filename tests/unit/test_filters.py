"""Connections hear no reset, their end is in order, and hosts are kept out. Real sockets on loopback, on Linux."""

import errno
import select
import socket
import struct
import sys
from contextlib import suppress

import pytest

from fabric.transport.filters import KEPT_OUT_MAX, NAMELESS, hear_no_more, ignore_resets, keep_out

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="packet filters are Linux's")


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def events_of(connection, wait_ms):
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return dict(poll.poll(wait_ms)).get(connection.fileno(), 0)


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def pair(request):
    """(ours, theirs), of a listening socket that ignores resets."""
    here = "127.0.0.1" if request.param == socket.AF_INET else "::1"
    with socket.socket(request.param) as listening:
        try:
            listening.bind((here, 0))
        except OSError:
            pytest.skip("this machine has no such address")
        assert ignore_resets(listening.fileno())
        listening.listen()
        with socket.create_connection(listening.getsockname()[:2]) as theirs:
            ours, _ = listening.accept()
            with ours:
                yield ours, theirs


def test_a_reset_is_not_heard_and_what_came_before_is(pair):
    ours, theirs = pair
    theirs.sendall(b"before")
    reset(theirs)
    assert ours.recv(100) == b"before"
    assert events_of(ours, 100) == 0, "no error and no end"


def test_an_end_in_order_is_heard(pair):
    ours, theirs = pair
    theirs.close()
    assert events_of(ours, 5_000) & select.POLLIN and ours.recv(100) == b""


def test_a_connection_that_is_to_hear_no_more_ends_in_order_whatever_still_comes(pair):
    ours, theirs = pair
    theirs.sendall(b"before")
    assert events_of(ours, 5_000) == select.POLLIN
    hear_no_more(ours)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            theirs.send(bytes(65_536))
    assert not events_of(ours, 0) & (select.POLLHUP | select.POLLERR)
    assert ours.recv(100) == b"", "what came before is dropped"
    ours.sendall(b"and the other way is open")
    assert events_of(theirs, 5_000) and theirs.recv(100).startswith(b"and")


def test_where_there_is_no_connection_nothing_happens():
    assert not ignore_resets(-1)
    with socket.socket() as unconnected, pytest.raises(OSError) as caught:
        hear_no_more(unconnected)
    assert caught.value.errno == errno.ENOTCONN


# -- hosts that are kept out --------------------------------------------------------------------------------------


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::ffff:127.0.0.1")],
                ids=["IPv4", "IPv6", "IPv4 at an IPv6 socket"])
def door(request):
    """(a listening socket, who it takes for the host of whoever connects from here, how to connect from there)."""
    family, host = request.param
    with socket.socket(family) as listening:
        try:
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind(("::" if host.startswith("::f") else host, 0))
        except OSError:
            pytest.skip("this machine has no such address")
        listening.listen()
        port = listening.getsockname()[1]
        yield listening, host, lambda within_s=2.0, source=None: socket.create_connection(
            (host.removeprefix("::ffff:"), port), within_s, source_address=(source, 0) if source else None
        )


def crowd(count):
    """Hosts that nobody here is."""
    return [f"192.0.2.{n}" if n % 2 else f"2001:db8::{n:x}" for n in range(count)]


@pytest.mark.parametrize("others", [0, 1, KEPT_OUT_MAX - 1])
def test_a_host_that_is_kept_out_is_not_answered_and_comes_in_by_itself_afterwards(door, others):
    listening, host, connect = door
    assert keep_out(listening.fileno(), [*crowd(others), host])
    with pytest.raises(TimeoutError):
        connect(0.2)
    assert keep_out(listening.fileno(), crowd(others))
    connect(5.0).close()


def test_all_others_come_in(door):
    listening, host, connect = door
    assert keep_out(listening.fileno(), crowd(KEPT_OUT_MAX))
    connect().close()
    if "127" in host:
        assert keep_out(listening.fileno(), ["127.0.0.2"])
        connect().close()
        with pytest.raises(TimeoutError):
            connect(0.2, "127.0.0.2")


def test_of_the_nameless_a_few_are_answered(door):
    """Nobody knows who they are: whoever comes meanwhile has to try again."""
    listening, host, connect = door
    listening.listen(1_000)
    assert keep_out(listening.fileno(), [*crowd(4), NAMELESS])
    came = 0
    for _ in range(200):
        with suppress(TimeoutError):
            connect(0.005).close()
            came += 1
    assert 0 < came < 80
    assert keep_out(listening.fileno(), crowd(4))
    connect(5.0).close()


def test_who_is_connected_stays_so(door):
    listening, host, connect = door
    with connect() as theirs:
        ours, _ = listening.accept()
        with ours:
            assert keep_out(listening.fileno(), [host])
            theirs.sendall(b"before and after")
            assert ours.recv(100) == b"before and after"
            ours.sendall(b"both ways")
            assert theirs.recv(100) == b"both ways"
