"""On which connections something came in, though somebody else reads it."""

import select
import socket

import pytest

from fabric.transport.stirs import Stirs


@pytest.fixture
def stirs():
    made = Stirs()
    yield made
    made.close()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_each_is_told_once_for_what_came(stirs, pair):
    ours, theirs = pair
    stirs.watch(ours.fileno())
    assert stirs.take() == set()
    theirs.send(b"one")
    assert stirs.take() == {ours.fileno()}
    assert stirs.take() == set(), "it was told, and nobody has read it"
    theirs.send(b"two")
    assert stirs.take() == {ours.fileno()}, "there was some already"
    ours.recv(100)
    theirs.send(b"three")
    ours.recv(100)
    assert stirs.take() <= {ours.fileno()}, "what was read meanwhile need not be told"


def test_what_came_before_it_was_watched_is_told(stirs, pair):
    ours, theirs = pair
    theirs.send(b"early")
    stirs.watch(ours.fileno())
    stirs.watch(ours.fileno())
    assert stirs.take() == {ours.fileno()}


def test_all_of_many_are_told(stirs):
    pairs = [socket.socketpair() for _ in range(300)]
    for ours, theirs in pairs:
        stirs.watch(ours.fileno())
        theirs.send(b"x")
    assert stirs.take() == {ours.fileno() for ours, _ in pairs}
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_one_that_is_gone_is_told_no_more(stirs, pair):
    ours, theirs = pair
    stirs.watch(ours.fileno())
    stirs.forget(ours.fileno())
    theirs.send(b"x")
    assert stirs.take() == set()
    gone = ours.fileno()
    ours.close()
    stirs.watch(gone)
    stirs.forget(gone)
    assert stirs.take() == set()


def test_where_the_kernel_cannot_say_nobody_knows(monkeypatch, pair):
    monkeypatch.delattr(select, "epoll")
    stirs = Stirs()
    stirs.watch(pair[0].fileno())
    stirs.forget(pair[0].fileno())
    assert stirs.take() is None
    stirs.close()
