"""What libzmq holds of a connection, as the kernel's counts tell it (Linux; elsewhere nothing is known).

`Unread`: what it has brought that nobody can read yet, because its message does not end.

libzmq hands over a message when its last frame is there, and bounds the frames of a queue by counting whole messages.
No option bounds the message: a peer that says "more" at every frame fills the memory of this process with one message
that never ends, at the speed of its line. The kernel knows how much a connection has received, and we know how much we
took from it: the difference, less what the kernel still holds, is in there.

Guarantees: a connection with more in there than a frame and what goes with it is found within two looks. A listener has
many, and finds one that was quiet before within two seconds (ten where there are thousands), or as soon as all of them
have brought more than `GROWN_MAX`. Nobody is found for frames that wait to be read, however many and for however long:
a look counts what had come before everything that could be read was taken. Holds no socket.
"""

from __future__ import annotations

import os
import socket as sockets_
import struct
from collections.abc import Callable, Set
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
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
# Of a listener: how often all are looked at, those too on which nothing came; and by how much its process may grow
# until then. What the kernel tells of many at once does not serve: what libzmq has read by then is not told.
_ALL_MS: Final = 2_000
# Of many, so much later for each, and no later than this: to look at 5,000 every two seconds takes 2 % of a processor.
_ALL_EACH_MS, _ALL_MS_MAX = 2, 10_000
GROWN_MAX: Final = 16_777_216
# How often a look may come before its time, where all that came was taken.
_EARLY_MS: Final = 1_000
# A frame's own: flags, its length in one byte or eight, and CURVE's command, nonce, box and flags (RFC 26).
_CURVE_BYTES: Final = 33
_SHORT_BYTES_MAX: Final = 255
_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# struct tcp_info of <linux/tcp.h>.
_TCP_INFO_BYTES: Final = 136
_ACKED_AT, _RECEIVED_AT = 120, 128  # tcpi_bytes_acked, tcpi_bytes_received


class Unread:
    """Connections by descriptor. `read_of`: as `bytes_read`.

    `resident`: how many bytes of memory this process has, None where nobody knows. With it those on which nothing came
    from one look to the next are left out until all are looked at, every `_ALL_MS`, or later where there are thousands,
    and whenever it has grown.
    """

    def __init__(
        self, read_of: Callable[[int, int], int | None], resident: Callable[[], int | None] = lambda: None
    ) -> None:
        self._read_of = read_of
        self._resident = resident
        self._resident_bytes = 0  # when all were looked at, or less since
        self._all_at_ms = 0
        self._taken: dict[int, int] = {}
        self._looked: dict[int, int] = {}  # what had come of each at the last look, until that was compared
        self._left: dict[int, int] = {}  # and what of it nobody had taken when it was
        self._still: set[int] = set()
        self._look_at_ms = self._early_at_ms = 0
        self._is_early = False

    @property
    def looked(self) -> bool:
        """Whether there is a look to be compared with what was taken."""
        return bool(self._looked)

    def came(self, descriptor: int) -> None:
        self._taken.setdefault(descriptor, 0)  # its first frame may have been taken before this was known

    def gone(self, descriptor: int) -> None:
        self._taken.pop(descriptor, None)
        self._looked.pop(descriptor, None)
        self._left.pop(descriptor, None)
        self._still.discard(descriptor)

    def took(self, descriptor: int, payload_bytes: int) -> None:
        boxed = payload_bytes + _CURVE_BYTES
        self._taken[descriptor] = self._taken.get(descriptor, 0) + boxed + (2 if boxed <= _SHORT_BYTES_MAX else 9)

    def is_still(self, descriptor: int) -> bool:
        """Whether nothing was on its way in there at the last look that was compared, as far as is known since.

        Then the next look can wait until more comes, which whoever polls the connection can be told.
        """
        return descriptor in self._still

    def stirred(self, descriptor: int) -> None:
        """More comes."""
        self._still.discard(descriptor)

    def took_all(self) -> None:
        """Nothing that came can be read any more: most likely nothing is on its way in there, and a look now says so.
        Whoever is idle is spared another one later."""
        self._is_early = True

    def look(self, now_ms: int) -> None:
        """Before frames are taken. The first look that was not compared yet counts."""
        is_early = now_ms < self._look_at_ms
        if self._looked or (is_early and not (self._is_early and now_ms >= self._early_at_ms)):
            return
        if is_early:
            self._early_at_ms = now_ms + _EARLY_MS
        self._look_at_ms, self._is_early = now_ms + _LOOK_MS, False
        spared = self._at_rest(now_ms)
        for descriptor, taken in self._taken.items():
            if descriptor in spared:
                continue
            read = self._read_of(descriptor, taken + UNREAD_MAX)
            if read is not None:
                self._looked[descriptor] = read

    def _at_rest(self, now_ms: int) -> Set[int]:
        """Those that need no look now. Of thousands nearly all say little; what they bring takes memory."""
        resident_bytes = self._resident()
        if resident_bytes is not None and now_ms < self._all_at_ms:
            self._resident_bytes = min(self._resident_bytes, resident_bytes)
            if resident_bytes - self._resident_bytes < GROWN_MAX:
                return self._still
        self._all_at_ms = now_ms + min(_ALL_MS_MAX, max(_ALL_MS, _ALL_EACH_MS * len(self._taken)))
        self._resident_bytes = resident_bytes or 0
        return frozenset()

    def too_much(self) -> list[int]:
        """After everything that could be read was taken: whose messages do not end."""
        if not self._looked:
            return []
        looked, self._looked = self._looked, {}
        before, self._left = self._left, {each: read - self._taken[each] for each, read in looked.items()}
        for each, left in self._left.items():
            if left == before.get(each):
                self._still.add(each)
            else:
                self._still.discard(each)
        return [each for each, left in self._left.items() if left > UNREAD_MAX]


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


def bytes_read(descriptor: int, few: int = 0) -> int | None:
    """What this process has read of a TCP connection since it began; None where nobody knows. Where no more than `few`
    have come at all, that: then what of it waits in the kernel makes no difference."""
    received = _count(descriptor, _RECEIVED_AT)
    if received is None or received <= few:
        return received
    # What comes between the two counts is taken for waiting: it is counted at the next look.
    waiting = _queued(descriptor, FIONREAD)
    return None if waiting is None else received - waiting


def resident_bytes() -> int | None:
    """How much memory this process has; None where nobody knows."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def bytes_written(descriptor: int) -> int | None:
    """What this process has written to a TCP connection since it began: what the peer has, and what is under way."""
    acked, under_way = _count(descriptor, _ACKED_AT), _queued(descriptor, TIOCOUTQ)
    return None if acked is None or under_way is None else acked + under_way


def _count(descriptor: int, at: int) -> int | None:
    """One of the kernel's counts of a connection. Only looks: nothing is changed or closed."""
    if not hasattr(sockets_, "TCP_INFO"):
        return None
    with suppress(OSError, struct.error):  # it ended, and its number may be something else's by now
        connection = sockets_.socket(sockets_.AF_INET, sockets_.SOCK_STREAM, sockets_.IPPROTO_TCP, fileno=descriptor)
        try:
            info = connection.getsockopt(sockets_.IPPROTO_TCP, sockets_.TCP_INFO, _TCP_INFO_BYTES)
        finally:
            connection.detach()
        return int(struct.unpack_from("Q", info, at)[0])
    return None


def _queued(descriptor: int, queue: int) -> int | None:
    with suppress(OSError):
        return int(struct.unpack("i", ioctl(descriptor, queue, bytes(4)))[0])
    return None
