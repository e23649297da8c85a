"""The door test: at start a relay knocks at its own door as a stranger, and refuses to run when it opens.

Guarantees that True means: a peer without security and one with a password fail the handshake; a random key fails it
too (admission `pinned`), or gets a REJECT and nothing else (admission `credential`). A small machine that is stepped
from the relay's own loop, because that loop must serve the gate meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.transport.keys import random_keys
from fabric.transport.sockets import endpoint

Admission = Literal["credential", "pinned"]
_TIME_MS = 5_000
# After each knock that nobody answered the next one waits twice as long, a quarter of a second first.
_PAUSE_MS = 250
_PAUSE_MS_MAX = 60_000
# Long enough for a handshake on a busy machine: what has not opened by then is closed.
_PATIENCE_MS = 700


class _Knock:
    """One attempt: what its handshake came to, and what it was answered."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, prepare: Callable[
            [zmq.Socket[bytes]], None], say: bytes) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.setsockopt(zmq.IPV6, 1)
        prepare(self.socket)
        self.monitor = self.socket.get_monitor_socket()
        self.socket.connect(endpoint(address))
        # Turned away already, before there was anything to say: nowhere to send it.
        with suppress(zmq.Again):
            self.socket.send(say, zmq.DONTWAIT)
        self.opened = False
        self.failed = False
        self.answers: list[bytes] = []

    def look(self) -> None:
        while self.monitor.poll(0):
            event = parse_monitor_message(self.monitor.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.opened = True
            elif event in (
                zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
                zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED,
            ):
                self.failed = True
        while self.socket.poll(0):
            self.answers.append(self.socket.recv())

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)


class DoorTest:
    """Step until True (closed to strangers) or False (`failure` says which check failed). None: not decided."""

    def __init__(
        self,
        address: str,
        server_key: bytes,
        admission: Admission,
        hello: bytes,
        is_reject: Callable[[bytes], bool],
    ) -> None:
        self._address = _reachable(address)
        self._server_key = server_key
        self._admission = admission
        self._hello = hello
        self._is_reject = is_reject
        self._began_ms: int | None = None
        self._pause_until_ms = 0
        self.unanswered = 0  # how often nobody answered in time
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._knocks: dict[str, _Knock] = {}
        self.key = b""  # of the knock that gets as far as to say something: who else has it is no stranger
        self.failure = ""

    def step(self, now_ms: int) -> bool | None:
        if now_ms < self._pause_until_ms:
            return None
        if self._began_ms is None:
            self._began_ms = now_ms
        if not self._knocks:
            # A machine that is short of descriptors for the moment: the next step tries again.
            with suppress(zmq.ZMQError):
                self._knock()
        if self._knocks:
            for knock in self._knocks.values():
                knock.look()
            closed = self._judge(now_ms - self._began_ms, now_ms)
        else:
            closed = None
            self._late(now_ms - self._began_ms, now_ms)
        if closed is not None:
            self.close()
        return closed

    def _knock(self) -> None:
        self._context = zmq.Context()
        keys = random_keys(os.urandom(32))
        self.key = keys.public

        def plain(socket: zmq.Socket[bytes]) -> None:
            socket.setsockopt(zmq.PLAIN_USERNAME, b"admin")
            socket.setsockopt(zmq.PLAIN_PASSWORD, b"admin")

        def curve(socket: zmq.Socket[bytes]) -> None:
            keys.dress(socket)
            socket.setsockopt(zmq.CURVE_SERVERKEY, self._server_key)

        ways: list[tuple[str, Callable[[zmq.Socket[bytes]], None]]] = [
            ("NULL", lambda socket: None), ("PLAIN", plain), ("CURVE", curve),
        ]
        knocks: dict[str, _Knock] = {}
        try:
            for name, way in ways:
                knocks[name] = _Knock(self._context, self._address, way, self._hello)
        except zmq.ZMQError:
            for knock in knocks.values():
                knock.close()
            self.close()
            raise
        self._knocks = knocks

    def _judge(self, elapsed_ms: int, now_ms: int) -> bool | None:
        curve = self._knocks["CURVE"]
        for name in ("NULL", "PLAIN"):
            if self._knocks[name].opened or self._knocks[name].answers:
                return self._fail(f"a peer with {name} security was let in")
        if any(not self._is_reject(answer) for answer in curve.answers):
            return self._fail("a stranger's HELLO got something else than a REJECT")
        if self._admission == "pinned":
            if curve.opened:
                return self._fail("a random key was let in, though admission is by pinned keys")
            decided = curve.failed
        else:
            decided = bool(curve.answers)
        if decided and all(self._knocks[n].failed or elapsed_ms > _PATIENCE_MS for n in ("NULL", "PLAIN")):
            return True
        self._late(elapsed_ms, now_ms)
        return None

    def _late(self, elapsed_ms: int, now_ms: int) -> None:
        """Who gets no answer knocks again: strangers who crowd at the door must not keep a relay from running.

        However long that takes, it stays undecided, and the relay says that it is not ready.
        """
        if elapsed_ms <= _TIME_MS:
            return
        self.unanswered += 1
        self._pause_until_ms = now_ms + min(_PAUSE_MS_MAX, _PAUSE_MS << min(self.unanswered - 1, 16))
        self.close()
        self._began_ms = None

    def _fail(self, why: str) -> bool:
        self.failure = why
        return False

    def close(self) -> None:
        for knock in self._knocks.values():
            knock.close()
        self._knocks = {}
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None


def _reachable(address: str) -> str:
    """Where a listener on all addresses can be knocked at."""
    return address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")  # noqa: S104
