"""The shape of a topology file: which keys there are and what each holds. Only this module loads pydantic.

Unknown keys are errors. What can be judged of a value by itself is judged here, so that one pass names every
wrong value; what needs two places of the file is in `rules`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from fabric.protocol.actions import ActionClass, check_action_pattern
from fabric.protocol.credentials import name_ok
from fabric.protocol.errors import Code, FabricError, Reject
from fabric.protocol.lifetime import format_duration, parse_duration
from fabric.protocol.limits import GRANTS_MAX, NAME_BYTES_MAX, TAGS_MAX, TTL_MAX_MS
from fabric.protocol.selectors import parse_selector
from fabric.protocol.severity import Severity, parse_severity
from fabric.protocol.tlp import Label, parse_label
from fabric.protocol.topics import check_pattern, check_topic
from relays.topology.addresses import BadAddress, parse_address
from relays.topology.problems import Problem, closest, shown
from relays.topology.rules import NAME_RULE
from relays.topology.toml_lines import Key, dotted

LABELS: Final = tuple(label.short for label in Label)
# What a credential says itself; a tag of the same name would pretend to be it.
TAGS_RESERVED: Final = ("id", "role", "segment", "organisation")
RELAYS_MAX: Final = 4_096  # a file is read whole, and its rules compare relays in pairs
_KEY: Final = "<key>"  # stands in a text for the key, which a validator does not know
# `role` travels as a tag.
_TAGS_MAX: Final = TAGS_MAX - 1
_APPROVERS_MAX: Final = 16


def _wrong(cause: str, write: str, code: Code = Code.TOPOLOGY_INVALID) -> PydanticCustomError:
    return PydanticCustomError("rule", "{cause}", {"cause": cause, "write": write, "code": code.name})


def _name(text: str) -> str:
    if not name_ok(text):
        raise _wrong(f"{shown(text)} is not a name", NAME_RULE)
    return text


def _label(value: object) -> Label:
    if isinstance(value, Mapping):
        inner = next(iter(value), "...")
        raise _wrong(
            "a table stands where a label belongs: TOML splits keys at dots",
            f'quote the whole key: "{_KEY}.{inner}" = "amber"',
        )
    label = parse_label(value) if isinstance(value, str) else None
    if label is None:
        raise _wrong(
            f"{shown(value)} is not a TLP label",
            f"write one of {', '.join(LABELS)}{closest(value, LABELS)}",
            Code.BAD_LABEL,
        )
    return label


def _severity(value: object) -> Severity:
    severity = parse_severity(value) if isinstance(value, str) else None
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


def _ttl(kind: str) -> Callable[[object], int]:
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


def _refused(check: Callable[[str], object], example: str) -> Callable[[str], str]:
    """A validator from one of the protocol's own checks: what a relay would refuse is refused here."""

    def validate(text: str) -> str:
        answer = check(text)
        if isinstance(answer, Reject):
            raise _wrong(
                f"{shown(text)}: {answer.detail or answer.code.cause}", f"write e.g. {example}", answer.code
            )
        return text

    return validate


def _selector(text: str) -> str:
    if not text.strip():
        raise _wrong(
            "an empty selector selects nobody", "write e.g. 'role=firewall', or 'all'", Code.BAD_SELECTOR
        )
    return _refused(parse_selector, "'role=firewall and segment=ot-1'")(text)


def _address(listen: bool) -> Callable[[str], str]:
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


def _network(text: str) -> str:
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


def _table_of(key: str) -> Callable[[object], object]:
    """Plain text stands for a table with this one key."""
    return lambda value: {key: value} if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(_name)]
LabelText = Annotated[Label, BeforeValidator(_label)]
SeverityText = Annotated[Severity, BeforeValidator(_severity)]
Duration = Annotated[int, BeforeValidator(_duration)]
Pattern = Annotated[str, AfterValidator(_refused(check_pattern, '"detections.>" or "intel.ipv4.*"'))]
Topic = Annotated[str, AfterValidator(_refused(check_topic, '"detections.zeek.conn"'))]
ActionPattern = Annotated[str, AfterValidator(_refused(check_action_pattern, '"deny ipv4_net" or "scan *"'))]
SelectorText = Annotated[str, AfterValidator(_selector)]
Tags = Annotated[dict[str, str], AfterValidator(_tags), Field(max_length=_TAGS_MAX)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TtlTable(Table):
    event: Annotated[int | None, BeforeValidator(_ttl("event"))] = None
    intel: Annotated[int | None, BeforeValidator(_ttl("intel"))] = None
    action: Annotated[int | None, BeforeValidator(_ttl("action"))] = None
    approval: Annotated[int | None, BeforeValidator(_ttl("approval"))] = None
    result: Annotated[int | None, BeforeValidator(_ttl("result"))] = None
    control: Annotated[int | None, BeforeValidator(_ttl("control"))] = None


class DefaultsTable(Table):
    label: LabelText = Label.AMBER
    ttl: TtlTable = TtlTable()


class RelayTable(Table):
    clearance: LabelText
    listen: Annotated[str, AfterValidator(_address(listen=True))]
    segment: Name | None = None
    advertise: Annotated[str, AfterValidator(_address(listen=False))] | None = None
    parent: str | None = None
    backups: Annotated[list[str], Field(max_length=8)] = []
    dial: Literal["parent", "child"] = "parent"
    serves: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(max_length=256)] = []
    organisation: Name | None = None
    tags: Tags = {}


class PublishTable(Table):
    topic: Pattern
    severity_max: SeverityText = Severity.FATAL
    rate: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class RequestTable(Table):
    action: ActionPattern
    to: SelectorText
    severity_max: SeverityText = Severity.FATAL
    scope: str = ""


class ApproveTable(Table):
    class_: Annotated[ActionClass, Field(alias="class")]
    to: SelectorText


class RoleTable(Table):
    publish: Annotated[
        list[Annotated[PublishTable, BeforeValidator(_table_of("topic"))]], Field(max_length=GRANTS_MAX)
    ] = []
    subscribe: Annotated[list[Pattern], Field(max_length=GRANTS_MAX)] = []
    request: Annotated[
        list[Annotated[RequestTable, BeforeValidator(_table_of("action"))]], Field(max_length=GRANTS_MAX)
    ] = []
    execute: Annotated[list[ActionPattern], Field(max_length=GRANTS_MAX)] = []
    approve: Annotated[
        list[Annotated[ApproveTable, BeforeValidator(_table_of("class"))]], Field(max_length=GRANTS_MAX)
    ] = []


class SourceTable(Table):
    kind: Name
    topic: Topic
    path: str = ""
    format: str = ""
    labels: dict[str, LabelText] = {}


class PointTable(Table):
    role: str
    clearance: LabelText
    relay: str | None = None
    kind: Literal["control point", "operator"] = "control point"
    tags: Tags = {}
    organisation: Name | None = None
    sources: dict[str, SourceTable] = {}


class WhenTable(Table):
    class_: Annotated[ActionClass | None, Field(alias="class")] = None
    action: ActionPattern | None = None
    to: SelectorText | None = None


class ApprovalTable(Table):
    when: WhenTable
    require: Annotated[int, Field(ge=0, le=_APPROVERS_MAX)]
    from_: Annotated[list[str], Field(alias="from", max_length=GRANTS_MAX)] = []
    within: Duration = 600_000


class AssertTable(Table):
    never: str


class FileTable(Table):
    fabric: Name
    organisation: Name | None = None
    defaults: DefaultsTable = DefaultsTable()
    relays: Annotated[dict[str, RelayTable], Field(max_length=RELAYS_MAX)]
    roles: dict[str, RoleTable] = {}
    points: dict[str, PointTable] = {}
    approval: list[ApprovalTable] = []
    assert_: Annotated[list[AssertTable], Field(alias="assert")] = []


# The keys of each kind of table, for did-you-mean; by the place of the table in the file.
_TABLES: Final[tuple[tuple[Key, type[Table]], ...]] = (
    ((), FileTable),
    (("defaults",), DefaultsTable),
    (("defaults", "ttl"), TtlTable),
    (("relays", "?"), RelayTable),
    (("roles", "?"), RoleTable),
    (("roles", "?", "publish", "?"), PublishTable),
    (("roles", "?", "request", "?"), RequestTable),
    (("roles", "?", "approve", "?"), ApproveTable),
    (("points", "?"), PointTable),
    (("points", "?", "sources", "?"), SourceTable),
    (("approval", "?"), ApprovalTable),
    (("approval", "?", "when"), WhenTable),
    (("assert", "?"), AssertTable),
)

_EXAMPLES: Final[Mapping[str, str]] = {
    "fabric": 'fabric = "acme"',
    "relays": '[relays] and under it hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:7700" }',
    "clearance": 'clearance = "amber"',
    "listen": 'listen = "127.0.0.1:7700"',
    "role": 'role = "sensor", one of [roles]',
    "topic": 'topic = "detections.zeek.conn"',
    "kind": 'kind = "file"',
    "action": '{ action = "deny ipv4_net", to = "role=firewall" }',
    "to": '{ ..., to = "role=firewall" }',
    "class": '{ class = "contain", to = "segment=ot-1" }',
    "when": 'when = { class = "contain" }',
    "require": "require = 2",
    "never": 'never = "amber from ot-1 reaches dmz"',
}
_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "string_type": ("text is expected", 'write it in quotes: {name} = "..."'),
    "list_type": ("a list is expected", 'write {name} = ["..."]'),
    "dict_type": ("a table is expected", "write {name} = {{ ... }} or [{key}]"),
    "model_type": ("a table is expected", "write {name} = {{ ... }} or [{key}]"),
    "int_type": ("a whole number is expected", "write {name} = 1, without quotes"),
    "too_long": ("there are too many entries", "write fewer, or split the role"),
}


def read_shape(raw: Mapping[str, Any]) -> FileTable | list[Problem]:
    """The file as typed tables, or everything that is wrong with their shape."""
    try:
        return FileTable.model_validate(raw)
    except ValidationError as error:
        return [_problem(detail, raw) for detail in error.errors(include_url=False)]


def _problem(detail: ErrorDetails, raw: Mapping[str, Any]) -> Problem:
    key = _key(detail["loc"], raw)
    name = key[-1] if key else ""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "rule":
            return Problem(
                Code[context["code"]], dotted(key), context["cause"], context["write"].replace(_KEY, name)
            )
        case "extra_forbidden":
            known = _known_keys(key[:-1])
            cause, write = (
                f"there is no key '{name}' here",
                f"remove it, or use one of {', '.join(known)}{closest(name, known)}",
            )
        case "missing":
            missing = str(detail["loc"][-1])
            cause, write = f"'{missing}' is missing", f"write {_EXAMPLES.get(missing, f'{missing} = ...')}"
        case "literal_error":
            expected = context["expected"]
            choices = tuple(re.findall(r"'([^']*)'", expected))
            cause = f"{shown(detail['input'])} is not known here"
            write = f"write {expected}{closest(detail['input'], choices)}"
        case type_ if type_ in _TYPES:
            cause, template = _TYPES[type_]
            if type_ != "too_long":
                cause = f"{cause}, and {shown(detail['input'])} is none"
            write = template.format(name=name, key=dotted(key))
            if type_ == "list_type" and isinstance(detail["input"], str):
                write = f'write {name} = ["{detail["input"]}"]'
        case _:
            cause, write = detail["msg"].lower(), "correct the value"
    return Problem(Code.TOPOLOGY_INVALID, dotted(key), cause, write)


def _key(location: tuple[int | str, ...], raw: Any) -> Key:
    """The part of a location that the file itself has: plain text that stands for a table has no keys."""
    key: list[str] = []
    for part in location:
        if isinstance(raw, list) and isinstance(part, int):
            raw = raw[part] if part < len(raw) else None
        elif isinstance(raw, Mapping):
            raw = raw.get(str(part))
        else:
            break
        key.append(str(part))
    return tuple(key)


def _known_keys(place: Key) -> tuple[str, ...]:
    for pattern, table in _TABLES:
        if len(pattern) == len(place) and all(p in ("?", k) for p, k in zip(pattern, place, strict=True)):
            return tuple(field.alias or name for name, field in table.model_fields.items())
    return ()
