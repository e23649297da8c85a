"""What single values of a topology file may be: names, labels, durations, patterns, addresses, tags.

Each refusal says the cause and what to write instead. Knows pydantic, as `schema` does, and no table.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import (
    KEEP_BYTES_MAX,
    KEEP_BYTES_MIN,
    NAME_BYTES_MAX,
    SESSION_KEEP_MS_MAX,
    TAGS_MAX,
    TTL_MAX_MS,
)
from fabric.protocol.base.sizes import format_size, parse_size
from fabric.protocol.envelope.lifetime import format_duration, parse_duration
from fabric.protocol.trust.credentials import name_ok
from fabric.protocol.trust.policies import WITHIN_MS_MAX
from fabric.protocol.vocabulary.openc2 import check_action_pattern
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.severity import Severity, parse_severity
from fabric.protocol.vocabulary.tlp import Label, parse_label
from fabric.protocol.vocabulary.topics import advice_on, check_pattern
from relays.topology.addresses import BadAddress, parse_address
from relays.topology.rules import NAME_RULE
from relays.wording import LABEL_WRITE, LABELS, closest, shown

# What a credential says itself; a tag of the same name would pretend to be it.
TAGS_RESERVED: Final = ("id", "role", "segment", "organisation")
RELAYS_MAX: Final = 4_096  # a file is read whole, and its rules compare relays in pairs
ASSERTS_MAX: Final = 256  # each is proven over every way that there is
KEY_MARK: Final = "<key>"  # stands in a text for the key, which a validator does not know
# `role` travels as a tag.
_TAGS_MAX: Final = TAGS_MAX - 1
BACKUPS_MAX: Final = 8  # each waits until the one before had its chance: a ninth would come too late to help


def _wrong(cause: str, write: str, code: Code = Code.TOPOLOGY_INVALID) -> PydanticCustomError:
    return PydanticCustomError("rule", "{cause}", {"cause": cause, "write": write, "code": code.name})


def _name(text: str) -> str:
    if not name_ok(text):
        raise _wrong(f"{shown(text)} is not a name", NAME_RULE)
    return text


def _name_pattern(text: str) -> str:
    """A name, or one that ends in `*` for all that begin like it."""
    if text != "*" and not name_ok(text.removesuffix("*")):
        raise _wrong(f"{shown(text)} is not a name", f'{NAME_RULE}; or the beginning of one and *: "client-*"')
    return text


def _label(value: object) -> Label:
    if isinstance(value, Mapping):
        inner = next(iter(value), "...")
        raise _wrong(
            "a table stands where a label belongs: TOML splits keys at dots",
            f'quote the whole key: "{KEY_MARK}.{inner}" = "amber"',
        )
    label = parse_label(value) if isinstance(value, str) else None
    if label is None:
        raise _wrong(
            f"{shown(value)} is not a TLP label",
            f"{LABEL_WRITE}{closest(value, LABELS)}",
            Code.BAD_LABEL,
        )
    return label


def _severity(value: object) -> Severity:
    # OCSF's number may stand without quotes. True and False are numbers in Python, and are none here.
    is_word = isinstance(value, str | int) and not isinstance(value, bool)
    severity = parse_severity(str(value)) if is_word else None
    if severity is None:
        names = tuple(s.name.lower() for s in Severity)
        raise _wrong(
            f"{shown(value)} is not a severity", f"write one of {', '.join(names)}{closest(value, names)}"
        )
    return severity


def _duration(value: object) -> int:
    try:
        ms = parse_duration(value) if isinstance(value, str) else 0
    except FabricError:
        ms = 0
    if ms <= 0:
        raise _wrong(f"{shown(value)} is not a duration", 'write it like "30s", "10m", "24h" or "7d"')
    return ms


def _size(value: object) -> int:
    try:
        bytes_ = parse_size(value) if isinstance(value, str) else 0
    except FabricError:
        bytes_ = 0
    if bytes_ <= 0:
        raise _wrong(f"{shown(value)} is not a size", 'write it like "512MB", "2GB" or "1TB"')
    if bytes_ > KEEP_BYTES_MAX:
        raise _wrong(f"{shown(value)} is more than a disk has", f'write at most "{format_size(KEEP_BYTES_MAX)}"')
    return bytes_


def _kept_size(value: object) -> int:
    bytes_ = _size(value)
    if bytes_ < KEEP_BYTES_MIN:
        raise _wrong(
            f"{shown(value)} has no room for a few large messages", f'write at least "{format_size(KEEP_BYTES_MIN)}"'
        )
    return bytes_


def _kept_time(value: object) -> int:
    ms = _duration(value)
    if ms > SESSION_KEEP_MS_MAX:
        longest = format_duration(SESSION_KEEP_MS_MAX)
        raise _wrong(f"{format_duration(ms)} is longer than any event lives", f'write at most "{longest}"')
    return ms


def _hold_time(value: object) -> int:
    ms = _duration(value)
    if ms > WITHIN_MS_MAX:
        longest = format_duration(WITHIN_MS_MAX)
        raise _wrong(f"{format_duration(ms)} is longer than an action is held", f'write at most "{longest}"')
    return ms


def ttl(kind: str) -> Callable[[object], int]:
    """A validator for times to live of this kind; it gives ms."""
    def validate(value: object) -> int:
        ms = _duration(value)
        ms_max = TTL_MAX_MS[kind]
        if ms > ms_max:
            raise _wrong(
                f"{format_duration(ms)} is above the maximum of {format_duration(ms_max)} for kind {kind}",
                f'write at most "{format_duration(ms_max)}"',
                Code.TTL_TOO_LONG,
            )
        return ms

    return validate


def _refused(
    check: Callable[[str], object], example: str, advise: Callable[[str], str] = lambda _text: ""
) -> Callable[[str], str]:
    """A validator from one of the protocol's own checks: what a relay would refuse is refused here."""

    def validate(text: str) -> str:
        answer = check(text)
        if isinstance(answer, Reject):
            cause = answer.detail or answer.code.cause
            raise _wrong(f"{shown(text)}: {cause}", advise(text) or f"write e.g. {example}", answer.code)
        return text

    return validate


def _selector(text: str) -> str:
    if not text.strip():
        raise _wrong(
            "an empty selector selects nobody", "write e.g. 'role=firewall', or 'all'", Code.BAD_SELECTOR
        )
    return _refused(parse_selector, "'role=firewall and segment=ot-1'")(text)


def address(listen: bool) -> Callable[[str], str]:
    """A validator for addresses that are listened on, or else dialled; it gives them in one spelling."""
    def validate(text: str) -> str:
        address = parse_address(text, listen=listen)
        if isinstance(address, BadAddress):
            raise _wrong(address.cause, address.write)
        if address.wildcard and not listen:
            raise _wrong(
                f"nobody can dial {address.host}",
                f'write the address that others reach: "192.0.2.1:{address.port}"',
            )
        return str(address)

    return validate


def network(text: str) -> str:
    """The network in one spelling. Raises pydantic's error where it is none, or has bits set beyond its prefix."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise _wrong(f"{shown(text)} is not a network", 'write e.g. "10.1.0.0/16"') from None
    raise _wrong(f"{shown(text)} has bits set beyond its prefix", f'write "{meant}"')


def _tags(tags: dict[str, str]) -> dict[str, str]:
    for key, value in tags.items():
        if key in TAGS_RESERVED:
            raise _wrong(f"the tag '{key}' is set by the fabric itself", "choose another name")
        if not key or len(key.encode()) > NAME_BYTES_MAX or len(value.encode()) > NAME_BYTES_MAX:
            raise _wrong(f"the tag {shown(key)} is empty or too long", f"use at most {NAME_BYTES_MAX} bytes")
        if isinstance(parse_selector(f"{key}=x"), Reject):
            raise _wrong(f"no selector could name the tag {shown(key)}", "use letters, digits, _ and -")
    return tags


def table_of(key: str) -> Callable[[object], object]:
    """Plain text stands for a table with this one key."""
    return lambda value: {key: value} if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(_name)]
NamePattern = Annotated[str, AfterValidator(_name_pattern)]
LabelText = Annotated[Label, BeforeValidator(_label)]
SeverityText = Annotated[Severity, BeforeValidator(_severity)]
HoldTime = Annotated[int, BeforeValidator(_hold_time)]
Size = Annotated[int, BeforeValidator(_size)]
KeptSize = Annotated[int, BeforeValidator(_kept_size)]
KeptTime = Annotated[int, BeforeValidator(_kept_time)]
Pattern = Annotated[str, AfterValidator(_refused(check_pattern, '"detections.>" or "intel.ipv4.*"', advice_on))]
ActionPattern = Annotated[str, AfterValidator(_refused(check_action_pattern, '"deny ipv4_net" or "scan *"'))]
SelectorText = Annotated[str, AfterValidator(_selector)]
Tags = Annotated[dict[str, str], AfterValidator(_tags), Field(max_length=_TAGS_MAX)]
