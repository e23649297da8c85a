"""A control point's links: the relays that it dials, and the frames that come and go.

Guarantees: of a control point that names no relay, the nearest that may serve is dialled, also when that is another
than before; frames are read in the order in which they came from each peer, and those of a link that ended are over.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog
import zmq

from fabric.edge.connection.status import Status
from fabric.edge.discovery.nearby import Nearby
from fabric.edge.identity.identity import Dial, Identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import FRAME_BYTES_MAX
from fabric.protocol.core.ready import LinkDown, LinkUp, Parents, Ready
from fabric.protocol.point.point import Point
from fabric.protocol.wire.frames import SESSION_BYTES, Role
from fabric.transport.clock import Clock
from fabric.transport.dialler import Up
from fabric.transport.diallers import Diallers, Peer
from fabric.transport.inbox import Inbox
from fabric.transport.keys import CurveKeys
from fabric.transport.sockets import LOOK_NS_MAX, RECEIVE_NS_MAX, LinkNumbers
from fabric.transport.turns import Turn

_BACKOFF_MS_MAX = 10_000
# How often it looks whether what a relay sends ever ends, while that may be on its way.
_LOOK_MS = 250


class Dialling:
    """Belongs to the connection's thread, which opens it. `wake` is called from another one."""

    def __init__(
        self, identity: Identity, core: Point, clock: Clock, status: Status, wake: Callable[[], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._identity = identity
        self._core = core
        self._clock = clock
        self._status = status
        self._log = log
        self._inbox = Inbox()
        self._nearby = Nearby(identity, wake) if identity.nearest else None
        if self._nearby is not None:
            core.directory.restore(self._nearby.of_folder().raw)
            core.step(Parents((), False), clock.now_ms())  # nobody, until it has looked around

    def open(self) -> None:
        """With the first sockets."""
        self._context = zmq.Context()
        me = self._identity
        peers = [] if self._nearby is not None else _peers(me.dials)
        self._diallers = Diallers(
            self._context, peers, CurveKeys(me.credential.curve_key, me.curve_secret), FRAME_BYTES_MAX, LinkNumbers(),
            random.random, _BACKOFF_MS_MAX,
        )

    def wait(self, poller: zmq.Poller, wait_ms: int) -> set[Any]:
        """What has something, as soon as anything has, or there must be a turn, or it is time. `poller` may have more.
        """
        self._diallers.register(poller)
        now_ms = self._clock.now_ms()
        until_ms = now_ms + wait_ms
        while True:
            left_ms = until_ms - now_ms
            if left_ms > 0 and self._has_to_act(now_ms):
                return set()
            is_watched = self._diallers.watch(poller)
            found = {each for each, _ in poller.poll(left_ms if is_watched else min(left_ms, _LOOK_MS))}
            found -= self._diallers.stirred(found)
            now_ms = self._clock.now_ms()
            if found or now_ms >= until_ms:
                return found

    def _has_to_act(self, now_ms: int) -> bool:
        """Whether there must be a turn though nothing came."""
        self._diallers.look_for_endless(now_ms)
        wake_ms = self._diallers.next_wake_ms(now_ms)
        return wake_ms is not None and wake_ms <= now_ms

    def connect(self, waiting: Collection[Any] | None, now_ms: int, ready: Ready) -> None:
        """Dial whom it is to be with, and tell the core of the links that are there or have ended.

        `waiting`: the sockets that have something.
        """
        self._look_around(now_ms, ready)
        self._diallers.want(self._core.parents_wanted(now_ms))
        for peer, event in self._diallers.service(now_ms, waiting):
            if isinstance(event, Up):
                up = LinkUp(event.link, peer.curve_key, os.urandom(SESSION_BYTES), peer.role, peer.id)
                ready.merge(self._core.step(up, now_ms))
                continue
            if self._inbox.end(event.link, b""):
                ready.merge(self._core.step(LinkDown(event.link), now_ms))
            if not self._core.connected:
                self._log.debug("not connected", code=event.code.label, why=event.words)
                problem = FabricError(event.code, event.words)
                if event.link == 0 and event.code is Code.CLOSED:
                    self._status.was_cut_off(problem)
                else:
                    self._status.has_no_answer(peer.id, problem)

    def _look_around(self, now_ms: int, ready: Ready) -> None:
        """Of a control point that names no relay: who is nearest now."""
        if self._nearby is None:
            return
        core = self._core
        order = self._nearby.look(
            now_ms, core.time.clocks(now_ms), core.directory.held, core.trust.revocations, connected=core.connected
        )
        if self._nearby.not_kept:
            self._log.warning("directory of relays not kept", why=self._nearby.not_kept)
            self._nearby.not_kept = ""
        if order is None:
            return
        dials = [ranked.dial for ranked in order.relays] or self._identity.dials
        self._log.debug("nearest", relays=[dial.id for dial in dials], moved=order.moved)
        self._diallers.change(_peers(dials))
        self._status.relays([dial.address for dial in dials])
        ready.merge(core.step(Parents(tuple(dial.id for dial in dials), order.moved), now_ms))

    def is_cleared_for_less(self, relay: str) -> bool:
        """Whether this relay, which was found as the nearest, may not hold all that this control point may."""
        return self._nearby is not None and self._nearby.is_cleared_for_less(relay)

    def read(self, waiting: Collection[Any] | None, now_ms: int, ready: Ready) -> int:
        """Give the core what came, as much as is read in one turn. The time at which the last of it was read."""
        if waiting is not None and not waiting and not self._inbox:
            return now_ms
        self._take_in(waiting)
        reading = Turn()
        while (entry := self._inbox.take()) is not None:
            now_ms = self._clock.now_ms()  # it may have been sent since the turn began, and would seem to arrive before
            if entry.payload is None:
                ready.merge(self._core.step(LinkDown(entry.link), now_ms))
                continue
            arrived = self._core.read(entry.link, entry.payload)
            made = self._core.step(arrived, now_ms)
            ready.merge(made)
            if reading.over_after(arrived, made):
                break
            if reading.look_is_due():
                self._take_in(None, LOOK_NS_MAX)
                reading.looked()
        return now_ms

    def _take_in(self, waiting: Collection[Any] | None, most_ns: int = RECEIVE_NS_MAX) -> None:
        for link, payload in self._diallers.receive(waiting, most_ns):
            self._inbox.put(link, link.to_bytes(8, "big"), b"", payload)

    @property
    def has_unread(self) -> bool:
        """Whether there is more of what came than one turn read."""
        return bool(self._inbox)

    def send(self, frames: Sequence[tuple[int, bytes]]) -> None:
        for link, payload in frames:
            self._diallers.send(link, payload)

    def end(self, link: int, reason: str) -> None:
        self._diallers.end(link, reason)

    def next_wake_ms(self, now_ms: int) -> int | None:
        """When the next connection is due."""
        return self._diallers.next_wake_ms(now_ms)

    def close(self) -> None:
        self._diallers.close()
        self._context.destroy(linger=0)


def _peers(dials: Sequence[Dial]) -> list[Peer]:
    return [Peer(dial.id, dial.address, dial.curve_key, Role.POINT) for dial in dials]
