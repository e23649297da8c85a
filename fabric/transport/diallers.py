"""Every peer that one node dials: its parents, of which only those that are wanted, and children that may not dial.

Guarantees: one connection at most to each; one that is not wanted any more is closed, and its `Down` says so. The
sockets that a poller has are kept in step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import zmq

from fabric.protocol.wire import Role
from fabric.transport.dialler import Dialler, LinkEvent, Up
from fabric.transport.keys import CurveKeys
from fabric.transport.sockets import LinkNumbers


class Peer(NamedTuple):
    """`role` is what we say we are to it."""

    id: str
    address: str
    curve_key: bytes
    role: Role


class Diallers:
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
        self._all: list[tuple[Peer, Dialler]] = []
        for peer in peers:
            dialler = Dialler(
                context, peer.address, peer.curve_key, keys, frame_bytes_max, numbers, jitter, backoff_ms_max
            )
            self._all.append((peer, dialler))
        self._by_link: dict[int, Dialler] = {}
        self._registered: list[tuple[int, list[zmq.Socket[bytes]]]] = [(-1, []) for _ in self._all]

    def want(self, parents: Collection[str]) -> None:
        """Parents to have a connection to. Children that are dialled are wanted always."""
        for peer, dialler in self._all:
            if peer.role == Role.PARENT or peer.id in parents:
                dialler.wake()
            else:
                dialler.rest()

    def service(self, now_ms: int) -> list[tuple[Peer, LinkEvent]]:
        """Connections that came up or went down since the last call."""
        found: list[tuple[Peer, LinkEvent]] = []
        for peer, dialler in self._all:
            for event in dialler.service(now_ms):
                if isinstance(event, Up):
                    self._by_link[event.link] = dialler
                else:
                    self._by_link.pop(event.link, None)
                found.append((peer, event))
        return found

    def register(self, poller: zmq.Poller) -> None:
        """Have the poller look at the sockets that there are now."""
        for place, (_, dialler) in enumerate(self._all):
            generation, sockets = self._registered[place]
            if dialler.generation == generation:
                continue
            for socket in sockets:
                poller.unregister(socket)
            sockets = dialler.poll_sockets()
            for socket in sockets:
                poller.register(socket, zmq.POLLIN)
            self._registered[place] = (dialler.generation, sockets)

    def receive(self, waiting: Collection[Any] | None = None) -> Iterator[tuple[int, bytes]]:
        """(link, payload) of what came, peers in turn. `waiting`: the sockets that have something; None: any may."""
        coming = deque(
            (link, dialler.receive()) for link, dialler in self._by_link.items()
            if waiting is None or any(socket in waiting for socket in dialler.poll_sockets())
        )
        while coming:
            link, payloads = coming.popleft()
            payload = next(payloads, None)
            if payload is not None:
                coming.append((link, payloads))
                yield link, payload

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

    def next_wake_ms(self, now_ms: int) -> int | None:
        wakes = [wake for _, dialler in self._all if (wake := dialler.next_wake_ms(now_ms)) is not None]
        return min(wakes, default=None)

    def close(self) -> None:
        for _, dialler in self._all:
            dialler.close()
