"""Many control points in one process: the same cores as in production, each with a socket of its own, in one loop.

What a program pays for beside them (a thread, a mailbox, an interpreter) is not what is measured: their relay is.

    python -m scripts.comparison.crowd_ends FABRIC_HOME IDENTITY COUNT
"""

from __future__ import annotations

import heapq
import os
import queue
import random
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import zmq

from fabric.edge.identity.identity import Dial, Identity, load_identity
from fabric.protocol.base.signing import Signer, signing_public
from fabric.protocol.core.ready import Attach, Attached, Event, Leave, LinkDown, LinkUp, Ready, Tick
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.frames import SESSION_BYTES, Role
from fabric.transport.keys import CurveKeys, random_keys
from relays.authority import open_authority
from relays.authority.minting import mint
from relays.process.descriptors import raise_limit
from scripts.attacks.peer import now_ms
from scripts.comparison.records import ALL
from scripts.comparison.saying import arguments, say

_TURN_MS = 20
_IDLE_MS = 1_000
# A crowd that comes at once is looked after now and then while it still dials.
_DIALS_TOGETHER = 8
# A goodbye has so long to leave; whose connection ended dials again after so long.
_LINGER_MS = 1_000
_AGAIN_MS = (500, 3_000)
# Beyond the time that dialling takes.
COME_S = 60.0


class Member:
    """Who may come: a credential of the fabric's authority, and its keys."""

    def __init__(self, credential: Credential, seed: bytes, keys: CurveKeys) -> None:
        self.credential, self.signer, self.keys = credential, Signer(seed), keys


def members(home: Path, like: Identity, count: int) -> list[Member]:
    """So many that may do what this one may."""
    authority = open_authority(like.fabric, home)
    made = []
    for n in range(count):
        keys, seed = random_keys(os.urandom(32)), os.urandom(32)
        wanted = replace(
            like.credential, id=f"{like.id}-{n}", curve_key=keys.public, sign_key=signing_public(seed), seal_key=b"",
            raw=b"", digest=b"",
        )
        made.append(Member(mint(wanted, authority.signer, authority.public), seed, keys))
    return made


class End:
    """One control point that is connected, or about to be. `attached`: the relay has its subscription. `is_over`: its
    connection is of no use any more."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], member: Member, relay: Dial, authority_key: bytes
    ) -> None:
        self._context, self._keys, self._relay = context, member.keys, relay
        self._core = Point(
            member.credential, member.signer, authority_key, os.urandom(SESSION_BYTES), os.urandom, (relay.id,)
        )
        self._link = 0
        self.attached = self.is_over = False
        self.wake_at_ms = 0
        self._core.step(Attach(now_ms(), False, (ALL,)), now_ms())

    def dial(self) -> int:
        """Connect; the descriptor that says when something came."""
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RECONNECT_IVL, -1)  # what libzmq did by itself, the core would not know of
        self._keys.dress(self._socket)
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, self._relay.curve_key)
        self._socket.connect(f"tcp://{self._relay.address}")
        self._link += 1
        self.is_over = False
        nonce = os.urandom(SESSION_BYTES)
        self.step(LinkUp(self._link, self._relay.curve_key, nonce, Role.POINT, self._relay.id))
        descriptor = self._socket.getsockopt(zmq.FD)
        assert isinstance(descriptor, int)
        return descriptor

    def step(self, *events: Event) -> None:
        """These, or a look at what is due."""
        at_ms, ready = now_ms(), Ready()
        for event in (*events, Tick()):
            ready.merge(self._core.step(event, at_ms))
        for _, payload in (*ready.early, *ready.send):
            self._socket.send(payload)
        self.attached |= any(isinstance(each, Attached) for each in ready.deliver)
        self.is_over |= bool(ready.close)
        # As the loop of a control point: one that is idle sleeps until it is to ask whether its relay is there.
        quiet_until_ms = None if events or ready.wake_at_ms == at_ms else self._core.quiet_until_ms(at_ms)
        wanted_ms = ready.wake_at_ms if quiet_until_ms is None else quiet_until_ms
        self.wake_at_ms = at_ms + _IDLE_MS if wanted_ms is None else max(wanted_ms, at_ms + 1)

    def serve(self) -> None:
        """Take all that came: libzmq says so once, and what is sent meanwhile may be what it says it to."""
        while events := [self._core.read(self._link, payload) for payload in self._received()]:
            self.step(*events)

    def _received(self) -> Iterator[bytes]:
        while True:
            try:
                yield self._socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return

    def hang_up(self, linger_ms: int) -> None:
        """The connection is gone from here on. What was sent has so long to leave."""
        self._socket.close(linger_ms)
        self.attached = False
        self._core.step(LinkDown(self._link), now_ms())


class Crowd:
    """All that are connected."""

    def __init__(self, members: list[Member], like: Identity) -> None:
        assert like.relay is not None
        self._members, self._relay, self._authority_key = members, like.relay, like.authority_key
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, len(members) + 64)
        self._ends: dict[int, End] = {}  # by the descriptor of its socket
        self._timers: list[tuple[int, int]] = []
        self._poll = select.epoll()
        self._away: deque[tuple[int, End]] = deque()  # whose connection ended, and when they dial again
        self.lost = 0  # connections that ended

    def come(self, count: int, per_s: int) -> float:
        """Seconds until so many are attached, or until there is no hope for some. `per_s`: how many dial; 0: all at
        once."""
        began_s = time.perf_counter()
        patience_s = COME_S + (count / per_s if per_s else 0.0)
        dialled, passed_s = 0, 0.0
        while self.attached < count and passed_s < patience_s:
            # Never more: who was kept from dialling for a moment does not come all the more often after it.
            due = min(count, dialled + _DIALS_TOGETHER, int(passed_s * per_s) + 1 if per_s else count)
            for member in self._members[dialled:due]:
                self._dial(End(self._context, member, self._relay, self._authority_key))
            dialled = max(dialled, due)
            self.turn(0 if dialled < count and not per_s else _TURN_MS)
            passed_s = time.perf_counter() - began_s
        return passed_s

    @property
    def attached(self) -> int:
        """How many are, now."""
        return sum(end.attached for end in self._ends.values())

    def _dial(self, end: End) -> None:
        descriptor = end.dial()
        self._ends[descriptor] = end
        self._poll.register(descriptor, select.EPOLLIN)
        self._serve(descriptor)

    def turn(self, wait_ms: int) -> None:
        """Serve who has something, and whose time it is."""
        for descriptor, _ in self._poll.poll(wait_ms / 1000):
            self._serve(descriptor)
        at_ms = now_ms()
        while self._away and self._away[0][0] <= at_ms:
            self._dial(self._away.popleft()[1])
        while self._timers and self._timers[0][0] <= at_ms:
            due_ms, descriptor = heapq.heappop(self._timers)
            end = self._ends.get(descriptor)
            if end is not None and end.wake_at_ms == due_ms:
                end.step()
                self._serve(descriptor)

    def _serve(self, descriptor: int) -> None:
        end = self._ends[descriptor]
        end.serve()
        if end.is_over:
            self.lost += 1
            self._poll.unregister(descriptor)
            del self._ends[descriptor]
            end.hang_up(0)
            self._away.append((now_ms() + random.randrange(*_AGAIN_MS), end))
            return
        heapq.heappush(self._timers, (end.wake_at_ms, descriptor))

    def go(self) -> None:
        """All of them, with a goodbye."""
        for descriptor, end in self._ends.items():
            end.step(Leave())
            self._poll.unregister(descriptor)
            end.hang_up(_LINGER_MS)
        self._ends.clear()
        self._away.clear()
        self._timers.clear()


def run(home: str, identity: str, count: str) -> None:
    """`come COUNT PER-S`, `stay S` and `go`, until standard input ends."""
    raise_limit()
    like = load_identity(Path(identity))
    crowd = Crowd(members(Path(home), like, int(count)), like)
    questions: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    say(ready=True)
    while True:
        crowd.turn(_TURN_MS)
        if questions.empty():
            continue
        match questions.get().split():
            case ["come", wanted, per_s]:
                took_s = crowd.come(int(wanted), int(per_s))
                say(took_s=took_s, attached=crowd.attached)
            case ["stay", seconds]:
                until_s, lost = time.monotonic() + float(seconds), crowd.lost
                while time.monotonic() < until_s:
                    crowd.turn(_TURN_MS)
                say(lost=crowd.lost - lost)
            case ["go"]:
                crowd.go()
                say(gone=True)
            case _:
                return


def _listen(questions: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        questions.put(line)
    questions.put("")


if __name__ == "__main__":
    run(*arguments())
