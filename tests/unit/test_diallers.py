"""Whom a node dials, with real sockets: the parents that are wanted, and no other."""

import os

import pytest
import zmq

from fabric.protocol.base.errors import Code
from fabric.protocol.wire.frames import Role
from fabric.transport.dialler import Down, Up
from fabric.transport.diallers import Diallers, Peer
from fabric.transport.keys import random_keys
from fabric.transport.sockets import LinkNumbers
from tests.unit.test_transport import FRAME, Relay, now_ms, until


class Node:
    def __init__(self, *relays):
        self.context = zmq.Context()
        self.keys = random_keys(os.urandom(32))
        roles = (Role.CHILD, Role.CHILD, Role.PARENT)
        peers = [
            Peer(name, relay.address, relay.keys.public, role)
            for name, relay, role in zip(("east", "west", "below"), relays, roles, strict=True)
        ]
        self.diallers = Diallers(self.context, peers, self.keys, FRAME, LinkNumbers(), lambda: 0.0, 1_000)
        self.events, self.up = [], {}

    def serve(self):
        for peer, event in self.diallers.service(now_ms()):
            self.events.append((peer.id, event))
            self.up.pop(peer.id, None)
            if isinstance(event, Up):
                self.up[peer.id] = event.link

    def close(self):
        self.diallers.close()
        self.context.destroy(linger=0)


@pytest.fixture
def tree():
    relays = [Relay() for _ in range(3)]
    node = Node(*relays)
    yield node, relays
    node.close()
    for relay in relays:
        relay.close()


def test_a_poller_watches_the_connections_on_which_nothing_comes(tree):
    node, relays = tree
    serve = [node.serve, *(relay.serve for relay in relays)]
    poller = zmq.Poller()
    assert node.diallers.watch(poller), "nobody is there"
    node.diallers.want(["east"])
    until(lambda: len(node.up) == 2, *serve)
    at_ms = [now_ms()]
    assert not node.diallers.watch(poller)

    def look():
        at_ms[0] += 1_000
        node.diallers.look_for_endless(at_ms[0])

    until(lambda: node.diallers.watch(poller), look)
    watched = {each for each, _ in poller.sockets}
    assert len(watched) == 2
    assert node.diallers.stirred({next(iter(watched)), "something else"}) == {next(iter(watched))}
    assert not node.diallers.watch(poller) and len(poller.sockets) == 1
    node.diallers.close()
    node.diallers.register(poller)
    node.diallers.watch(poller)
    assert poller.sockets == [], "a descriptor is somebody else's by then"


def test_only_wanted_parents_are_dialled_and_children_always(tree):
    node, relays = tree
    serve = [node.serve, *(relay.serve for relay in relays)]
    node.diallers.want(["east"])
    until(lambda: len(node.up) == 2, *serve)
    assert set(node.up) == {"east", "below"}
    node.diallers.want(["east", "west"])
    until(lambda: "west" in node.up, *serve)
    assert len(set(node.up.values())) == 3


def test_one_that_is_not_wanted_any_more_is_closed_and_said_to_be(tree):
    node, relays = tree
    serve = [node.serve, *(relay.serve for relay in relays)]
    node.diallers.want(["east", "west"])
    until(lambda: len(node.up) == 3, *serve)
    link = node.up["east"]
    assert node.diallers.send(link, b"hello")
    until(lambda: relays[0].got, *serve)
    node.diallers.want(["west"])
    until(lambda: "east" not in node.up, *serve)
    (down,) = [event for name, event in node.events if name == "east" and isinstance(event, Down)]
    assert (down.link, down.code) == (link, Code.CLOSED) and "not wanted" in down.words
    until(lambda: relays[0].listener.gone(), *serve)
    assert not node.diallers.send(link, b"nobody") and not node.diallers.end(link, "nobody")
    node.diallers.want(["east", "west"])
    until(lambda: "east" in node.up, *serve)
    assert node.up["east"] != link, "a link's number is never used again"


def test_the_poller_has_the_sockets_that_there_are(tree):
    node, relays = tree
    serve = [node.serve, *(relay.serve for relay in relays)]
    poller = zmq.Poller()
    node.diallers.want(["east"])
    until(lambda: len(node.up) == 2, *serve)
    node.diallers.register(poller)
    before = [socket for socket, _ in poller.sockets]
    node.diallers.register(poller)
    assert [socket for socket, _ in poller.sockets] == before and len(before) == 4, "a dealer and a monitor each"
    node.diallers.want([])
    until(lambda: "east" not in node.up, *serve)
    node.diallers.register(poller)
    assert len(poller.sockets) == 2


def test_what_came_says_by_which_link(tree):
    node, relays = tree
    serve = [node.serve, *(relay.serve for relay in relays)]
    node.diallers.want(["east", "west"])
    until(lambda: len(node.up) == 3, *serve)
    for name in node.up:
        node.diallers.send(node.up[name], name.encode())
    until(lambda: all(relay.got for relay in relays), *serve)
    for relay in relays[:2]:
        relay.listener.send(relay.got[0].link, b"back to " + relay.got[0].payload)
    got = []
    until(lambda: len(got) == 2, lambda: got.extend(node.diallers.receive()))
    assert sorted(got) == sorted([(node.up["east"], b"back to east"), (node.up["west"], b"back to west")])


# -- other peers ----------------------------------------------------------------------------------------------


def peer(name, relay, role=Role.CHILD):
    return Peer(name, relay.address, relay.keys.public, role)


def test_a_new_peer_is_dialled_and_one_that_is_none_any_more_stays_while_it_is_wanted(tree):
    node, (east, west, below) = tree
    serve = [node.serve, east.serve, west.serve, below.serve]
    poller = zmq.Poller()
    kept = peer("below", below, Role.PARENT)
    node.diallers.change([peer("east", east), kept])
    node.diallers.want(["east"])
    until(lambda: set(node.up) == {"east", "below"}, *serve)
    node.diallers.register(poller)
    links = dict(node.up)
    node.diallers.change([peer("west", west), kept])
    node.diallers.want(["west", "east"])
    until(lambda: len(node.up) == 3, *serve)
    node.diallers.register(poller)
    assert len(poller.sockets) == 6 and {name: node.up[name] for name in links} == links
    node.diallers.want(["west"])
    until(lambda: "east" not in node.up, *serve)
    node.diallers.register(poller)
    assert len(poller.sockets) == 4
    node.diallers.want(["west", "east"])
    for _ in range(20):
        for one in serve:
            one()
    assert set(node.up) == {"west", "below"}, "it is gone, whoever is wanted"


def test_one_that_is_a_peer_again_before_it_went_is_dialled_again(tree):
    node, (east, west, below) = tree
    serve = [node.serve, east.serve, west.serve, below.serve]
    kept = peer("below", below, Role.PARENT)
    node.diallers.want(["east"])
    until(lambda: "east" in node.up, *serve)
    node.diallers.change([kept])
    node.diallers.want([])
    node.diallers.change([peer("east", east), kept])
    node.diallers.want(["east"])
    until(lambda: "east" in node.up, *serve)
    assert len([name for name, event in node.events if name == "east" and isinstance(event, Up)]) <= 2


def test_a_peer_at_another_address_is_left_and_dialled_there(tree):
    node, (east, west, below) = tree
    serve = [node.serve, east.serve, west.serve, below.serve]
    poller = zmq.Poller()
    node.diallers.want(["east"])
    until(lambda: set(node.up) == {"east", "below"}, *serve)
    old = node.up["east"]
    node.diallers.change([peer("east", west), peer("below", below, Role.PARENT)])
    node.diallers.want(["east"])
    until(lambda: node.up.get("east", old) != old, *serve)
    node.diallers.send(node.up["east"], b"hello")
    until(lambda: west.got, *serve)
    node.diallers.register(poller)
    assert len(poller.sockets) == 4 and not node.diallers.send(old, b"nobody")
