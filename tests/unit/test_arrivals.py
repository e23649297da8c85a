"""Under which identity a frame waits, and when a connection is no stranger's any more."""

from types import SimpleNamespace

import pytest

from fabric.transport.inbox import STRANGERS, Inbox
from fabric.transport.listener import Received
from fabric.transport.sockets import LOOK_NS_MAX, RECEIVE_NS_MAX
from relays.process.arrivals import Arrivals

KEY, OTHER, PARENT = b"k" * 32, b"o" * 32, b"p" * 32


class Door:
    def __init__(self):
        self.waiting, self.accepted_links, self.more, self.socket = [], [], False, None

    def receive(self, waiting=(), most_ns=RECEIVE_NS_MAX, *, waits=True):
        self.most_ns = most_ns
        found, self.waiting = self.waiting, []
        return iter(found)

    def accepted(self, link):
        self.accepted_links.append(link)


@pytest.fixture
def reading():
    made = Arrivals(Inbox(), Door(), Door(), {})
    made.inbox, made.listener, made.diallers, made.links = made._inbox, made._listener, made._diallers, made._links
    return made


def peer(*, is_open=False, hello=None):
    return SimpleNamespace(is_open=is_open, hello=hello)


def test_who_is_not_let_in_is_a_stranger_whatever_its_key(reading):
    reading.links[1] = peer(is_open=True)
    reading.links[2] = peer()
    reading.listener.waiting = [Received(1, KEY, b"a"), Received(2, KEY, b"b"), Received(3, OTHER, b"c")]
    reading.from_children(())
    assert set(reading.inbox._queues) == {KEY, STRANGERS}
    assert reading.more and [reading.next().peer for _ in range(3)] == [KEY, KEY, OTHER]


def test_a_peer_that_was_dialled_has_shown_its_key(reading):
    reading.up(7, PARENT)
    reading.diallers.waiting = [(7, b"a"), (8, b"of a connection that nobody told of")]
    reading.from_parents(())
    assert set(reading.inbox._queues) == {PARENT}
    assert not reading.ended(7) and [reading.next().payload for _ in range(2)] == [b"a", None]
    reading.handled(7, 1)
    reading.forget(7)
    assert reading.listener.accepted_links == [] and reading.ended(7)


def test_a_connection_is_no_stranger_s_once_its_credential_was_checked(reading):
    for link, who in ((1, peer()), (2, peer(hello="checked")), (3, peer(is_open=True))):
        reading.links[link] = who
        reading.handled(link, 1)
        reading.handled(link, 1)
    assert reading.listener.accepted_links == [2, 3], "once"


def test_what_comes_while_others_are_handled_is_taken_in(reading, monkeypatch):
    monkeypatch.setattr("relays.process.arrivals.readable", lambda _: bool(reading.listener.waiting))
    reading.up(7, PARENT)
    reading.meanwhile()
    assert not reading.more
    reading.diallers.waiting, reading.listener.waiting = [(7, b"a")], [Received(1, KEY, b"b")]
    reading.meanwhile()
    assert sorted(reading.next().payload for _ in range(2)) == [b"a", b"b"]
    assert reading.diallers.most_ns == reading.listener.most_ns == LOOK_NS_MAX, "the turn is for what was read"
