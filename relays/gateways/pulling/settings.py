"""What a declaration of a source that pulls says of asking: where, how often, as whom, and how much is read.

A secret is where a secret belongs, or the declaration has a fault: one that was written into the URL, or as the text of
a header that is known for secrets, is named, and shown nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from fabric.protocol.base.errors import Code
from relays.gateways.handing.tls import OPTIONS as TLS
from relays.gateways.handing.tls import TlsFiles, read_tls
from relays.gateways.kinds import Need, Option
from relays.gateways.needs import installed, readable
from relays.gateways.options import Options
from relays.gateways.secret import Secret
from relays.handlers.posting import Endpoint, endpoint_of
from relays.wording import shown

OPTIONS: Final = (
    Option("url", '"https://feed.example/v1/items"', "Where; http:// for this machine only.", needed=True),
    Option("every", '"5m"', "How often, and never more often (5m)."),
    Option("token", '{ file = "PATH" }', "A bearer token for the header Authorization."),
    Option("user", '"NAME"', "A name for basic authentication."),
    Option("password", '{ file = "PATH" }', "Its password."),
    Option("headers", '{ "X-Api-Key" = { file = "PATH" } }', "More headers: a text, or where a secret is."),
    Option("params", '{ "limit" = "100" }', "More of the query: a text, or where a secret is."),
    *TLS,
    Option("proxy", '"http://proxy.example:3128"', "Asked through this proxy; the environment's is not used."),
    Option("timeout", '"60s"', "In which an answer has to be here whole (60s)."),
    Option("answer_max", '"16MB"', "Of one answer, inflated (16MB)."),
    Option("remember", "100_000", "So many records are known again (100,000)."),
)
_SECRET_NAME: Final = re.compile(r"auth|key|token|secret|passw|cookie|signature|credential", re.IGNORECASE)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# What the client says itself, and would be said twice.
_OWN_HEADERS: Final = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "content-type")
_PROXY: Final = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(?::\d{1,5})?/?|https?://\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?/?")
_MORE_MAX: Final = 32


@dataclass(frozen=True)
class How:
    """How a server is asked. `url` is in ASCII; with `endpoint`, where it leads, people are told of it: the rest may
    hold secrets. `timeout_s`: for an answer, whole; `answer_max`: bytes of it, inflated. `remember`: records."""

    url: str
    endpoint: Endpoint
    every_s: float
    token: Secret | None
    user: str
    password: Secret | None
    headers: Mapping[str, str | Secret]
    params: Mapping[str, str | Secret]
    tls: TlsFiles
    proxy: str
    timeout_s: float
    answer_max: int
    remember: int


def read_how(options: Options) -> How:
    """What is declared; whether it may be used, `options.faults` says."""
    url = options.text("url", needed='"https://feed.example/v1/items"')
    endpoint = Endpoint(True, "", 443, "/")
    if url:
        try:
            endpoint = endpoint_of(url)
        except ValueError as error:
            options.wrong("url", str(error), 'write url = "https://feed.example/v1/items"')
        for name, _ in parse_qsl(urlsplit(url).query) if endpoint.host else ():
            if _SECRET_NAME.search(name):
                options.wrong("url", f"a secret stands in it, as {shown(name)}",
                              f'write params = {{ {name} = {{ file = "/etc/fabric/{name}" }} }}', Code.SECRET_INLINE)
    token, user, password = options.secret("token"), options.text("user"), options.secret("password")
    if options.has("user") != options.has("password"):
        options.missing("password" if user else "user", '{ file = "/etc/fabric/password" }' if user else '"NAME"')
    if user and (":" in user or not user.isprintable()):
        options.wrong("user", "it is no name", 'write user = "NAME"')
    if user and token is not None:
        options.wrong("user", "there is a token, too", "leave one of them out")
    proxy = options.text("proxy")
    if proxy and not _PROXY.fullmatch(proxy):
        options.wrong("proxy", "it is no address of a proxy, or a password is in it",
                      'write proxy = "http://proxy.example:3128"')
    return How(
        url, endpoint, options.seconds("every", "5m", 1.0, 30 * 86_400.0), token, user, password,
        _more(options, "headers", _is_header), _more(options, "params", str.isprintable), read_tls(options),
        proxy, options.seconds("timeout", "60s", 0.1, 3_600.0),
        options.size("answer_max", "16MB", 1 << 10, 256 << 20), options.number("remember", 100_000, 1_000, 1_000_000),
    )


def _is_header(name: str) -> bool:
    return bool(_HEADER_NAME.fullmatch(name)) and name.lower() not in _OWN_HEADERS


def _more(options: Options, key: str, is_name: Callable[[str], bool]) -> dict[str, str | Secret]:
    """Texts and secrets by name."""
    table = options.table(key)
    found: dict[str, str | Secret] = {}
    if len(table) > _MORE_MAX:
        options.wrong(key, f"there are more than {_MORE_MAX}", "leave some of them out")
        return found
    inner = Options(table)
    for name, value in table.items():
        if not is_name(name):
            inner.wrong(name, "it is no name for one, or is said by itself", "leave it out")
        elif isinstance(value, Mapping) or _SECRET_NAME.search(name):
            secret = inner.secret(name)
            found |= {} if secret is None else {name: secret}
        elif text := inner.text(name):
            if not text.isascii() or not text.isprintable():
                inner.wrong(name, "it has letters that none may have", f'write {name} = "..."')
            found[name] = text
    for fault in inner.faults:
        options.wrong(f"{key}.{fault.key}", fault.cause, fault.write, fault.code)
    return found


def claim_of(how: How, what: str = "") -> str:
    """What no second source of one control point asks for, too: it would publish everything twice. `what`: of what is
    at the url. Another key, or user, may be given something else there: where a secret is tells them apart."""
    keys = [(name, value) for name, value in sorted(how.headers.items()) if isinstance(value, Secret)]
    asked = [*sorted(how.params.items()), *keys, ("token", how.token), ("user", how.user)]
    said = [f"{name} {value.name if isinstance(value, Secret) else value}" for name, value in asked if value]
    return f"url {how.url}" + "".join(f", {each}" for each in (*said, what) if each)


def needs_of(how: How) -> list[Need]:
    """What this machine must have for it."""
    secrets = [value for value in (*how.headers.values(), *how.params.values()) if isinstance(value, Secret)]
    return [installed("httpx", "gateways"),
            *readable([*how.tls, how.token, how.password, *secrets])]
