"""What a declaration of a syslog sink says: where it sends, in which form, and how much of a message at most."""

from __future__ import annotations

from typing import Final, NamedTuple

from relays.gateways.addresses import Address, read_address
from relays.gateways.handing.tls import OPTIONS as TLS_OPTIONS
from relays.gateways.handing.tls import TlsFiles, check_clear, read_tls
from relays.gateways.kinds import Need, Option
from relays.gateways.needs import readable
from relays.gateways.options import Options
from relays.gateways.syslog.priority import FACILITIES
from relays.gateways.syslog.settings import TRANSPORTS
from relays.wording import shown

JSON, FIELDS = "json", "fields"
OPTIONS: Final = (
    Option("to", '"tls://siem.example:6514"', "Where to: udp://, tcp:// or tls://, a host and a port.", needed=True),
    Option("format", '"json" | "fields"', "The message as JSON, or its fields as structured data (json)."),
    Option("facility", '"local0"', "Of the priority (local0); its severity is the message's."),
    Option("message_max", '"64KB"', "Of one message; the largest fields of a longer one are left out (64KB, UDP 2KB)."),
    Option("enterprise", "32473", "The number behind names of structured data (32473, which is that of examples)."),
    Option("timeout", '"10s"', "Until a connection is there, or the other machine has what was sent (10s)."),
    *TLS_OPTIONS,
)
# What RFC 5424 lets no receiver take less than, and what UDP can carry.
_SIZE_MIN, _SIZE_MAX, _DATAGRAM_MAX = 480, 1 << 20, 65_000
_EXAMPLE: Final = '"tls://siem.example:6514"'


class Settings(NamedTuple):
    """`to`: its host may be a name. `facility`: 0 to 23. `message_max`: bytes."""

    to: Address
    format: str = JSON
    facility: int = 16
    message_max: int = 65_536
    enterprise: int = 32_473
    timeout_s: float = 10.0
    tls: TlsFiles = TlsFiles()


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    to, tls = _to(options), read_tls(options)
    is_udp = to.transport == "udp"
    if to.transport != "tls":
        check_clear(options, "to", to.host, _EXAMPLE)
    for name in ("ca", "certificate", "key") if to.transport != "tls" and to.port else ():
        if options.has(name):
            options.wrong(name, f"{to} has no TLS", f"remove it, or write to = {_EXAMPLE}")
    return Settings(
        to, options.choice("format", (JSON, FIELDS), JSON),
        FACILITIES.index(options.choice("facility", FACILITIES, "local0")),
        options.size("message_max", "2KB" if is_udp else "64KB", _SIZE_MIN, _DATAGRAM_MAX if is_udp else _SIZE_MAX),
        options.number("enterprise", 32_473, 0, 2**32 - 1), options.seconds("timeout", "10s", 0.1, 300.0), tls,
    )


def _to(options: Options) -> Address:
    text = options.text("to", needed=_EXAMPLE)
    address = read_address(text, TRANSPORTS)
    if text and address is None:
        options.wrong("to", f"{shown(text)} is no address to send to", f'write {_EXAMPLE} or "udp://[2001:db8::1]:514"')
    return address or Address("tls", "", 0)


def needs_of(settings: Settings) -> list[Need]:
    """What this machine must have for it."""
    return readable(settings.tls)
