"""What a declaration of a syslog source says: where it listens, who may send, and how much."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from relays.gateways.addresses import Address, read_address
from relays.gateways.kinds import Need, Option
from relays.gateways.needs import readable
from relays.gateways.options import Options
from relays.wording import closest, shown

TRANSPORTS: Final = ("udp", "tcp", "tls")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

OPTIONS: Final = (
    Option("listen", '["udp://0.0.0.0:514"]', "Where: udp://, tcp:// or tls://, one or several.", needed=True),
    Option("allow", '["192.0.2.0/24"]', "The networks that may send; left out only for this machine or mutual TLS."),
    Option("certificate", '"/etc/fabric/syslog.pem"', "For tls://: the certificate, and those between it and its CA."),
    Option("key", '"/etc/fabric/syslog.key"', "For tls://: its key."),
    Option("client_ca", '"/etc/fabric/senders.pem"', "For tls://: senders have to show a certificate of this CA."),
    Option("timezone", '"Europe/Vienna"', "Of times that name none (UTC)."),
    Option("fold_labels", "true", "CEF's cs1=5 cs1Label=rule becomes rule=5 (false)."),
    Option("connections", "64", "Of one sender at a time (64)."),
    Option("rate", '"16MB"', "Of one sender in a second; TCP waits then, and UDP is dropped (16MB)."),
    Option("idle", '"12h"', "After which a silent connection is closed (12h)."),
    Option("udp_buffer", '"8MB"', "What the kernel keeps of UDP while this is busy (8MB)."),
)
_EXAMPLE: Final = '"udp://0.0.0.0:514"'
_CAP_NET_BIND_SERVICE: Final = 10
_UNPRIVILEGED: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_STATUS: Final = Path("/proc/self/status")


class TlsFiles(NamedTuple):
    """`client_ca`: whoever connects has to show a certificate of it."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True)
class Settings:
    """`allow` empty: whoever reaches it."""

    listen: tuple[Address, ...]
    allow: tuple[Network, ...] = ()
    tls: TlsFiles | None = None
    zone: tzinfo = UTC
    fold: bool = False
    connections: int = 64
    rate_bytes_per_s: int = 16 << 20
    idle_s: float = 43_200.0
    udp_buffer_bytes: int = 8 << 20


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    listen = _listen(options)
    tls = _tls(options, listen)
    allow = _allow(options)
    open_to_others = [
        each for each in listen
        if not ipaddress.ip_address(each.host).is_loopback and not (each.transport == "tls" and tls and tls.client_ca)
    ]
    if open_to_others and not options.has("allow"):
        options.wrong(
            "allow", f"whoever reaches {open_to_others[0]} could send what is then signed in this control point's name",
            'write allow = ["192.0.2.0/24"] with the networks of its senders; for all of them ["0.0.0.0/0", "::/0"]',
        )
    return Settings(
        tuple(listen), tuple(allow), tls, _zone(options), options.flag("fold_labels", False),
        options.number("connections", 64, 1, 4_096), options.size("rate", "16MB", 1 << 10),
        options.seconds("idle", "12h", 1.0), options.size("udp_buffer", "8MB", 1 << 12, 1 << 30),
    )


def _listen(options: Options) -> list[Address]:
    found: list[Address] = []
    for text in options.texts("listen", needed=f"[{_EXAMPLE}]"):
        address = read_address(text, TRANSPORTS, listens=True)
        if address is None:
            options.wrong("listen", f"{shown(text)} is no address to listen at",
                          f"write an IP address like {_EXAMPLE} or \"tls://[::]:6514\"{closest(text[:3], TRANSPORTS)}")
        elif address in found and address.port:
            options.wrong("listen", f"{address} stands there twice", "leave one of them out")
        else:
            found.append(address)
    return found


def _allow(options: Options) -> list[Network]:
    found: list[Network] = []
    for text in options.texts("allow"):
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            options.wrong("allow", f"{shown(text)} is no network", 'write e.g. "192.0.2.0/24" or "2001:db8::/32"')
    return found


def _tls(options: Options, listen: Sequence[Address]) -> TlsFiles | None:
    wanted = any(address.transport == "tls" for address in listen)
    needed = {"certificate": '"/etc/fabric/syslog.pem"', "key": '"/etc/fabric/syslog.key"'} if wanted else {}
    certificate = options.path("certificate", needed=needed.get("certificate", ""))
    key = options.path("key", needed=needed.get("key", ""))
    client_ca = options.path("client_ca")
    if listen and not wanted:
        for name in ("certificate", "key", "client_ca"):
            if options.has(name):
                options.wrong(name, "nothing here listens with TLS", f'remove it, or listen at e.g. "tls://{listen[0].host}:6514"')
    return TlsFiles(certificate, key, client_ca) if wanted and certificate and key else None


def _zone(options: Options) -> tzinfo:
    name = options.text("timezone", "UTC")
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not installed, or no name at all
        options.wrong("timezone", f"{shown(name)} is not known on this machine", 'write e.g. "UTC" or "Europe/Vienna"')
        return UTC


def needs_of(settings: Settings) -> list[Need]:
    """What this machine must have for it."""
    found = []
    lowest = _lowest_port()
    for address in settings.listen:
        problem = f"only root may listen at port {address.port}" if 0 < address.port < lowest else ""
        found.append(Need(str(address), problem, "give it CAP_NET_BIND_SERVICE, or listen at a port above 1023"))
    return found + readable(settings.tls or ())


def _lowest_port() -> int:
    """From which on this process may listen."""
    try:
        rights = int(re.search(r"^CapEff:\s*(\w+)", _STATUS.read_text(), re.MULTILINE)[1], 16)  # type: ignore[index]
        return 0 if rights >> _CAP_NET_BIND_SERVICE & 1 else int(_UNPRIVILEGED.read_text())
    except (OSError, ValueError, TypeError):
        return 0  # not Linux: to listen will tell
