"""What a control point's program sees: messages, actions, and what became of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.control import Control
from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.lifetime import format_duration
from fabric.protocol.envelope.parts import Open, read_columns
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.targets import Target
from fabric.protocol.vocabulary.tlp import Audience, Label


@dataclass(frozen=True, slots=True)
class Message:
    """One record. `id` is `<envelope id>.<index>`; times in milliseconds; `path` the relays that it passed.

    `content` holds the fields that arrived, merged; `labels` each one's label; `withheld` how many parts of each
    label this node, or a hop before it, may not see. `audience`: whom its origin signed it for. `leaf`: the 32 bytes
    that stand for its envelope, of which its id has the half.

    `relabels`: the id of the record that this one re-issues at a lower label, and `relabelled_from` the label that was
    lowered, as its origin says; empty and None where it is an original.
    """

    id: str
    topic: str
    kind: str
    origin: str
    severity: Severity
    phase: Phase
    label: Label
    issued_at_ms: int
    ttl_ms: int
    age_ms: int
    path: tuple[str, ...]
    content: Mapping[str, Any]
    labels: Mapping[str, Label]
    withheld: Mapping[Label, int]
    audience: Audience = Audience()
    leaf: bytes = b""
    relabels: str = ""
    relabelled_from: Label | None = None

    @property
    def highest_label(self) -> Label:
        """Of what is visible here: the envelope's, or that of a field above it. What was withheld does not count."""
        return max((self.label, *self.labels.values()))

    def label_of(self, name: str) -> Label:
        """The highest label in a field and all that is in it. `name` is as in `labels`, or of an object or array."""
        inside = f"{name}."
        return max(
            (label for field, label in self.labels.items() if field == name or field.startswith(inside)),
            default=self.label,
        )

    def above(self) -> dict[Label, list[str]]:
        """The fields that are above the envelope's label, by label, the highest first."""
        found: dict[Label, list[str]] = {}
        for name, label in self.labels.items():
            if label > self.label:
                found.setdefault(label, []).append(name)
        return dict(sorted(found.items(), reverse=True))

    def to_json(self) -> dict[str, Any]:
        """As `fabric subscribe --json` prints it, but for bytes and numbers that are none, which JSON has not."""
        return {
            "id": self.id,
            "topic": self.topic,
            "kind": self.kind,
            "origin": self.origin,
            "severity": self.severity.name.lower(),
            "phase": self.phase.name.lower().replace("_", "-"),
            "label": self.label.short,
            "highest_label": self.highest_label.short,
            "issued_at": self.issued_at_ms,
            "ttl_ms": self.ttl_ms,
            "age_ms": self.age_ms,
            "path": list(self.path),
            "content": dict(self.content),
            "labels": {name: label.short for name, label in self.labels.items()},
            "withheld": {label.short: count for label, count in self.withheld.items()},
            **self._audience_json(),
            **({"leaf": self.leaf.hex()} if self.leaf else {}),
            **({"relabels": self.relabels} if self.relabels else {}),
            **({} if self.relabelled_from is None else {"relabelled_from": self.relabelled_from.short}),
        }

    def _audience_json(self) -> dict[str, Any]:
        """The lists that name somebody."""
        audience = self.audience
        parts = ("organisations", audience.organisations), ("communities", audience.communities)
        named = {part: list(names) for part, names in (*parts, ("recipients", audience.recipients)) if names}
        return {"audience": named} if named else {}


def messages_of(delivery: Delivery, open_: Open | None = None) -> list[Message] | Reject:
    """The records of a delivery, or why its body cannot be read. `open_`: for what is sealed, as `read_columns` has it.
    """
    header = delivery.message.header
    read = read_columns(header, delivery.message.envelope.parts, open_)
    if isinstance(read, Reject):
        return read
    id_, leaf, kind, relabels = delivery.message.id.hex(), delivery.message.leaf, header.kind.word, header.relabels
    relabels_id, relabelled_from = ("", None) if relabels is None else (relabels.id, relabels.label)
    found: list[Message] = []
    for number, (content, labels) in enumerate(zip(read.contents, read.labels, strict=True)):
        message = _Open(
            f"{id_}.{number}", header.topic, kind, header.origin, header.severity, header.phase, header.label,
            header.issued_at_ms, header.ttl_ms, delivery.age_ms, delivery.hops, content, labels, read.withheld,
            header.audience, leaf, relabels_id, relabelled_from,
        )
        message.__class__ = Message
        found.append(message)
    return found


# A message before it is frozen. Python fills a frozen one several times as slowly, and of these a reader makes as many
# as there are records; both have their fields at the same places.
_Open: Any = make_dataclass("_Open", [each.name for each in fields(Message)], slots=True)


@dataclass(frozen=True, slots=True)
class Action:
    """A response action for this control point, checked: signed, granted, addressed to it and in time.

    `target`: `target.type` and `target.value` as in OpenC2 ("ipv4_net", "203.0.113.9"), `target.text` as people write
    it. `deadline_ms`: never begin after it. `command_id`: what its requester calls it, if anything. `control`: how its
    handler says how far it is (`action.control.report(0.4, "40 of 100 files")`), leaves files for its requester
    (`action.control.attach("/tmp/dump.pcap")`), and hears that it was cancelled.
    """

    id: str
    action: str
    target: Target
    args: Mapping[str, Any]
    requester: str
    severity: Severity
    label: Label
    issued_at_ms: int
    deadline_ms: int
    path: tuple[str, ...]
    command_id: str = ""
    control: Control = field(default_factory=Control, compare=False, repr=False)

    @property
    def target_type(self) -> str:
        return self.target.type

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "action": self.action,
            "target": self.target.to_json(),
            "args": dict(self.args),
            "requester": self.requester,
            "severity": self.severity.name.lower(),
            "label": self.label.short,
            "issued_at": self.issued_at_ms,
            "deadline": self.deadline_ms,
            **({"command_id": self.command_id} if self.command_id else {}),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an action ended at one target. `by`: the target itself, or the relay that says so; `code`: why, if failed.
    `artifacts`: what it left there, to be fetched. `denied_by`: the principal of an approver who denied it, and `why`
    in that one's words; empty where that is above this node's clearance, or a relay's on the way."""

    target: str
    end: End
    by: str
    status: int = 0
    code: str = ""
    reason: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    label: Label = Label.CLEAR
    took_ms: int = 0
    artifacts: tuple[Artifact, ...] = ()
    denied_by: str = ""
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        left = {"artifacts": [artifact.to_json() for artifact in self.artifacts]} if self.artifacts else {}
        return {
            "target": self.target,
            "end": str(self.end),
            "by": self.by,
            "status": self.status,
            "code": self.code,
            "reason": self.reason,
            "result": dict(self.result),
            "label": self.label.short,
            "took_ms": self.took_ms,
            **left,
            **({"denied_by": self.denied_by, "why": self.why} if self.denied_by else {}),
        }


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of what an action did at a target, in its own words.

    `word`: "reverted", since its duration is over; "ended", the same where the handler ends it by itself, and nobody
    looked; "released", before that; "lasts", since another action keeps it up; "revert failed", and is tried again.
    `at_ms`: when it ended, by the fabric's time; 0 where it has not. `code`, `reason`: why it could not be ended.
    """

    target: str
    word: str
    at_ms: int = 0
    code: str = ""
    reason: str = ""

    @property
    def is_over(self) -> bool:
        return self.at_ms > 0

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {"effect": self.word}
        if self.at_ms:
            said["ended"] = self.at_ms
        return {**said, "code": self.code, "reason": self.reason} if self.code else said


@dataclass(frozen=True, slots=True)
class Approvals:
    """Of an action that is held until it is approved: `require` of `roles`, by this `rule`, have until `until_ms`.

    Of a dry run, which is not held: by which rule it would be, and for `within_ms`, which is else 0; `until_ms` is 0.
    When they are `given`: by whom, `escalated` where others than these roles were needed, and `until_ms` is how long it
    may be executed. By this machine's clock, in milliseconds since 1970.
    """

    given: bool
    until_ms: int
    rule: str = ""
    require: int = 0
    roles: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    escalated: bool = False
    within_ms: int = 0

    @property
    def is_asked(self) -> bool:
        """Whether somebody is asked, or was. Of a dry run nobody is."""
        return self.within_ms == 0

    @property
    def text(self) -> str:
        """For people, without the time."""
        if not self.is_asked:
            require = f"{self.require} of {' or '.join(self.roles)}"
            return f"would be held: rule {self.rule}, {require}, within {format_duration(self.within_ms)}"
        if self.given:
            return f"approved by {', '.join(self.approved_by)}{', escalated' if self.escalated else ''}"
        return f"waits for {self.require} of {' or '.join(self.roles)}"

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {"given": self.given, "until": self.until_ms}
        if not self.is_asked:
            said = {"given": False, "within_ms": self.within_ms}
        if self.given:
            return {**said, "approved_by": list(self.approved_by), "escalated": self.escalated}
        return {**said, "rule": self.rule, "require": self.require, "roles": list(self.roles)}


@dataclass(frozen=True, slots=True)
class Step:
    """How far an action is at one target that has not ended. `by`: who says so; `progress`: 0 to 1, and `note`: of a
    handler that says them; `approval`: of what is held for approvals, or was approved. `away`: it waits for the target,
    which is away."""

    target: str
    state: State
    by: str
    progress: float | None = None
    note: str = ""
    approval: Approvals | None = None
    away: bool = False

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {"target": self.target, "state": self.state.word, "by": self.by}
        if self.away:
            said["away"] = True
        if self.approval is not None:
            said["approval"] = self.approval.to_json()
        if self.progress is not None:
            said["progress"] = self.progress
        return {**said, "note": self.note} if self.note else said
