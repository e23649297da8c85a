"""This machine's own addresses, with the standard library only.

On Linux IPv4 addresses are asked of the kernel (SIOCGIFCONF has every address of every interface; SIOCGIFFLAGS says
whether the interface is up and has a carrier) and IPv6 addresses read in /proc/net/if_inet6: some microseconds, however
many routes there are. Elsewhere a UDP socket is connected to each candidate, which sends nothing, and asked which
address it would send from: that finds the addresses that matter, if not all. Link-local IPv6 addresses are left out:
every machine has some, so they say nothing of where it is.
"""

from __future__ import annotations

import array
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SIOCGIFCONF, _SIOCGIFFLAGS = 0x8912, 0x8913
_UP, _RUNNING = 0x1, 0x40
_NAME_BYTES = 16
# struct ifreq: a name, and a union whose largest member holds pointers.
_IFREQ_BYTES = _NAME_BYTES + (24 if struct.calcsize("P") == 8 else 16)
_INTERFACES_MAX = 1_024
# Of an IPv6 address: not in use yet, or never to be, since another machine has it.
_TENTATIVE, _FAILED = 0x40, 0x08
_LINK_LOCAL = 0x20


def own_addresses(candidates: Iterable[str] = ()) -> tuple[Address, ...]:
    """In a fixed order. `candidates` ("host:port") help where the kernel cannot be asked."""
    found: list[Address] = []
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            found = [*_of_ipv4(), *_of_ipv6()]
    return tuple(sorted(set(found or sources(candidates)), key=lambda a: (a.version, int(a))))


def parse_interfaces(raw: bytes) -> list[tuple[str, ipaddress.IPv4Address]]:
    """What SIOCGIFCONF wrote: (interface, address) each."""
    found = []
    for at in range(0, len(raw) - _IFREQ_BYTES + 1, _IFREQ_BYTES):
        name = raw[at : at + _NAME_BYTES].split(b"\0")[0].decode(errors="replace")
        (family,) = struct.unpack_from("=H", raw, at + _NAME_BYTES)
        if family == socket.AF_INET:
            found.append((name, ipaddress.IPv4Address(raw[at + _NAME_BYTES + 4 : at + _NAME_BYTES + 8])))
    return found


def parse_if_inet6(text: str) -> list[tuple[str, ipaddress.IPv6Address]]:
    """Of /proc/net/if_inet6 the (interface, address) that are in use beyond their own link."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) != 6:
            continue
        address, _, _, scope, flags, name = fields
        if int(scope, 16) != _LINK_LOCAL and not int(flags, 16) & (_TENTATIVE | _FAILED):
            found.append((name, ipaddress.IPv6Address(int(address, 16))))
    return found


def sources(candidates: Iterable[str]) -> list[Address]:
    """The addresses that this machine would send from to reach each of these. Names are not looked up: that waits."""
    found: list[Address] = []
    for candidate in candidates:
        host, _, port = candidate.rpartition(":")
        with suppress(OSError, ValueError, OverflowError):
            there = ipaddress.ip_address(host.strip("[]"))
            with socket.socket(socket.AF_INET if there.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as asked:
                asked.connect((str(there), int(port)))
                found.append(ipaddress.ip_address(asked.getsockname()[0].partition("%")[0]))
    return found


def _of_ipv4() -> list[Address]:
    import fcntl  # not everywhere

    buffer = array.array("B", bytes(_IFREQ_BYTES * _INTERFACES_MAX))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        answer = fcntl.ioctl(asked, _SIOCGIFCONF, struct.pack("iP", len(buffer), buffer.buffer_info()[0]))
        (used,) = struct.unpack_from("i", answer)
        return [
            address for name, address in parse_interfaces(buffer.tobytes()[:used]) if _is_up(asked, name)
        ]


def _of_ipv6() -> list[Address]:
    try:
        text = Path("/proc/net/if_inet6").read_text()
    except FileNotFoundError:
        return []  # a machine without IPv6
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        return [address for name, address in parse_if_inet6(text) if _is_up(asked, name)]


def _is_up(asked: socket.socket, name: str) -> bool:
    import fcntl

    request = struct.pack(f"{_IFREQ_BYTES}s", name.partition(":")[0].encode())
    try:
        (flags,) = struct.unpack_from("=h", fcntl.ioctl(asked, _SIOCGIFFLAGS, request), _NAME_BYTES)
    except OSError:
        return False  # it went in between
    return bool(flags & _UP and flags & _RUNNING)
