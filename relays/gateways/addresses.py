"""Where a source listens, or a sink hands over to, as declarations write it: `tls://[2001:db8::1]:6514`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_WRITTEN: Final = re.compile(r"(?:([a-z]{1,8})://)?(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})")
_PORT_MAX: Final = 65_535


class Address(NamedTuple):
    """`transport`: what is written before `://`, or empty. `host`: an IP address or a name."""

    transport: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}" if self.transport else f"{host}:{self.port}"


def read_address(text: str, transports: Sequence[str] = (), *, listens: bool = False) -> Address | None:
    """None for what is none. `transports`: of which one has to be written; of none, none may. `listens`: the host is an
    IP address of this machine, and port 0 any that is free; else it may be a name."""
    match = _WRITTEN.fullmatch(text)
    if match is None or (match[1] or "") not in (transports or ("",)):
        return None
    transport, inner, host, port = match[1] or "", match[2], match[3], int(match[4])
    if not (0 if listens else 1) <= port <= _PORT_MAX:
        return None
    if inner or listens:
        try:
            host = str(ipaddress.IPv6Address(inner) if inner else ipaddress.IPv4Address(host))
        except ValueError:
            return None
    return Address(transport, host, port)
