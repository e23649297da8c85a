"""OpenC2 1.0: actions, targets, their classes, their patterns, and how an action ends.

Guarantees: an `ActionSpec` names an action and a target type of OpenC2 or an extension (`x-...`), and a
target value that was checked by its type and is written in one way only (`203.0.113.9/32` is `203.0.113.9`),
so that two spellings are never two targets. The class follows from the action, never from what a requester
claims. Refuses: unknown names, networks with host bits set or a netmask (`10.1.2.3/24` could mean two
things), values that are too long or hold control characters.

`cancel` is an action like the others, except that it is not selected anew: it goes to whoever got the
original. An `x-` verb is of class `other` here; the signed policy may put it in another one.

A message that was withheld from its target has no end state of its own: it is `refused`, with the code
WITHHELD.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import NAME_BYTES_MAX

ActionClass: TypeAlias = Literal["investigate", "contain", "remediate", "other"]
CLASSES: Final[tuple[ActionClass, ...]] = get_args(ActionClass)

# OpenC2 Language 1.0, 3.3.1.1.
_CLASSES: Final[Mapping[str, ActionClass]] = {
    "scan": "investigate",
    "locate": "investigate",
    "query": "investigate",
    "deny": "contain",
    "contain": "contain",
    "allow": "remediate",
    "start": "other",
    "stop": "contain",
    "restart": "other",
    "cancel": "other",
    "set": "other",
    "update": "remediate",
    "redirect": "contain",
    "create": "other",
    "delete": "remediate",
    "detonate": "investigate",
    "restore": "remediate",
    "copy": "investigate",
    "investigate": "investigate",
    "remediate": "remediate",
}
ACTIONS: Final = tuple(_CLASSES)

# OpenC2 Language 1.0, 3.3.1.2.
TARGETS: Final = (
    "artifact",
    "command",
    "device",
    "domain_name",
    "email_addr",
    "features",
    "file",
    "idn_domain_name",
    "idn_email_addr",
    "ipv4_net",
    "ipv6_net",
    "ipv4_connection",
    "ipv6_connection",
    "iri",
    "uri",
    "mac_addr",
    "process",
    "properties",
)

# A URI with a long query fits; it is shown to people who approve it, so more would not be read anyway.
TARGET_VALUE_BYTES_MAX: Final = 2_048
# Extensions become a token of the action's topic, so they keep to its alphabet.
_EXTENSION: Final = re.compile(r"x-[A-Za-z0-9_-]+")
_CACHED_MAX: Final = 4_096


class Status(IntEnum):
    """OpenC2 response status."""

    PROCESSING = 102
    OK = 200
    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    FORBIDDEN = 403
    NOT_FOUND = 404
    INTERNAL_ERROR = 500
    NOT_IMPLEMENTED = 501
    SERVICE_UNAVAILABLE = 503


class End(StrEnum):
    """How an action ended at one target: exactly one of these. Only UNKNOWN may still be replaced.

    READY is the end of a dry run, and of nothing else: it would have been begun.
    """

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNROUTABLE = "unroutable"
    UNKNOWN = "unknown"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """What is to be done, and to what."""

    action: str
    target_type: str
    target_value: str

    @property
    def topic(self) -> str:
        """`deny.ipv4_net`"""
        return f"{self.action}.{self.target_type}"

    @property
    def target(self) -> str:
        """`ipv4_net=203.0.113.9`, or `features` alone where there is no value."""
        return f"{self.target_type}={self.target_value}" if self.target_value else self.target_type

    @property
    def text(self) -> str:
        """`deny ipv4_net=203.0.113.9`"""
        return f"{self.action} {self.target}"


def class_of(action: str) -> ActionClass:
    """The action's class; extensions and anything unknown are `other`."""
    return _CLASSES.get(action, "other")


def is_extension(name: str) -> bool:
    """Whether it is a name of nobody's standard: `x-...`."""
    return len(name) <= NAME_BYTES_MAX and _EXTENSION.fullmatch(name) is not None


def _known(name: str, names: tuple[str, ...] | Mapping[str, object]) -> bool:
    return name in names or is_extension(name)


# Each reads a value of one type: the one way to write it, or None.

_PREFIX_LENGTH: Final = re.compile(r"[^/%]+(?:/[0-9]{1,3})?")


def _net(value: str, version: Literal[4, 6]) -> str | None:
    # ipaddress would also take netmasks, hostmasks and zones.
    if _PREFIX_LENGTH.fullmatch(value) is None:
        return None
    try:
        net = ipaddress.IPv4Network(value) if version == 4 else ipaddress.IPv6Network(value)
    except ValueError:
        return None
    return str(net.network_address) if net.num_addresses == 1 else str(net)


_MAC: Final = re.compile(r"[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?::[0-9a-f]{2}){7})")


def _mac_addr(value: str) -> str | None:
    """EUI-48 or EUI-64."""
    if "-" in value and ":" in value:
        return None
    mac = value.lower().replace("-", ":")
    return mac if _MAC.fullmatch(mac) else None


# RFC 1035 lengths; the underscore is no host name, but names of services have it.
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_IDN_DOMAIN: Final = re.compile(r"(?=.{1,253}\Z)[^\s.@/:]{1,63}(?:\.[^\s.@/:]{1,63})*")


def _domain_name(value: str) -> str | None:
    # ASCII first: a few other letters become ASCII when they are lowered.
    name = value.lower().removesuffix(".")
    return name if value.isascii() and _DOMAIN.fullmatch(name) else None


def _idn_domain_name(value: str) -> str | None:
    name = value.lower().removesuffix(".")
    return name if _IDN_DOMAIN.fullmatch(name) else None


def _email(value: str, domain_of: Callable[[str], str | None], ascii_only: bool) -> str | None:
    local, _, domain = value.rpartition("@")
    read = domain_of(domain)
    if not 1 <= len(local) <= 64 or any(char in " @" for char in local) or read is None:
        return None
    # The local part's case is the receiving host's business (RFC 5321, 2.4).
    return f"{local}@{read}" if local.isascii() or not ascii_only else None


_IRI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


def _uri(value: str) -> str | None:
    return value if value.isascii() and _IRI.fullmatch(value) else None


def _iri(value: str) -> str | None:
    return value if _IRI.fullmatch(value) else None


_CONNECTION_KEYS: Final = ("protocol", "src_addr", "src_port", "dst_addr", "dst_port")
_PROTOCOLS: Final = ("icmp", "tcp", "udp", "sctp")
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


def _connection(value: str, version: Literal[4, 6]) -> str | None:
    """`protocol=tcp,dst_addr=203.0.113.9,dst_port=443`: any of OpenC2's five fields, at least one."""
    fields: dict[str, str] = {}
    for item in value.split(","):
        key, _, text = item.partition("=")
        if key not in _CONNECTION_KEYS or key in fields:
            return None
        if key == "protocol":
            read = text if text in _PROTOCOLS else None
        elif key.endswith("_port"):
            read = text if _PORT.fullmatch(text) and int(text) <= 65_535 else None
        else:
            read = _net(text, version)
        if read is None:
            return None
        fields[key] = read
    return ",".join(f"{key}={fields[key]}" for key in _CONNECTION_KEYS if key in fields)


_READERS: Final[Mapping[str, Callable[[str], str | None]]] = {
    "ipv4_net": lambda value: _net(value, 4),
    "ipv6_net": lambda value: _net(value, 6),
    "ipv4_connection": lambda value: _connection(value, 4),
    "ipv6_connection": lambda value: _connection(value, 6),
    "mac_addr": _mac_addr,
    "domain_name": _domain_name,
    "idn_domain_name": _idn_domain_name,
    "email_addr": lambda value: _email(value, _domain_name, True),
    "idn_email_addr": lambda value: _email(value, _idn_domain_name, False),
    "uri": _uri,
    "iri": _iri,
}


def parse_action(action: str, target: str) -> ActionSpec | Reject:
    """Read an action and a `type=value` target.

    `features` and extensions may come without a value. Types that OpenC2 leaves to the actuator (file,
    process, device, ...) are bounded, printable text.
    """
    if not _known(action, _CLASSES):
        return Reject(Code.BAD_ACTION, "the action is not known")
    # A value is at most this many bytes, so this many characters; nothing larger is looked at.
    if len(target) > NAME_BYTES_MAX + 1 + TARGET_VALUE_BYTES_MAX:
        return Reject(Code.BAD_ACTION, f"a target value of more than {TARGET_VALUE_BYTES_MAX} bytes")
    target_type, _, value = target.partition("=")
    if not _known(target_type, TARGETS):
        return Reject(Code.BAD_ACTION, "the target type is not known")
    if len(value.encode(errors="surrogatepass")) > TARGET_VALUE_BYTES_MAX:
        return Reject(Code.BAD_ACTION, f"a target value of more than {TARGET_VALUE_BYTES_MAX} bytes")
    # It is shown to those who approve: a control character could show them something else.
    if not value.isprintable() or value != value.strip():
        return Reject(Code.BAD_ACTION, f"{target_type} has a value with characters that are not allowed")
    if not value and target_type != "features" and not target_type.startswith("x-"):
        return Reject(Code.BAD_ACTION, f"{target_type} has no value: write {target_type}=...")
    reader = _READERS.get(target_type)
    read = reader(value) if reader is not None else value
    if read is None:
        return Reject(Code.BAD_ACTION, f"the value is not of type {target_type}")
    return ActionSpec(action, target_type, read)


@lru_cache(maxsize=_CACHED_MAX)
def _pattern(pattern: str) -> tuple[str, str] | None:
    """(action or `*`, target type or `*`)"""
    if len(pattern) > 2 * NAME_BYTES_MAX + 1:
        return None
    if pattern == "*":
        return "*", "*"
    action, space, target_type = pattern.partition(" ")
    if not space or (action != "*" and not _known(action, _CLASSES)):
        return None
    return (action, target_type) if target_type == "*" or _known(target_type, TARGETS) else None


def check_action_pattern(pattern: str) -> Reject | None:
    """None for `deny ipv4_net`, `deny *`, `* ipv4_net`, `* *`, and `*` for the same."""
    if _pattern(pattern) is None:
        return Reject(Code.BAD_ACTION, "not a pattern: write e.g. 'deny ipv4_net', 'deny *' or '*'")
    return None


def action_matches(pattern: str, action: str, target_type: str) -> bool:
    """Whether the pattern allows the action on targets of the type. A broken pattern allows nothing."""
    parts = _pattern(pattern)
    return parts is not None and parts[0] in ("*", action) and parts[1] in ("*", target_type)


def action_covers(grant_pattern: str, pattern: str) -> bool:
    """Whether all that `pattern` allows is allowed by `grant_pattern` too."""
    asked = _pattern(pattern)
    # Not by action_matches on raw text: only a `*` covers a `*`, which is what comparing them does.
    return asked is not None and action_matches(grant_pattern, asked[0], asked[1])


def actions_meet(pattern: str, other: str) -> bool:
    """Whether there is an action that both patterns allow."""
    one, two = _pattern(pattern), _pattern(other)
    return one is not None and two is not None and all(
        a == b or "*" in (a, b) for a, b in zip(one, two, strict=True)
    )
