"""What a declaration of a NATS sink says: servers, the stream, under which subjects, and how it proves who it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from relays.gateways.addresses import read_address
from relays.gateways.handing.names import read_name
from relays.gateways.handing.tls import OPTIONS as TLS_OPTIONS
from relays.gateways.handing.tls import TlsFiles, check_clear, read_tls
from relays.gateways.kinds import Need, Option
from relays.gateways.needs import installed, readable
from relays.gateways.options import Options
from relays.gateways.secret import Secret
from relays.wording import shown

OPTIONS: Final = (
    Option("servers", '["tls://nats.example:4222"]', "Of one cluster: nats:// or tls://, host, port.", needed=True),
    Option("stream", '"FABRIC"', "Which stream has to take it.", needed=True),
    Option("subject", '"fabric.{topic}"', "The subject of a message (fabric.{topic})."),
    Option("create", "true", "Make the stream where it is not there (false)."),
    Option("duplicate_window", '"1h"', "Of a stream that is made: how long ids are known (1h)."),
    Option("token", "{ file = ... }", "A token."),
    Option("user", '"fabric"', "A name, with password."),
    Option("password", "{ file = ... }", "Its password."),
    Option("nkey", "{ file = ... }", "The seed of an nkey."),
    Option("credentials", '"/etc/fabric/nats.creds"', "A file with a JWT and the seed of its nkey."),
    Option("timeout", '"10s"', "Of connecting, and until a group is acknowledged (10s)."),
    *TLS_OPTIONS,
)
_STREAM: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")


class Settings(NamedTuple):
    """`window_s`: of a stream that is made."""

    servers: tuple[str, ...]
    stream: str
    subject: str = "fabric.{topic}"
    create: bool = False
    window_s: float = 3_600.0
    token: Secret | None = None
    user: str = ""
    password: Secret | None = None
    nkey: Secret | None = None
    credentials: Path | None = None
    timeout_s: float = 10.0
    tls: TlsFiles = TlsFiles()


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    servers = _servers(options)
    stream = options.text("stream", needed='"FABRIC"')
    if stream and not _STREAM.fullmatch(stream):
        options.wrong("stream", f"{shown(stream)} is no name of a stream", 'write stream = "FABRIC"')
    token, password, nkey = options.secret("token"), options.secret("password"), options.secret("nkey")
    user, credentials = options.text("user"), options.path("credentials")
    if bool(user) != (password is not None) and options.has("user") != options.has("password"):
        options.missing("password" if user else "user", '{ file = "/etc/fabric/password" }' if user else '"NAME"')
    given = [name for name in ("token", "user", "nkey", "credentials") if options.has(name)]
    if len(given) > 1:
        options.wrong(given[1], f"there is {given[0]}, too", "leave one of them out")
    create = options.flag("create", False)
    if options.has("duplicate_window") and not create:
        options.wrong("duplicate_window", "it is of a stream that is made here", "write create = true, or leave it out")
    return Settings(
        servers, stream, read_name(options, "subject", "fabric.{topic}"), create,
        options.seconds("duplicate_window", "1h", 1.0, 30 * 86_400.0), token, user, password, nkey, credentials,
        options.seconds("timeout", "10s", 0.1, 300.0), read_tls(options),
    )


def _servers(options: Options) -> tuple[str, ...]:
    found: list[str] = []
    for text in options.texts("servers", needed='["tls://nats.example:4222"]'):
        address = read_address(text, ("nats", "tls"))
        if address is None:
            options.wrong("servers", f"{shown(text)} is no server", 'write e.g. "tls://nats.example:4222"')
            continue
        if address.transport == "nats":
            check_clear(options, "servers", address.host, '"tls://nats.example:4222"')
        found.append(text)
    return tuple(found)


def needs_of(settings: Settings) -> list[Need]:
    """What this machine must have for it."""
    return [installed("nats", "nats"),
            *readable([settings.token, settings.password, settings.nkey, settings.credentials, *settings.tls])]
