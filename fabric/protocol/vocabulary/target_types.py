"""The types of targets that OpenC2 1.0 defines (Language Specification 3.4.1), and how each one's value is read.

Guarantees: a value that was read is JSON of its type, in one spelling: whoever wrote it in another way has written the
same target. Every text in it is printable: it is shown to people, and handed to programs. Refuses names and values that
its type does not have, with the path of each.

Extensions (3.1.4) are `nsid:name`, and `x-name` for short; their values are JSON, bounded, with names in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from fabric.protocol.base.limits import NAME_BYTES_MAX
from fabric.protocol.vocabulary import text_types
from fabric.protocol.vocabulary.plain_json import INTEGERS, Bounds, Faults, below, check_plain

# It is shown to people who approve it, so more would not be read anyway: a URI with a long query, a process and the one
# that began it, each with its command line.
TARGET_BYTES_MAX: Final = 2_048
_BOUNDS: Final = Bounds(TARGET_BYTES_MAX, 256, 8)
# An integer that every reader of JSON reads as the same (RFC 7493, 2.2).
_INTEGER_MAX: Final = 2**53 - 1
FEATURES: Final = ("versions", "profiles", "pairs", "rate_limit")
_FEATURES_MAX: Final = 10


class _Wrong:
    """No value: its faults were told. `None` is a value of JSON."""


WRONG: Final = _Wrong()
Reader = Callable[[object, str, Faults], Any]


def _wrong(faults: Faults, path: str, what: str) -> _Wrong:
    faults.add(path, what)
    return WRONG


def text(read: Callable[[str], str | None], what: str) -> Reader:
    """Reads printable text of a type; `what` says which."""

    def reader(value: object, path: str, faults: Faults) -> Any:
        if not isinstance(value, str):
            return _wrong(faults, path, f"{what}, as text")
        # It is shown to those who approve: a control character could show them something else.
        if not value.isprintable():
            return _wrong(faults, path, "characters that are not allowed")
        found = read(value)
        return _wrong(faults, path, what) if found is None else found

    return reader


def _integer(most: int) -> Reader:
    def reader(value: object, path: str, faults: Faults) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return int(value)
        return _wrong(faults, path, f"a whole number from 0 to {most:,}")

    return reader


def _one_of(*words: str) -> Reader:
    def reader(value: object, path: str, faults: Faults) -> Any:
        return value if isinstance(value, str) and value in words else _wrong(faults, path, " or ".join(words))

    return reader


def _record(fields: Mapping[str, Reader], *, one: bool = False) -> Reader:
    """A map with at least one of these fields, or exactly one; written in their order."""

    def reader(value: object, path: str, faults: Faults) -> Any:
        if not isinstance(value, Mapping):
            return _wrong(faults, path, f"a map of {', '.join(fields)}")
        for name in value:
            if name not in fields:
                faults.add(below(path, name), f"not one of {', '.join(fields)}")
        read = {name: fields[name](value[name], below(path, name), faults) for name in fields if name in value}
        if not value or (one and len(read) > 1):
            return _wrong(faults, path, f"{'exactly' if one else 'at least'} one of {', '.join(fields)}")
        return WRONG if len(read) < len(value) or WRONG in read.values() else read

    return reader


def _features(value: object, path: str, faults: Faults) -> Any:
    """None is a sign of life that is asked for; one that comes twice counts once (3.4.1.5)."""
    if not isinstance(value, list | tuple) or len(value) > _FEATURES_MAX:
        return _wrong(faults, path, f"a list of up to {_FEATURES_MAX} of {', '.join(FEATURES)}")
    read = [_FEATURE(each, below(path, place), faults) for place, each in enumerate(value)]
    return WRONG if WRONG in read else [name for name in FEATURES if name in read]


_FEATURE: Final = _one_of(*FEATURES)


def _properties(value: object, path: str, faults: Faults) -> Any:
    if not isinstance(value, list | tuple) or not value:
        return _wrong(faults, path, "a list of one name at least")
    read = [_NAME(each, below(path, place), faults) for place, each in enumerate(value)]
    if WRONG in read:
        return WRONG
    twice = [place for place, name in enumerate(read) if name in read[:place]]
    return _wrong(faults, below(path, twice[0]), "a name that comes twice") if twice else sorted(read)


_NAME: Final = text(text_types.anything, "text that is not empty")


def _process(value: object, path: str, faults: Faults) -> Any:
    return _PROCESS(value, path, faults)


_HASHES: Final = _record({
    "md5": text(text_types.hexadecimal(32), "32 hex digits"),
    "sha1": text(text_types.hexadecimal(40), "40 hex digits"),
    "sha256": text(text_types.hexadecimal(64), "64 hex digits"),
})
_HOSTNAME: Final = text(text_types.domain_name, "the name of a host, e.g. www.example.com")
_IDN_HOSTNAME: Final = text(text_types.idn_domain_name, "the name of a host")
_URI: Final = text(text_types.uri, "a URI, e.g. https://example.com/a")
_FILE: Final = _record({"name": _NAME, "path": _NAME, "hashes": _HASHES})
_PROCESS: Final = _record({
    "pid": _integer(_INTEGER_MAX), "name": _NAME, "cwd": _NAME, "executable": _FILE, "parent": _process,
    "command_line": _NAME,
})
_IPV4_NET: Final = text(text_types.ipv4_net, "an IPv4 network without host bits, e.g. 203.0.113.0/24")
_IPV6_NET: Final = text(text_types.ipv6_net, "an IPv6 network without host bits, e.g. 2001:db8::/64")


def _connection(net: Reader) -> Reader:
    port = _integer(65_535)
    return _record({
        "protocol": _one_of("icmp", "tcp", "udp", "sctp"), "src_addr": net, "src_port": port, "dst_addr": net,
        "dst_port": port,
    })


TYPES: Final[Mapping[str, Reader]] = {
    "artifact": _record({
        "mime_type": text(text_types.mime_type, "a media type, e.g. application/pdf"),
        "payload": _record({"bin": text(text_types.binary, "base64url"), "url": _URI}, one=True),
        "hashes": _HASHES,
    }),
    "command": text(text_types.command_id, "a command's id of 1 to 36 characters, without spaces"),
    "device": _record({"hostname": _HOSTNAME, "idn_hostname": _IDN_HOSTNAME, "device_id": _NAME}),
    "domain_name": text(text_types.domain_name, "a domain name, e.g. www.example.com"),
    "email_addr": text(text_types.email_addr, "an email address"),
    "features": _features,
    "file": _FILE,
    "idn_domain_name": text(text_types.idn_domain_name, "a domain name"),
    "idn_email_addr": text(text_types.idn_email_addr, "an email address"),
    "ipv4_net": _IPV4_NET,
    "ipv6_net": _IPV6_NET,
    "ipv4_connection": _connection(_IPV4_NET),
    "ipv6_connection": _connection(_IPV6_NET),
    "iri": text(text_types.iri, "an IRI, e.g. https://example.com/a"),
    "uri": _URI,
    "mac_addr": text(text_types.mac_addr, "a MAC address, e.g. 00:00:5e:00:53:01"),
    "process": _PROCESS,
    "properties": _properties,
}
TARGETS: Final = tuple(TYPES)
# Those whose value is text, and is written as it stands.
TEXT_TYPES: Final = (
    "command", "domain_name", "email_addr", "idn_domain_name", "idn_email_addr", "ipv4_net", "ipv6_net", "iri", "uri",
    "mac_addr",
)

# A namespace of up to 16 characters, and a name in it; they become tokens of the action's topic, so they keep to its
# alphabet.
_EXTENSION: Final = re.compile(r"x-[A-Za-z0-9_-]+|[A-Za-z0-9_-]{1,16}:[A-Za-z0-9_-]+")


@lru_cache(maxsize=1_024)
def is_extension(type_: str) -> bool:
    """Whether this is the name of a target type that an actuator profile defines."""
    return len(type_) <= NAME_BYTES_MAX and _EXTENSION.fullmatch(type_) is not None


def is_target_type(type_: str) -> bool:
    """Whether this is the name of a type of targets: OpenC2's, or an extension's."""
    return type_ in TYPES or is_extension(type_)


def _extension(value: object, path: str, faults: Faults) -> Any:
    """What it means is the profile's: names in order, and one spelling of a number that has two."""
    if isinstance(value, Mapping):
        if not all(name.isprintable() for name in value):
            return _wrong(faults, path, "a name with characters that are not allowed")
        pairs = {name: _extension(value[name], below(path, name), faults) for name in sorted(value)}
        return WRONG if WRONG in pairs.values() else pairs
    if isinstance(value, list | tuple):
        read = [_extension(each, below(path, place), faults) for place, each in enumerate(value)]
        return WRONG if WRONG in read else read
    if isinstance(value, str) and not value.isprintable():
        return _wrong(faults, path, "characters that are not allowed")
    if isinstance(value, float) and value.is_integer() and int(value) in INTEGERS:
        return int(value)
    return value


def read_value(type_: str, value: object, path: str, faults: Faults) -> Any:
    """The value in its one spelling, new, or WRONG. Never raises, whatever it is given."""
    if not is_target_type(type_):
        return _wrong(faults, path, "a type of target that is not known")
    if not check_plain(value, path, _BOUNDS, faults):
        return WRONG
    return TYPES.get(type_, _extension)(value, path, faults)
