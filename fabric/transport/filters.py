"""Packet filters of TCP sockets (Linux; elsewhere all packets come through): what libzmq must not see, or not so often.

**Resets.** libzmq 4.3.5 aborts the process when it reads a ZMTP PING from a connection whose socket reported an error
while its input was stopped by a full pipe: `restart_input` goes on through what was read before,
`process_heartbeat_message` calls `out_event`, and that asserts `!_io_error` (`stream_engine_base.cpp`). Any peer can
send tiny frames with PINGs between them, and then reset the connection. No option of libzmq keeps it from answering
PINGs.

**Floods of connections.** libzmq takes in whoever connects, and its one thread does for each what costs more than a
frame: who connects thousands of times a second keeps everybody's frames waiting. No option of libzmq bounds it.

Guarantees, where the kernel has packet filters: a RST does not reach a connection that has `ignore_resets` set, so
the peer cannot choose the moment of an error. An end in order (FIN) is not an error; a peer that is gone without one
is noticed by silence, as every other. `hear_no_more` ends a connection in order from this side, again without an error.
Hosts that `keep_out` names get no answer to a SYN, which TCP repeats by itself; what is connected stays so. Who has
gone before anybody could ask who it was is `NAMELESS`: then most SYNs of everybody get no answer.
What remains: a peer with a TCP of its own that takes no byte of ours for as long as the kernel tries (some 15 minutes)
and floods at just that moment.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket as sockets_
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

# So many hosts at most are kept out at a time: each takes a few steps of every packet that comes to the listener.
KEPT_OUT_MAX: Final = 64
NAMELESS: Final = ""
# Of the SYNs that came while the nameless are kept out, one of so many is answered.
_ANSWERED: Final = 16

# <asm/socket.h>; Python names neither.
_SO_ATTACH_FILTER = 26
# A receive buffer has 6 MiB unless the machine is told otherwise; TCP drops what MSG_TRUNC takes without copying it.
_DISCARDED = bytearray(1 << 20)
_DISCARDS_MAX = 64

# (code, jump if true, jump if false, operand) of <linux/bpf_common.h>. A filter of a TCP socket sees the TCP header
# first: flags are byte 13, and the upper half of byte 12 says how many words the header has. The IP header begins at
# SKF_NET_OFF of <linux/filter.h>, which also names a source of random numbers (SKF_AD_RANDOM, Linux 3.16).
_Step = tuple[int, int, int, int]
_NET_OFF = 0xFFF00000
_RANDOM = 0xFFFFF000 + 56
_LOAD_FLAGS: _Step = (0x30, 0, 0, 13)
_DROP: _Step = (0x06, 0, 0, 0)
_KEEP: _Step = (0x06, 0, 0, 0xFFFFFFFF)
_NO_RESET: tuple[_Step, ...] = (_LOAD_FLAGS, (0x45, 0, 1, 0x04), _DROP, _KEEP)
_NO_RESET_NO_DATA: tuple[_Step, ...] = (
    _LOAD_FLAGS,
    (0x45, 7, 0, 0x04),  # a RST: drop
    (0x30, 0, 0, 12),  # the length of the header, in the upper half: as bytes that is a quarter of the byte
    (0x54, 0, 0, 0xF0),
    (0x74, 0, 0, 2),
    (0x07, 0, 0, 0),  # into X
    (0x80, 0, 0, 0),  # the length of the whole segment
    (0x1D, 0, 1, 0),  # no more than its header: keep
    _KEEP,
    _DROP,
)


class _Program(ctypes.Structure):
    _fields_ = (("steps", ctypes.c_ushort), ("first", ctypes.c_void_p))


def ignore_resets(descriptor: int) -> bool:
    """Of a connection; of a listening socket it holds for those that it will have. False where that is not possible."""
    return _attach(descriptor, _NO_RESET)


def keep_out(listening: int, hosts: Sequence[str]) -> bool:
    """New connections from these hosts, and nobody else's, come to nothing until the next call. Resets are ignored.

    `hosts`: addresses as getpeername gives them, or NAMELESS; no more than `KEPT_OUT_MAX`. False where that is not
    possible.
    """
    return _attach(listening, _keeping_out(hosts[:KEPT_OUT_MAX]))


def _keeping_out(hosts: Sequence[str]) -> list[_Step]:
    addresses = [ipaddress.ip_address(host) for host in hosts if host != NAMELESS]
    mapped = [a.ipv4_mapped or a if isinstance(a, ipaddress.IPv6Address) else a for a in addresses]
    v4: list[_Step] = [(0x20, 0, 0, _NET_OFF + 12)]
    v6: list[_Step] = []
    for address in mapped:
        words = struct.unpack(f">{len(address.packed) // 4}I", address.packed)
        if len(words) == 1:
            v4 += [(0x15, 0, 1, words[0]), _DROP]
            continue
        for n, word in enumerate(words):
            left = 2 * (len(words) - n - 1)  # steps of this address that are left, but for the last
            v6 += [(0x20, 0, 0, _NET_OFF + 8 + 4 * n), (0x15, 0, left + 1, word)]
        v6.append(_DROP)
    some = [(0x20, 0, 0, _RANDOM), (0x54, 0, 0, _ANSWERED - 1), (0x15, 0, 1, 0), _KEEP, _DROP]
    others = some if NAMELESS in hosts else [_KEEP]
    v4 += others
    v6 += others
    return [
        _LOAD_FLAGS,
        (0x45, 0, 1, 0x04), _DROP,  # a RST
        (0x45, 1, 0, 0x02), _KEEP,  # a SYN is looked at: what is no SYN belongs to who was let in
        (0x30, 0, 0, _NET_OFF),  # the version of IP, in the upper half
        (0x54, 0, 0, 0xF0),
        (0x15, 1, 0, 0x40), (0x05, 0, 0, len(v4)),  # not 4: over the steps for that
        *v4,
        *v6,
    ]


def hear_no_more(connection: sockets_.socket) -> None:
    """End it from this side: nothing more comes in, what has come is dropped, and who reads it finds its end.

    With megabytes of tiny frames left in the kernel, a connection that is cut would live as long as reading them takes.
    """
    if not _attach(connection.fileno(), _NO_RESET_NO_DATA):
        connection.shutdown(sockets_.SHUT_RDWR)
        return
    with suppress(BlockingIOError):
        for _ in range(_DISCARDS_MAX):
            if connection.recv_into(_DISCARDED, 0, sockets_.MSG_TRUNC | sockets_.MSG_DONTWAIT) == 0:
                break
    connection.shutdown(sockets_.SHUT_RD)


def _attach(descriptor: int, steps: Sequence[_Step]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = bytes(_Program(len(steps), ctypes.addressof(code)))
    with suppress(OSError), sockets_.socket(fileno=os.dup(descriptor)) as copy:
        copy.setsockopt(sockets_.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        return True
    return False
