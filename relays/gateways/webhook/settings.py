"""What a declaration of a webhook says: where it posts, what, how much at a time, and how it proves that it is it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from relays.gateways.handing.tls import OPTIONS as TLS_OPTIONS
from relays.gateways.handing.tls import TlsFiles, read_tls
from relays.gateways.kinds import Need, Option
from relays.gateways.needs import readable
from relays.gateways.options import Options
from relays.gateways.secret import Secret
from relays.handlers.posting import Endpoint, endpoint_of

JSON, CLOUDEVENTS = "json", "cloudevents"
OPTIONS: Final = (
    Option("url", '"https://soc.example/hook"', "Where to, or { file = ... } where that is a secret.", needed=True),
    Option("format", '"json" | "cloudevents"', "As `fabric subscribe --json` prints it, or CloudEvents 1.0 (json)."),
    Option("batch", "100", "So many messages in a body at most, as an array; 1: each on its own (1)."),
    Option("body_max", '"1MB"', "Of one body (1MB)."),
    Option("secret", '{ file = "/etc/fabric/hook.secret" }', "Sign each body, as Standard Webhooks has it: whsec_..."),
    Option("previous_secret", "{ file = ... }", "While it is changed: bodies are signed with both."),
    Option("token", "{ file = ... }", "A bearer token for the header Authorization."),
    Option("timeout", '"10s"', "Of one attempt (10s)."),
    *TLS_OPTIONS,
)
_EXAMPLE: Final = '"https://soc.example/hook"'


class Settings(NamedTuple):
    """`url`: where to, or where that is. `batch` 0: each message on its own, else an array of so many at most."""

    url: Endpoint | Secret
    format: str = JSON
    batch: int = 0
    body_bytes_max: int = 1 << 20
    secrets: tuple[Secret, ...] = ()
    token: Secret | None = None
    timeout_s: float = 10.0
    tls: TlsFiles = TlsFiles()


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    secret, previous = options.secret("secret"), options.secret("previous_secret")
    if previous is not None and not options.has("secret"):
        options.missing("secret", '{ file = "/etc/fabric/hook.secret" }')
    batch = options.number("batch", 1, 1, 1_000)
    return Settings(
        _url(options), options.choice("format", (JSON, CLOUDEVENTS), JSON), batch if batch > 1 else 0,
        options.size("body_max", "1MB", 1 << 10, 64 << 20), tuple(each for each in (secret, previous) if each),
        options.secret("token"), options.seconds("timeout", "10s", 0.1, 300.0), read_tls(options),
    )


def _url(options: Options) -> Endpoint | Secret:
    nowhere = Endpoint(True, "", 443, "/")
    if isinstance(options.value("url"), Mapping):
        return options.secret("url") or nowhere
    url = options.text("url", needed=_EXAMPLE)
    if not url:
        return nowhere
    try:
        return endpoint_of(url)
    except ValueError as error:
        options.wrong("url", str(error), f"write url = {_EXAMPLE}")
        return nowhere


def needs_of(settings: Settings) -> list[Need]:
    """What this machine must have for it."""
    url = settings.url if isinstance(settings.url, Secret) else None
    return readable([url, *settings.secrets, settings.token, *settings.tls])
