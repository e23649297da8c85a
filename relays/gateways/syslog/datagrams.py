"""UDP: a message in each datagram; what the kernel had to drop is counted, where it says so (Linux)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from relays.gateways.syslog.batches import Batch
from relays.gateways.syslog.counts import Counts
from relays.gateways.syslog.framing import Frame, of_datagram
from relays.gateways.syslog.peers import Peers, host_of

# In one go, before other sockets are looked at again.
_TURN_MAX: Final = 512
_DATAGRAM_MAX: Final = 65_536
# How many datagrams were dropped for want of room, as a message beside the next one (socket(7)).
_SO_RXQ_OVFL: Final = 40
_COUNTER: Final = struct.Struct("@I")
_COUNTER_SPACE: Final = socket.CMSG_SPACE(_COUNTER.size)
_DROPPED: Final = "datagrams were dropped by the kernel: its buffer was full"
_OVER: Final = "datagrams were dropped: their sender sent more than its `rate`"


class Datagrams:
    """Those of one socket, which does not block and is not this one's to close."""

    def __init__(
        self, sock: socket.socket, peers: Peers, counts: Counts, clock: Callable[[], float]
    ) -> None:
        self._sock = sock
        self._peers = peers
        self._counts = counts
        self._clock = clock
        self._dropped = 0
        with suppress(OSError):  # not Linux: nobody knows then
            sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)

    def read(self) -> list[Batch]:
        """What has come, by its sender; at most a turn of it."""
        found: dict[tuple[str, int], list[Frame]] = {}
        now_s = self._clock()
        for _ in range(_TURN_MAX):
            try:
                data, extra, _, address = self._sock.recvmsg(_DATAGRAM_MAX, _COUNTER_SPACE)
            except BlockingIOError:
                break
            except OSError:
                continue  # what a datagram that we never sent came back as
            if extra:
                self._count(extra)
            host, port = host_of(address)
            if not self._peers.allowed(host, now_s):
                self._counts.refused(host, "it is in no network of `allow`")
                continue
            if self._peers.over(host, len(data), now_s):
                self._counts.lost(_OVER)
                continue
            frame = of_datagram(data)
            if frame is not None:
                found.setdefault((host, port), []).append(frame)
        return [Batch("udp", host, port, "", frames) for (host, port), frames in found.items()]

    def _count(self, extra: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(data) >= _COUNTER.size:
                dropped = _COUNTER.unpack_from(data)[0]
                more = (dropped - self._dropped) & 0xFFFF_FFFF
                self._dropped = dropped
                if more:
                    self._counts.lost(_DROPPED, more)
