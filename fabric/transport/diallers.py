"""Every peer that one node dials: its parents, of which only those that are wanted, and children that may not dial.

Guarantees: one connection at most to each; one that is not wanted any more is closed, and its `Down` says so. The
sockets that a poller has are kept in step.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import zmq

from fabric.protocol.wire.frames import Role
from fabric.transport.dialler import Dialler, LinkEvent, Up
from fabric.transport.keys import CurveKeys
from fabric.transport.sockets import RECEIVE_NS_MAX, LinkNumbers


class Peer(NamedTuple):
    """`role` is what we say we are to it."""

    id: str
    address: str
    curve_key: bytes
    role: Role


class _Dialled:
    """One peer. `retired`: it is no peer any more, and goes when nobody wants it."""

    def __init__(self, peer: Peer, dialler: Dialler) -> None:
        self.peer = peer
        self.dialler = dialler
        self.retired = False
        self.generation = -1
        self.registered: list[zmq.Socket[bytes]] = []
        self.watched = -1  # a descriptor


class Diallers:
    """The connections to all peers that a node dials. `jitter` gives numbers from 0 to 1."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        peers: Sequence[Peer],
        keys: CurveKeys,
        frame_bytes_max: int,
        numbers: LinkNumbers,
        jitter: Callable[[], float],
        backoff_ms_max: int,
    ) -> None:

        def dialled(peer: Peer) -> _Dialled:
            return _Dialled(peer, Dialler(
                context, peer.address, peer.curve_key, keys, frame_bytes_max, numbers, jitter, backoff_ms_max
            ))

        self._dialled = dialled
        self._all = [dialled(peer) for peer in peers]
        self._by_link: dict[int, Dialler] = {}

    def change(self, peers: Sequence[Peer]) -> None:
        """From now on these. Who is none of them any more is closed when nobody wants its link.

        One that is dialled at another address or by another key now is closed at once.
        """
        ids = [peer.id for peer in peers]
        for each in self._all:
            each.retired = each.peer not in peers
            if each.retired and each.peer.id in ids:
                each.dialler.rest()
        there = [each.peer for each in self._all]
        self._all += [self._dialled(peer) for peer in peers if peer not in there]

    def want(self, parents: Collection[str]) -> None:
        """Parents to have a connection to. Children that are dialled are wanted always."""
        present = [each.peer.id for each in self._all if not each.retired]
        for each in self._all:
            wanted = each.peer.role == Role.PARENT or each.peer.id in parents
            if wanted and not (each.retired and (each.peer.id in present or not each.dialler.link)):
                each.dialler.wake()
            else:
                each.dialler.rest()

    def service(self, now_ms: int, waiting: Collection[Any] | None = None) -> list[tuple[Peer, LinkEvent]]:
        """Connections that came up or went down since the last call.

        `waiting`: the sockets that have something, as a poller says; None: any may.
        """
        found: list[tuple[Peer, LinkEvent]] = []
        for each in self._all:
            for event in each.dialler.service(now_ms, told=waiting is None or each.dialler.monitor in waiting):
                if isinstance(event, Up):
                    self._by_link[event.link] = each.dialler
                else:
                    self._by_link.pop(event.link, None)
                found.append((each.peer, event))
        return found

    def register(self, poller: zmq.Poller) -> None:
        """Have the poller look at the sockets that there are now."""
        for each in self._all:
            if each.dialler.generation == each.generation:
                continue
            for socket in each.registered:
                poller.unregister(socket)
            if each.watched >= 0:
                poller.unregister(each.watched)
                each.watched = -1
            each.registered, each.generation = each.dialler.poll_sockets(), each.dialler.generation
            for socket in each.registered:
                poller.register(socket, zmq.POLLIN)
        self._all = [each for each in self._all if not each.retired or each.registered]

    def receive(
        self, waiting: Collection[Any] | None = None, most_ns: int = RECEIVE_NS_MAX
    ) -> Iterator[tuple[int, bytes]]:
        """(link, payload) of what came, peers in turn, for no longer than a part of a turn.

        `waiting`: the sockets that have something, as a poller says; None: any may.
        """
        coming: deque[tuple[int, Iterator[bytes]]] = deque()
        for link, dialler in self._by_link.items():
            if waiting is None or dialler.socket in waiting:
                coming.append((link, dialler.receive(waits=waiting is not None)))
        ends_ns = time.perf_counter_ns() + most_ns
        while coming:
            link, payloads = coming.popleft()
            payload = next(payloads, None)
            if payload is not None:
                coming.append((link, payloads))
                yield link, payload
            if time.perf_counter_ns() > ends_ns:
                return

    def send(self, link: int, payload: bytes) -> bool:
        """False when it is no link of these."""
        dialler = self._by_link.get(link)
        if dialler is None:
            return False
        dialler.send(payload)
        return True

    def end(self, link: int, words: str) -> bool:
        """Give up a connection. False when it is none of these."""
        dialler = self._by_link.pop(link, None)
        if dialler is None:
            return False
        dialler.restart(words)
        return True

    def look_for_endless(self, now_ms: int) -> None:
        """A few times a second, also where there is no turn."""
        for each in self._all:
            each.dialler.look_for_endless(now_ms)

    def watch(self, poller: zmq.Poller) -> bool:
        """Have the poller say when something comes where nothing was on its way; whether that is so everywhere.

        Else they must be looked at: what does not end wakes nobody.
        """
        for each in self._all:
            still = each.dialler.still
            if still != each.watched:
                if each.watched >= 0:
                    poller.unregister(each.watched)
                if still >= 0:
                    poller.register(still, zmq.POLLIN)
                each.watched = still
        return all(each.watched >= 0 or not each.dialler.link for each in self._all)

    def stirred(self, waiting: Collection[Any]) -> set[Any]:
        """Those of what a poller found that it only watches: there is something to look at."""
        found = [each for each in self._all if each.watched in waiting]
        for each in found:
            each.dialler.stirred()
        return {each.watched for each in found}

    def next_wake_ms(self, now_ms: int) -> int | None:
        wakes = [wake for each in self._all if (wake := each.dialler.next_wake_ms(now_ms)) is not None]
        return min(wakes, default=None)

    def close(self) -> None:
        for each in self._all:
            each.dialler.close()
