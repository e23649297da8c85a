"""Reads a topology file into a `Topology`, or says everything that is wrong with it at once.

Guarantees: what `load` returns keeps every rule of SPEC 12. Refuses: unknown keys, names that do not exist,
anything that a relay would refuse later. Nothing is guessed: an error says what to write.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import READERS_BYTES
from fabric.protocol.trust.policies import Escalation
from fabric.protocol.vocabulary.tlp import Audience, Label, parse_label
from relays.topology.claims import BadClaim, parse_claim
from relays.topology.model import (
    TTL_DEFAULTS_MS,
    ApprovalSpec,
    ApproveGrant,
    AssertSpec,
    DeclassifyGrant,
    Defaults,
    Keep,
    OrganisationSpec,
    PointSpec,
    PublishGrant,
    RelaySpec,
    RequestGrant,
    RoleSpec,
    SinkSpec,
    SourceSpec,
    Topology,
)
from relays.topology.problems import Problem, TopologyErrors, in_order
from relays.topology.rulebook import tables_in
from relays.topology.rules import check_rules
from relays.topology.toml_lines import Lines, explain
from relays.topology.uses import default_name

if TYPE_CHECKING:  # pydantic comes with it, and only a file that is read needs it
    from relays.topology.schema import (
        ApprovalTable,
        AssertTable,
        FileTable,
        KeepTable,
        PointTable,
        PublishTable,
        RelayTable,
        RoleTable,
    )

# A thousand relays with ten points each fit; it is read whole.
FILE_BYTES_MAX: Final = 4_194_304


@dataclass(frozen=True, slots=True)
class Checked:
    """What reading a file gave. `topology` is None exactly when `problems` has an error."""

    topology: Topology | None
    problems: tuple[Problem, ...]
    lines: Lines


def load(path: Path) -> Topology:
    """The topology of a file. Raises TopologyErrors with every problem, warnings included."""
    checked = check(path)
    if checked.topology is None:
        raise TopologyErrors(path, list(checked.problems))
    return checked.topology


def check(path: Path) -> Checked:
    """Like `load`, without raising: for those who want the warnings of a good file too."""
    text = _read(path)
    if isinstance(text, Problem):
        return Checked(None, (text,), Lines(""))
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Checked(None, (explain(text, error),), Lines(""))
    except RecursionError:
        problem = Problem(
            Code.TOPOLOGY_UNREADABLE, "", "it is nested too deeply", "write fewer brackets in brackets"
        )
        return Checked(None, (problem,), Lines(""))

    from relays.topology.schema import read_shape  # noqa: PLC0415

    shape = read_shape(raw)
    problems = check_rules(raw) + _gateways(raw) + (shape if isinstance(shape, list) else [])
    lines = Lines(text)
    located = tuple(in_order([replace(p, line=lines.of(p.key)) for p in problems]))
    if isinstance(shape, list) or any(p.severity == "error" for p in located):
        return Checked(None, located, lines)
    return Checked(_build(shape, path), located, lines)


def _gateways(raw: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with sources and sinks. Their kinds are imported where there are any."""
    if not any("sources" in point or "sinks" in point for point in tables_in(raw, "points").values()):
        return []
    from relays.topology.gateways import check_gateways  # noqa: PLC0415

    return check_gateways(raw)


def _read(path: Path) -> str | Problem:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        cause = f"{path} cannot be read: {(error.strerror or 'unknown error').lower()}"
        return Problem(
            Code.TOPOLOGY_UNREADABLE,
            "",
            cause,
            "give the path of a topology file, e.g. topologies/minimal.toml",
        )
    if len(data) > FILE_BYTES_MAX:
        return Problem(
            Code.TOPOLOGY_UNREADABLE, "", f"it has more than {FILE_BYTES_MAX} bytes", "split the fabric"
        )
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Problem(
            Code.TOPOLOGY_UNREADABLE, "", "the text is not UTF-8", "save the file as UTF-8", line=line
        )


def _build(file: FileTable, path: Path) -> Topology:
    organisation = file.organisation or file.fabric
    given = file.defaults.ttl.model_dump(exclude_none=True)
    approvals = tuple(_approval(index, table) for index, table in enumerate(file.approval))
    roles = {name: _role(name, table) for name, table in file.roles.items()}
    return Topology(
        fabric=file.fabric,
        organisation=organisation,
        defaults=Defaults(file.defaults.label, {**TTL_DEFAULTS_MS, **given}),
        relays={
            name: _relay(name, table, _organisation(table, file, organisation)) for name, table in file.relays.items()
        },
        roles=roles,
        points={
            name: _point(name, table, _organisation(table, file, organisation), roles[table.role])
            for name, table in file.points.items()
        },
        approvals=tuple(a for a in approvals if a.require > 0),
        waivers=tuple(a for a in approvals if a.require == 0),
        asserts=tuple(map(_assert, file.assert_)),
        classes=file.classes,
        path=path,
        organisations={
            name: OrganisationSpec(name, tuple(table.communities), tuple(table.client_of))
            for name, table in file.organisations.items()
        },
    )


def _organisation(table: RelayTable | PointTable, file: FileTable, own: str) -> OrganisationSpec:
    """What a node is to others: as its organisation is, but for what it says itself."""
    name = table.organisation or own
    given = file.organisations.get(name)
    communities = table.communities if table.communities is not None else given.communities if given else ()
    client_of = table.client_of if table.client_of is not None else given.client_of if given else ()
    return OrganisationSpec(name, tuple(communities), tuple(client_of))


def _relay(name: str, table: RelayTable, organisation: OrganisationSpec) -> RelaySpec:
    return RelaySpec(
        id=name,
        segment=table.segment or name,
        clearance=table.clearance,
        listen=table.listen,
        advertise=table.advertise or table.listen,
        parent=table.parent,
        backups=tuple(table.backups),
        dial=table.dial,
        admission=table.admission,
        serves=tuple(table.serves),
        organisation=organisation.name,
        tags=table.tags,
        readers_bytes=table.readers or READERS_BYTES,
        communities=organisation.communities,
        client_of=organisation.client_of,
        carries_sealed=table.carries_sealed,
    )


def _role(name: str, table: RoleTable) -> RoleSpec:
    return RoleSpec(
        name=name,
        publish=tuple(_publish(g) for g in table.publish),
        subscribe=tuple(table.subscribe),
        request=tuple(RequestGrant(g.action, g.to, g.severity_max, g.scope) for g in table.request),
        execute=tuple(table.execute),
        approve=tuple(ApproveGrant(g.class_, g.to) for g in table.approve),
        keep=_keep(table.keep, Keep()),
        declassify=tuple(DeclassifyGrant(g.topic, g.from_, g.to) for g in table.declassify),
    )


def _publish(table: PublishTable) -> PublishGrant:
    return PublishGrant(
        table.topic, table.severity_max, table.rate or 0, tuple(table.organisations), tuple(table.communities)
    )


def _keep(table: KeepTable | None, otherwise: Keep) -> Keep | None:
    """What a table leaves out is as it would be without it: in a point as its role has it."""
    if table is None:
        return None
    waits = otherwise.waits if table.full is None else table.full == "wait"
    return Keep(table.bytes_ or otherwise.bytes, table.for_ or otherwise.ms, waits)


def _point(name: str, table: PointTable, organisation: OrganisationSpec, role: RoleSpec) -> PointSpec:
    return PointSpec(
        id=name,
        relay=table.relay,
        backups=tuple(table.backups),
        role=table.role,
        clearance=table.clearance,
        kind=table.kind,
        tags=table.tags,
        organisation=organisation.name,
        sources={key: SourceSpec(key, given, _labels(given), _audience(given)) for key, given in table.sources.items()},
        sinks={key: SinkSpec(key, given) for key, given in table.sinks.items()},
        keep=_keep(table.keep, role.grants.kept),
        principal=table.principal or "",
        communities=organisation.communities,
        client_of=organisation.client_of,
    )


def _labels(source: Mapping[str, Any]) -> dict[str, Label]:
    """Of the fields of a source's records, `*` for the rest where it says so."""
    rest = {"*": source["label"]} if isinstance(source.get("label"), str) else {}
    found = {name: parse_label(value) for name, value in {**source.get("labels", {}), **rest}.items()}
    return {name: label for name, label in found.items() if label is not None}


def _audience(source: Mapping[str, Any]) -> Audience | None:
    """As it is declared; the rules have read it."""
    said = source.get("audience")
    if not isinstance(said, Mapping):
        return None
    return Audience(*(tuple(said.get(part, ())) for part in ("organisations", "communities", "recipients")))


def _approval(index: int, table: ApprovalTable) -> ApprovalSpec:
    when, later = table.when, table.escalate
    return ApprovalSpec(
        name=table.name or default_name(index),
        class_=when.class_,
        action=when.action or "",
        to=when.to or "",
        label=when.label,
        severity=when.severity,
        require=table.require,
        from_=tuple(table.from_),
        within_ms=table.within,
        escalation=None if later is None else Escalation(later.after, tuple(sorted(later.from_)), later.require),
        key=f"approval.{index}",
    )


def _assert(table: AssertTable) -> AssertSpec:
    must, text = table.never is None, table.never or table.must or ""
    claim = parse_claim(text, "must")
    if isinstance(claim, BadClaim):
        raise ValueError(text)  # the rules have read it
    return AssertSpec(text, claim.label, claim.source, claim.target, must)
