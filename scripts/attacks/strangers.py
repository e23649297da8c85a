"""Strangers: whoever reaches the port, with nothing, or with keys that were made up a moment ago."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import nacl.bindings
import zmq

from fabric.edge.identity.identity import Dial
from fabric.protocol.base.limits import FRAME_BYTES_MAX
from fabric.protocol.base.signing import Signer
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Role
from fabric.transport.keys import random_keys
from relays.demo.intruders import reissued
from scripts.attacks import frames
from scripts.attacks.flood import Attack, Orders, Spoils, Tally
from scripts.attacks.peer import Peer, hello

_WHO = "stranger"
# More than a relay may have descriptors for.
_TCP_MAX = 1_500
_KEYS = 100
_KEY_FRAMES = 6_000
_ROUND_S = 4.0
_BURST = 64
_IDLE_S = 0.01
_POOL = 64


# -- below CURVE ------------------------------------------------------------------------------------------------


def _nothing(_: Dial) -> bytes:
    return b""


def half_handshake(dial: Dial) -> bytes:
    """A ZMTP 3.1 greeting and CURVE's HELLO (RFC 26): the relay computes a WELCOME, and waits for what never comes."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
    public, secret = nacl.bindings.crypto_box_keypair()
    number = os.urandom(8)
    box = nacl.bindings.crypto_box(bytes(64), b"CurveZMQHELLO---" + number, dial.curve_key, secret)
    command = b"\x05HELLO\x01\x00" + bytes(72) + public + number + box
    return greeting + b"\x04" + bytes([len(command)]) + command


@dataclass(frozen=True)
class Connections:
    """Many TCP connections that say one thing, and then nothing. Who is cut comes again.

    `stays`: False for those that go at once, before anybody could ask where they came from.
    """

    kind: str
    story: str
    says: Callable[[Dial], bytes]
    at_once: int
    who: str = _WHO
    stays: bool = True

    def strong(self, tally: Tally) -> bool:
        return tally.connections >= self.at_once

    def run(self, spoils: Spoils, orders: Orders, tally: Tally) -> None:
        host, _, port = spoils.dial.address.rpartition(":")
        said = [self.says(spoils.dial) for _ in range(_POOL)]
        waiting = select.poll()
        open_: dict[int, socket.socket] = {}
        orders.ready()
        try:
            while orders.go_on(tally):
                for _ in range(_BURST):
                    if orders.begun and orders.go_on(tally) and len(open_) < self.at_once:
                        self._come((host, int(port)), said[tally.connections % _POOL], open_, waiting, tally)
                for number, _ in waiting.poll(_IDLE_S * 1000):
                    self._hear(number, open_, waiting, tally)
                if not orders.begun:
                    time.sleep(_IDLE_S)
        finally:
            for connection in open_.values():
                connection.close()

    def _come(self, address: tuple[str, int], said: bytes, open_: dict[int, socket.socket], waiting: select.poll,
              tally: Tally) -> None:
        tally.connections += 1
        connection = socket.socket()
        connection.settimeout(0.2)
        try:
            connection.connect(address)
            connection.sendall(said)
        except OSError:
            connection.close()
            tally.cut += 1
            return
        if not self.stays:
            connection.close()
            return
        connection.setblocking(False)
        open_[connection.fileno()] = connection
        waiting.register(connection, select.POLLIN | select.POLLHUP)
        if said:
            tally.sent(len(said))

    def _hear(self, number: int, open_: dict[int, socket.socket], waiting: select.poll, tally: Tally) -> None:
        with suppress(OSError):
            if open_[number].recv(4_096):
                tally.heard += 1
                return
        waiting.unregister(number)
        open_.pop(number).close()
        tally.cut += 1


# -- with a key of their own ------------------------------------------------------------------------------------


def _tiny(_: Spoils) -> Iterator[bytes]:
    return frames.again([b"x"])


def _large(_: Spoils) -> Iterator[bytes]:
    return frames.again([bytes(FRAME_BYTES_MAX)])


def _joins(_: Spoils) -> Iterator[bytes]:
    return frames.joins()


def _nothing_said(_: Spoils) -> Iterator[bytes]:
    return iter(())


def _foreign(spoils: Spoils) -> Iterator[bytes]:
    """HELLO of somebody like the honest sensor, whom another authority let in."""
    other = Signer(os.urandom(32))
    sensor = replace(spoils.identity("sensor"), authority_key=other.public)
    made = [reissued(sensor, other, own_keys=True).credential for _ in range(_POOL)]
    return frames.again([encode_frame(hello(credential, Role.POINT, os.urandom(16))) for credential in made])


@dataclass(frozen=True)
class Keys:
    """Rounds of connections with a new CURVE key each, that send as much as goes and come again with other keys."""

    kind: str
    story: str
    says: Callable[[Spoils], Iterator[bytes]]
    keys: int = _KEYS
    frames_each: int = _KEY_FRAMES
    frame_bytes: int = 1_000
    round_s: float = _ROUND_S
    who: str = _WHO

    def strong(self, tally: Tally) -> bool:
        return tally.connections >= self.keys and (tally.frames > self.keys or self.says is _nothing_said)

    def run(self, spoils: Spoils, orders: Orders, tally: Tally) -> None:
        orders.ready()
        said = self.says(spoils)
        while orders.go_on(tally):
            if orders.begun:
                self._round(spoils, orders, tally, said)
            else:
                time.sleep(_IDLE_S)

    def _round(self, spoils: Spoils, orders: Orders, tally: Tally, said: Iterator[bytes]) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        context.max_sockets = self.keys + 16
        until_s = time.monotonic() + self.round_s
        try:
            callers = []
            for _ in range(self.keys):
                peer = Peer(context, spoils.dial, random_keys(os.urandom(32)), frame_bytes=self.frame_bytes,
                            watched=False)
                callers.append(_Caller(peer))
                tally.connections += 1
            while callers and time.monotonic() < until_s and orders.go_on(tally):
                moved = 0
                for caller in callers:
                    moved += self._fill(caller, said, tally)
                if not moved:
                    time.sleep(_IDLE_S)
        finally:
            context.destroy(linger=0)

    def _fill(self, caller: _Caller, said: Iterator[bytes], tally: Tally) -> int:
        tally.heard += caller.peer.hear(_BURST)
        for sent in range(min(_BURST, self.frames_each - caller.sent)):
            caller.waits = caller.waits or next(said, b"")
            if not caller.waits or not caller.peer.send(caller.waits):
                return sent
            tally.sent(len(caller.waits))
            caller.waits = b""
            caller.sent += 1
        return 1 if caller.sent < self.frames_each else 0


@dataclass
class _Caller:
    peer: Peer
    sent: int = 0
    waits: bytes = field(default=b"", repr=False)


ATTACKS: tuple[Attack, ...] = (
    Connections("tcp", "opens more connections than there are descriptors, and says nothing", _nothing, _TCP_MAX),
    Connections("tcp-gone", "connects and goes before anybody could ask where it came from", _nothing, _TCP_MAX,
                stays=False),
    Connections("tcp-half", "begins CURVE handshakes and never ends them", half_handshake, _TCP_MAX // 2),
    Keys("keys", "comes with new keys, one after the other, and says nothing", _nothing_said, keys=200, round_s=2.0),
    Keys("keys-tiny", "sends thousands of frames of one byte on each of a hundred connections", _tiny),
    Keys("keys-large", "sends frames of the largest size on each of a hundred connections", _large,
         frame_bytes=FRAME_BYTES_MAX, frames_each=100),
    Keys("join", "asks issuers that there are not to be let in", _joins, frame_bytes=10_000),
    Keys("hello", "says HELLO with a credential of another authority", _foreign),
)
