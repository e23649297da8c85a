"""The dialling side: one DEALER for one peer, and its own reconnecting.

Guarantees: one connection at a time, made anew with full jitter after every failure, and a `Down` that says in words
why, since CURVE failures are silent by default. Whoever breaks connections off is dialled less and less often; how
long nobody was there counts for nothing in that. Nothing is queued for a connection that is not there. What libzmq
4.3.5 reports, by cause: refused: CLOSED; no CURVE server: HANDSHAKE_FAILED_PROTOCOL; another key, or a connection that
was cut meanwhile: HANDSHAKE_FAILED_NO_DETAIL, or DISCONNECTED before the handshake; our key turned away:
HANDSHAKE_FAILED_AUTH; a name that does not resolve: nothing.

A peer with another key closes the connection in the handshake, and so may a bad network. One such end decides nothing:
it is the wrong peer when several attempts in a row end like that. One that hangs closes nothing: its kernel takes the
connection, and libzmq here gives up when the time for a handshake is over. Nobody is there then, whatever its key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.protocol.base.errors import Code
from fabric.transport.keys import CurveKeys
from fabric.transport.sockets import (
    HANDSHAKE_MS,
    LinkNumbers,
    Sent,
    dress,
    endpoint,
    readable,
    receive_single,
    send_single,
)
from fabric.transport.unread import Unread, bytes_read

_CONNECT_MS = 5_000
# TCP itself answers at once. Where the other side still holds a connection of ours that ended without its knowing
# (`filters`), and this one happens to have its port, no attempt from that port is ever answered.
_ANSWER_MS = 2_000
# Quick at first, for a peer that is only restarting; full jitter keeps a herd apart at any step.
_BACKOFF_MS = 250
_BACKOFF_MS_MAX = 60_000
# A dial that nobody answers costs nobody anything, and whoever comes back is to find its children soon. At this pace
# those of a relay that was away come at a rate that it lets in (ADMISSIONS_PER_S).
_ABSENT_MS_MAX = 5_000
# A connection that lasted this long was a good one: the next failure begins at the start of the ladder.
_STABLE_MS = 5_000
# Frames received without a moment in which none waited. What an honest peer has under way is bounded by its credit and
# much less; one that sends faster than anybody could read is not worth having.
_UNBROKEN_MAX = 200_000
# Handshakes in a row that the other end broke off before it is said to be another peer: a second, with the back-off.
_CUT_MAX = 4


class Up(NamedTuple):
    """A connection is there, under this new number."""

    link: int


class Down(NamedTuple):
    """`link` is 0 when the connection never came up. `again`: the same was said of the dials before, lately enough."""

    link: int
    code: Code
    words: str
    again: bool = False


LinkEvent = Up | Down


class Dialler:
    """The connection to one peer. Poll `poll_sockets`, and call `service` and `receive` in every turn."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        server_key: bytes,
        keys: CurveKeys,
        frame_bytes_max: int,
        numbers: LinkNumbers,
        jitter: Callable[[], float],
        backoff_ms_max: int = _BACKOFF_MS_MAX,
    ) -> None:
        self._context = context
        self.address = address
        self._server_key = server_key
        self._keys = keys
        self._frame_bytes_max = frame_bytes_max
        self._numbers = numbers
        self._jitter = jitter
        self._backoff_ms_max = backoff_ms_max
        self.socket: zmq.Socket[bytes] | None = None  # of the present connection, or attempt
        self.monitor: zmq.Socket[bytes] | None = None
        self._failures = 0  # connections in a row that were there, and did not last
        self._absent = 0  # dials in a row that nobody answered
        self._cut = 0  # handshakes in a row that ended without a reason
        self._dial_at_ms: int | None = 0
        self._dialled_ms = 0  # since when this peer is asked
        self._tried_ms = 0  # since when from this port
        self._up_ms = 0
        self._connected = False
        self._connected_ms = 0
        self._ended: tuple[Code, str] | None = None
        self._resting = False
        self._unbroken = 0
        self.link = 0  # of the present connection; 0 is none
        self._unread = Unread(bytes_read)
        self._descriptor = -1
        self.generation = 0  # rises when `poll_sockets` changes
        self.counters: Counter[str] = Counter()

    def poll_sockets(self) -> list[zmq.Socket[bytes]]:
        return [s for s in (self.socket, self.monitor) if s is not None]

    def service(self, now_ms: int, *, told: bool = True) -> list[LinkEvent]:
        """Drain the monitor and the timers: connections that came up or went down since the last call.

        `told`: whether the monitor has something to say, as whoever polled `poll_sockets` knows.
        """
        events: list[LinkEvent] = []
        if self._resting:
            self._ended = self._dial_at_ms = None
            if self.link:
                events.append(Down(self.link, Code.CLOSED, f"{self.address} is not wanted any more"))
            if self.socket is not None:
                self._drop()
            return events
        if self._ended is not None:
            (code, words), self._ended = self._ended, None
            self._down(code, words, now_ms, events)
        if told:
            self._drain_monitor(now_ms, events)
        self.look_for_endless(now_ms)
        if self.socket is not None and self.link == 0 and now_ms - self._dialled_ms > _CONNECT_MS:
            self._down(Code.UNREACHABLE, f"nothing answers at {self.address}", now_ms, events)
        elif self.socket is not None and not self._connected and now_ms - self._tried_ms > _ANSWER_MS:
            self._drop()
            self._dial(now_ms, events)
        if self.socket is None and self._dial_at_ms is not None and now_ms >= self._dial_at_ms:
            self._dialled_ms = now_ms
            self._dial(now_ms, events)
        return events

    def _dial(self, now_ms: int, events: list[LinkEvent]) -> None:
        """From another port than the last time."""
        socket = self._context.socket(zmq.DEALER)
        dress(socket, self._frame_bytes_max)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_MS)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        # No bound: with a full pipe libzmq stops reading, and a peer that resets the connection then can make it abort
        # (`filters`). Here resets must be heard: that a parent died is to be known at once. Who receives reads all that
        # waits, every turn, into a queue that is bounded; and see `_UNBROKEN_MAX`.
        socket.setsockopt(zmq.RCVHWM, 0)
        self._keys.dress(socket)
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._server_key)
        self.socket = socket
        self.monitor = socket.get_monitor_socket()
        self._connected = False
        self._tried_ms = now_ms
        self.generation += 1
        try:
            socket.connect(endpoint(self.address))
        except zmq.ZMQError as error:
            words = f"{self.address} is no address that can be dialled: {error.strerror}"
            self._down(Code.UNREACHABLE, words, now_ms, events)

    def _drain_monitor(self, now_ms: int, events: list[LinkEvent]) -> None:
        while self.monitor is not None and readable(self.monitor):
            event = parse_monitor_message(self.monitor.recv_multipart(zmq.DONTWAIT))
            match event["event"]:
                case zmq.EVENT_CONNECTED:
                    self._connected, self._connected_ms = True, now_ms
                    self._descriptor = int(event["value"])
                    self._unread.came(self._descriptor)
                case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self.link = self._numbers.take()
                    self._up_ms = now_ms
                    self._cut = 0
                    events.append(Up(self.link))
                case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    words = f"{self.address} turned our key away"
                    self._down(Code.UNKNOWN_KEY, words, now_ms, events)
                case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                    self._down(Code.HANDSHAKE_FAILED, self._strange(), now_ms, events)
                case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                    self._cut_off(now_ms, events)
                case zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED:
                    if self.link:
                        self._down(Code.CLOSED, f"{self.address} closed the connection", now_ms, events)
                    elif self._connected:
                        self._cut_off(now_ms, events)
                    else:
                        self._cut = 0
                        self._down(Code.UNREACHABLE, f"nothing answers at {self.address}", now_ms, events)

    def look_for_endless(self, now_ms: int) -> None:
        """A few times a second, with or without a turn: what does not end wakes nobody."""
        if self.socket is None or not self.link:
            return
        self._unread.look(now_ms)
        if self._unread.looked and not readable(self.socket) and self._unread.too_much():
            self.counters["endless"] += 1
            self.restart(f"{self.address} sends a message that does not end")

    @property
    def still(self) -> int:
        """The descriptor of the connection where nothing is on its way in: it need not be looked at until it can be
        read. -1: it is to be looked at."""
        return self._descriptor if self.link and self._unread.is_still(self._descriptor) else -1

    def stirred(self) -> None:
        """It could be read: whether that has an end is to be looked at."""
        self._unread.stirred(self._descriptor)

    def _cut_off(self, now_ms: int, events: list[LinkEvent]) -> None:
        self._cut += 1
        # Half of it: turns may be late, and who closes a connection does so at once.
        is_silent = self._connected and now_ms - self._connected_ms > HANDSHAKE_MS // 2
        if self._cut < _CUT_MAX:
            words = "does not answer in the handshake" if is_silent else "broke off the handshake"
            self._down(Code.CLOSED, f"{self.address} {words}", now_ms, events)
        elif is_silent:
            words = f"{self.address} takes connections and does not answer: it hangs, or is no relay"
            self._down(Code.UNREACHABLE, words, now_ms, events)
        else:
            self._down(Code.HANDSHAKE_FAILED, self._strange(), now_ms, events)

    def _strange(self) -> str:
        return f"{self.address} is not the relay with this key: another key, or no relay at all"

    def _down(self, code: Code, words: str, now_ms: int, events: list[LinkEvent]) -> None:
        if self.link and now_ms - self._up_ms >= _STABLE_MS:
            self._failures = 0
        dials = self._absent + 1
        events.append(Down(self.link, code, words, code is Code.UNREACHABLE and bool(dials & (dials - 1))))
        self.counters[code.reason] += 1
        is_absent = code is Code.UNREACHABLE
        steps, most_ms = (self._absent, _ABSENT_MS_MAX) if is_absent else (self._failures, self._backoff_ms_max)
        ceiling_ms = min(most_ms, self._backoff_ms_max, _BACKOFF_MS << min(steps, 16))
        self._absent = self._absent + 1 if is_absent else 0
        self._failures += not is_absent
        self._drop()
        self._dial_at_ms = now_ms + int(ceiling_ms * self._jitter())

    def _drop(self) -> None:
        if self.socket is not None:
            self.socket.disable_monitor()
            if self.monitor is not None:
                self.monitor.close(linger=0)
            self.socket.close(linger=0)
        self.socket = self.monitor = None
        self._unread.gone(self._descriptor)
        self.link = self._unbroken = 0
        self.generation += 1

    def next_wake_ms(self, now_ms: int) -> int | None:
        """When `service` has something to do without any socket being ready."""
        if self._ended is not None or (self._resting and self.socket is not None):
            return now_ms
        if self.socket is None:
            return self._dial_at_ms
        if self.link:
            return None
        gives_up_ms = self._dialled_ms + _CONNECT_MS + 1
        return gives_up_ms if self._connected else min(gives_up_ms, self._tried_ms + _ANSWER_MS + 1)

    def receive(self, *, waits: bool = False) -> Iterator[bytes]:
        """Payloads that wait, a frame at a time. `waits`: one does, as whoever polled `poll_sockets` knows."""
        while self.socket is not None and self.link:
            if not (waits or readable(self.socket)):
                if self._unbroken:
                    self._unread.took_all()
                self._unbroken = 0
                return
            waits = False
            try:
                parts = receive_single(self.socket, 1)
            except zmq.Again:  # its connection ended since
                continue
            self._unbroken += 1
            if self._unbroken >= _UNBROKEN_MAX:
                self.counters["flooded"] += 1
                self.restart(f"{self.address} sends more than can be read")
                return
            if parts is None:
                self.counters["multipart"] += 1
                continue
            self._unread.took(self._descriptor, len(parts[0]))
            self.stirred()
            yield parts[0].bytes

    def send(self, payload: bytes) -> Sent:
        if self.socket is None or not self.link:
            return Sent.GONE
        try:
            send_single(self.socket, payload)
        except zmq.Again:
            return Sent.BUSY
        self.stirred()  # it is answered, mostly at once: who waits for that is not to be woken by its first byte too
        return Sent.SENT

    def restart(self, words: str) -> None:
        """Give up the present connection; the next `service` says so and dials again after the back-off."""
        if self.socket is not None:
            self._ended = (Code.CLOSED, words)

    def rest(self) -> None:
        """No connection is wanted: the next `service` closes the one that there is."""
        self._resting = True

    def wake(self) -> None:
        """One is wanted again, at once."""
        if self._resting:
            self._resting = False
            self._failures = 0
            self._dial_at_ms = 0

    def close(self) -> None:
        self._drop()
        self._dial_at_ms = None
