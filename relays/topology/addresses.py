"""Addresses of relays, and when two of them cannot both be listened on.

`listen` is an IP address and a port; `advertise` may be a host name. A wildcard (0.0.0.0, ::) is no address
that anyone can dial, so it never stands in for one.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*\.?")
_NUMERIC: Final = re.compile(r"[0-9.]+")
PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port. `ip` is None where the host is a name."""

    host: str
    port: int
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None

    @property
    def wildcard(self) -> bool:
        return self.ip is not None and self.ip.is_unspecified

    @property
    def loopback(self) -> bool:
        return self.host == "localhost" or (self.ip is not None and self.ip.is_loopback)

    def at(self, port: int) -> str:
        return (
            f"[{self.host}]:{port}" if self.ip is not None and self.ip.version == 6 else f"{self.host}:{port}"
        )

    def __str__(self) -> str:
        return self.at(self.port)


@dataclass(frozen=True, slots=True)
class BadAddress:
    """Why a text is no address, and what to write instead."""

    cause: str
    write: str


def parse_address(text: object, *, listen: bool) -> Address | BadAddress:
    """`127.0.0.1:7700`, `[::1]:7700`, and where it is not listened on `relay.example:7700`."""
    example = '"127.0.0.1:7700"'
    if not isinstance(text, str) or len(text) > 300:
        return BadAddress("an address is text", f"write e.g. {example}")
    if "://" in text:
        return BadAddress("the scheme is not written", f'write "{text.partition("://")[2]}"')
    host, colon, port_text = text.rpartition(":")
    if not colon or not host or not port_text.isascii() or not port_text.isdigit():
        return BadAddress(f"'{text}' is not host:port", f"write e.g. {example}")
    port = int(port_text) if len(port_text) <= 5 else PORT_MAX + 1
    if not 1 <= port <= PORT_MAX:
        return BadAddress(f"port {port_text} is not 1 to {PORT_MAX}", f'write e.g. "{host}:7700"')
    if host == "*":
        return BadAddress("'*' is not an address", f'write "0.0.0.0:{port}" and an `advertise`')
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return _named(host, port, listen=listen)
    if bracketed != (ip.version == 6):
        return BadAddress(
            "an IPv6 address is in brackets, and nothing else", f'write "{Address(str(ip), port, ip)}"'
        )
    return Address(str(ip), port, ip)


def _named(host: str, port: int, *, listen: bool) -> Address | BadAddress:
    if _NUMERIC.fullmatch(host) or not _HOST.fullmatch(host):
        return BadAddress(f"'{host}' is not an IP address", f'write e.g. "127.0.0.1:{port}"')
    if listen:
        return BadAddress(
            f"a relay listens on an IP address, and '{host}' is a name",
            f'write e.g. "127.0.0.1:{port}", and the name in `advertise`',
        )
    return Address(host.lower(), port, None)


def clash(listen_a: Address, dialled_a: Address, listen_b: Address, dialled_b: Address) -> bool:
    """Whether two relays would want the same port of the same machine.

    Two that are dialled at different hosts, neither of them loopback, are on different machines, so they may
    listen alike. A wildcard takes the port from every address of the machine, `::` from IPv4 too.
    """
    if dialled_a == dialled_b:
        return True
    if listen_a.port != listen_b.port:
        return False
    if not (listen_a.wildcard or listen_b.wildcard or listen_a.ip == listen_b.ip):
        return False
    apart = dialled_a.host != dialled_b.host and not (dialled_a.loopback or dialled_b.loopback)
    return not apart
