"""A valid topology: who exists, where, and what each may do (SPEC 12).

Guarantees: every instance came through `load`, so the relays form one tree, every name that is used exists,
and every pattern, selector and label can be read. Plain dataclasses: a relay that is handed one loads no
validator. Order is the file's order everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from fabric.protocol.base.limits import READERS_BYTES, TTL_MAX_MS
from fabric.protocol.trust.credentials import ApproveGrant, DeclassifyGrant, Grants, Keep, PublishGrant, RequestGrant
from fabric.protocol.trust.policies import Escalation, Rule, When
from fabric.protocol.vocabulary.openc2 import ActionClass
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Audience, Label

__all__ = [
    "ApprovalSpec",
    "ApproveGrant",
    "DeclassifyGrant",
    "AssertSpec",
    "Defaults",
    "Keep",
    "OrganisationSpec",
    "PointSpec",
    "PublishGrant",
    "RelaySpec",
    "RequestGrant",
    "RoleSpec",
    "SinkSpec",
    "SourceSpec",
    "Topology",
]

Dial = Literal["parent", "child"]
Admission = Literal["credential", "pinned"]
PointKind = Literal["control point", "operator"]

# What each kind gets where the file says nothing: an action is for now, an event waits out a night.
TTL_DEFAULTS_MS: Mapping[str, int] = {
    "event": 86_400_000,
    "intel": 7 * 86_400_000,
    "action": 60_000,
    "approval": 600_000,
    "result": 86_400_000,
    "control": 30 * 86_400_000,
}
assert TTL_DEFAULTS_MS.keys() == TTL_MAX_MS.keys()  # noqa: S101


@dataclass(frozen=True, slots=True)
class Defaults:
    """`label` is what unlabelled input gets; `ttl_ms` has every kind of message."""

    label: Label = Label.AMBER
    ttl_ms: Mapping[str, int] = field(default_factory=lambda: dict(TTL_DEFAULTS_MS))


@dataclass(frozen=True, slots=True)
class OrganisationSpec:
    """What an organisation is to others: the communities that it is in, and whose direct client it is."""

    name: str
    communities: tuple[str, ...] = ()
    client_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RelaySpec:
    """`dial` is the end that is dialled: by the relay its "parent" and `backups`, or the "child" by all of them.

    `admission` "pinned": only keys of those that the topology lets dial it may knock.
    """

    id: str
    segment: str
    clearance: Label
    listen: str
    advertise: str  # what others dial; the same as `listen` unless the file says otherwise
    parent: str | None
    backups: tuple[str, ...]
    dial: Dial
    admission: Admission
    serves: tuple[str, ...]
    organisation: str
    tags: Mapping[str, str]
    readers_bytes: int = READERS_BYTES  # what it has for all that its readers may keep
    communities: tuple[str, ...] = ()  # its organisation's, unless it says others
    client_of: tuple[str, ...] = ()
    carries_sealed: bool = False  # what is sealed to others, whatever its clearance

    is_relay: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """A role: the grants of the control points that have it."""

    name: str
    publish: tuple[PublishGrant, ...] = ()
    subscribe: tuple[str, ...] = ()
    request: tuple[RequestGrant, ...] = ()
    execute: tuple[str, ...] = ()
    approve: tuple[ApproveGrant, ...] = ()
    keep: Keep | None = None
    declassify: tuple[DeclassifyGrant, ...] = ()

    @property
    def grants(self) -> Grants:
        """As they go into the credential."""
        return Grants(
            self.publish, self.subscribe, self.request, self.execute, self.approve, self.keep, self.declassify
        )


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What a control point reads and publishes. `table`: its declaration, as `relays.gateways.declared` reads it.

    `labels` maps a field, a path or "*" to its label, in file order. `audience`: whom it names besides its own.
    """

    name: str
    table: Mapping[str, Any]
    labels: Mapping[str, Label]
    audience: Audience | None = None


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """Where a control point writes what it subscribes to, likewise."""

    name: str
    table: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PointSpec:
    """A control point or an operator. `relay` is None where the nearest is to be found when it connects.

    `backups` are where it goes while `relay` is away, in this order; without a `relay` there are none.
    """

    id: str
    relay: str | None
    backups: tuple[str, ...]
    role: str
    clearance: Label
    kind: PointKind
    tags: Mapping[str, str]
    organisation: str
    sources: Mapping[str, SourceSpec]
    sinks: Mapping[str, SinkSpec]
    keep: Keep | None = None  # instead of its role's
    principal: str = ""  # the person or team behind it; empty: its id
    communities: tuple[str, ...] = ()  # its organisation's, unless it says others
    client_of: tuple[str, ...] = ()

    is_relay: ClassVar[bool] = False
    carries_sealed: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class ApprovalSpec:
    """Who must agree before actions of a class, or of a pattern, run on what `to` selects ("" is all).

    `label` and `severity`: from there upwards. `key`: where it stands in the file.
    """

    name: str
    class_: ActionClass | None
    action: str
    to: str
    label: Label
    severity: Severity
    require: int
    from_: tuple[str, ...]
    within_ms: int
    escalation: Escalation | None
    key: str

    @property
    def rule(self) -> Rule:
        """As it goes into the policies. One that requires nobody is no rule."""
        when = When(self.class_, self.action, self.to, self.label, self.severity)
        return Rule(self.name, when, self.require, tuple(sorted(self.from_)), self.within_ms, self.escalation)


@dataclass(frozen=True, slots=True)
class AssertSpec:
    """Content with this label that begins at or below `source` never reaches `target`, or always does (`must`)."""

    text: str
    label: Label
    source: str
    target: str
    must: bool = False


@dataclass(frozen=True, slots=True)
class Topology:
    """`approvals` require one approver or more; `waivers` (require = 0) say that none is due, on purpose."""

    fabric: str
    organisation: str
    defaults: Defaults
    relays: Mapping[str, RelaySpec]
    roles: Mapping[str, RoleSpec]
    points: Mapping[str, PointSpec]
    approvals: tuple[ApprovalSpec, ...]
    waivers: tuple[ApprovalSpec, ...]
    asserts: tuple[AssertSpec, ...]
    classes: Mapping[str, ActionClass]  # of `x-` verbs
    path: Path
    organisations: Mapping[str, OrganisationSpec] = field(default_factory=dict)  # those that the file says something of

    @property
    def root(self) -> RelaySpec:
        return next(relay for relay in self.relays.values() if relay.parent is None)

    @property
    def nodes(self) -> tuple[RelaySpec | PointSpec, ...]:
        """All relays, then all points."""
        return (*self.relays.values(), *self.points.values())

    def children(self, relay: str) -> tuple[RelaySpec, ...]:
        return tuple(r for r in self.relays.values() if r.parent == relay)

    def path_to_root(self, relay: str) -> tuple[RelaySpec, ...]:
        """The relay itself first, the root last. Ends because a loaded topology has no cycle."""
        path = [self.relays[relay]]
        while (parent := path[-1].parent) is not None:
            path.append(self.relays[parent])
        return tuple(path)

    def subtree(self, relay: str) -> tuple[RelaySpec, ...]:
        """The relay itself and everything below it, parents before children."""
        below: dict[str | None, list[RelaySpec]] = {}
        for spec in self.relays.values():
            below.setdefault(spec.parent, []).append(spec)
        found = [self.relays[relay]]
        for above in found:
            found.extend(below.get(above.id, ()))
        return tuple(found)

    def points_of(self, relay: str) -> tuple[PointSpec, ...]:
        return tuple(p for p in self.points.values() if p.relay == relay)

    def points_nearest(self) -> tuple[PointSpec, ...]:
        """The points that name no relay."""
        return tuple(p for p in self.points.values() if p.relay is None)

    def role_of(self, point: str) -> RoleSpec:
        return self.roles[self.points[point].role]

    def grants_of(self, point: str) -> Grants:
        """As they go into its credential: its role's, with what is kept for it where it says so itself."""
        grants, keep = self.role_of(point).grants, self.points[point].keep
        return grants if keep is None else replace(grants, keep=keep)

    def principal_of(self, point: str) -> str:
        """Who counts where several must approve."""
        return self.points[point].principal or point

    def attributes(self, point: str) -> Mapping[str, str]:
        """What selectors see of a point (SPEC 9): its tags; over them role, id, segment, organisation.

        The segment is its relay's; that of one which takes the nearest is the root's (SPEC 12).
        """
        spec = self.points[point]
        segment = self.root.segment if spec.relay is None else self.relays[spec.relay].segment
        return {
            **spec.tags, "role": spec.role, "id": spec.id, "segment": segment, "organisation": spec.organisation
        }
