"""A connection hears no reset, and its end is an end in order. Real sockets on loopback, on Linux."""

import errno
import select
import socket
import struct
import sys

import pytest

from fabric.transport.resets import hear_no_more, ignore_resets

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
