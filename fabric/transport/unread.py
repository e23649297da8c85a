"""What libzmq holds of a connection, as the kernel's counts tell it (Linux; elsewhere nothing is known).

`Unread`: what it has brought that nobody can read yet, because its message does not end.

libzmq hands over a message when its last frame is there, and bounds the frames of a queue by counting whole messages.
No option bounds the message: a peer that says "more" at every frame fills the memory of this process with one message
that never ends, at the speed of its line. The kernel knows how much a connection has received, and we know how much we
took from it: the difference, less what the kernel still holds, is in there.

Guarantees: a connection with more in there than a frame and what goes with it is found within two looks. Nobody is
found for frames that wait to be read, however many and for however long: a look counts what had come before everything
that could be read was taken. Holds no socket.
"""

from __future__ import annotations

import socket as sockets_
import struct
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from termios import FIONREAD, TIOCOUTQ
from typing import Final

from fabric.protocol.base.limits import FRAME_BYTES_MAX

# What an honest peer has in there is part of one frame. The rest is for what is no frame of ours and is never counted
# as taken: the handshake, and ZMTP's own commands.
UNREAD_MAX: Final = 4 * FRAME_BYTES_MAX
# Twice what pace and the floor of each lane let go unanswered; a slow line is sent it again in its own time.
UNSENT_MAX: Final = 4_194_304
# At the speed of CURVE on one processor less than 100 MB come in between two looks, from all connections together.
_LOOK_MS: Final = 200
# A frame's own: flags, its length in one byte or eight, and CURVE's command, nonce, box and flags (RFC 26).
_CURVE_BYTES: Final = 33
_SHORT_BYTES_MAX: Final = 255
# struct tcp_info of <linux/tcp.h>.
_TCP_INFO_BYTES: Final = 136
_ACKED_AT, _RECEIVED_AT = 120, 128  # tcpi_bytes_acked, tcpi_bytes_received


class Unread:
    """Connections by descriptor. `read_of`: how many bytes of one this process has read; None where nobody knows."""

    def __init__(self, read_of: Callable[[int], int | None]) -> None:
        self._read_of = read_of
        self._taken: dict[int, int] = {}
        self._looked: dict[int, int] = {}  # what had come of each at the last look, until that was compared
        self._look_at_ms = 0

    @property
    def looked(self) -> bool:
        """Whether there is a look to be compared with what was taken."""
        return bool(self._looked)

    def came(self, descriptor: int) -> None:
        self._taken.setdefault(descriptor, 0)  # its first frame may have been taken before this was known

    def gone(self, descriptor: int) -> None:
        self._taken.pop(descriptor, None)
        self._looked.pop(descriptor, None)

    def took(self, descriptor: int, payload_bytes: int) -> None:
        boxed = payload_bytes + _CURVE_BYTES
        self._taken[descriptor] = self._taken.get(descriptor, 0) + boxed + (2 if boxed <= _SHORT_BYTES_MAX else 9)

    def look(self, now_ms: int) -> None:
        """Before frames are taken. The first look that was not compared yet counts."""
        if self._looked or now_ms < self._look_at_ms:
            return
        self._look_at_ms = now_ms + _LOOK_MS
        for descriptor in self._taken:
            read = self._read_of(descriptor)
            if read is not None:
                self._looked[descriptor] = read

    def too_much(self) -> list[int]:
        """After everything that could be read was taken: whose messages do not end."""
        if not self._looked:
            return []
        looked, self._looked = self._looked, {}
        return [
            descriptor for descriptor, read in looked.items() if read - self._taken[descriptor] > UNREAD_MAX
        ]


class Unsent:
    """Connections by descriptor. `written_of`: how many bytes of one the kernel was given; None where nobody knows."""

    def __init__(self, written_of: Callable[[int], int | None]) -> None:
        self._written_of = written_of
        self._given: dict[int, int] = {}
        self._look_at_ms = 0

    def gave(self, descriptor: int, payload_bytes: int) -> None:
        self._given[descriptor] = self._given.get(descriptor, 0) + payload_bytes

    def gone(self, descriptor: int) -> None:
        self._given.pop(descriptor, None)

    def too_much(self, now_ms: int) -> list[int]:
        """Whose peers do not read, now and then."""
        if now_ms < self._look_at_ms:
            return []
        self._look_at_ms = now_ms + _LOOK_MS
        found: list[int] = []
        for descriptor, given in self._given.items():
            if given > UNSENT_MAX:
                written = self._written_of(descriptor)
                if written is not None and given - written > UNSENT_MAX:
                    found.append(descriptor)
        return found


def bytes_read(descriptor: int) -> int | None:
    """What this process has read of a TCP connection since it began."""
    # What comes between the two counts is taken for waiting: it is counted at the next look.
    return _counted(descriptor, _RECEIVED_AT, FIONREAD, -1)


def bytes_written(descriptor: int) -> int | None:
    """What this process has written to a TCP connection since it began: what the peer has, and what is under way."""
    return _counted(descriptor, _ACKED_AT, TIOCOUTQ, 1)


def _counted(descriptor: int, at: int, queue: int, sign: int) -> int | None:
    """A count of the kernel's, and its queue added or taken away. Only looks: nothing is changed or closed."""
    if not hasattr(sockets_, "TCP_INFO"):
        return None
    with suppress(OSError, struct.error):  # it ended, and its number may be something else's by now
        connection = sockets_.socket(sockets_.AF_INET, sockets_.SOCK_STREAM, sockets_.IPPROTO_TCP, fileno=descriptor)
        try:
            info = connection.getsockopt(sockets_.IPPROTO_TCP, sockets_.TCP_INFO, _TCP_INFO_BYTES)
            (queued,) = struct.unpack("i", ioctl(descriptor, queue, bytes(4)))
            return int(struct.unpack_from("Q", info, at)[0]) + sign * int(queued)
        finally:
            connection.detach()
    return None
