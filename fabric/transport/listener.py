"""The listening side: a ROUTER behind the gate.

Guarantees: a payload comes with the CURVE key that the gate put on its message, read every time; our link numbers
stand for a (connection, key) pair and are never used again; sending says when the peer is not there; a link is gone
only when everything that it brought was received. Strangers have a small part of the connections (`strangers`), and a
host that connects again and again is not heard for a moment (`crowds`). Drops and counts what has no key or not
exactly one frame, and what a connection still brings that was cut. Never shows a routing id to anybody: a peer that
knew the next one could claim it.
"""

from __future__ import annotations

import errno
import os
import socket as sockets_
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.shares import Holdings
from fabric.transport.crowds import Crowds
from fabric.transport.filters import hear_no_more, ignore_resets, keep_out
from fabric.transport.gate import User, read_user
from fabric.transport.keys import CurveKeys
from fabric.transport.sockets import (
    RECEIVE_NS_MAX,
    LinkNumbers,
    Sent,
    dress,
    endpoint,
    readable,
    receive_single,
    send_single,
)
from fabric.transport.strangers import Strangers
from fabric.transport.unread import Unread, Unsent, bytes_read, bytes_written, resident_bytes

_BACKLOG = 512
# Of one call, those that are dropped included: who sends nothing else must not keep the loop in here.
_FRAMES_MAX = 1_024
# Events of one call: who connects and goes again all the time must not keep the loop there either.
_EVENTS_MAX = 2_048
# Frames of a connection that wait in libzmq: each may have 256 KiB, and our own queue is where they are to wait.
_WAITING_MAX = 32
_NOT_YET = -1
_UNKNOWN = -1  # the descriptor of a connection that cannot be told any more; silence ends its link
_DESCRIPTORS = 65_536


class Received(NamedTuple):
    """One frame: the link that it came by, and the CURVE key that the gate put on it."""

    link: int
    peer: bytes
    payload: bytes


class _Connection(NamedTuple):
    routing_id: bytes
    peer: bytes
    descriptor: int
    address: object  # what getpeername said when it was accepted: the descriptor may be another connection's by now


class _Owner(NamedTuple):
    """Whose a descriptor is: the connection that came in as this one."""

    entry: int
    address: object  # as in _Connection


class Listener:
    """One listening address and its links. Raises PORT_IN_USE, or UNREACHABLE where it cannot be bound."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        keys: CurveKeys,
        domain: str,
        frame_bytes_max: int,
        numbers: LinkNumbers,
        descriptors: int = _DESCRIPTORS,
    ) -> None:
        assert domain, "with an empty domain libzmq asks nobody"
        self._numbers = numbers
        self._strangers = Strangers(descriptors)
        self._crowds = Crowds()
        self._kept_out: tuple[str, ...] = ()  # hosts of which the kernel lets none in now
        self._listening = _UNKNOWN
        self._unread = Unread(bytes_read, resident_bytes)
        self._unsent = Unsent(bytes_written)
        self._links: dict[int, _Connection] = {}
        self._by_route: dict[tuple[bytes, bytes], int] = {}
        self._by_descriptor: dict[int, int] = {}
        self._accepted: dict[int, _Owner] = {}  # of each descriptor, as far as was looked
        self._entries = 0  # connections that came in
        self._of_peer: Holdings[bytes] = Holdings()  # how many links each key has
        self._cut: dict[int, tuple[bytes, bytes]] = {}  # descriptor -> what it still brings is dropped
        # Links whose connection ended, and after how many messages; what they brought may still wait.
        self._ending: deque[tuple[int, int]] = deque()
        self._read_out = 0  # so many of these, from the first on, have nothing left to be received
        self._messages = 0  # received, those that were dropped included
        self._looked_at = 0  # after how many of them `_unread` looked
        self._connections_max = 0  # that there ever were at a time
        self._silent: dict[int, tuple[int, object]] = {}  # descriptor -> (since, peer), until it says something
        self.counters: Counter[str] = Counter()
        self.socket = context.socket(zmq.ROUTER)
        dress(self.socket, frame_bytes_max)
        self.socket.setsockopt(zmq.CURVE_SERVER, 1)
        keys.dress(self.socket)
        self.socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
        self.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.BACKLOG, _BACKLOG)
        self.socket.setsockopt(zmq.RCVHWM, _WAITING_MAX)
        # A handshake that succeeded tells no descriptor; a connection that was accepted does.
        events = zmq.EVENT_LISTENING | zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
        self.monitor = self.socket.get_monitor_socket(events)
        try:
            self.socket.bind(endpoint(address))
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise FabricError(Code.PORT_IN_USE, address) from error
            instead = "write an address of this machine"
            if error.errno == errno.EACCES:
                instead = "write a port above 1023, or run it with CAP_NET_BIND_SERVICE"
            raise FabricError(
                Code.UNREACHABLE, f"cannot listen on {address}: {os.strerror(error.errno or 0)}", instead
            ) from error
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://")
        self._look_at_connections()  # the listening socket's descriptor is among the events by now

    def receive(self, *, waits: bool = True, most_ns: int = RECEIVE_NS_MAX) -> Iterator[Received]:
        """What waits, a frame at a time, peers in turn, for no longer than a part of a turn.

        `waits`: false where a poller found nothing. Also then it is read when something depends on all being read: a
        link that ended, or a connection whose message may have no end.
        """
        began_ns = time.perf_counter_ns()
        ends_ns = began_ns + most_ns
        if not self._unread.looked:
            self._unread.look(began_ns // 1_000_000)
            self._looked_at = self._messages
        if not (waits or self._ending or self._unread.looked):
            return
        for _ in range(_FRAMES_MAX):
            if not readable(self.socket):
                self._read_out = len(self._ending)
                self._end_endless()
                return
            parts = receive_single(self.socket, 2)
            self._messages += 1
            if parts is None:
                self.counters["multipart"] += 1
            received = None if parts is None else self._received(parts)
            if received is not None:
                yield received
            if time.perf_counter_ns() > ends_ns:
                break
        if self._had_its_turns(self._looked_at):
            self._end_endless()

    def _had_its_turns(self, since: int) -> bool:
        """Whether what waited of any connection after so many messages was received, though more waits of others.

        Connections are read in turn, and of each no more waits than `_WAITING_MAX`. Twice that, since some that had
        ended may still have had something.
        """
        return self._messages - since > 2 * (_WAITING_MAX + 1) * self._connections_max

    def _received(self, parts: list[zmq.Frame]) -> Received | None:
        user = read_user(parts[1])
        if user is None:
            self.counters["no_key"] += 1
            return None
        link = self._link(parts[0].bytes, user, parts[1])
        if link not in self._links:
            self.counters["cut"] += 1
            return None
        if (descriptor := self._links[link].descriptor) != _UNKNOWN:
            self._unread.took(descriptor, len(parts[1]))
        return Received(link, user.key, parts[1].bytes)

    def _end_endless(self) -> None:
        for descriptor in self._unread.too_much():
            self.counters["endless"] += 1
            self._end(descriptor)

    def _link(self, routing_id: bytes, user: User, frame: zmq.Frame) -> int:
        peer = user.key
        number = self._by_route.get((routing_id, peer))
        if number is None:
            number = self._numbers.take()
            descriptor, address = self._socket_of(frame, user.entries)
            self._by_route[(routing_id, peer)] = number
            self._links[number] = _Connection(routing_id, peer, descriptor, address)
            if descriptor != _UNKNOWN:
                self._silent.pop(descriptor, None)
                self._by_descriptor[descriptor] = number
            self._of_peer.add(peer, 1)
        return number

    def _socket_of(self, frame: zmq.Frame, entries: int) -> tuple[int, object]:
        """The descriptor of the connection that brought this frame, and its peer's name; unknown where it has ended.

        What ended and left frames behind must not be taken for the connection that has its number now: to cut the one
        would end the other, and the end of the one would be taken for the other's. `entries`: how many had come in when
        the gate let this one in. Whoever came later has the number after it.
        """
        descriptor = _descriptor(frame)
        is_up_to_date = self._look_at_connections()
        owner = self._accepted.get(descriptor)
        if owner is None or owner.entry > entries or not is_up_to_date:
            return _UNKNOWN, None
        return descriptor, owner.address

    def entries(self) -> int:
        """How many connections came in by now: for the gate, which says it of each that it lets in."""
        self._look_at_connections()
        return self._entries

    def send(self, link: int, payload: bytes) -> Sent:
        connection = self._links.get(link)
        if connection is None:
            return Sent.GONE
        try:
            send_single(self.socket, payload, connection.routing_id)
        except zmq.Again:
            return Sent.BUSY
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return Sent.GONE  # what it brought may still wait: `gone` tells when that was received
            raise
        if connection.descriptor != _UNKNOWN:
            self._unsent.gave(connection.descriptor, len(payload))
        return Sent.SENT

    def gone(self, *, told: bool = True) -> list[int]:
        """Links whose connection has ended, and everything that it brought was received.

        `told`: whether `monitor` has something to say. Whoever polls it knows, and to ask it costs more than the rest.
        """
        gone: list[int] = []
        while self._ending and (self._read_out or self._had_its_turns(self._ending[0][1])):
            gone.append(self._ending.popleft()[0])
            self.forget(gone[-1])
            self._read_out = max(0, self._read_out - 1)
        if told:
            self._look_at_connections()
        self._end_surplus()
        self._keep_out()
        return gone

    @property
    def more(self) -> bool:
        """Whether `receive` and `gone` have something to do, though nothing comes in."""
        return bool(self._ending)

    def _look_at_connections(self) -> bool:
        """Whether nothing more is known of them than what was looked at."""
        for _ in range(_EVENTS_MAX):
            if not readable(self.monitor):
                return True
            event = parse_monitor_message(self.monitor.recv_multipart(zmq.DONTWAIT))
            descriptor = int(event["value"])
            match event["event"]:
                case zmq.EVENT_LISTENING:
                    self._listening = descriptor
                    ignore_resets(descriptor)
                case zmq.EVENT_ACCEPTED:
                    self._came(descriptor)
                case _:
                    self._went(descriptor)
        return False

    def _end_surplus(self) -> None:
        """Connections that do not read what they are sent, and strangers beyond what there is room for."""
        for descriptor in self._unsent.too_much(time.perf_counter_ns() // 1_000_000):
            self.counters["deaf"] += 1
            self._unsent.gone(descriptor)
            self._end(descriptor)
        for descriptor in self._strangers.too_many():
            self.counters["crowded_out"] += 1
            self._end(descriptor)

    def _keep_out(self) -> None:
        """Hosts that connect too often are not heard for a moment: TCP tries again by itself."""
        hosts = self._crowds.kept_out(time.perf_counter_ns() // 1_000_000)
        if hosts != self._kept_out:
            if new := set(hosts) - set(self._kept_out):
                self.counters["kept_out"] += len(new)
            self._kept_out = hosts
            keep_out(self._listening, hosts)

    def _came(self, descriptor: int) -> None:
        name = _peer_name(descriptor)
        self._entries += 1
        self._accepted[descriptor] = _Owner(self._entries, name)
        host = _host(name)
        self._crowds.came(host, time.perf_counter_ns() // 1_000_000)
        self._connections_max = max(self._connections_max, len(self._accepted))
        ignore_resets(descriptor)  # it may have come before the listener had it set
        self._strangers.came(descriptor, host)
        self._unread.came(descriptor)
        if descriptor not in self._by_descriptor:
            self._silent[descriptor] = (_NOT_YET, name)

    def _went(self, descriptor: int) -> None:
        self._accepted.pop(descriptor, None)
        self._silent.pop(descriptor, None)
        self._strangers.gone(descriptor)
        self._unread.gone(descriptor)
        self._unsent.gone(descriptor)
        route = self._cut.pop(descriptor, None)
        if route is not None:
            self._by_route.pop(route, None)
        link = self._by_descriptor.pop(descriptor, None)
        if link is not None and link in self._links:
            self._ending.append((link, self._messages))

    def accepted(self, link: int) -> None:
        """The peer of this link was let in: it is no stranger any more."""
        connection = self._links.get(link)
        if connection is not None and self._by_descriptor.get(connection.descriptor) == link:
            self._strangers.accepted(connection.descriptor)

    def forget(self, link: int) -> None:
        connection = self._links.pop(link, None)
        if connection is not None:
            self._by_route.pop((connection.routing_id, connection.peer), None)
            self._of_peer.add(connection.peer, -1)
            if self._by_descriptor.get(connection.descriptor) == link:
                del self._by_descriptor[connection.descriptor]

    def cut(self, link: int) -> None:
        """End the connection, if it is still the same peer's. What it still brings is dropped."""
        connection = self._links.get(link)
        there = connection is not None and self._by_descriptor.get(connection.descriptor) == link
        self.forget(link)
        if connection is not None and there:
            route = (connection.routing_id, connection.peer)
            self._by_route[route] = link
            self._cut[connection.descriptor] = route
            _shut(connection.descriptor, connection.address)

    def _end(self, descriptor: int) -> None:
        """Of a connection with or without a link: `gone` tells of the link when it has ended."""
        link, silent = self._by_descriptor.get(descriptor), self._silent.pop(descriptor, None)
        if link is not None:
            _shut(descriptor, self._links[link].address)
        elif silent is not None:
            _shut(descriptor, silent[1])

    def cut_silent(self, now_ms: int, silence_ms: int) -> None:
        """End connections that came in and have not said a word since; ZeroMQ would keep them for ever."""
        for descriptor, (since_ms, _) in list(self._silent.items()):
            if since_ms == _NOT_YET:
                self._silent[descriptor] = (now_ms, self._silent[descriptor][1])
            elif now_ms - since_ms >= silence_ms:
                self.counters["silent"] += 1
                self._strangers.gone(descriptor)
                self._end(descriptor)

    def has(self, link: int) -> bool:
        """Whether it is there, as far as is known."""
        return link in self._links

    def links_of_peer(self, peer: bytes) -> int:
        """How many links this key has."""
        return self._of_peer[peer]

    def close(self) -> None:
        if hasattr(self, "monitor"):
            self.socket.disable_monitor()
            self.monitor.close(linger=0)
        self.socket.close(linger=0)


def _shut(descriptor: int, peer: object) -> None:
    if peer is None:
        return
    with suppress(OSError), sockets_.socket(fileno=os.dup(descriptor)) as copy:
        if copy.getpeername() == peer:
            hear_no_more(copy)


def _descriptor(frame: zmq.Frame) -> int:
    try:
        return int(frame.get("__fd"))
    except (zmq.ZMQError, ValueError, TypeError):
        return _UNKNOWN


def _host(peer: object) -> str:
    return str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else ""


def _peer_name(descriptor: int) -> object:
    try:
        with sockets_.socket(fileno=os.dup(descriptor)) as copy:
            return copy.getpeername()
    except OSError:
        return None
