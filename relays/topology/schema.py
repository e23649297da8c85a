"""The shape of a topology file: which keys there are and what each holds. Only this module and `values` load pydantic.

Unknown keys are errors. What can be judged of a value by itself is judged in `values`, so that one pass names every
wrong value; what needs two places of the file is in `rules`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import (
    APPROVERS_MAX,
    AUDIENCE_NAMES_MAX,
    GRANTS_MAX,
    POLICY_CLASSES_MAX,
    POLICY_ROLES_MAX,
    POLICY_RULES_MAX,
)
from fabric.protocol.vocabulary.openc2 import ActionClass
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.topology.problems import Problem
from relays.topology.toml_lines import Key, dotted
from relays.topology.values import (
    ASSERTS_MAX,
    BACKUPS_MAX,
    KEY_MARK,
    RELAYS_MAX,
    ActionPattern,
    HoldTime,
    KeptSize,
    KeptTime,
    LabelText,
    Name,
    NamePattern,
    Pattern,
    SelectorText,
    SeverityText,
    Size,
    Tags,
    address,
    network,
    table_of,
    ttl,
)
from relays.wording import closest, shown

# What a header has room for: who is in more could not be named with all of them.
NameList = Annotated[list[Name], Field(max_length=AUDIENCE_NAMES_MAX)]


class Table(BaseModel):
    """A table of the file: frozen, of exact types, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TtlTable(Table):
    """`[defaults.ttl]`: times to live by kind, in ms once they are read."""

    event: Annotated[int | None, BeforeValidator(ttl("event"))] = None
    intel: Annotated[int | None, BeforeValidator(ttl("intel"))] = None
    action: Annotated[int | None, BeforeValidator(ttl("action"))] = None
    approval: Annotated[int | None, BeforeValidator(ttl("approval"))] = None
    result: Annotated[int | None, BeforeValidator(ttl("result"))] = None
    control: Annotated[int | None, BeforeValidator(ttl("control"))] = None


class DefaultsTable(Table):
    """`[defaults]`: what a message gets where nobody says anything."""

    label: LabelText = Label.AMBER
    ttl: TtlTable = TtlTable()


class OrganisationTable(Table):
    """An organisation of `[organisations]`: what its relays and control points are to others, unless they say it."""

    communities: NameList = []
    client_of: NameList = []


class RelayTable(Table):
    """A relay of `[relays]`."""

    clearance: LabelText
    listen: Annotated[str, AfterValidator(address(listen=True))]
    segment: Name | None = None
    advertise: Annotated[str, AfterValidator(address(listen=False))] | None = None
    parent: str | None = None
    backups: Annotated[list[str], Field(max_length=BACKUPS_MAX)] = []
    dial: Literal["parent", "child"] = "parent"
    admission: Literal["credential", "pinned"] = "credential"
    serves: Annotated[list[Annotated[str, AfterValidator(network)]], Field(max_length=256)] = []
    organisation: Name | None = None
    communities: NameList | None = None
    client_of: NameList | None = None
    tags: Tags = {}
    readers: Size | None = None
    carries_sealed: bool = False


class PublishTable(Table):
    """A publish grant of a role."""

    topic: Pattern
    severity_max: SeverityText = Severity.FATAL
    rate: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    organisations: Annotated[list[NamePattern], Field(max_length=GRANTS_MAX)] = []
    communities: Annotated[list[NamePattern], Field(max_length=GRANTS_MAX)] = []


class RequestTable(Table):
    """A request grant of a role."""

    action: ActionPattern
    to: SelectorText
    severity_max: SeverityText = Severity.FATAL
    scope: str = ""


class ApproveTable(Table):
    """An approve grant of a role."""

    class_: Annotated[ActionClass, Field(alias="class")]
    to: SelectorText


class DeclassifyTable(Table):
    """A declassify grant of a role."""

    topic: Pattern
    from_: Annotated[LabelText, Field(alias="from")]
    to: LabelText


class KeepTable(Table):
    """`keep` of a role or a control point: bytes, and ms once they are read."""

    bytes_: Annotated[KeptSize | None, Field(alias="bytes")] = None
    for_: Annotated[KeptTime | None, Field(alias="for")] = None
    full: Literal["shed", "wait"] | None = None


class RoleTable(Table):
    """A role of `[roles]`."""

    keep: KeepTable | None = None
    publish: Annotated[
        list[Annotated[PublishTable, BeforeValidator(table_of("topic"))]], Field(max_length=GRANTS_MAX)
    ] = []
    subscribe: Annotated[list[Pattern], Field(max_length=GRANTS_MAX)] = []
    request: Annotated[
        list[Annotated[RequestTable, BeforeValidator(table_of("action"))]], Field(max_length=GRANTS_MAX)
    ] = []
    execute: Annotated[list[ActionPattern], Field(max_length=GRANTS_MAX)] = []
    approve: Annotated[
        list[Annotated[ApproveTable, BeforeValidator(table_of("class"))]], Field(max_length=GRANTS_MAX)
    ] = []
    declassify: Annotated[
        list[Annotated[DeclassifyTable, BeforeValidator(table_of("topic"))]], Field(max_length=GRANTS_MAX)
    ] = []


class PointTable(Table):
    """A control point of `[points]`."""

    keep: KeepTable | None = None
    role: str
    clearance: LabelText
    relay: str | None = None
    backups: Annotated[list[str], Field(max_length=BACKUPS_MAX)] = []
    kind: Literal["control point", "operator"] = "control point"
    principal: Name | None = None
    tags: Tags = {}
    organisation: Name | None = None
    communities: NameList | None = None
    client_of: NameList | None = None
    sources: dict[str, dict[str, Any]] = {}  # `gateways` has what may be in them
    sinks: dict[str, dict[str, Any]] = {}


class WhenTable(Table):
    """`when` of an `[[approval]]`: the actions that need it."""

    class_: Annotated[ActionClass | None, Field(alias="class")] = None
    action: ActionPattern | None = None
    to: SelectorText | None = None
    label: LabelText = Label.CLEAR
    severity: SeverityText = Severity.UNKNOWN


class EscalateTable(Table):
    """`escalate` of an `[[approval]]`: who else may approve when nobody did for so long."""

    after: HoldTime
    from_: Annotated[list[str], Field(alias="from", min_length=1, max_length=POLICY_ROLES_MAX)]
    require: Annotated[int, Field(ge=1, le=APPROVERS_MAX)] = 1


class ApprovalTable(Table):
    """An `[[approval]]`; `within` is in ms once it is read."""

    when: WhenTable
    name: Name | None = None
    require: Annotated[int, Field(ge=0, le=APPROVERS_MAX)]
    from_: Annotated[list[str], Field(alias="from", max_length=POLICY_ROLES_MAX)] = []
    within: HoldTime = 600_000
    escalate: EscalateTable | None = None


class AssertTable(Table):
    """An `[[assert]]`: a flow that must never be possible, or always; the rules see to it that it is one of them."""

    never: str | None = None
    must: str | None = None


class FileTable(Table):
    """The whole file."""

    fabric: Name
    organisation: Name | None = None
    defaults: DefaultsTable = DefaultsTable()
    organisations: Annotated[dict[str, OrganisationTable], Field(max_length=RELAYS_MAX)] = {}
    relays: Annotated[dict[str, RelayTable], Field(max_length=RELAYS_MAX)]
    roles: dict[str, RoleTable] = {}
    points: dict[str, PointTable] = {}
    approval: Annotated[list[ApprovalTable], Field(max_length=POLICY_RULES_MAX)] = []
    classes: Annotated[dict[str, ActionClass], Field(max_length=POLICY_CLASSES_MAX)] = {}
    assert_: Annotated[list[AssertTable], Field(alias="assert", max_length=ASSERTS_MAX)] = []


# The keys of each kind of table, for did-you-mean; by the place of the table in the file.
_TABLES: Final[tuple[tuple[Key, type[Table]], ...]] = (
    ((), FileTable),
    (("defaults",), DefaultsTable),
    (("defaults", "ttl"), TtlTable),
    (("organisations", "?"), OrganisationTable),
    (("relays", "?"), RelayTable),
    (("roles", "?"), RoleTable),
    (("roles", "?", "publish", "?"), PublishTable),
    (("roles", "?", "request", "?"), RequestTable),
    (("roles", "?", "approve", "?"), ApproveTable),
    (("roles", "?", "declassify", "?"), DeclassifyTable),
    (("roles", "?", "keep"), KeepTable),
    (("points", "?"), PointTable),
    (("points", "?", "keep"), KeepTable),
    (("approval", "?"), ApprovalTable),
    (("approval", "?", "when"), WhenTable),
    (("approval", "?", "escalate"), EscalateTable),
    (("assert", "?"), AssertTable),
)

_EXAMPLES: Final[Mapping[str, str]] = {
    "fabric": 'fabric = "acme"',
    "relays": '[relays] and under it hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:7700" }',
    "clearance": 'clearance = "amber"',
    "listen": 'listen = "127.0.0.1:7700"',
    "role": 'role = "sensor", one of [roles]',
    "action": '{ action = "deny ipv4_net", to = "role=firewall" }',
    "to": '{ ..., to = "role=firewall" }',
    "class": '{ class = "contain", to = "segment=ot-1" }',
    "when": 'when = { class = "contain" }',
    "require": "require = 2",
    "from": 'from = ["ot-lead"]',
    "after": 'after = "5m"',
}
# Of a declassify grant, where these names say something else than elsewhere.
_LABEL_EXAMPLES: Final[Mapping[str, str]] = {
    "topic": 'topic = "detections.>"',
    "from": 'from = "amber", the highest label that may be lowered',
    "to": 'to = "green", the lowest that it may become',
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
                Code[context["code"]], dotted(key), context["cause"], context["write"].replace(KEY_MARK, name)
            )
        case "extra_forbidden":
            known = _known_keys(key[:-1])
            cause = f"there is no key '{name}' here"
            write = f"remove it, or use one of {', '.join(known)}{closest(name, known)}"
            if name == "keep" and key[0] == "relays":
                write = 'write keep in a role or a point; what a relay has for its readers is readers = "8GB"'
        case "missing":
            missing = str(detail["loc"][-1])
            examples = _LABEL_EXAMPLES if "declassify" in detail["loc"] else _EXAMPLES
            cause, write = f"'{missing}' is missing", f"write {examples.get(missing, f'{missing} = ...')}"
        case "literal_error":
            expected = context["expected"]
            choices = tuple(re.findall(r"'([^']*)'", expected))
            cause = f"{shown(detail['input'])} is not known here"
            write = f"write {expected}{closest(detail['input'], choices)}"
        case "less_than_equal" | "greater_than_equal":
            most, least = context.get("le"), context.get("ge")
            cause = f"{shown(detail['input'])} is too {'large' if least is None else 'small'}"
            write = f"write {name} = {least if most is None else most}, or {'more' if most is None else 'less'}"
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
