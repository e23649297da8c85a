"""What a declaration of a Kafka sink says: brokers, to which topics, in which order, and how it proves who it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from relays.gateways.addresses import read_address
from relays.gateways.handing.names import read_name
from relays.gateways.handing.tls import OPTIONS as TLS_OPTIONS
from relays.gateways.handing.tls import TlsFiles, check_clear, read_tls
from relays.gateways.kinds import Need, Option
from relays.gateways.mapping.paths import Path as FieldPath
from relays.gateways.mapping.paths import path_of
from relays.gateways.needs import installed, readable
from relays.gateways.options import Options
from relays.gateways.secret import Secret
from relays.wording import shown

STREAM = "stream"
_KEYS: Final = (STREAM, "origin", "topic", "id")
OPTIONS: Final = (
    Option("servers", '["kafka.example:9093"]', "Some brokers of one cluster: a host and a port each.", needed=True),
    Option("topic", '"fabric.{topic}"', "The topic there, of a message's topic (fabric.{topic})."),
    Option("order_by", '"stream" | "origin" | "topic" | "id"',
           'The key, of which the order stays, or { field = "src" } (stream: an origin and a topic).'),
    Option("message_max", '"1MB"', "Of one message; what is larger is a dead letter (1MB)."),
    Option("tls", "true", "TLS towards the brokers (false)."),
    Option("sasl", '"SCRAM-SHA-512"', "How user and password are proved: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512."),
    Option("user", '"fabric"', "A name, with sasl and password."),
    Option("password", "{ file = ... }", "Its password."),
    Option("timeout", '"10s"', "After which it is said that the brokers do not take it (10s)."),
    *TLS_OPTIONS,
)
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class Settings(NamedTuple):
    """`order_by`: a word, or the field that is the key."""

    servers: tuple[str, ...]
    topic: str = "fabric.{topic}"
    order_by: str | FieldPath = STREAM
    message_max: int = 1_000_000
    is_tls: bool = False
    sasl: str = ""
    user: str = ""
    password: Secret | None = None
    timeout_s: float = 10.0
    tls: TlsFiles = TlsFiles()


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    is_tls, tls = options.flag("tls", False), read_tls(options)
    for name in ("ca", "certificate", "key") if not is_tls else ():
        if options.has(name):
            options.wrong(name, "it has no TLS", "write tls = true, or leave it out")
    sasl, user, password = options.text("sasl"), options.text("user"), options.secret("password")
    if sasl and sasl not in _MECHANISMS:
        options.wrong("sasl", f"{shown(sasl)} is not known here", f"write one of {', '.join(_MECHANISMS)}")
    examples = {"sasl": '"SCRAM-SHA-512"', "user": '"fabric"', "password": '{ file = "/etc/fabric/password" }'}
    for name, example in examples.items():
        if not options.has(name) and any(map(options.has, examples)):
            options.missing(name, example)
    return Settings(
        _servers(options, is_tls), read_name(options, "topic", "fabric.{topic}"), _order(options),
        options.size("message_max", "1MB", 1 << 10, 100 << 20), is_tls, sasl, user, password,
        options.seconds("timeout", "10s", 0.1, 300.0), tls,
    )


def _servers(options: Options, is_tls: bool) -> tuple[str, ...]:
    found: list[str] = []
    for text in options.texts("servers", needed='["kafka.example:9093"]'):
        address = read_address(text)
        if address is None:
            options.wrong("servers", f"{shown(text)} is no broker", 'write e.g. "kafka.example:9093"')
            continue
        if not is_tls:
            check_clear(options, "servers", address.host, '["kafka.example:9093"] and tls = true')
        found.append(text)
    return tuple(found)


def _order(options: Options) -> str | FieldPath:
    value = options.value("order_by")
    if not isinstance(value, Mapping):
        return options.choice("order_by", _KEYS, STREAM)
    text = value.get("field") if len(value) == 1 else None
    path = path_of(text) if isinstance(text, str) else None
    if path is None:
        options.wrong("order_by", "it names no field", 'write order_by = { field = "src" }')
        return STREAM
    return path


def needs_of(settings: Settings) -> list[Need]:
    """What this machine must have for it."""
    return [installed("confluent_kafka", "kafka"), *readable([settings.password, *settings.tls])]
