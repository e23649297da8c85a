"""Sockets between authenticated peers, with real ZeroMQ on loopback. Every wait is for a condition."""

import os
import select
import socket
import struct
import sys
import threading
import time
from contextlib import contextmanager, suppress
from itertools import islice

import pytest
import zmq

from fabric.protocol.base.errors import Code, FabricError
from fabric.transport import dialler, require_zmq, sockets
from fabric.transport.dialler import Dialler, Down
from fabric.transport.door import DoorTest
from fabric.transport.gate import Gate
from fabric.transport.keys import CurveKeys, curve_public, random_keys
from fabric.transport.listener import Listener, _peer_name
from fabric.transport.sockets import LinkNumbers, Sent, endpoint
from fabric.transport.unread import UNREAD_MAX, UNSENT_MAX, bytes_read
from tests.integration.zmtp import Wire

FRAME = 10_000
HERE = "127.0.0.1:0"
LATE_S = 15.0


def until(condition, *serve):
    """What the condition returned when it was true; meanwhile everything is served."""
    deadline = time.monotonic() + LATE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        for one in serve:
            one()
        time.sleep(0.002)
    return found


def now_ms():
    return time.monotonic_ns() // 1_000_000


class Relay:
    """A listener and its gate in one context; `admits` are the keys that may come in, None for all."""

    def __init__(self, address=HERE, admits=None, descriptors=65_536):
        self.context = zmq.Context()
        self.keys = random_keys(os.urandom(32))
        self.admits = admits
        self.gate = Gate(self.context, "acme", self.admit, lambda: self.listener.entries())
        self.listener = Listener(self.context, address, self.keys, "acme", FRAME, LinkNumbers(), descriptors)
        self.address = f"127.0.0.1:{self.listener.address.rsplit(':', 1)[1]}"
        self.got = []

    def admit(self, key):
        return self.admits is None or key in self.admits

    def serve(self):
        self.gate.serve()
        self.got += self.listener.receive()

    def close(self):
        self.listener.close()
        self.gate.close()
        self.context.destroy(linger=0)


class Peer:
    def __init__(self, address, server_key, keys=None, jitter=lambda: 0.0, backoff_ms_max=1_000):
        self.context = zmq.Context()
        self.keys = keys or random_keys(os.urandom(32))
        self.dialler = Dialler(
            self.context, address, server_key, self.keys, FRAME, LinkNumbers(), jitter, backoff_ms_max
        )
        self.events = []
        self.got = []

    def serve(self):
        self.events += self.dialler.service(now_ms())
        self.got += self.dialler.receive()

    def downs(self):
        return [event for event in self.events if isinstance(event, Down)]

    def close(self):
        self.dialler.close()
        self.context.destroy(linger=0)


@pytest.fixture
def relay():
    made = Relay()
    yield made
    made.close()


@pytest.fixture
def peer(relay):
    made = Peer(relay.address, relay.keys.public)
    yield made
    made.close()


def connected(relay, peer):
    until(lambda: peer.dialler.link, relay.serve, peer.serve)
    return peer.dialler.link


def test_libzmq_has_what_is_needed():
    require_zmq()


# -- who may come in ------------------------------------------------------------------------------------------


def test_every_payload_comes_with_the_key_that_the_gate_vouched_for(relay, peer):
    connected(relay, peer)
    for payload in (b"one", b"two"):
        assert peer.dialler.send(payload) is Sent.SENT
    until(lambda: len(relay.got) == 2, relay.serve)
    assert [(r.peer, r.payload) for r in relay.got] == [(peer.keys.public, b"one"), (peer.keys.public, b"two")]
    link = relay.got[0].link
    assert relay.listener.send(link, b"back") is Sent.SENT
    until(lambda: peer.got, peer.serve)
    assert peer.got == [b"back"] and relay.listener.has(link)
    assert relay.listener.links_of_peer(peer.keys.public) == 1


def test_a_key_that_is_not_admitted_is_told_so(relay, peer):
    relay.admits = set()
    until(peer.downs, relay.serve, peer.serve)
    assert peer.downs()[0].code is Code.UNKNOWN_KEY and "turned our key away" in peer.downs()[0].words
    assert relay.gate.counters["unknown_key"] >= 1 and relay.got == []


def test_an_admission_that_fails_keeps_everybody_out_and_the_gate_alive(relay, peer):
    relay.admits = 7  # `in 7` raises
    until(peer.downs, relay.serve, peer.serve)
    assert relay.gate.counters["error"] >= 1
    relay.admits = None
    connected(relay, peer)


@pytest.mark.parametrize(
    "request_",
    [[b""], [b"1.0"], [b"2.0", b"1", b"acme", b"", b"", b"CURVE", bytes(32)],
     [b"1.0", b"1", b"other", b"", b"", b"CURVE", bytes(32)], [b"1.0", b"1", b"acme", b"", b"", b"PLAIN", b"a", b"b"],
     [b"1.0", b"1", b"acme", b"", b"", b"CURVE", b"short"]],
    ids=["nothing", "cut off", "version", "domain", "PLAIN", "short key"],
)
def test_whatever_is_asked_the_gate_answers_no(relay, request_):
    asker = relay.context.socket(zmq.REQ)
    asker.connect("inproc://zeromq.zap.01")
    asker.send_multipart(request_)
    until(lambda: asker.poll(0), relay.serve)
    assert asker.recv_multipart()[2] in (b"400", b"500")
    asker.close(linger=0)


# -- what is not listened to ----------------------------------------------------------------------------------


def test_a_multipart_is_dropped_and_counted_and_the_next_frame_is_heard(relay, peer):
    connected(relay, peer)
    peer.dialler.socket.send_multipart([b"x"] * 40)
    peer.dialler.send(b"fine")
    until(lambda: relay.got, relay.serve)
    assert [r.payload for r in relay.got] == [b"fine"] and relay.listener.counters["multipart"] == 1


def test_a_frame_above_the_limit_ends_the_connection(relay, peer):
    connected(relay, peer)
    peer.dialler.send(bytes(FRAME + 1))
    until(peer.downs, relay.serve, peer.serve)
    assert peer.downs()[0].code is Code.CLOSED and relay.got == []


def test_whoever_reads_stops_when_it_likes_and_the_rest_waits(relay, peer):
    connected(relay, peer)
    for n in range(30):
        peer.dialler.send(bytes([n]))
    turns = []
    until(lambda: turns.append(list(islice(relay.listener.receive(), 5))) or sum(map(len, turns)) == 30)
    assert max(map(len, turns)) <= 5
    assert [received.payload[0] for turn in turns for received in turn] == list(range(30))


def test_who_sends_only_what_is_dropped_does_not_keep_the_reader(relay, peer, monkeypatch):
    connected(relay, peer)
    monkeypatch.setattr("fabric.transport.listener._FRAMES_MAX", 3)
    for _ in range(7):
        peer.dialler.socket.send_multipart([b"two", b"frames"])
    seen = []
    until(lambda: seen.append(list(relay.listener.receive())) or relay.listener.counters["multipart"] == 7)
    assert len(seen) >= 3 and not any(seen)


# -- the end of connections -----------------------------------------------------------------------------------


def test_cut_ends_the_connection_at_once(relay, peer):
    connected(relay, peer)
    peer.dialler.send(b"hello")
    until(lambda: relay.got, relay.serve)
    relay.listener.cut(relay.got[0].link)
    until(peer.downs, relay.serve, peer.serve)
    assert relay.listener.send(relay.got[0].link, b"x") is Sent.GONE


def test_the_listener_says_which_links_are_gone(relay, peer):
    connected(relay, peer)
    peer.dialler.send(b"hello")
    until(lambda: relay.got, relay.serve)
    peer.dialler.close()
    gone = []
    until(lambda: gone.extend(relay.listener.gone()) or gone, relay.serve)
    assert gone == [relay.got[0].link]


def test_a_link_is_gone_when_everything_that_it_brought_was_received(relay, peer):
    connected(relay, peer)
    for n in range(300):
        peer.dialler.send(bytes([n % 256]))
    until(lambda: relay.got, relay.serve)
    link = relay.got[0].link
    time.sleep(0.05)  # libzmq's own thread sends: what it has not sent when it is closed is lost on that side
    peer.dialler.close()
    until(lambda: relay.listener.gone() == [link], relay.serve)
    assert {received.link for received in relay.got} == {link}, "and never taken for another's"
    assert not relay.listener.has(link) and relay.listener.links_of_peer(peer.keys.public) == 0
    assert not relay.listener.more


def test_an_end_that_is_seen_meanwhile_holds_back_no_earlier_one(relay, peer):
    """Else who comes and goes all the time keeps the ends of all others from being told."""
    other = Peer(relay.address, relay.keys.public)
    for count, each in enumerate((peer, other), 1):
        connected(relay, each)
        each.dialler.send(b"hello")
        until(lambda count=count: len(relay.got) == count, relay.serve)
    first, second = (received.link for received in relay.got)
    peer.dialler.close()
    until(lambda: relay.listener._ending, relay.listener.entries)
    assert list(relay.listener.receive()) == []
    other.close()
    until(lambda: len(relay.listener._ending) == 2, relay.listener.entries)
    assert relay.listener.gone() == [first], "of the second it is not known yet whether it brought more"
    assert relay.listener.gone() == [] and list(relay.listener.receive()) == []
    assert relay.listener.gone() == [second] and not relay.listener.more


def test_what_a_connection_brings_that_was_cut_is_dropped(relay, peer):
    connected(relay, peer)
    peer.dialler.send(b"hello")
    until(lambda: relay.got, relay.serve)
    for _ in range(20):
        peer.dialler.send(b"more")
    until(lambda: relay.listener.socket.poll(0))
    relay.listener.cut(relay.got[0].link)
    until(peer.downs, relay.serve, peer.serve)
    until(lambda: relay.listener.gone() or not relay.listener._cut, relay.serve)
    assert [received.payload for received in relay.got] == [b"hello"] and relay.listener.counters["cut"] >= 1
    assert not relay.listener._by_route and not relay.listener._by_descriptor


def test_a_link_that_ended_is_let_go_though_nothing_more_comes_in(relay, peer):
    """Else a loop that has something to do never waits again."""
    connected(relay, peer)
    peer.dialler.send(b"hello")
    until(lambda: relay.got, relay.serve, relay.listener.gone)
    peer.dialler.close()
    gone = []
    until(lambda: gone, lambda: gone.extend(relay.listener.gone()), lambda: list(relay.listener.receive()))
    assert gone == [relay.got[0].link] and not relay.listener.more


@contextmanager
def taking_the_descriptor_of(wire, relay):
    """A connection that has the descriptor of this one at the listener, which has yet to look at both."""
    (descriptor,) = relay.listener._accepted
    newcomer = socket.socket()
    wire.socket.close()
    until(lambda: not os.path.exists(f"/proc/self/fd/{descriptor}"))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < descriptor:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    os.close(taken.pop(taken.index(descriptor)))
    try:
        host, port = relay.address.rsplit(":", 1)
        newcomer.connect((host, int(port)))
        until(lambda: (_peer_name(descriptor) or (0, 0))[1] == newcomer.getsockname()[1])
        yield descriptor, newcomer
    finally:
        newcomer.close()
        for one in taken:
            os.close(one)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc which descriptors are in use")
def test_what_ended_and_left_a_frame_behind_is_not_taken_for_who_has_its_descriptor_now(relay):
    gone = Wire(relay.address, relay.keys.public, relay.gate.serve)
    until(lambda: relay.listener._accepted, relay.listener.gone)
    gone.socket.sendall(gone.message(b"hello"))
    until(lambda: relay.listener.socket.poll(0))
    with taking_the_descriptor_of(gone, relay) as (descriptor, newcomer):
        (received,) = relay.listener.receive()
        relay.listener.cut(received.link)
        assert received.payload == b"hello" and not relay.listener.has(received.link)
        newcomer.recv(10, socket.MSG_WAITALL)
        newcomer.sendall(b"\xff" + bytes(8) + b"\x7f")
        assert newcomer.recv(1), "it is heard: the rest of the greeting comes"
        until(lambda: descriptor in relay.listener._silent, relay.listener.gone)
        assert not relay.listener._cut


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc which descriptors are in use")
def test_who_has_the_descriptor_of_what_ended_does_not_end_with_it(relay):
    """The end of the one and the beginning of the other may be looked at together, after what the newcomer says."""
    gone = Wire(relay.address, relay.keys.public, relay.gate.serve)
    gone.socket.sendall(gone.message(b"hello"))
    until(lambda: relay.got, relay.serve)
    with taking_the_descriptor_of(gone, relay) as (_descriptor, socket_):
        newcomer = Wire(relay.address, relay.keys.public, relay.gate.serve, socket_)
        newcomer.socket.sendall(newcomer.message(b"hello too"))
        until(lambda: relay.listener.socket.poll(0))
        (received,) = relay.listener.receive()
        assert until(relay.listener.gone) == [relay.got[0].link]
        assert relay.listener.has(received.link) and received.payload == b"hello too"
        relay.listener.cut(received.link)
        assert socket_.recv(10_000) is not None and not socket_.recv(1), "its end is found, and by nobody else's number"


def test_the_oldest_strangers_make_room_and_who_was_accepted_stays():
    relay = Relay(descriptors=16)  # 12 connections, of strangers 3
    member = Peer(relay.address, relay.keys.public)
    strangers = []
    try:
        connected(relay, member)
        member.dialler.send(b"hello")
        until(lambda: relay.got, relay.serve, relay.listener.gone)
        relay.listener.accepted(relay.got[0].link)
        for _ in range(5):
            # Who is cut does not come again soon: it would crowd out another.
            strangers.append(Peer(relay.address, relay.keys.public, jitter=lambda: 1_000.0))
            connected(relay, strangers[-1])
            relay.listener.gone()
        everybody = [one.serve for one in strangers]
        until(lambda: all(one.downs() for one in strangers[:2]), relay.serve, relay.listener.gone, *everybody)
        assert relay.listener.counters["crowded_out"] == 2
        assert not any(one.downs() for one in strangers[2:])
        member.dialler.send(b"still here")
        until(lambda: len(relay.got) == 2, relay.serve)
    finally:
        for one in (*strangers, member, relay):
            one.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="packet filters are Linux's")
def test_a_host_that_connects_again_and_again_is_not_heard_and_all_others_are(relay, peer):
    """Each connection is work for libzmq's one thread, and those who are connected wait for it."""
    connected(relay, peer)
    host, _, port = relay.address.rpartition(":")
    from_there = {"source_address": ("127.0.0.2", 0), "timeout": 0.5}
    crowd = []

    def flood():
        with suppress(TimeoutError):
            crowd.extend(socket.create_connection((host, int(port)), **from_there) for _ in range(64))
        return relay.listener.counters["kept_out"]

    newcomer = Peer(relay.address, relay.keys.public)
    try:
        until(flood, relay.serve, relay.listener.gone)
        with pytest.raises(TimeoutError):
            socket.create_connection((host, int(port)), **from_there)
        connected(relay, newcomer)
        peer.dialler.send(b"still here")
        until(lambda: relay.got, relay.serve)
        until(lambda: not relay.listener._crowds.kept_out(time.perf_counter_ns() // 1_000_000), relay.listener.gone)
        relay.listener.gone()
        socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0), timeout=5).close()
    finally:
        for one in (newcomer, *crowd):
            one.close()


def test_a_peer_that_sends_more_than_anybody_could_read_is_left(relay, peer, monkeypatch):
    monkeypatch.setattr("fabric.transport.dialler._UNBROKEN_MAX", 50)
    connected(relay, peer)
    peer.dialler.send(b"hello")
    until(lambda: relay.got, relay.serve)
    for _ in range(200):
        relay.listener.send(relay.got[0].link, b"flood")
    until(lambda: peer.downs(), relay.serve, peer.serve)
    assert peer.dialler.counters["flooded"] == 1 and len(peer.got) < 100


def test_what_a_peer_sends_and_nobody_reads_waits_at_its_own_side(relay):
    """A frame of 9 KB; beside what the kernel holds, libzmq has few of them."""
    flooder = Wire(relay.address, relay.keys.public, relay.gate.serve)
    try:
        until(lambda: relay.listener._accepted, relay.listener.gone)
        (descriptor,) = relay.listener._accepted
        flooder.socket.setblocking(False)
        sent = 0
        while select.select([], [flooder.socket], [], 0.3)[1]:
            assert sent < 64 * 2**20, "nothing holds it up"
            message = flooder.message(bytes(9_000))
            while message and select.select([], [flooder.socket], [], 0.3)[1]:
                taken = flooder.socket.send(message)
                message, sent = message[taken:], sent + taken
        # Its 32, the one behind them, and a read of the socket's that is begun.
        assert bytes_read(descriptor) < 48 * 9_100
    finally:
        flooder.socket.close()


def test_a_message_that_never_ends_ends_with_its_connection(relay, peer):
    """A stranger, or who was heard before: every frame says that there is more, so none can be read."""
    connected(relay, peer)
    peer.dialler.send(b"hello")
    for first in ((), (b"hello",)):
        wire = Wire(relay.address, relay.keys.public, relay.serve)
        for said in first:
            wire.socket.sendall(wire.message(said))
        ended = relay.listener.counters["endless"]

        def go_on(wire=wire):
            with suppress(OSError):
                wire.socket.sendall(wire.message(bytes(FRAME - 100), flags=1))

        until(lambda ended=ended: relay.listener.counters["endless"] > ended, go_on, relay.serve, relay.listener.gone)
        wire.socket.close()
    relay.got.clear()
    peer.dialler.send(b"still here")
    until(lambda: relay.got and relay.got[-1].payload == b"still here", relay.serve)


def test_who_does_not_read_is_left_before_much_waits_for_him(relay, peer):
    connected(relay, peer)
    peer.dialler.send(b"hello")
    wire = Wire(relay.address, relay.keys.public, relay.serve)
    wire.socket.sendall(wire.message(b"deaf"))
    until(lambda: len(relay.got) == 2, relay.serve)
    deaf = next(received.link for received in relay.got if received.payload == b"deaf")
    reader = next(received.link for received in relay.got if received.payload == b"hello")
    try:
        for _ in range(400):
            relay.listener.send(deaf, bytes(60_000))
        until(lambda: deaf in relay.listener.gone(), relay.serve)
        assert relay.listener.counters["deaf"] == 1
        for _ in range(UNSENT_MAX // FRAME * 2):
            peer.got.clear()
            assert relay.listener.send(reader, bytes(FRAME - 100)) is Sent.SENT
            until(lambda: peer.got, relay.serve, relay.listener.gone, peer.serve)
    finally:
        wire.socket.close()


def test_a_peer_that_was_dialled_and_whose_message_never_ends_is_left(relay, monkeypatch):
    """As the kernel tells it: this side has read much of the connection, and could take nothing."""
    read = [1_000]
    monkeypatch.setattr("fabric.transport.dialler.bytes_read", lambda descriptor, few: read[0])
    peer = Peer(relay.address, relay.keys.public)
    try:
        connected(relay, peer)
        for _ in range(3):
            peer.dialler.service(now_ms() + 1_000)
        assert peer.dialler.link and not peer.dialler.counters["endless"]
        read[0] += UNREAD_MAX
        until(lambda: peer.downs(), relay.serve, peer.serve)
        assert peer.dialler.counters["endless"] == 1 and "does not end" in peer.downs()[0].words
    finally:
        peer.close()


def test_a_dialled_peer_that_says_nothing_needs_no_looks_until_it_says_something(relay, peer):
    connected(relay, peer)
    peer.dialler.send(b"hello")
    until(lambda: relay.got, relay.serve, peer.serve)
    at_ms = [now_ms()]

    def look():
        at_ms[0] += 1_000
        peer.dialler.service(at_ms[0])

    until(lambda: peer.dialler.still >= 0, relay.serve, look)
    poller = zmq.Poller()
    poller.register(peer.dialler.still, zmq.POLLIN)
    assert poller.poll(0) == [], "and nothing is told"
    peer.dialler.send(b"hello")
    assert peer.dialler.still < 0, "what is answered now is looked at when it is there"
    until(lambda: peer.dialler.still >= 0, relay.serve, look)
    relay.listener.send(relay.got[0].link, b"hello")
    until(lambda: peer.got, relay.serve, peer.serve)
    assert peer.dialler.still < 0, "whether that has an end is looked at"
    until(lambda: peer.dialler.still >= 0, relay.serve, look)


def test_who_came_in_and_says_nothing_is_cut(relay, peer):
    connected(relay, peer)
    talker = Peer(relay.address, relay.keys.public)
    try:
        connected(relay, talker)
        talker.dialler.send(b"hello")
        until(lambda: relay.got, relay.serve)
        until(lambda: relay.listener.gone() or relay.listener._silent, relay.serve)
        relay.listener.cut_silent(1_000, 5_000)
        relay.listener.cut_silent(5_900, 5_000)
        assert relay.listener.counters["silent"] == 0
        relay.listener.cut_silent(6_000, 5_000)
        until(peer.downs, relay.serve, peer.serve)
        assert relay.listener.counters["silent"] == 1
        talker.dialler.send(b"still here")
        until(lambda: len(relay.got) == 2, relay.serve)
    finally:
        talker.close()


def test_a_listener_that_comes_back_is_found_again(relay):
    address = relay.address
    peer = Peer(address, relay.keys.public)
    try:
        first = connected(relay, peer)
        relay.listener.close()
        until(lambda: peer.dialler.link == 0, relay.gate.serve, peer.serve)
        relay.listener = Listener(relay.context, address, relay.keys, "acme", FRAME, LinkNumbers())
        assert connected(relay, peer) != first
    finally:
        peer.close()


# -- why there is no connection -------------------------------------------------------------------------------


def failure(address, server_key, *serve):
    """The first that says more than that it was cut off."""
    peer = Peer(address, server_key)

    def reasons():
        return [down for down in peer.downs() if down.code is not Code.CLOSED]

    try:
        until(reasons, peer.serve, *serve)
        return reasons()[0]
    finally:
        peer.close()


def test_nobody_answers():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    down = failure(address, bytes(range(32)))
    assert down.code is Code.UNREACHABLE and address in down.words


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere resets are heard")
def test_from_a_port_of_which_the_relay_still_holds_a_connection_it_is_tried_again_from_another(relay, monkeypatch):
    """Its process was killed: what tells the relay so is a reset, which it does not hear."""
    host, _, port = relay.address.rpartition(":")
    killed = socket.create_connection((host, int(port)))
    until(relay.listener.entries, relay.serve)
    ports = iter([killed.getsockname()[1], 0])
    killed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    killed.close()
    monkeypatch.setattr(dialler, "endpoint", lambda address: f"tcp://127.0.0.1:{next(ports)};{address}")
    again = Peer(relay.address, relay.keys.public)
    try:
        began_ms = now_ms()
        for at_ms in (began_ms, began_ms + 2_000):
            assert again.dialler.service(at_ms) == []
            assert again.dialler.next_wake_ms(at_ms) == began_ms + 2_001
        assert again.dialler.service(began_ms + 2_001) == [] and again.dialler.socket is not None
        until(lambda: again.dialler.link, relay.serve, lambda: again.events.extend(again.dialler.service(began_ms)))
        assert again.downs() == []
    finally:
        again.close()


def test_it_is_another_relay_than_we_think(relay):
    down = failure(relay.address, random_keys(os.urandom(32)).public, relay.serve)
    assert down.code is Code.HANDSHAKE_FAILED and "another key" in down.words


@contextmanager
def cutting_off(cuts, then=b""):
    """The address of somebody who says `then` to each that comes, and hangs up; after so many he is away."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            for _ in range(cuts):
                other, _ = server.accept()
                with other:
                    other.recv(10)
                    other.sendall(then)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(LATE_S)


def test_it_is_no_relay_at_all():
    with cutting_off(4, b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        assert failure(address, bytes(range(32))).code is Code.HANDSHAKE_FAILED


def test_a_relay_that_hangs_is_no_other_relay(monkeypatch):
    """Its kernel takes connections as before; the process says nothing."""
    for module in (dialler, sockets):
        monkeypatch.setattr(module, "HANDSHAKE_MS", 300)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        peer = Peer(address, bytes(range(32)))
        try:
            until(lambda: len(peer.downs()) >= 4, peer.serve)
            *before, last = peer.downs()[:4]
        finally:
            peer.close()
    assert [(down.code, "does not answer" in down.words) for down in before] == [(Code.CLOSED, True)] * 3
    assert last.code is Code.UNREACHABLE and "it hangs" in last.words


def test_a_handshake_that_was_cut_off_is_tried_again_before_anybody_is_called_another(relay):
    with cutting_off(3) as address:
        peer = Peer(address, relay.keys.public)
        try:
            until(lambda: len(peer.downs()) >= 3, peer.serve)
            assert {down.code for down in peer.downs()[:3]} == {Code.CLOSED}
        finally:
            peer.close()


def test_an_address_that_is_none():
    down = failure("not an address", bytes(range(32)))
    assert down.code is Code.UNREACHABLE and "no address" in down.words


def test_back_off_doubles_with_full_jitter_up_to_its_limit():
    context = zmq.Context()
    draws = []

    def jitter():
        draws.append(1.0)
        return 1.0

    dialler = Dialler(context, "not an address", bytes(range(32)), random_keys(bytes(32)), FRAME, LinkNumbers(),
                      jitter, 2_000)
    waits, now = [], 0
    for _ in range(6):
        dialler.service(now)
        wake = dialler.next_wake_ms(now)
        waits.append(wake - now)
        now = wake
    assert waits == [250, 500, 1_000, 2_000, 2_000, 2_000] and len(draws) == 6
    dialler.rest()
    assert dialler.service(now) == [] and dialler.next_wake_ms(now) is None
    dialler.wake()
    assert dialler.next_wake_ms(now) == 0
    dialler.close()
    context.destroy(linger=0)


def test_who_is_away_is_looked_for_often_and_who_breaks_off_is_left_alone():
    """However long it was away, and however often it was lately: its connections do not count as broken off for that.
    """
    context = zmq.Context()
    dialler = Dialler(context, "127.0.0.1:1", bytes(range(32)), random_keys(bytes(32)), FRAME, LinkNumbers(),
                      lambda: 1.0)
    now, events = 0, []

    def wait_after(code):
        dialler._down(code, "", now, events)
        return dialler.next_wake_ms(now) - now

    def away(dials):
        return [wait_after(Code.UNREACHABLE) for _ in range(dials)]

    for break_ in (250, 500, 1_000):
        assert wait_after(Code.CLOSED) == break_
        assert away(7) == [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]
    assert [wait_after(Code.CLOSED) for _ in range(7)] == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
    assert [event.again for event in events[1:8]] == [False, False, True, False, True, True, True]
    dialler.close()
    context.destroy(linger=0)


def test_a_port_in_use_is_named(relay):
    context = zmq.Context()
    with pytest.raises(FabricError) as caught:
        Listener(context, relay.address, relay.keys, "acme", FRAME, LinkNumbers())
    assert caught.value.code is Code.PORT_IN_USE and caught.value.detail == relay.address
    with pytest.raises(FabricError) as caught:
        Listener(context, "203.0.113.1:7700", relay.keys, "acme", FRAME, LinkNumbers())
    assert caught.value.code is Code.UNREACHABLE
    context.destroy(linger=0)


# -- the door -------------------------------------------------------------------------------------------------


def step_until(door, serve):
    result = []

    def decided():
        serve()
        closed = door.step(now_ms())
        if closed is not None:
            result.append(closed)
        return result

    until(decided)
    return result[0]


def test_a_good_door_is_closed_to_strangers(relay):
    relay.admits = set()
    door = DoorTest(relay.address, relay.keys.public, "pinned", b"HELLO", lambda payload: False)
    assert step_until(door, relay.serve) is True


def test_a_door_that_answers_strangers_with_a_reject_only_is_good(relay):
    def serve():
        relay.serve()
        while relay.got:
            relay.listener.send(relay.got.pop().link, b"REJECT")

    door = DoorTest(relay.address, relay.keys.public, "credential", b"HELLO", lambda payload: payload == b"REJECT")
    assert step_until(door, serve) is True


def test_a_door_that_says_more_is_open(relay):
    def serve():
        relay.serve()
        while relay.got:
            relay.listener.send(relay.got.pop().link, b"WELCOME")

    door = DoorTest(relay.address, relay.keys.public, "credential", b"HELLO", lambda payload: payload == b"REJECT")
    assert step_until(door, serve) is False and "REJECT" in door.failure


def test_a_door_that_nobody_answers_is_knocked_at_again_and_more_and_more_seldom(relay):
    """Time is an argument: the relay's gate is served only at the end."""
    door = DoorTest(relay.address, relay.keys.public, "pinned", b"HELLO", lambda payload: False)
    at_ms, knocked = 0, []
    while len(knocked) < 20:
        assert door.step(at_ms) is None
        if door.unanswered > len(knocked):
            knocked.append(at_ms)
        at_ms += 1_000 if door._knocks else 250
    gaps = [b - a for a, b in zip(knocked, knocked[1:], strict=False)]
    assert gaps == sorted(gaps) and 5_000 < gaps[0] < 8_000 and 65_000 < gaps[-1] < 68_000
    relay.admits = set()
    real = door.step
    door.step = lambda _now: real(at_ms + 60_000)
    assert step_until(door, relay.serve) is True


def test_a_socket_without_curve_is_open():
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    door = DoorTest(f"127.0.0.1:{port}", bytes(range(32)), "credential", b"HELLO", lambda payload: True)
    assert step_until(door, lambda: None) is False and "NULL" in door.failure
    context.destroy(linger=0)


# -- small things ---------------------------------------------------------------------------------------------


def test_keys_that_do_not_belong_together_are_refused():
    keys = random_keys(os.urandom(32))
    assert curve_public(keys.secret) == keys.public and "secret" not in repr(keys)
    for secret in (os.urandom(32), b"short"):
        with pytest.raises(FabricError) as caught:
            CurveKeys(keys.public, secret)
        assert caught.value.code is Code.BAD_IDENTITY


def test_addresses_become_endpoints():
    assert endpoint("127.0.0.1:7700") == "tcp://127.0.0.1:7700"
    assert endpoint("tcp://[::1]:7700") == "tcp://[::1]:7700"


def test_link_numbers_are_never_used_again():
    numbers = LinkNumbers()
    assert [numbers.take() for _ in range(4)] == [1, 2, 3, 4]
