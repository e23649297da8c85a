"""What a declaration of an HTTP source says: where it listens, whose tokens it knows, and how much it takes."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import SUBSCRIPTIONS_MAX
from fabric.protocol.trust.credentials import name_ok
from fabric.protocol.vocabulary.openc2 import check_action_pattern
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import advice_on, check_pattern, covers
from relays.gateways.addresses import Address, read_address
from relays.gateways.kinds import Need, Option, Read
from relays.gateways.options import Options
from relays.gateways.secret import Secret
from relays.wording import shown

OPTIONS: Final = (
    Option("listen", '"127.0.0.1:8443"', "Where: an IP address and a port.", needed=True),
    Option("tokens", "[[...tokens]]", "Who may: name, secret, may, topics, clearance, actions, to, rate.", needed=True),
    Option("certificate", '"/etc/fabric/http.pem"', "Of TLS; may be left out only on this machine's own address."),
    Option("key", '"/etc/fabric/http.key"', "Its key."),
    Option("body_max", '"16MB"', "Of one request, inflated (16MB)."),
    Option("records_max", "10_000", "Of one request (10,000)."),
    Option("connections", "64", "Of one address, of IPv6 of its /64, at a time (64)."),
    Option("body_time", '"30s"', "In which a request has to be here whole (30s)."),
    Option("answer_time", '"10s"', "How long the answer to an action waits for its end (10s)."),
    Option("busy_time", '"10s"', "How long a request waits for room in the outbox (10s)."),
)
TOKENS_MAX: Final = 256
RATE_DEFAULT: Final = 50_000
_TOKEN_KEYS: Final = ("name", "secret", "may", "topics", "clearance", "actions", "to", "rate")
PUBLISH, STREAM, OPENC2 = "publish", "stream", "openc2"
_MAY: Final = (PUBLISH, STREAM, OPENC2)
_EXTRA: Final = ("starlette", "uvicorn", "h11")


class TokenSpec(NamedTuple):
    """`topics`: patterns, on which it may publish, or read. `rate_per_s`: records, actions, and streams that begin.
    `actions`: patterns of those that it may ask for, of whom `to` selects. `clearance`: it reads nothing above that;
    None: what its gateway reads."""

    name: str
    secret: Secret
    topics: tuple[str, ...]
    rate_per_s: int
    may: tuple[str, ...] = (PUBLISH,)
    actions: tuple[str, ...] = ()
    to: str = ""
    clearance: Label | None = None


@dataclass(frozen=True)
class Settings:
    """`certificate` and `key`: both or neither."""

    host: str
    port: int
    tokens: tuple[TokenSpec, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    body_bytes_max: int = 16 << 20
    records_max: int = 10_000
    connections: int = 64
    body_s: float = 30.0
    busy_s: float = 10.0
    answer_s: float = 10.0

    @property
    def address(self) -> str:
        return str(Address("", self.host, self.port))

    @property
    def read(self) -> tuple[str, ...]:
        """The topics of all tokens that may read; none of them covers another one."""
        patterns = dict.fromkeys(topic for token in self.tokens if STREAM in token.may for topic in token.topics)
        return tuple(
            each for each in patterns if not any(other != each and covers(other, each) for other in patterns)
        )


def read_settings(options: Options) -> Settings:
    """What is declared; whether it may be used, `options.faults` says."""
    host, port = _listen(options)
    certificate, key = options.path("certificate"), options.path("key")
    for name, given, other in (("key", key, certificate), ("certificate", certificate, key)):
        if given is None and other is not None:
            options.missing(name, f'"/etc/fabric/http.{"key" if name == "key" else "pem"}"')
    if host and not certificate and not options.has("certificate") and not ipaddress.ip_address(host).is_loopback:
        options.wrong("listen", "tokens and events would cross the network in the clear",
                      'declare certificate = "/etc/fabric/http.pem" and key, or listen at "127.0.0.1:8080"')
    settings = Settings(
        host or "127.0.0.1", port, _tokens(options), certificate, key,
        options.size("body_max", "16MB", 1 << 10, 256 << 20), options.number("records_max", 10_000, 1, 100_000),
        options.number("connections", 64, 1, 4_096), options.seconds("body_time", "30s", 1.0, 3_600.0),
        options.seconds("busy_time", "10s", 0.1, 300.0), options.seconds("answer_time", "10s", 0.1, 300.0),
    )
    if len(settings.read) > SUBSCRIPTIONS_MAX:
        options.wrong("tokens", f"those that may read have more than {SUBSCRIPTIONS_MAX} topics together",
                      "write wider topics, or declare another source for some of them")
    return settings


def _listen(options: Options) -> tuple[str, int]:
    text = options.text("listen", needed='"127.0.0.1:8443"')
    address = read_address(text, listens=True)
    if text and address is None:
        options.wrong("listen", f"{shown(text)} is no address to listen at",
                      'write an IP address and a port, e.g. "127.0.0.1:8443" or "[::]:8443"')
    return (address.host, address.port) if address is not None else ("", 0)


def _tokens(options: Options) -> tuple[TokenSpec, ...]:
    given = options.value("tokens")
    example = '[[...tokens]] with name, secret = { file = "/etc/fabric/token" } and topics'
    if given is None:
        options.wrong("tokens", "'tokens' is missing: nobody may send", f"write {example}")
        return ()
    if not isinstance(given, list) or not given or not all(isinstance(each, Mapping) for each in given):
        options.wrong("tokens", "a list of tables is expected", f"write {example}")
        return ()
    if len(given) > TOKENS_MAX:
        options.wrong("tokens", f"there are more than {TOKENS_MAX}", "declare another source for some of them")
        return ()
    found: dict[str, TokenSpec] = {}
    for number, table in enumerate(given, 1):
        inner = Options(table)
        token = _token(inner)
        for fault in inner.faults:
            options.wrong(f"tokens.{number}.{fault.key}", fault.cause, fault.write, fault.code)
        if token is not None and token.name in found:
            options.wrong(f"tokens.{number}.name", f"{shown(token.name)} is there twice", "give each its own name")
        elif token is not None:
            found[token.name] = token
    return tuple(found.values())


def _token(options: Options) -> TokenSpec | None:
    options.only(_TOKEN_KEYS)
    name = options.text("name", needed='"app-1"')
    if name and not name_ok(name):
        options.wrong("name", f"{shown(name)} is no name", 'write letters, digits and -: "app-1"')
    secret = options.secret("secret", needed=True)
    may = tuple(options.texts("may")) if options.has("may") else (PUBLISH,)
    for each in may:
        if each not in _MAY:
            options.wrong("may", f"{shown(each)} is nothing that a token may do", f'write some of {", ".join(_MAY)}')
    topics = _topics(options, needed=PUBLISH in may or STREAM in may)
    clearance = options.label("clearance", Label.RED) if options.has("clearance") else None
    if clearance is not None and STREAM not in may:
        options.wrong("clearance", "the token may not read", 'write may = ["stream"], or leave it out')
    actions, to = _bounds(options) if OPENC2 in may else ((), "")
    for bound in ("actions", "to") if OPENC2 not in may else ():
        if options.has(bound):
            options.wrong(bound, "the token may not ask for actions", 'write may = ["openc2"], or leave it out')
    rate = options.number("rate", RATE_DEFAULT, 1, 10_000_000)
    return None if secret is None or not name else TokenSpec(  # one with faults is used for nothing
        name, secret, topics, rate, may, actions, to, clearance
    )


def _topics(options: Options, *, needed: bool) -> tuple[str, ...]:
    topics = options.texts("topics", needed='["detections.app.>"]' if needed else "")
    for topic in topics:
        problem = check_pattern(topic)
        if problem is not None:
            options.wrong("topics", f"{shown(topic)}: {problem.detail or problem.code.cause}",
                          advice_on(topic) or 'write e.g. "detections.app.>"', problem.code)
    return tuple(topics)


def _bounds(options: Options) -> tuple[tuple[str, ...], str]:
    """Which actions, and of whom."""
    actions = options.texts("actions", needed='["deny ipv4_net"]')
    for action in actions:
        fault = check_action_pattern(action)
        if fault is not None:
            options.wrong("actions", f"{shown(action)}: {fault.detail}", 'write e.g. "deny ipv4_net"', fault.code)
    to = options.text("to", needed='"role=firewall"')
    selector = parse_selector(to) if to else None
    if isinstance(selector, Reject):
        options.wrong("to", f"{shown(to)}: {selector.detail}", 'write e.g. "role=firewall"', selector.code)
    return tuple(actions), to


def reads_of(settings: Settings) -> list[Read]:
    """What it reads, for whoever holds the right token."""
    return [
        Read(("tokens", str(number), "topics"), token.topics, token.clearance)
        for number, token in enumerate(settings.tokens, 1) if STREAM in token.may
    ]


def publishes(settings: Settings) -> bool:
    """Whether any token may; also where none could be read."""
    return any(PUBLISH in token.may for token in settings.tokens) or not settings.tokens


def needs_of(settings: Settings) -> list[Need]:
    """What this machine must have for it."""
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    found = [Need("starlette and uvicorn", f"not installed: {', '.join(missing)}" if missing else "",
                  "pip install 'message-fabric[gateways]'")]
    for path in (settings.certificate, settings.key):
        if path is not None:
            problem = "" if os.access(path, os.R_OK) else "it is not there, or cannot be read"
            found.append(Need(str(path), problem, "put it there, readable by this user"))
    return found
